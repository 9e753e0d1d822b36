//! A shard's log on disk is read back: whole, cut anywhere, damaged anywhere.

use std::collections::HashMap;
use std::sync::Arc;

use firn_store::copying::Copying;
use firn_store::disk::{Mark, Urgency};
use firn_store::hash::KeyHash;
use firn_store::reload::{Damage, Plan, Reload, frame};
use firn_store::rules::Rules;
use firn_store::shard::{Setup, Shard};
use firn_store::time::Now;
use firn_store::usage::Usages;
use firn_wire::command::{Condition, KeyOp, Op, Set, Step};
use firn_wire::ids::{
    ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId, TableId, WorkerId,
};
use firn_wire::key::KeyInteger;
use firn_wire::map::{
    Durability, FORMAT, GroupRow, GroupRule, Map, MapIndex, PartitionRow, Placement, Replication,
    Settings, TablePolicy, TableRow,
};
use proptest::prelude::*;

const PARTITIONS: u16 = 3;
const KEPT: TableId = TableId(0);
const LOST: TableId = TableId(1);

fn me() -> WorkerId {
    WorkerId { name: "w1".parse().expect("it is well made"), incarnation: Incarnation(1) }
}

fn partition(number: u16) -> PartitionId {
    PartitionId { group: GroupId(0), number }
}

/// Two tables, of which one keeps nothing.
fn map() -> MapIndex {
    let rev = MapVersion { generation: 1, counter: 1 };
    let settings = Settings {
        key_integer: KeyInteger::Crc16,
        partitions: PARTITIONS,
        placement: Placement::Modulo,
        copies: 1,
        expect_workers: 1,
        name_ranges: Vec::new(),
        worker_lease_ms: 2_500,
        replication: Replication::default(),
    };
    let row = |number| PartitionRow {
        id: partition(number),
        rev,
        epoch: Epoch(1),
        primary: Some(me()),
        isr: vec![me()],
        wanted: vec![me().name],
        released: false,
    };
    let table = |id, name: &str, durability| TableRow {
        id,
        name: name.parse().expect("it is well made"),
        group: GroupId(0),
        pinned: None,
        policy: TablePolicy { durability, ..TablePolicy::default() },
        rev,
    };
    let group =
        GroupRow { id: GroupId(0), copies: 1, partitions: PARTITIONS, rule: GroupRule::Keys, rev };
    MapIndex::new(Map {
        cluster: ClusterId(1),
        version: rev,
        format: FORMAT,
        settings,
        workers: Vec::new(),
        seats: Vec::new(),
        groups: vec![group],
        partitions: (0..PARTITIONS).map(|number| row(number).into()).collect(),
        tables: vec![table(KEPT, "kept", None), table(LOST, "lost", Some(Durability::None))],
    })
    .expect("it is well made")
}

fn shard(number: u16, shards: u16) -> Shard<()> {
    Shard::new(Setup {
        me: me(),
        number,
        shards,
        hashes: Arc::new(KeyHash::new(1)),
        usages: Arc::new(Usages::default()),
        log_bytes_max: 64 * 1024,
        copying: Copying::new(),
        durable: true,
        rules: Rules::all(),
    })
}

/// What happens to the shard.
#[derive(Debug, Clone)]
enum Event {
    Set(u16, u8, usize),
    Delete(u16, u8),
    Flush(u16),
    Fill(usize, usize),
    Renew,
    Sync,
    /// What was not synced is not there after all.
    Lose,
}

fn events() -> impl Strategy<Value = Event> {
    let number = || 0..PARTITIONS;
    prop_oneof![
        10 => (number(), any::<u8>(), 0usize..300).prop_map(|(p, k, n)| Event::Set(p, k, n)),
        4 => (number(), any::<u8>()).prop_map(|(p, k)| Event::Delete(p, k)),
        1 => number().prop_map(Event::Flush),
        6 => (0usize..3_000, 0usize..3_000).prop_map(|(r, e)| Event::Fill(r, e)),
        1 => Just(Event::Renew),
        3 => Just(Event::Sync),
        1 => Just(Event::Lose),
    ]
}

/// A shard and what it has handed out for its disk.
struct Writer {
    shard: Shard<()>,
    map: MapIndex,
    disk: Vec<u8>,
    /// What the entries of a partition add up to after each of its records.
    sums: HashMap<(PartitionId, u64), u64>,
    /// At these lengths everything was on disk that was written until then: up to these numbers.
    safe: Vec<(usize, Vec<(PartitionId, u64)>)>,
    mark: Option<Mark>,
    synced: usize,
}

