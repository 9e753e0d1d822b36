//! A few workers of one shard each, whose messages are carried by hand: no loss, no delay but what a test makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_store::copying::Copying;
use firn_store::hash::KeyHash;
use firn_store::receive::Notices;
use firn_store::rules::Rules;
use firn_store::shard::{Ran, Refused, Setup, Shard};
use firn_store::time::Now;
use firn_store::usage::Usages;
use firn_store::view::View;
use firn_wire::command::{KeyOp, Op, Set, Step};
use firn_wire::exchange::Fate;
use firn_wire::ids::{
    ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId, TableId, WorkerId,
};
use firn_wire::key::KeyInteger;
use firn_wire::map::{
    FORMAT, GroupRow, GroupRule, Map, MapIndex, PartitionRow, Placement, Settings, TablePolicy,
    TableRow, WorkerRow, WorkerState,
};
use firn_wire::registry::Proposal;
use firn_wire::replica::{Ack, Batch, Beacon, Grant, decode};
use firn_wire::reply::{Reply, ReplyBuf};

pub(crate) const AT: PartitionId = PartitionId { group: GroupId(0), number: 0 };
pub(crate) const TABLE: TableId = TableId::DEFAULT;

/// What a request that waits is called.
pub(crate) type Token = u32;

pub(crate) fn worker(n: usize) -> WorkerId {
    WorkerId {
        name: format!("w{n}").parse().expect("the test made it so"),
        incarnation: Incarnation(1),
    }
}

fn number(id: &WorkerId) -> usize {
    id.name.as_str()[1..].parse().expect("the test made it so")
}

/// One partition led by the first of `n` workers, in sync with the first `in_sync`, wanted by `wanted`.
fn first_map(n: usize, in_sync: usize, wanted: &[usize]) -> Map {
    let rev = MapVersion { generation: 1, counter: 1 };
    let workers = (0..n).map(|n| WorkerRow {
        name: worker(n).name,
        incarnation: Incarnation(1),
        addresses: [("peer".to_owned(), "h:1".to_owned())].into(),
        shards: 1,
        state: WorkerState::Up,
        since_ms: 0,
        rev,
    });
    Map {
        cluster: ClusterId(1),
        version: rev,
        format: FORMAT,
        settings: Settings {
            key_integer: KeyInteger::Crc16,
            partitions: 1,
            placement: Placement::Modulo,
            copies: wanted.len() as u8,
            expect_workers: n as u16,
            name_ranges: Vec::new(),
            worker_lease_ms: 2_500,
            replication: Default::default(),
        },
        workers: workers.collect(),
        seats: Vec::new(),
        groups: vec![GroupRow {
            id: GroupId(0),
            copies: wanted.len() as u8,
            partitions: 1,
            rule: GroupRule::Keys,
            rev,
        }],
        partitions: vec![Arc::new(PartitionRow {
            id: AT,
            rev,
            epoch: Epoch(1),
            primary: Some(worker(0)),
            isr: (0..in_sync).map(worker).collect(),
            wanted: wanted.iter().map(|n| worker(*n).name).collect(),
            released: false,
        })],
        tables: vec![TableRow {
            id: TABLE,
            name: "default".parse().expect("the test made it so"),
            group: GroupId(0),
            pinned: None,
            policy: TablePolicy::default(),
            rev,
        }],
    }
}

pub(crate) struct World {
    pub(crate) shards: Vec<Shard<Token>>,
    pub(crate) map: Map,
    pub(crate) now: u64,
    /// Workers nothing comes from and nothing reaches, the uplink included.
    pub(crate) away: Vec<usize>,
    /// The outgoing connections there are: (from, to) → session.
    links: BTreeMap<(usize, usize), u64>,
    sessions: u64,
    pub(crate) fates: BTreeMap<Token, Fate>,
    tokens: Token,
    /// Bytes of batches carried.
    pub(crate) carried: usize,
}

