//! A newer map: reigns begin and end, copies are followed or dropped.

use firn_wire::ids::{PartitionId, TableId, WorkerId};
use firn_wire::map::{MapIndex, PartitionRow, WorkerState, shard_of};
use firn_wire::record::{Effect, Put};
use firn_wire::status::Roll;

use super::follower::{Follower, Stage};
use super::journal::Waits;
use super::lead::Lead;
use super::replica::{Left, Replica, Role};
use super::shard::Shard;
use super::sweep::Sweep;
use super::time::Now;

/// Earlier runs of workers that are remembered beside as many as there are workers.
const PEERS_SPARE: usize = 16;

impl<H> Shard<H> {
    /// Takes a map: the partitions of this shard come to what their rows say. Rows older than those known change nothing.
    pub fn adopt(&mut self, now: Now, map: &MapIndex) {
        if map.version < self.adopted.version() {
            return;
        }
        let news = self.adopted.read(map);
        self.terms = map.settings.replication;
        self.setup.copying.set_rate(self.terms.copy_bytes_per_second);
        let roll = Roll::of(map);
        self.setup.copying.set_moves(map.partitions.iter().any(|row| roll.is_moving(row)));
        let (number, shards) = (usize::from(self.setup.number), self.setup.shards);
        self.read_durability(map);
        let rows = map.partitions.iter().filter(|row| news.has(row));
        for row in rows.filter(|row| shard_of(row.id, shards) == number) {
            self.adopt_row(now, map, row);
        }
        self.remove_strangers(map);
        self.drop_tables(now, map);
        if self.peers.count() > 2 * map.workers.len() + PEERS_SPARE {
            self.forget_peers(map);
        }
    }

    /// Forgets runs of workers that are neither registered nor spoken of in a partition.
    fn forget_peers(&mut self, map: &MapIndex) {
        let mut spoken_of = vec![false; self.peers.count()];
        self.left.iter().flat_map(|left| &left.deposed).for_each(|peer| spoken_of[*peer] = true);
        for replica in &self.replicas {
            let followers = replica.lead().map_or(&[][..], |lead| &lead.followers);
            followers.iter().for_each(|follower| spoken_of[follower.peer] = true);
            replica.promise.deposed.iter().for_each(|peer| spoken_of[*peer] = true);
            if let Role::Copy(source) = &replica.role {
                spoken_of[source.peer] = true;
            }
        }
        let registered = |id: &WorkerId| {
            map.worker(&id.name).is_some_and(|row| row.incarnation == id.incarnation)
        };
        self.peers.forget(|at, id| spoken_of[at] || registered(id));
    }

    /// Whether a row says that this worker, or an earlier run of it, has or should have the partition.
    fn concerns(&self, row: &PartitionRow) -> bool {
        let name = &self.setup.me.name;
        row.isr.iter().any(|id| id.name == *name) || row.wants(name)
    }

    fn adopt_row(&mut self, now: Now, map: &MapIndex, row: &PartitionRow) {
        let known = self.places.get(&row.id).copied();
        match known {
            Some(at) if row.rev < self.replicas[at].row.rev => return,
            Some(at) if row.rev == self.replicas[at].row.rev => {
                return self.update_followers(at, now, map);
            }
            Some(at) => self.take_row(at, now, map, row),
            None if !self.concerns(row) => return,
            None => {
                let at = self.add(row, now);
                self.want_snapshot(at);
                self.take_role(at, now, map);
            }
        }
        if let Some(at) = known
            && !self.replicas[at].is_reloaded
            && self.is_strange(at)
        {
            self.remove(at);
        }
    }

    /// Whether a partition should not be here, by the newest row.
    fn is_strange(&self, at: usize) -> bool {
        let Replica { row, promise, .. } = &self.replicas[at];
        !self.concerns(row) && row.rev >= promise.rev
    }

    /// What was read from disk and should not be here goes when a map says so that knows this run: one that was kept with it
    /// may be older than it.
    fn remove_strangers(&mut self, map: &MapIndex) {
        let me = &self.setup.me;
        if map.worker(&me.name).is_none_or(|row| row.incarnation != me.incarnation) {
            return;
        }
        for at in (0..self.replicas.len()).rev() {
            if self.replicas[at].is_reloaded && self.is_strange(at) {
                self.remove(at);
            }
        }
    }

    /// A partition that was not here.
    pub(crate) fn add(&mut self, row: &PartitionRow, now: Now) -> usize {
        self.replicas.push(Replica::new(row.clone(), now.lease_ms));
        let at = self.replicas.len() - 1;
        self.places.insert(row.id, at);
        at
    }