impl Writer {
    fn new() -> Self {
        let (map, mut shard) = (map(), shard(0, 1));
        shard.adopt(Now::default(), &map);
        let mut writer = Self {
            shard,
            map,
            disk: Vec::new(),
            sums: HashMap::new(),
            safe: Vec::new(),
            mark: None,
            synced: 0,
        };
        writer.note();
        writer
    }

    fn note(&mut self) {
        for view in self.shard.views(Now::default()) {
            self.sums.insert((view.partition, view.sequence), view.digest);
        }
    }

    fn run(&mut self, number: u16, table: TableId, key: u8, op: Op<'_>) {
        let key = [key];
        let ops = [KeyOp { table, key: &key, op }];
        let step = Step { partition: partition(number), once: None, guards: &[], ops: &ops };
        self.shard.step(Now::default(), &self.map, &step, &mut |_| ()).expect("it is well made");
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Set(number, key, length) => {
                let value = vec![*key; *length];
                self.run(*number, KEPT, *key, Op::Set(Set::plain(&value)));
            }
            Event::Delete(number, key) => {
                let op = Op::Delete { condition: Condition::Always, want_old: false };
                self.run(*number, KEPT, *key, op);
            }
            Event::Flush(number) => {
                let at = partition(*number);
                self.shard.flush(Now::default(), &self.map, at, KEPT).expect("it is well made");
            }
            Event::Fill(records, entries) => self.fill(*records, *entries),
            Event::Renew => drop(self.shard.renew_disk()),
            Event::Sync => {
                if let Some(mark) = self.mark.take() {
                    self.shard.disk_synced(mark);
                }
                self.synced = self.disk.len();
            }
            Event::Lose => {
                self.disk.truncate(self.synced);
                self.safe.retain(|(end, _)| *end <= self.synced);
                self.mark = None;
                self.shard.lose_disk();
            }
        }
        self.note();
    }

    fn fill(&mut self, records: usize, entries: usize) {
        let mark = self.shard.disk_mark().expect("it is well made");
        let Some(mut filled) = self.shard.fill_disk(&mut Vec::new(), records, entries) else {
            return;
        };
        filled.seal();
        self.disk.extend_from_slice(&filled.bytes);
        self.mark = Some(filled.mark);
        if filled.mark.reaches(mark) {
            let views = self.shard.views(Now::default()).into_iter();
            let numbers = views.map(|view| (view.partition, view.sequence)).collect();
            self.safe.push((self.disk.len(), numbers));
        }
    }

    /// What was read back is each partition as it was after one of its records, and no earlier one than was safe.
    fn check(&self, length: usize, shards: &[Shard<()>]) {
        let mut found = HashMap::new();
        for view in shards.iter().flat_map(|shard| shard.views(Now::default())) {
            assert!(view.is_whole, "{view:?}");
            let sum = self.sums.get(&(view.partition, view.sequence));
            assert_eq!(sum, Some(&view.digest), "{view:?}");
            found.insert(view.partition, view.sequence);
        }
        let safe = self.safe.iter().rev().find(|(end, _)| *end <= length);
        for (partition, number) in safe.map_or(&[][..], |(_, numbers)| numbers) {
            let read = found.get(partition).copied();
            assert!(read >= Some(*number), "{partition}: {read:?}, and {number} was safe");
        }
    }
}

/// Reads a log into so many shards. Returns how many bytes of it were good.
fn reload(disk: &[u8], count: u16) -> (usize, Vec<Shard<()>>, u64) {
    let (mut plan, mut good) = (Plan::default(), 0);
    while let Ok(Some((kind, body, length))) = frame(&disk[good..]) {
        plan.note(kind, body).expect("it is well made");
        good += length;
    }
    let records = plan.records();
    let mut shards: Vec<_> = (0..count).map(|number| shard(number, count)).collect();
    let (mut reload, mut at) = (Reload::new(plan, Rules::all()), 0);
    while at < good {
        let (kind, body, length) =
            frame(&disk[at..]).expect("it is well made").expect("it was read before");
        reload
            .apply(kind, body, count, |number, act| act(&mut shards[number]))
            .expect("it is well made");
        at += length;
    }
    (good, shards, records)
}

proptest! {
    #[test]
    fn what_is_read_back_is_what_was_written(
        events in proptest::collection::vec(events(), 1..250),
        cut in any::<prop::sample::Index>(),
        count in 1u16..4,
    ) {
        let mut writer = Writer::new();
        events.iter().for_each(|event| writer.happen(event));
        while writer.shard.disk_urgency() > Urgency::None {
            writer.fill(1_000, 1_000);
        }
        let (good, shards, _) = reload(&writer.disk, count);
        prop_assert_eq!(good, writer.disk.len());
        writer.check(good, &shards);
        let cut = cut.index(writer.disk.len() + 1);
        let (good, shards, _) = reload(&writer.disk[..cut], count);
        prop_assert!(good <= cut);
        writer.check(cut, &shards);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = frame(&bytes);
        for kind in 0..4 {
            let _ = Plan::default().note(kind, &bytes);
            let _ = Reload::new(Plan::default(), Rules::all()).apply(kind, &bytes, 1, |_, act| act(&mut shard(0, 1)));
        }
    }
}

