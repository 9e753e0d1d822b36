//! A shard: some of a worker's partitions and the memory of their entries, changed by one writer at a time.

use std::collections::HashMap;
use std::sync::Arc;

use firn_client::local::NotLed;
use firn_wire::command::Step;
use firn_wire::ids::{Epoch, PartitionId, TableId};
use firn_wire::limits::ONCE_KEYS_MAX;
use firn_wire::map::MapIndex;
use firn_wire::reply::{Failure, Reply, ReplyBuf};

use super::arena::Arena;
use super::hash::KeyHash;
use super::operation::Work;
use super::partition::Partition;
use super::scan::{Page, Place};
use super::table::Table;
use super::usage::Usages;

/// How far a sweep for expired entries has come.
#[derive(Debug, Clone, Copy, Default)]
struct Sweep {
    partition: usize,
    table: usize,
    segment: usize,
}

/// What a shard holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Some partitions of a worker.
///
/// Invariant: `places` names the place in `partitions` of each that is led here.
#[derive(Debug)]
pub(crate) struct Shard {
    arena: Arena,
    hashes: Arc<KeyHash>,
    usages: Arc<Usages>,
    partitions: Vec<Partition>,
    places: HashMap<PartitionId, usize, foldhash::fast::RandomState>,
    /// Tables that were flushed or dropped, their memory still to be given back.
    discarded: Vec<Table>,
    sweep: Sweep,
}

impl Shard {
    /// A shard that leads nothing yet.
    pub(crate) fn new(hashes: Arc<KeyHash>, usages: Arc<Usages>) -> Self {
        Self {
            arena: Arena::new(),
            hashes,
            usages,
            partitions: Vec::new(),
            places: HashMap::default(),
            discarded: Vec::new(),
            sweep: Sweep::default(),
        }
    }