    fn remove(&mut self, at: usize) {
        let id = self.replicas[at].row.id;
        self.take_out(at);
        self.note_gone(id);
    }

    pub(crate) fn take_out(&mut self, at: usize) {
        self.end_reign(at);
        let mut replica = self.replicas.swap_remove(at);
        self.places.remove(&replica.row.id);
        let deposed = replica.promise.deposed;
        if !deposed.is_empty() {
            self.left.push(Left { partition: replica.row.id, rev: replica.row.rev, deposed });
        }
        if let Some(moved) = self.replicas.get(at) {
            self.places.insert(moved.row.id, at);
        }
        self.discard(replica.partition.take_tables(|_| true));
        self.sweep = Sweep::default();
    }

    fn take_row(&mut self, at: usize, now: Now, map: &MapIndex, row: &PartitionRow) {
        self.depose(at, row);
        let replica = &mut self.replicas[at];
        if replica.proposal.as_ref().is_some_and(|proposal| row.rev > proposal.rev) {
            replica.proposal = None;
        }
        if row.primary != replica.row.primary || !replica.row.has_in_sync(&self.setup.me) {
            replica.since = now.lease_ms;
        }
        replica.promise.epoch = replica.promise.epoch.max(row.epoch);
        replica.row = row.clone();
        self.take_role(at, now, map);
    }

    /// A new reign: whoever led before may hold leases of ours.
    fn depose(&mut self, at: usize, row: &PartitionRow) {
        let replica = &self.replicas[at];
        if row.epoch <= replica.row.epoch {
            return;
        }
        let supported = match &replica.role {
            Role::Copy(source) => Some(source.peer),
            _ => None,
        };
        let primary = replica.row.primary.as_ref().filter(|primary| **primary != self.setup.me);
        let primary = primary.cloned().map(|primary| self.peers.place(&primary));
        let next = row.primary.clone().map(|primary| self.peers.place(&primary));
        for peer in [supported, primary].into_iter().flatten().filter(|peer| Some(*peer) != next) {
            self.except(at, peer, row.released);
        }
    }

    /// Our grants to a peer do not cover a partition any more. Whoever leads it next begins at the latest time that peer can
    /// have gone by.
    pub(crate) fn except(&mut self, at: usize, peer: usize, released: bool) {
        let grant_ms = self.terms.grant_ms;
        let other = &self.peers[peer];
        let Replica { promise, partition, .. } = &mut self.replicas[at];
        if other.clock > 0 {
            partition.clock = partition.clock.max(other.clock + grant_ms);
        }
        if !promise.deposed.contains(&peer) {
            promise.deposed.push(peer);
            if !released {
                let granted = other.heard.map_or(0, |heard| heard + grant_ms);
                promise.granted_until = promise.granted_until.max(granted);
            }
        }
    }

    fn take_role(&mut self, at: usize, now: Now, map: &MapIndex) {
        let replica = &self.replicas[at];
        let (epoch, reign) = (replica.row.epoch, replica.partition.reign);
        let leads = replica.row.primary.as_ref() == Some(&self.setup.me);
        match &replica.role {
            Role::Lead(_) if leads && epoch == reign => self.update_followers(at, now, map),
            // Asked to follow a newer reign it waits for the row of that one.
            _ if leads && epoch >= replica.promise.epoch => self.begin_reign(at, now, map),
            Role::Lead(_) => self.end_reign(at),
            Role::Copy(source) if source.epoch < epoch => self.replicas[at].role = Role::Idle,
            _ => {}
        }
    }

    fn begin_reign(&mut self, at: usize, now: Now, map: &MapIndex) {
        self.end_reign(at);
        let replica = &mut self.replicas[at];
        replica.is_reloaded = false;
        let is_part = replica.incomplete.take().is_some();
        if is_part {
            log::warn!("partition {} is led with what had been copied of it", replica.row.id);
        }
        replica.partition.reign = replica.row.epoch;
        replica.role = Role::Lead(Box::new(Lead::new(now.lease_ms, replica.partition.clock)));
        if is_part {
            self.want_snapshot(at);
        }
        self.update_followers(at, now, map);
        self.advance(at);
    }

    /// A reign with copies or a disk begins with a record; one that has no log has none, until there is a copy to be made.
    fn update_log(&mut self, at: usize, now: Now) {
        let starts = self.disk.is_some() || self.replicas[at].has_copies();
        let Some(lead) = self.replicas[at].lead_mut() else { return };
        match lead.start {
            None if starts => self.write_start(at, now),
            Some(_) if !starts => lead.start = None,
            _ => {}
        }
    }