/// Each byte of the last three records cut off, and each of their bits turned round.
#[test]
fn a_damaged_end_is_a_clean_beginning() {
    let mut writer = Writer::new();
    writer.fill(1_000, 1_000);
    let mut ends = Vec::new();
    for key in 0..6 {
        writer.happen(&Event::Set(0, key, 20));
        ends.push(writer.disk.len());
        writer.fill(1_000, 1_000);
    }
    for cut in ends[3]..writer.disk.len() {
        let (good, shards, _) = reload(&writer.disk[..cut], 1);
        assert!(ends.contains(&good), "{good} of {cut}");
        writer.check(good, &shards);
    }
    for bit in ends[3] * 8..writer.disk.len() * 8 {
        let mut disk = writer.disk.clone();
        disk[bit / 8] ^= 1 << (bit % 8);
        let (good, shards, _) = reload(&disk, 1);
        assert!(ends.contains(&good) && good <= bit / 8, "{good}, bit {bit}");
        writer.check(good, &shards);
    }
}

#[test]
fn a_table_of_which_nothing_is_kept_is_not_on_disk() {
    let mut writer = Writer::new();
    for key in 0..20 {
        writer.run(0, LOST, key, Op::Set(Set::plain(b"secret")));
        writer.run(0, KEPT, key, Op::Set(Set::plain(b"known")));
        writer.fill(1_000, 0);
    }
    writer.shard.renew_disk();
    writer.fill(1_000, 10_000);
    let has = |what: &[u8]| writer.disk.windows(what.len()).any(|bytes| bytes == what);
    assert!(has(b"known") && !has(b"secret"));
    let (_, shards, records) = reload(&writer.disk, 1);
    assert_eq!(shards[0].holdings().entries, 20);
    let view = shards[0].views(Now::default()).into_iter().find(|view| view.sequence > 1);
    assert_eq!(
        view.expect("it is well made").sequence,
        writer.shard.views(Now::default())[0].sequence
    );
    assert!(records >= 40, "numbers are counted: {records}");
}

#[test]
fn a_table_that_is_to_be_kept_from_now_on_is_on_disk_as_a_whole() {
    let mut writer = Writer::new();
    writer.run(0, LOST, 1, Op::Set(Set::plain(b"before")));
    writer.fill(1_000, 10_000);
    assert_eq!(reload(&writer.disk, 1).1[0].holdings().entries, 0);
    let mut map = writer.map.map().clone();
    map.version.counter = 2;
    map.tables[1].policy.durability = None;
    writer.map = MapIndex::new(map).expect("it is well made");
    writer.shard.adopt(Now::default(), &writer.map);
    writer.fill(1_000, 10_000);
    assert_eq!(reload(&writer.disk, 1).1[0].holdings().entries, 1);
}

#[test]
fn what_must_survive_is_committed_when_it_is_on_disk() {
    let mut writer = Writer::new();
    let mut map = writer.map.map().clone();
    map.version.counter = 2;
    map.tables[0].policy.durability = Some(Durability::Always);
    writer.map = MapIndex::new(map).expect("it is well made");
    let ops = [KeyOp { table: KEPT, key: b"k", op: Op::Set(Set::plain(b"v")) }];
    let step = Step { partition: partition(0), once: None, guards: &[], ops: &ops };
    let ran = writer
        .shard
        .step(Now::default(), &writer.map, &step, &mut |_| ())
        .expect("it is well made");
    let until = ran.until.expect("it waits for the disk");
    writer.shard.hold(partition(0), until, ());
    let filled = writer.shard.fill_disk(&mut Vec::new(), 1_000, 100_000).expect("it is well made");
    assert!(filled.hurry);
    assert!(writer.shard.take_fates().is_empty());
    writer.shard.disk_synced(filled.mark);
    assert_eq!(writer.shard.take_fates(), [((), firn_wire::exchange::Fate::Committed)]);

    writer.shard.set_disk_trouble(Some("no space left".into()));
    let mut said = Vec::new();
    let answer = &mut |reply: firn_wire::reply::Reply<'_>| said.push(format!("{reply:?}"));
    writer.shard.step(Now::default(), &writer.map, &step, answer).expect("it is well made");
    let get = [KeyOp { table: KEPT, key: b"k", op: Op::Get }];
    let get = Step { ops: &get, ..step };
    writer.shard.step(Now::default(), &writer.map, &get, answer).expect("it is well made");
    assert!(said[0].contains("no space left") && said[1].contains("Value"), "{said:?}");
}