impl World {
    pub(crate) fn new(n: usize, in_sync: usize, wanted: &[usize]) -> Self {
        let setup = |n| Setup {
            me: worker(n),
            number: 0,
            shards: 1,
            hashes: Arc::new(KeyHash::new(1)),
            usages: Arc::new(Usages::default()),
            log_bytes_max: 1024 * 1024,
            copying: Copying::new(),
            durable: false,
            rules: Rules::all(),
        };
        let mut world = Self {
            shards: (0..n).map(|n| Shard::new(setup(n))).collect(),
            map: first_map(n, in_sync, wanted),
            now: 10_000,
            away: Vec::new(),
            links: BTreeMap::new(),
            sessions: 0,
            fates: BTreeMap::new(),
            tokens: 0,
            carried: 0,
        };
        world.publish();
        world
    }

    pub(crate) fn clock(&self) -> Now {
        Now { lease_ms: self.now, unix_ms: 1_700_000_000_000 + self.now }
    }

    pub(crate) fn index(&self) -> MapIndex {
        MapIndex::new(self.map.clone()).expect("the test made it so")
    }

    /// Every worker that is there takes the map.
    pub(crate) fn publish(&mut self) {
        let (now, map) = (self.clock(), self.index());
        for n in 0..self.shards.len() {
            if !self.away.contains(&n) {
                self.shards[n].adopt(now, &map);
            }
        }
    }

