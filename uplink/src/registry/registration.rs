//! A worker's registration, and the first map when all that are expected are there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use firn_wire::ids::{MapVersion, TableId, WorkerId, WorkerName};
use firn_wire::limits::{SHARD_LIMIT_MAX, WORKERS_MAX};
use firn_wire::map::{GroupRule, Map, SeatRow, TablePolicy, TableRow, WorkerRow, WorkerState};
use firn_wire::registry::{Heartbeat, Register, Registered};

use super::members::Heard;
use super::rebuild::{other_cluster, send_map};
use super::{Answer, Refusal, RefusalKind, Registry, add_group};
use crate::plan::Absences;

/// Protocols one worker may have addresses for.
const ADDRESSES_MAX: usize = 16;
/// Beats within one lease, so that a few lost ones are not missed.
const BEATS_PER_LEASE: u64 = 5;
/// Tables that exist from the start: `default`, and `db1` to `db15` for SELECT of the Redis protocol.
pub(super) const FIRST_TABLES: u32 = 16;

impl Registry {
    pub(super) fn register(&mut self, now_ms: u64, asked: Register) -> Result<Answer, Refusal> {
        self.check_registration(&asked)?;
        if let Some(row) = self.worker(&asked.name) {
            if row.incarnation == asked.incarnation {
                return self.register_again(now_ms, &asked);
            }
            self.check_name_is_free(now_ms, row)?;
        }
        self.check_addresses_are_free(&asked)?;
        let place = self.worker_place(&asked.name);
        if place.is_err() && self.map().workers.len() == WORKERS_MAX {
            let detail = format!("the cluster has {WORKERS_MAX} workers, and more it cannot have");
            return Err(Refusal::new(RefusalKind::TooMany, detail));
        }
        self.heard.insert(asked.name.clone(), Heard::At(now_ms));
        let (map, rev) = self.change();
        let row = WorkerRow {
            name: asked.name,
            incarnation: asked.incarnation,
            addresses: asked.addresses,
            shards: asked.shards,
            state: WorkerState::Up,
            since_ms: now_ms,
            rev,
        };
        match place {
            Ok(known) => map.workers[known] = row,
            Err(new) => map.workers.insert(new, row),
        }
        self.publish_when_all_are_there();
        // At once, so that no plan is made any more without who is back.
        self.review_absences(now_ms);
        Ok(self.registered(true))
    }

    /// The same registration once more: its first answer was lost.
    fn register_again(&mut self, now_ms: u64, asked: &Register) -> Result<Answer, Refusal> {
        let row = self.worker(&asked.name).expect("the caller has found it");
        if row.addresses != asked.addresses || row.shards != asked.shards {
            let detail = format!(
                "{}@{} is registered with other addresses or shards; they change with a restart",
                asked.name, asked.incarnation
            );
            return Err(Refusal::new(RefusalKind::OtherAddresses, detail));
        }
        self.beat(
            now_ms,
            &asked.name,
            &Heartbeat { incarnation: asked.incarnation, goodbye: false, leaving: false },
        )?;
        Ok(self.registered(false))
    }

    fn registered(&self, new: bool) -> Answer {
        let map = self.map();
        let registered = Registered {
            cluster: map.cluster,
            version: map.version,
            heartbeat_ms: map.settings.worker_lease_ms / BEATS_PER_LEASE,
            hash_seed: self.state.hash_seed,
        };
        Answer::Registered(registered, new)
    }

    fn check_registration(&self, asked: &Register) -> Result<(), Refusal> {
        self.check_cluster(asked)?;
        let bad = |detail: String| Err(Refusal::new(RefusalKind::BadWorker, detail));
        if !(1..=SHARD_LIMIT_MAX).contains(&usize::from(asked.shards)) {
            return bad(format!("shards is {} and must be 1 to {SHARD_LIMIT_MAX}", asked.shards));
        }
        if !asked.addresses.contains_key("peer") {
            return bad("addresses has no peer, by which other workers reach this one".to_owned());
        }
        if asked.addresses.len() > ADDRESSES_MAX {
            return bad(format!("more than {ADDRESSES_MAX} addresses"));
        }
        for (protocol, address) in &asked.addresses {
            if !is_protocol(protocol) {
                return bad(format!("{protocol:?} is no protocol's name"));
            }
            if !is_reachable(address) {
                return bad(format!(
                    "{address:?} is no HOST:PORT others can reach, for {protocol}"
                ));
            }
        }
        Ok(())
    }

    /// A worker that comes from a cluster belongs to that one, and may know of it what the registry has lost.
    fn check_cluster(&self, asked: &Register) -> Result<(), Refusal> {
        if !self.is_published() {
            return self.check_no_map_is_lost(asked);
        }
        let mine = self.map().cluster;
        let Some(cluster) = asked.cluster else { return Ok(()) };
        if cluster != mine {
            return Err(other_cluster(asked, mine));
        }
        let id = WorkerId { name: asked.name.clone(), incarnation: asked.incarnation };
        if self.must_tell(&id) { Err(send_map(&asked.name)) } else { Ok(()) }
    }