#[test]
fn damage_has_a_name() {
    assert_eq!(frame(&[1, 0, 0, 0]), Err(Damage::Frame));
    let odd = Plan::default().note(9, b"");
    assert!(odd.unwrap_err().to_string().contains("does not know"));
}

/// A snapshot that was handed out and lost counted as written, since the one that takes its place has a later number: a
/// write whose records were on disk was acknowledged with nothing there for them to follow on.
#[test]
fn a_snapshot_that_was_lost_is_not_on_disk() {
    let mut writer = Writer::new();
    writer.happen(&Event::Set(2, 0, 121));
    let until = writer.shard.disk_mark().expect("it is well made");
    for event in [Event::Fill(1_000, 0), Event::Sync, Event::Fill(0, 1_000), Event::Lose] {
        writer.happen(&event);
    }
    writer.happen(&Event::Set(0, 0, 1));
    writer.happen(&Event::Fill(0, 0));
    assert!(writer.mark.is_some_and(|mark| !mark.reaches(until)), "{:?} {until:?}", writer.mark);
    writer.happen(&Event::Fill(1_000, 100_000));
    assert!(writer.mark.is_some_and(|mark| mark.reaches(until)), "{:?} {until:?}", writer.mark);
}

/// A partition that begins here waits behind other snapshots: its records are read all the same.
#[test]
fn what_began_here_is_read_without_a_snapshot() {
    let mut writer = Writer::new();
    writer.happen(&Event::Set(1, 7, 10));
    writer.fill(1_000, 0);
    let (_, shards, _) = reload(&writer.disk, 2);
    let entries: u64 = shards.iter().map(|shard| shard.holdings().entries).sum();
    assert_eq!(entries, 1);
}

/// A disk that lagged behind had the end of a snapshot before the records some of its entries were of: cut there it was read
/// back as what the partition had never been.
#[test]
fn a_snapshot_ends_behind_the_records_that_its_entries_are_of() {
    let mut writer = Writer::new();
    for key in 0..=255 {
        writer.happen(&Event::Set(0, key, 600));
        writer.fill(1_000_000, 1_000_000);
    }
    writer.shard.renew_disk();
    // More than one part, of which the first is written.
    writer.fill(0, 1);
    (0..=255).for_each(|key| writer.happen(&Event::Set(0, key, 10)));
    while writer.shard.disk_urgency() > Urgency::None {
        writer.fill(100, 1_000_000);
        let (good, shards, _) = reload(&writer.disk, 1);
        writer.check(good, &shards);
    }
}

proptest! {
    /// The power goes: what was not synced is there up to any byte, and what is there of it may be wrong.
    #[test]
    fn what_was_acknowledged_survives_the_power(
        events in proptest::collection::vec(events(), 1..200),
        torn in any::<prop::sample::Index>(),
        flipped in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut writer = Writer::new();
        let mut map = writer.map.map().clone();
        map.version.counter = 2;
        map.tables[0].policy.durability = Some(Durability::Always);
        writer.map = MapIndex::new(map).expect("it is well made");
        let mut written: HashMap<PartitionId, Vec<u64>> = HashMap::new();
        let mut acknowledged: HashMap<PartitionId, u64> = HashMap::new();
        for view in writer.shard.views(Now::default()) {
            written.insert(view.partition, vec![view.sequence]);
        }
        for event in &events {
            writer.happen(event);
            let asked = matches!(event, Event::Set(..) | Event::Delete(..) | Event::Flush(_));
            for view in writer.shard.views(Now::default()) {
                let own = written.entry(view.partition).or_default();
                if asked && own.last() != Some(&view.sequence) {
                    own.push(view.sequence);
                }
                // Its first number is that of the reign, of which nobody was told.
                let committed = view.committed.unwrap_or(0);
                let told = own[1..].iter().rev().find(|number| **number <= committed);
                acknowledged.extend(told.map(|number| (view.partition, *number)));
            }
        }
        let unsynced = writer.disk.len() - writer.synced;
        let length = writer.synced + torn.index(unsynced + 1);
        let mut disk = writer.disk[..length].to_vec();
        if let Some(flipped) = flipped && length > writer.synced {
            disk[writer.synced + flipped.index(length - writer.synced)] ^= 0x10;
        }
        let (_, shards, _) = reload(&disk, 1);
        let found: HashMap<PartitionId, u64> = shards[0]
            .views(Now::default())
            .into_iter()
            .map(|view| (view.partition, view.sequence))
            .collect();
        for (partition, number) in acknowledged {
            let read = found.get(&partition).copied().unwrap_or(0);
            prop_assert!(read >= number, "{partition}: {read}, and {number} was acknowledged");
        }
    }
}
