//! A shard: some of a worker's partitions, the memory of their entries and their log, changed by one writer at a time.
//!
//! This file is what a shard does for requests. What it does as a part of the protocol of copies is beside it: `adopt`
//! takes a map, `commit` writes records and counts acknowledgements, `stream` sends to copies, `receive` is a copy,
//! `beacon` gives and takes leases, `decide` proposes changes, `upkeep` tidies.

use std::collections::HashMap;
use std::sync::Arc;

use firn_wire::command::{Op, Step};
use firn_wire::exchange::Fate;
use firn_wire::ids::{PartitionId, TableId, WorkerId};
use firn_wire::limits::ONCE_KEYS_MAX;
use firn_wire::map::{Durability, MapIndex, Replication};
use firn_wire::news::Reading;
use firn_wire::reply::{Failure, Reply, ReplyBuf};

use super::arena::Arena;
use super::copying::Copying;
use super::disk::Disk;
use super::hash::KeyHash;
use super::journal::{Journal, Waits, mark};
use super::log::{Log, Position};
use super::operation::{Blocked, Work};
use super::peer::Peers;
use super::replica::{Left, Replica, Role};
use super::rules::{Rule, Rules};
use super::scan::{Page, Place};
use super::sweep::Sweep;
use super::table::Table;
use super::time::Now;
use super::usage::Usages;

/// What a shard is made with.
#[derive(Debug)]
pub struct Setup {
    /// This worker.
    pub me: WorkerId,
    /// Which of its shards.
    pub number: u16,
    /// How many it has.
    pub shards: u16,
    /// The cluster's hash of keys.
    pub hashes: Arc<KeyHash>,
    /// The memory of the worker's tables.
    pub usages: Arc<Usages>,
    /// The most memory the log may take, in bytes.
    pub log_bytes_max: usize,
    /// The worker's places for copying.
    pub copying: Arc<Copying>,
    /// Whether it has a disk.
    pub durable: bool,
    /// [`Rules::all`].
    pub rules: Rules,
}

/// A commit to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Await(u64);

/// What came of a request that was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// Whether it changed something.
    pub wrote: bool,
    /// The reply may be shown once this is committed; None: at once.
    pub until: Option<Await>,
}

/// Nothing was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The partition is not led here.
    NotLed,
    /// It is led here and cannot be served now: see [`Shard::park`].
    Wait,
}

/// What a shard holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Entries, expired ones not yet removed included.
    pub entries: u64,
    /// Bytes they take, indexes included.
    pub bytes: u64,
}

/// Some partitions of a worker. `H` stands for a reply or request that waits.
///
/// Invariants:
/// - `places` names the place in `replicas` of each partition that is here.
/// - `dirty` names each led partition with a record that is not committed, once.
#[derive(Debug)]
pub struct Shard<H> {
    pub(crate) setup: Setup,
    pub(crate) arena: Arena,
    pub(crate) replicas: Vec<Replica<H>>,
    pub(crate) places: HashMap<PartitionId, usize, foldhash::fast::RandomState>,
    pub(crate) peers: Peers,
    /// Partitions that were here.
    pub(crate) left: Vec<Left>,
    pub(crate) log: Log,
    /// What is to be on disk; None: there is no disk.
    pub(crate) disk: Option<Disk>,
    /// The end of the newest record that must be on the disks of its copies.
    pub(crate) durable_end: Position,
    pub(crate) journal: Journal,
    pub(crate) dirty: Vec<PartitionId>,
    pub(crate) fates: Vec<(H, Fate)>,
    /// The cluster's terms of leases.
    pub(crate) terms: Replication,
    /// The newest map taken.
    pub(crate) adopted: Reading,
    /// Until when the uplink lets us serve, lease clock; counts only where partitions may be given away without us.
    pub(crate) vouched_until: u64,
    /// Handovers that are on.
    pub(crate) handovers: usize,
    /// When time last passed here, and before when nobody is judged, lease clock.
    pub(crate) ticked: u64,
    pub(crate) judge_from: u64,
    /// Tables that were flushed or dropped, their memory still to be given back.
    pub(crate) discarded: Vec<Table>,
    pub(crate) sweep: Sweep,
}