    /// A name whose last run may still live is not given to another.
    fn check_name_is_free(&self, now_ms: u64, row: &WorkerRow) -> Result<(), Refusal> {
        let Some(Heard::At(heard_ms)) = self.heard.get(&row.name) else { return Ok(()) };
        let settings = &self.map().settings;
        // Also longer than what other workers may have granted that run, so that no lease of it lives.
        let free_at_ms = heard_ms + settings.worker_lease_ms.max(settings.replication.grant_ms);
        if now_ms >= free_at_ms {
            return Ok(());
        }
        let left_ms = free_at_ms - now_ms;
        let detail = format!(
            "{} beats; a restarted worker gets its name back once its last run was silent long enough ({left_ms} ms to \
             go), a second worker needs another name",
            row.id()
        );
        Err(Refusal::later(RefusalKind::NameInUse, detail, left_ms))
    }

    /// Traffic for one worker must not reach another, nor the uplink.
    fn check_addresses_are_free(&self, asked: &Register) -> Result<(), Refusal> {
        let others = self.map().workers.iter();
        let others = others.filter(|row| row.name != asked.name && row.state != WorkerState::Down);
        let others: BTreeMap<&String, &WorkerName> =
            others.flat_map(|row| row.addresses.values().map(|a| (a, &row.name))).collect();
        let mut own: Vec<&String> = Vec::new();
        for address in asked.addresses.values() {
            if *address == self.own_address {
                let detail = format!("{address} is the uplink's own address");
                return Err(Refusal::new(RefusalKind::OwnAddress, detail));
            }
            if let Some(name) = others.get(address) {
                let detail = format!("{address} is {name}'s address, which is not down");
                let lease_ms = self.map().settings.worker_lease_ms;
                return Err(Refusal::later(RefusalKind::AddressInUse, detail, lease_ms));
            }
            if own.contains(&address) {
                let detail = format!("{address} is there for two protocols");
                return Err(Refusal::new(RefusalKind::BadWorker, detail));
            }
            own.push(address);
        }
        Ok(())
    }

    /// The first map: seats by name, group 0, and the tables that always exist.
    fn publish_when_all_are_there(&mut self) {
        let expected = usize::from(self.map().settings.expect_workers);
        if self.is_published() || self.map().workers.len() < expected {
            return;
        }
        let map = Arc::make_mut(&mut self.state.map);
        map.version = MapVersion { generation: 1, counter: 1 };
        let version = map.version;
        map.workers.iter_mut().for_each(|row| row.rev = version);
        map.seats = seats(&map.workers, version);
        add_group(map, version, &Absences::default(), map.settings.copies, GroupRule::Keys);
        add_first_tables(map, version);
        self.state.next_table = TableId(FIRST_TABLES);
    }
}

fn seats(workers: &[WorkerRow], rev: MapVersion) -> Vec<SeatRow> {
    let seat =
        |(number, row): (u16, &WorkerRow)| SeatRow { number, worker: Some(row.name.clone()), rev };
    (0..).zip(workers).map(seat).collect()
}

fn add_first_tables(map: &mut Map, rev: MapVersion) {
    let group = map.groups[0].id;
    map.tables.extend((0..FIRST_TABLES).map(|id| {
        let name = if id == 0 { "default".to_owned() } else { format!("db{id}") };
        TableRow {
            id: TableId(id),
            name: name.parse().expect("these are names of tables"),
            group,
            pinned: None,
            policy: TablePolicy::default(),
            rev,
        }
    }));
}

fn is_protocol(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `text` is `host:port` with a host that is not "any address" and a port that is not 0.
fn is_reachable(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let unreachable = |ip: IpAddr| ip.is_unspecified() || ip.is_multicast();
        return address.port() != 0 && !unreachable(address.ip().to_canonical());
    }
    let of_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    (1..=253).contains(&host.len())
        && host.bytes().all(of_name)
        // Digits with dots would be an IPv4 address, and that has not been one.
        && (host.bytes().any(|b| b.is_ascii_alphabetic()) || !host.contains('.'))
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports_others_can_reach() {
        for good in [
            "127.0.0.1:1",
            "[::1]:65535",
            "worker-1:4100",
            "0123:1",
            "w_1.firn.svc.cluster.local:80",
        ] {
            assert!(is_reachable(good), "{good}");
        }
        for bad in [
            "",
            ":1",
            "w",
            "w:",
            "w:0",
            "w:+1",
            "w:-1",
            "w:65536",
            "0.0.0.0:1",
            "[::]:1",
            "127.0.0.1:0",
            "::1:1",
            "256.0.0.1:1",
            "w/x:1",
            "http://w:1",
            "w@x:1",
            "w\n:1",
            "224.0.0.1:1",
            "[::ffff:0.0.0.0]:1",
        ] {
            assert!(!is_reachable(bad), "{bad}");
        }
    }
}