    /// Takes a map: leads exactly `led`, a partition of a new reign starting empty, and keeps only the map's tables.
    pub(crate) fn adopt(&mut self, map: &MapIndex, led: &HashMap<PartitionId, Epoch>) {
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.partitions)
            .into_iter()
            .partition(|partition| led.get(&partition.id) == Some(&partition.epoch()));
        self.partitions = kept;
        for mut partition in gone {
            self.discard(partition.take_tables(|_| true));
        }
        for at in 0..self.partitions.len() {
            let dropped = self.partitions[at].take_tables(|id| map.table_by_id(id).is_none());
            self.discard(dropped);
        }
        let had: Vec<PartitionId> = self.partitions.iter().map(|partition| partition.id).collect();
        for (id, epoch) in led {
            if !had.contains(id) {
                self.partitions.push(Partition::new(*id, *epoch));
            }
        }
        self.places = self.partitions.iter().enumerate().map(|(at, p)| (p.id, at)).collect();
        self.sweep = Sweep::default();
    }

    fn discard(&mut self, tables: Vec<Table>) {
        for mut table in tables {
            table.retire();
            self.discarded.push(table);
        }
    }

    /// Runs a step; `answer` is called once per operation.
    pub(crate) fn step(
        &mut self,
        now: u64,
        map: &MapIndex,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Result<(), NotLed> {
        let at = *self.places.get(&step.partition).ok_or(NotLed)?;
        let mut work = Work {
            arena: &mut self.arena,
            hashes: &self.hashes,
            usages: &self.usages,
            partition: &mut self.partitions[at],
            map,
            now,
            version: None,
        };
        match step.once {
            None => run(&mut work, step, answer),
            Some(token) => run_once(&mut work, step, token, answer),
        }
        Ok(())
    }

    /// Entries of a table in a partition led here.
    pub(crate) fn count(&self, partition: PartitionId, table: TableId) -> Result<u64, NotLed> {
        let at = *self.places.get(&partition).ok_or(NotLed)?;
        Ok(self.partitions[at].table(table).map_or(0, Table::entries))
    }

    /// Empties a table in a partition led here; how many entries went.
    pub(crate) fn flush(&mut self, partition: PartitionId, table: TableId) -> Result<u64, NotLed> {
        let at = *self.places.get(&partition).ok_or(NotLed)?;
        let gone = self.partitions[at].take_tables(|id| id == table);
        let entries = gone.iter().map(Table::entries).sum();
        self.discard(gone);
        Ok(entries)
    }

    /// Adds a table's entries in a partition led here to a page. Returns where it stopped; None when the partition is
    /// through.
    pub(crate) fn scan(
        &self,
        now: u64,
        (partition, table): (PartitionId, TableId),
        from: u64,
        page: &mut Page<'_>,
    ) -> Result<Option<u64>, NotLed> {
        let at = *self.places.get(&partition).ok_or(NotLed)?;
        let Some(table) = self.partitions[at].table(table) else { return Ok(None) };
        let (arena, hashes, partition) = (&self.arena, &*self.hashes, partition.number);
        Ok(page.add(&Place { arena, hashes, table, partition, now }, from))
    }

    /// A short piece of upkeep: gives back one segment of a discarded table, or removes the expired entries of one
    /// segment. Returns whether there is more to do now.
    pub(crate) fn tidy(&mut self, now: u64) -> bool {
        if let Some(table) = self.discarded.last_mut() {
            if !table.dissolve(&mut self.arena) {
                self.discarded.pop();
            }
            return true;
        }
        while let Some(partition) = self.partitions.get_mut(self.sweep.partition) {
            let Some(table) = partition.table_at(self.sweep.table) else {
                self.sweep = Sweep { partition: self.sweep.partition + 1, ..Sweep::default() };
                continue;
            };
            match table.expire(&mut self.arena, now, self.sweep.segment) {
                Some((_, next)) => {
                    self.sweep.segment = next;
                    return true;
                }
                None => {
                    self.sweep = Sweep { table: self.sweep.table + 1, segment: 0, ..self.sweep }
                }
            }
        }
        self.sweep = Sweep::default();
        false
    }

    /// What it holds.
    pub(crate) fn holdings(&self) -> Holdings {
        let tables = || self.partitions.iter().flat_map(Partition::tables);
        let indexes: u64 = tables().map(Table::index_bytes).sum();
        Holdings {
            entries: tables().map(Table::entries).sum(),
            bytes: self.arena.bytes() as u64 + indexes,
        }
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
    work.partition.once.remember(work.now, token, replies);
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::command::{
        Condition, Cursor, ExpireIf, Expiry, Filter, Guard, KeyOp, Op, Scan, Set,
    };
    use firn_wire::ids::{ClusterId, GroupId, MapVersion, Version};
    use firn_wire::key::KeyInteger;
    use firn_wire::limits::ONCE_MS;
    use firn_wire::map::{
        FORMAT, GroupRow, GroupRule, Map, PartitionRow, Placement, Settings, TablePolicy, TableRow,
    };
    use std::collections::BTreeSet;

    const AT: PartitionId = PartitionId { group: GroupId(0), number: 0 };
    const TABLE: TableId = TableId::DEFAULT;

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
        };
        let row = PartitionRow {
            id: AT,
            rev,
            epoch: Epoch(1),
            primary: None,
            isr: Vec::new(),
            wanted: Vec::new(),
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
            partitions: vec![row],
            tables: vec![table],
        })
        .unwrap()
    }

    struct Bench {
        shard: Shard,
        map: MapIndex,
        now: u64,
    }

    impl Bench {
        fn new(policy: TablePolicy) -> Self {
            let hashes = Arc::new(KeyHash::new(1));
            let mut shard = Shard::new(hashes, Arc::new(Usages::default()));
            let map = map(policy);
            shard.adopt(&map, &HashMap::from([(AT, Epoch(1))]));
            Self { shard, map, now: 1_000 }
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
            self.shard.step(self.now, &self.map, &step, &mut answer).unwrap();
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
        while bench.shard.tidy(bench.now) {}
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
        assert_eq!(bench.shard.flush(AT, TABLE), Ok(written as u64));
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
            from = bench.shard.scan(bench.now, (AT, TABLE), position, &mut page).unwrap();
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
        bench.shard.adopt(&bench.map, &HashMap::new());
        let step = Step { partition: AT, once: None, guards: &[], ops: &[] };
        assert_eq!(bench.shard.step(0, &bench.map, &step, &mut |_| ()), Err(NotLed));
        bench.shard.adopt(&bench.map, &HashMap::from([(AT, Epoch(2))]));
        assert_eq!(bench.get("k"), None);
    }
}