    /// The record that begins a reign. It states anew what is here and in no record.
    ///
    /// Where a table is `always` on disk it waits for the disks: what was written last in the reign before may be on none of
    /// them, and once this reign serves it is shown. From then on copies that join wait for theirs, too.
    fn write_start(&mut self, at: usize, now: Now) {
        self.journal.begin(true);
        let disk = self.is_lasting(self.replicas[at].row.id.group);
        self.journal.wait(Waits { copies: disk, disk });
        self.journal.effect(&Effect::Start);
        self.replicas[at].partition.next_version();
        self.restate(at);
        let clock = self.clock(at, now);
        self.write_record(at, clock);
        let end = self.log.end();
        if let Some(lead) = self.replicas[at].lead_mut() {
            (lead.start, lead.started) = (Some(end), false);
        }
    }

    fn restate(&mut self, at: usize) {
        let mended = std::mem::take(&mut self.replicas[at].mended);
        let version = self.replicas[at].partition.order.version();
        for (table, key) in mended {
            let hash = self.setup.hashes.of(&key);
            let entry = self.entry_of(at, table, hash, &key);
            let owned = entry.map(|(_, c)| (c.value.to_vec(), c.meta.to_vec(), c.expires_at));
            match owned {
                None => self.journal.delete(table, &key, hash, Waits::default()),
                Some((value, meta, expires_at)) => {
                    let (key, value, meta) = (&key[..], &value[..], &meta[..]);
                    let put = Put { table, key, meta, value, expires_at };
                    self.journal.put(&put, hash, Waits::default());
                    self.apply_put(at, version, &put);
                }
            }
        }
        self.end_mending(at);
    }

    /// Brings a led partition's followers to what the row, the map and the proposal say.
    pub(crate) fn update_followers(&mut self, at: usize, now: Now, map: &MapIndex) {
        let replica = &self.replicas[at];
        if replica.lead().is_none() {
            return;
        }
        let (rev, in_sync) = (replica.row.rev, replica.row.isr.clone());
        let proposed = replica.proposal.as_ref().map(|proposal| proposal.isr.clone());
        let learners = self.learners(&replica.row, map);
        let all = in_sync.iter().chain(proposed.iter().flatten()).chain(&learners);
        let others = all.filter(|id| **id != self.setup.me);
        let places: Vec<usize> = others.map(|id| self.peers.place(id)).collect();
        let Some(lead) = self.replicas[at].lead_mut() else { return };
        lead.followers.retain(|follower| places.contains(&follower.peer));
        for peer in places {
            if lead.follower(peer).is_none() {
                lead.followers.push(Follower::new(peer, now.lease_ms));
                if let Some(link) = &mut self.peers[peer].link {
                    link.restless = true;
                }
            }
        }
        for follower in &mut lead.followers {
            let id = &self.peers[follower.peer].id;
            let (is, was) = (in_sync.contains(id), follower.in_sync);
            follower.in_sync = is;
            follower.joining = follower.joining.filter(|_| !is);
            follower.broken &= is || !was;
            let is_to_ask = matches!(follower.stage, Stage::Apart { .. } | Stage::Asked);
            if !is && follower.asked_by != rev && !is_to_ask {
                // It may have seen a row without its name, and dropped what it had.
                follower.enter(Stage::Apart { again: now.lease_ms }, now.lease_ms);
            }
        }
        self.update_log(at, now);
        self.mark_members(at);
    }

    /// Workers that should have a copy, by the runs of them that are registered.
    fn learners(&self, row: &PartitionRow, map: &MapIndex) -> Vec<WorkerId> {
        let registered = row.wanted.iter().filter_map(|name| map.worker(name));
        registered
            .filter(|worker| worker.state != WorkerState::Down)
            .map(|worker| worker.id())
            .collect()
    }

    /// Tables that are not in the map any more are emptied by whoever leads, as records.
    fn drop_tables(&mut self, now: Now, map: &MapIndex) {
        for at in 0..self.replicas.len() {
            if self.replicas[at].lead().is_none() {
                continue;
            }
            let tables = self.replicas[at].partition.table_ids();
            let gone: Vec<TableId> = tables.filter(|id| map.table_by_id(*id).is_none()).collect();
            for table in gone {
                self.empty_table(at, now, table, Waits::default());
            }
        }
    }

    /// The place of a partition that is here.
    pub(crate) fn place(&self, id: PartitionId) -> Option<usize> {
        self.places.get(&id).copied()
    }
}