    /// The row as a proposal, or a test, wants it.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut PartitionRow)) {
        self.map.version.counter += 1;
        let (version, row) = (self.map.version, self.map.row_mut(0));
        change(row);
        row.rev = version;
        self.publish();
    }

    /// The uplink has heard that a worker is to stop.
    pub(crate) fn told_to_stop(&mut self, n: usize) {
        self.map.version.counter += 1;
        self.map.workers[n].state = WorkerState::Leaving;
        self.publish();
    }

    fn apply(&mut self, proposals: Vec<Proposal>) {
        for proposal in proposals {
            if proposal.rev != self.map.partitions[0].rev {
                continue;
            }
            self.change(|row| {
                let released = row.primary.as_ref() == Some(&proposal.by);
                if proposal.epoch > row.epoch {
                    row.released = released;
                }
                row.epoch = proposal.epoch;
                row.primary = Some(proposal.primary);
                row.isr = proposal.isr;
            });
        }
    }

    /// Carries messages until nobody has any.
    pub(crate) fn carry(&mut self) {
        loop {
            let links: Vec<((usize, usize), u64)> =
                self.links.iter().map(|(pair, session)| (*pair, *session)).collect();
            let mut carried = false;
            for (pair, session) in links {
                carried |= self.carry_one(pair, session);
            }
            self.note_fates();
            if !carried {
                return;
            }
        }
    }

    fn carry_one(&mut self, (from, to): (usize, usize), session: u64) -> bool {
        let now = self.clock();
        let Some(bytes) = self.shards[from].fill(now, &worker(to), session, 4_096) else {
            return false;
        };
        self.carried += bytes.len();
        let batch: Batch<'_> = decode(&bytes).expect("the test made it so");
        let mut notices = Notices::default();
        for item in &batch.items {
            self.shards[to].receive(now, &worker(from), session, item, &mut notices);
        }
        let ack = notices.into_ack(batch.shard, batch.number);
        let ack: Ack<'_> = decode(&ack).expect("the test made it so");
        self.shards[from].acked(now, &worker(to), session, &ack);
        true
    }

    fn note_fates(&mut self) {
        for shard in &mut self.shards {
            self.fates.extend(shard.take_fates());
        }
    }

    fn connect(&mut self) {
        let now = self.clock();
        let n = self.shards.len();
        let pairs = (0..n).flat_map(|a| (0..n).map(move |b| (a, b))).filter(|(a, b)| a != b);
        for (from, to) in pairs {
            let cut = self.away.contains(&from) || self.away.contains(&to);
            match (cut, self.links.get(&(from, to)).copied()) {
                (true, Some(session)) => {
                    self.shards[from].link_down(now, &worker(to), session);
                    self.links.remove(&(from, to));
                }
                (false, None) => {
                    self.sessions += 1;
                    self.links.insert((from, to), self.sessions);
                    self.shards[from].link_up(now, &worker(to), self.sessions);
                }
                _ => {}
            }
        }
    }

    fn beat(&mut self) {
        let now = self.clock();
        let beacon = Beacon { number: 0, clock: now.unix_ms, map: self.map.version };
        let pairs: Vec<(usize, usize)> = self.links.keys().copied().collect();
        for (from, to) in pairs {
            let mut except = Vec::new();
            self.shards[to].heard(now, &worker(from), &beacon, &mut except);
            let grant = Grant { number: 0, grant_ms: 2_500, except };
            self.shards[from].granted(now, &worker(to), now.lease_ms, &grant);
        }
    }

    /// Lets time pass, with beacons, ticks, messages and an uplink that answers at once.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while self.now < until {
            self.now += 10;
            self.connect();
            if self.now.is_multiple_of(100) {
                self.beat();
            }
            let (now, map) = (self.clock(), self.index());
            for n in (0..self.shards.len()).filter(|n| !self.away.contains(n)).collect::<Vec<_>>() {
                let mut proposals = Vec::new();
                self.shards[n].tick(now, &map, true, &mut proposals);
                self.apply(proposals);
            }
            self.carry();
        }
    }

    /// Runs an operation at a worker: the reply if there is one at once, or the token that waits.
    pub(crate) fn run(&mut self, n: usize, key: &[u8], op: Op<'_>) -> Done {
        let (now, map) = (self.clock(), self.index());
        let ops = [KeyOp { table: TABLE, key, op }];
        let step = Step { partition: AT, once: None, guards: &[], ops: &ops };
        let mut reply = None;
        let ran = self.shards[n].step(now, &map, &step, &mut |it| reply = Some(ReplyBuf::new(&it)));
        match ran {
            Ok(Ran { until: None, .. }) => Done::Reply(reply.expect("the test made it so")),
            Ok(Ran { until: Some(until), .. }) => {
                self.tokens += 1;
                self.shards[n].hold(AT, until, self.tokens);
                Done::Held(self.tokens)
            }
            Err(Refused::Wait) => {
                self.tokens += 1;
                self.shards[n].park(AT, self.tokens);
                Done::Parked
            }
            Err(Refused::NotLed) => Done::NotLed,
        }
    }

    pub(crate) fn set(&mut self, n: usize, key: &str, value: &str) -> Done {
        self.run(n, key.as_bytes(), Op::Set(Set::plain(value.as_bytes())))
    }

    /// Sets a key and carries messages until that is committed.
    pub(crate) fn store(&mut self, n: usize, key: &str, value: &str) {
        match self.set(n, key, value) {
            Done::Reply(_) => {}
            Done::Held(token) => {
                self.carry();
                assert_eq!(self.fates.get(&token), Some(&Fate::Committed), "{key} at w{n}");
            }
            other => panic!("{key} at w{n}: {other:?}"),
        }
    }

    pub(crate) fn get(&mut self, n: usize, key: &str) -> Option<String> {
        match self.run(n, key.as_bytes(), Op::Get) {
            Done::Reply(reply) => match reply.view() {
                Reply::Value(value) => {
                    Some(String::from_utf8(value.bytes.to_vec()).expect("the test made it so"))
                }
                Reply::Nil => None,
                other => panic!("{other:?}"),
            },
            other => panic!("{key} at w{n}: {other:?}"),
        }
    }

    pub(crate) fn view(&self, n: usize) -> View {
        let views = self.shards[n].views(self.clock());
        views.into_iter().find(|view| view.partition == AT).expect("the worker has it")
    }

    pub(crate) fn row(&self) -> &PartitionRow {
        &self.map.partitions[0]
    }

    pub(crate) fn isr(&self) -> Vec<usize> {
        self.row().isr.iter().map(number).collect()
    }

    pub(crate) fn primary(&self) -> usize {
        number(self.row().primary.as_ref().expect("the test made it so"))
    }
}

/// What came of an operation.
#[derive(Debug)]
pub(crate) enum Done {
    Reply(ReplyBuf),
    Held(Token),
    Parked,
    NotLed,
}