impl<H> Shard<H> {
    /// A shard that has nothing yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            log: Log::new(setup.log_bytes_max),
            disk: setup.durable.then(Disk::default),
            durable_end: Position::default(),
            setup,
            arena: Arena::new(),
            replicas: Vec::new(),
            places: HashMap::default(),
            peers: Peers::default(),
            left: Vec::new(),
            journal: Journal::default(),
            dirty: Vec::new(),
            fates: Vec::new(),
            terms: Replication::default(),
            adopted: Reading::default(),
            vouched_until: 0,
            handovers: 0,
            ticked: 0,
            judge_from: 0,
            discarded: Vec::new(),
            sweep: Sweep::default(),
        }
    }

    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.setup.rules.keep(rule)
    }

    /// Whether a partition's records are kept in the log: it is copied, or goes to disk.
    pub(crate) fn is_logged(&self, at: usize) -> bool {
        self.disk.is_some() || self.replicas[at].is_logged()
    }

    pub(crate) fn discard(&mut self, tables: Vec<Table>) {
        for mut table in tables {
            table.retire();
            self.discarded.push(table);
        }
    }

    /// The replies and requests whose wait is over since the last call: to be told after the shard's lock is given back.
    pub fn take_fates(&mut self) -> Vec<(H, Fate)> {
        std::mem::take(&mut self.fates)
    }

    // --- requests -------------------------------------------------------------------------------------------------

    /// The place of a partition that is led and can be served now.
    ///
    /// The time must have been read while the shard was already locked: the lease is valid then, and what is here does not
    /// change until the lock is given back, so it is the newest there is at that moment (Gray & Cheriton 1989).
    pub(crate) fn ready(&self, id: PartitionId, now: Now) -> Result<usize, Refused> {
        let at = *self.places.get(&id).ok_or(Refused::NotLed)?;
        if self.replicas[at].lead().is_none() {
            return Err(Refused::NotLed);
        }
        if self.is_ready(at, now) { Ok(at) } else { Err(Refused::Wait) }
    }

    pub(crate) fn is_ready(&self, at: usize, now: Now) -> bool {
        let Some(lead) = self.replicas[at].lead() else { return false };
        let started = lead.started || !self.keeps(Rule::StartCommitted);
        let parks = lead.handover.is_some() && self.keeps(Rule::HandoverParks);
        started && !parks && self.has_leases(at, now)
    }

    fn has_leases(&self, at: usize, now: Now) -> bool {
        let Some(lead) = self.replicas[at].lead() else { return false };
        if self.terms.rehome_after_ms.is_some() && self.vouched_until <= now.lease_ms {
            return false;
        }
        if !self.keeps(Rule::LeaseNeeded) {
            return true;
        }
        lead.followers.iter().filter(|follower| self.counts(follower)).all(|follower| {
            !follower.excepted && self.peers[follower.peer].lease_until > now.lease_ms
        })
    }

    /// What keeps a partition's writes from being taken.
    fn blocked(&mut self, at: usize, map: &MapIndex) -> Blocked {
        let durable = self.disk_failure();
        if !self.is_logged(at) {
            return Blocked { durable, ..Blocked::default() };
        }
        let replica = &self.replicas[at];
        let id = replica.row.id;
        let in_sync = replica.row.isr.len() as u8;
        let copies = map.group(id.group).map_or(1, |group| group.copies);
        let needed = copies.saturating_sub(1).max(1);
        let lacks = replica.has_copies() && in_sync < needed;
        let waiting = lacks.then_some(Failure::TooFewCopies { partition: id, in_sync, needed });
        let full = self.log.is_full() && !self.trim_log();
        Blocked { all: full.then_some(Failure::LogFull(id)), waiting, durable }
    }

    /// Why nothing that is to survive can be written; a worker without a disk is only asked for what always survives.
    fn disk_failure(&self) -> Option<Failure<'static>> {
        let trouble = self.disk_trouble()?;
        Some(Failure::DiskFailed(trouble.to_string().into()))
    }

    /// Whether the reply to a step may have to wait for copies.
    pub fn may_hold(&self, step: &Step<'_, '_>) -> bool {
        let Some(at) = self.places.get(&step.partition) else { return false };
        let Some(lead) = self.replicas[*at].lead() else { return false };
        if lead.followers.is_empty() && self.disk.is_none() {
            return false;
        }
        let reads = |op: &Op<'_>| matches!(op, Op::Get | Op::Inspect | Op::GetRange { .. });
        lead.has_pending() || step.once.is_some() || !step.ops.iter().all(|op| reads(&op.op))
    }

    /// The newest uncommitted record that a step's replies would reveal.
    fn revealed(&self, at: usize, step: &Step<'_, '_>) -> Option<u64> {
        let lead = self.replicas[at].lead()?;
        if !lead.has_pending() || !self.keeps(Rule::ReadsWait) {
            return None;
        }
        let awaited =
            |table, key: &[u8]| lead.awaited(table, mark(table, self.setup.hashes.of(key)));
        let ops = step.ops.iter().map(|op| awaited(op.table, op.key));
        let targets = step.ops.iter().map(|op| match op.op {
            Op::Copy { table, to, .. } => awaited(table, to),
            _ => None,
        });
        let guards = step.guards.iter().map(|guard| awaited(guard.table, guard.key));
        ops.chain(targets).chain(guards).flatten().max()
    }

    /// Runs a step; `answer` is called once per operation.
    pub fn step(
        &mut self,
        now: Now,
        map: &MapIndex,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Result<Ran, Refused> {
        let at = self.ready(step.partition, now)?;
        let revealed = self.revealed(at, step);
        let blocked = self.blocked(at, map);
        let clock = self.clock(at, now);
        self.journal.begin(self.is_logged(at));
        let (is_durable, replica) = (self.disk.is_some(), &mut self.replicas[at]);
        let is_copied = replica.has_followers();
        let mut work = Work {
            arena: &mut self.arena,
            hashes: &self.setup.hashes,
            usages: &self.setup.usages,
            partition: &mut replica.partition,
            map,
            now: clock,
            version: None,
            journal: &mut self.journal,
            is_copied,
            is_durable,
            blocked,
        };
        match step.once {
            None => run(&mut work, step, answer),
            Some(token) => run_once(&mut work, step, token, answer),
        }
        let wrote = work.version.is_some();
        let written = if wrote { self.write_record(at, clock) } else { None };
        Ok(Ran { wrote, until: written.max(revealed).map(Await) })
    }

    /// The time of a partition led here: not before that of an earlier reign.
    pub(crate) fn clock(&self, at: usize, now: Now) -> u64 {
        let floor = self.replicas[at].lead().map_or(0, |lead| lead.clock_floor);
        if self.keeps(Rule::ClockMovesOn) { now.unix_ms.max(floor) } else { now.unix_ms }
    }

    /// The newest record that is not committed: what reveals anything of a whole table waits for it.
    pub(crate) fn newest_pending(&self, at: usize) -> Option<Await> {
        let lead = self.replicas[at].lead().filter(|_| self.keeps(Rule::ReadsWait))?;
        lead.newest_pending().map(Await)
    }

    /// Entries of a table in a partition led here.
    pub fn count(
        &mut self,
        now: Now,
        partition: PartitionId,
        table: TableId,
    ) -> Result<(u64, Option<Await>), Refused> {
        let at = self.ready(partition, now)?;
        let entries = self.replicas[at].partition.table(table).map_or(0, Table::entries);
        Ok((entries, self.newest_pending(at)))
    }

    /// Empties a table in a partition led here; how many entries went. A copy that is missing is a failure.
    pub fn flush(
        &mut self,
        now: Now,
        map: &MapIndex,
        partition: PartitionId,
        table: TableId,
    ) -> Result<(u64, Option<Await>), Refused> {
        let at = self.ready(partition, now)?;
        let policy = map.table_by_id(table).map(|row| row.policy.clone()).unwrap_or_default();
        let waits = Waits::of(&policy, self.replicas[at].has_followers(), self.disk.is_some());
        let Blocked { all, waiting, durable } = self.blocked(at, map);
        let is_kept = policy.durability_or_default() != Durability::None;
        if all.is_some() || waits.copies && waiting.is_some() || is_kept && durable.is_some() {
            return Err(Refused::Wait);
        }
        let entries = self.empty_table(at, now, table, waits);
        Ok((entries, self.newest_pending(at)))
    }

    /// Empties a table of a led partition, as a record.
    pub(crate) fn empty_table(&mut self, at: usize, now: Now, table: TableId, waits: Waits) -> u64 {
        let (clock, is_logged) = (self.clock(at, now), self.is_logged(at));
        let replica = &mut self.replicas[at];
        let gone = replica.partition.take_tables(|id| id == table);
        let entries = gone.iter().map(Table::entries).sum();
        if !gone.is_empty() {
            self.journal.begin(is_logged);
            replica.partition.next_version();
            self.journal.flush(table, waits);
            self.write_record(at, clock);
        }
        self.discard(gone);
        entries
    }

    /// Adds a table's entries in a partition led here to a page. Returns where it stopped; None when the partition is
    /// through.
    pub fn scan(
        &mut self,
        now: Now,
        (partition, table): (PartitionId, TableId),
        from: u64,
        page: &mut Page<'_>,
    ) -> Result<(Option<u64>, Option<Await>), Refused> {
        let at = self.ready(partition, now)?;
        let (until, clock) = (self.newest_pending(at), self.clock(at, now));
        let Some(table) = self.replicas[at].partition.table(table) else {
            return Ok((None, until));
        };
        let (arena, hashes, partition) = (&self.arena, &*self.setup.hashes, partition.number);
        let place = Place { arena, hashes, table, partition, now: clock };
        Ok((page.add(&place, from), until))
    }

    // --- waits ----------------------------------------------------------------------------------------------------

    /// Has a reply wait for a commit: right after the request, under the same lock.
    pub fn hold(&mut self, partition: PartitionId, until: Await, token: H) {
        let lead = self.places.get(&partition).and_then(|at| self.replicas[*at].lead_mut());
        let held = match lead {
            Some(lead) => lead.hold(until.0, token),
            None => return self.fates.push((token, Fate::Lost)),
        };
        self.fates.extend(held.err().map(|token| (token, Fate::Committed)));
    }

    /// Has a request wait until it can be served or the partition is led elsewhere: right after it was refused, under the
    /// same lock.
    pub fn park(&mut self, partition: PartitionId, token: H) {
        let lead = self.places.get(&partition).and_then(|at| self.replicas[*at].lead_mut());
        let sent_away = match lead {
            Some(lead) => lead.park(token).err(),
            None => Some(token),
        };
        self.fates.extend(sent_away.map(|token| (token, Fate::Again)));
    }

    /// What it holds.
    pub fn holdings(&self) -> Holdings {
        let tables = || self.replicas.iter().flat_map(|replica| replica.partition.tables());
        let indexes: u64 = tables().map(Table::index_bytes).sum();
        Holdings {
            entries: tables().map(Table::entries).sum(),
            bytes: self.arena.bytes() as u64 + indexes,
        }
    }

    /// Whether it leads nothing that another worker should and could lead: then this one may stop.
    pub fn is_handed_over(&self) -> bool {
        self.replicas.iter().all(|replica| match &replica.role {
            Role::Lead(_) => replica.row.wanted.iter().all(|name| *name == self.setup.me.name),
            _ => true,
        })
    }

    /// Partitions led here that another worker should lead.
    pub fn owed(&self) -> usize {
        let led = self.replicas.iter().filter(|replica| replica.lead().is_some());
        let others = |name: &&firn_wire::ids::WorkerName| **name != self.setup.me.name;
        led.filter(|replica| replica.row.wanted.iter().any(|name| others(&name))).count()
    }
}

fn run(work: &mut Work<'_>, step: &Step<'_, '_>, answer: &mut dyn FnMut(Reply<'_>)) {
    let held =
        step.guards.iter().all(|guard| work.version_of(guard.table, guard.key) == guard.version);
    for op in step.ops {
        if held { work.run(op, answer) } else { answer(Reply::Aborted) }
    }
}

/// Runs a step unless its token is known; then the replies are those of the first time.
fn run_once(
    work: &mut Work<'_>,
    step: &Step<'_, '_>,
    token: &[u8],
    answer: &mut dyn FnMut(Reply<'_>),
) {
    if let Some(replies) = work.partition.once.find(work.now, token) {
        replies.iter().for_each(|reply| answer(reply.view()));
        return;
    }
    if !work.partition.once.has_room() {
        let text =
            format!("a partition remembers at most {ONCE_KEYS_MAX} idempotency keys a minute");
        step.ops.iter().for_each(|_| answer(Failure::TooMuch(text.as_str().into()).into()));
        return;
    }
    let mut replies = Vec::with_capacity(step.ops.len());
    run(work, step, &mut |reply| {
        replies.push(ReplyBuf::new(&reply));
        answer(reply);
    });
    work.remember(token, replies);
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::command::{
        Condition, Cursor, ExpireIf, Expiry, Filter, Guard, KeyOp, Op, Scan, Set,
    };
    use firn_wire::ids::MapVersion;
    use firn_wire::ids::{ClusterId, Epoch, GroupId, Incarnation, Version};
    use firn_wire::key::KeyInteger;
    use firn_wire::limits::ONCE_MS;
    use firn_wire::map::{
        FORMAT, GroupRow, GroupRule, Map, PartitionRow, Placement, Settings, TablePolicy, TableRow,
    };
    use std::collections::BTreeSet;

    const AT: PartitionId = PartitionId { group: GroupId(0), number: 0 };
    const TABLE: TableId = TableId::DEFAULT;

    fn me() -> WorkerId {
        WorkerId { name: "w1".parse().unwrap(), incarnation: Incarnation(1) }
    }

    fn map(policy: TablePolicy) -> MapIndex {
        let rev = MapVersion { generation: 1, counter: 1 };
        let settings = Settings {
            key_integer: KeyInteger::Crc16,
            partitions: 1,
            placement: Placement::Modulo,
            copies: 1,
            expect_workers: 1,
            name_ranges: Vec::new(),
            worker_lease_ms: 2_500,
            replication: Replication::default(),
        };
        let row = PartitionRow {
            id: AT,
            rev,
            epoch: Epoch(1),
            primary: Some(me()),
            isr: vec![me()],
            wanted: vec![me().name],
            released: false,
        };
        let name = "default".parse().unwrap();
        let table = TableRow { id: TABLE, name, group: GroupId(0), pinned: None, policy, rev };
        MapIndex::new(Map {
            cluster: ClusterId(1),
            version: rev,
            format: FORMAT,
            settings,
            workers: Vec::new(),
            seats: Vec::new(),
            groups: vec![GroupRow {
                id: GroupId(0),
                copies: 1,
                partitions: 1,
                rule: GroupRule::Keys,
                rev,
            }],
            partitions: vec![row.into()],
            tables: vec![table],
        })
        .unwrap()
    }

    struct Bench {
        shard: Shard<()>,
        map: MapIndex,
        now: u64,
    }

    impl Bench {
        fn new(policy: TablePolicy) -> Self {
            let mut shard = Shard::new(Setup {
                me: me(),
                number: 0,
                shards: 1,
                hashes: Arc::new(KeyHash::new(1)),
                usages: Arc::new(Usages::default()),
                log_bytes_max: 1024 * 1024,
                copying: Copying::new(),
                durable: false,
                rules: Rules::all(),
            });
            let map = map(policy);
            shard.adopt(Now::default(), &map);
            Self { shard, map, now: 1_000 }
        }

        fn clock(&self) -> Now {
            Now { lease_ms: self.now, unix_ms: self.now }
        }

        fn step(
            &mut self,
            once: Option<&[u8]>,
            guards: &[Guard<'_>],
            ops: &[KeyOp<'_>],
        ) -> Vec<ReplyBuf> {
            let step = Step { partition: AT, once, guards, ops };
            let mut replies = Vec::new();
            let mut answer = |reply: Reply<'_>| replies.push(ReplyBuf::new(&reply));
            let now = self.clock();
            self.shard.step(now, &self.map, &step, &mut answer).unwrap();
            replies
        }

        fn run(&mut self, key: &str, op: Op<'_>) -> ReplyBuf {
            let op = KeyOp { table: TABLE, key: key.as_bytes(), op };
            self.step(None, &[], &[op]).remove(0)
        }

        fn get(&mut self, key: &str) -> Option<Vec<u8>> {
            match self.run(key, Op::Get).view() {
                Reply::Value(value) => Some(value.bytes.to_vec()),
                Reply::Nil => None,
                other => panic!("{other:?}"),
            }
        }
    }

    fn set(value: &str) -> Op<'_> {
        Op::Set(Set::plain(value.as_bytes()))
    }

    #[test]
    fn a_version_is_the_token_of_compare_and_set() {
        let mut bench = Bench::new(TablePolicy::default());
        let first = Version::new(Epoch(1), 1);
        assert_eq!(
            bench.run("k", set("a")).view(),
            Reply::Written { version: first, created: true, old: None }
        );
        let swap = |version, value: &'static [u8]| {
            Op::Set(Set {
                condition: Condition::Version(version),
                want_old: true,
                ..Set::plain(value)
            })
        };
        let second = Version::new(Epoch(1), 2);
        assert_eq!(
            bench.run("k", swap(first, b"b")).view(),
            Reply::Written { version: second, created: false, old: Some(b"a") }
        );
        assert_eq!(
            bench.run("k", swap(first, b"c")).view(),
            Reply::NotMet { version: Some(second), old: Some(b"b") }
        );
    }

    #[test]
    fn all_of_a_step_happens_or_nothing_when_a_guard_fails() {
        let mut bench = Bench::new(TablePolicy::default());
        let ops = ["a", "b"].map(|key| KeyOp { table: TABLE, key: key.as_bytes(), op: set("1") });
        let absent =
            ["a", "b"].map(|key| Guard { table: TABLE, key: key.as_bytes(), version: None });
        let versions: Vec<_> = bench
            .step(None, &absent, &ops)
            .iter()
            .map(|reply| match reply.view() {
                Reply::Written { version, .. } => version,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(versions[0], versions[1], "one step is one version");
        let again = bench.step(None, &absent, &ops);
        assert!(again.iter().all(|reply| reply.view() == Reply::Aborted));
    }

    #[test]
    fn a_token_makes_a_step_happen_once() {
        let mut bench = Bench::new(TablePolicy::default());
        let op = [KeyOp { table: TABLE, key: b"n", op: Op::Increment { by: 5 } }];
        let first = bench.step(Some(b"token"), &[], &op);
        let second = bench.step(Some(b"token"), &[], &op);
        assert_eq!(first[0].view(), second[0].view());
        assert_eq!(bench.get("n").unwrap(), b"5");
        bench.now += ONCE_MS;
        bench.step(Some(b"token"), &[], &op);
        assert_eq!(bench.get("n").unwrap(), b"10");
    }

    #[test]
    fn expired_entries_are_not_there_and_their_memory_returns() {
        let mut bench = Bench::new(TablePolicy { ttl_ms: Some(50), ..TablePolicy::default() });
        for n in 0..5_000 {
            bench.run(&format!("k{n}"), set("v"));
        }
        let kept = Op::Set(Set { expiry: Expiry::Never, ..Set::plain(b"v") });
        bench.run("kept", kept);
        assert_eq!(bench.shard.holdings().entries, 5_001);
        bench.now += 50;
        assert_eq!(bench.get("k7"), None);
        while bench.shard.tidy(bench.clock()) {}
        assert_eq!(bench.shard.holdings().entries, 1);
        assert_eq!(bench.get("kept").unwrap(), b"v");
    }

    #[test]
    fn a_full_table_says_so_and_keeps_what_it_has() {
        let policy = TablePolicy { memory_bytes_max: Some(1_000), ..TablePolicy::default() };
        let mut bench = Bench::new(policy);
        let full = Reply::Failed(Failure::MemoryFull { table: "default".into() });
        let written = (0..100)
            .take_while(|n| bench.run(&format!("k{n:02}"), set("0123456789")).view() != full)
            .count();
        assert!((15..40).contains(&written), "{written} entries in 1,000 bytes");
        assert_eq!(bench.run("k99", set("0123456789")).view(), full);
        assert_eq!(bench.get("k00").unwrap(), b"0123456789");
        assert!(matches!(bench.run("k00", set("x")).view(), Reply::Written { .. }));
        let soon = Expiry::After(50);
        let expire = Op::Expire { expiry: soon, only: ExpireIf::Always };
        assert_eq!(bench.run("k01", expire).view(), Reply::Done(true), "an expiry makes room");
        assert!(matches!(bench.run("k02", Op::GetExpire { expiry: soon }).view(), Reply::Value(_)));
        for key in ["k01", "k02"] {
            let Reply::Found(found) = bench.run(key, Op::Inspect).view() else { panic!("{key}") };
            assert_eq!(found.expires_at, Some(bench.now + 50), "{key}");
        }
        let now = bench.clock();
        let flushed = bench.shard.flush(now, &bench.map, AT, TABLE);
        assert_eq!(flushed, Ok((written as u64, None)));
        assert!(matches!(bench.run("k99", set("0123456789")).view(), Reply::Written { .. }));
    }

    #[test]
    fn pages_hold_every_entry_once_also_while_the_table_grows() {
        let mut bench = Bench::new(TablePolicy::default());
        for n in 0..9_000 {
            bench.run(&format!("k{n}"), set("v"));
        }
        let (mut seen, mut from, mut pages) = (BTreeSet::new(), Some(0), 0);
        while let Some(position) = from {
            let at = Cursor { partition: 0, position };
            let scan = Scan { from: at, count: 250, filter: Filter::Prefix(b"k"), values: false };
            let mut page = Page::new(&scan);
            let now = bench.clock();
            from = bench.shard.scan(now, (AT, TABLE), position, &mut page).unwrap().0;
            let Reply::Page { rows, .. } = page.reply(None) else { panic!("not a page") };
            assert!(rows.len() <= 260, "{} rows", rows.len());
            for row in rows {
                assert!(seen.insert(row.key.to_vec()), "{:?} twice", row.key);
            }
            bench.run(&format!("other{pages}"), set("v"));
            for n in 0..200 {
                bench.run(&format!("x{pages}-{n}"), set("v"));
            }
            pages += 1;
        }
        assert_eq!(seen.len(), 9_000);
        assert!(pages >= 36, "{pages} pages");
    }

    #[test]
    fn a_partition_led_elsewhere_is_refused_and_its_data_go() {
        let mut bench = Bench::new(TablePolicy::default());
        bench.run("k", set("v"));
        let led = |leads: bool, counter: u64| {
            let mut map = bench.map.map().clone();
            map.version.counter = counter;
            let (version, row) = (map.version, map.row_mut(0));
            (row.rev, row.epoch) = (version, Epoch(counter as u32));
            if !leads {
                let id = WorkerId { name: "w2".parse().unwrap(), ..me() };
                (row.primary, row.isr, row.wanted) =
                    (Some(id.clone()), vec![id.clone()], vec![id.name]);
            }
            MapIndex::new(map).unwrap()
        };
        let (gone, back) = (led(false, 2), led(true, 3));
        let now = bench.clock();
        bench.shard.adopt(now, &gone);
        let step = Step { partition: AT, once: None, guards: &[], ops: &[] };
        let refused = bench.shard.step(now, &gone, &step, &mut |_| ());
        assert_eq!(refused, Err(Refused::NotLed));
        bench.shard.adopt(now, &back);
        assert_eq!(bench.get("k"), None);
    }
}
