//! What a restart finds, where the simulation once found it wrong (`firn-sim`, seeds with disks).

use std::sync::Arc;

use firn_store::copying::Copying;
use firn_store::hash::KeyHash;
use firn_store::receive::Notices;
use firn_store::reload::{Plan, Reload, frame};
use firn_store::rules::Rules;
use firn_store::shard::{Refused, Setup, Shard};
use firn_store::time::Now;
use firn_store::usage::Usages;
use firn_store::view::View;
use firn_wire::command::{KeyOp, Op, Step};
use firn_wire::ids::{
    ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId, TableId, WorkerId,
};
use firn_wire::key::KeyInteger;
use firn_wire::map::{
    Durability, FORMAT, GroupRow, GroupRule, Map, MapIndex, PartitionRow, Placement, Replication,
    Settings, TablePolicy, TableRow, WorkerRow, WorkerState,
};
use firn_wire::record::{Effect, Head, Put, begin, end};
use firn_wire::replica::{Ack, History, Item, Notice, decode};

const AT: PartitionId = PartitionId { group: GroupId(0), number: 0 };
const REV: MapVersion = MapVersion { generation: 1, counter: 1 };

fn worker(name: &str) -> WorkerId {
    WorkerId { name: name.parse().expect("it is well made"), incarnation: Incarnation(1) }
}

/// One partition, led by a worker and in sync in all of these; its table is always on disk.
fn map(isr: &[&str]) -> MapIndex {
    map_with(isr, Vec::new())
}

fn map_with(isr: &[&str], workers: Vec<WorkerRow>) -> MapIndex {
    let isr: Vec<WorkerId> = isr.iter().map(|name| worker(name)).collect();
    let settings = Settings {
        key_integer: KeyInteger::Crc16,
        partitions: 1,
        placement: Placement::Modulo,
        copies: isr.len() as u8,
        expect_workers: 1,
        name_ranges: Vec::new(),
        worker_lease_ms: 2_500,
        replication: Replication::default(),
    };
    let row = PartitionRow {
        id: AT,
        rev: REV,
        epoch: Epoch(1),
        primary: isr.first().cloned(),
        wanted: isr.iter().map(|id| id.name.clone()).collect(),
        isr,
        released: false,
    };
    let copies = settings.copies;
    let policy = TablePolicy { durability: Some(Durability::Always), ..TablePolicy::default() };
    let name = "default".parse().expect("it is well made");
    let table =
        TableRow { id: TableId(0), name, group: GroupId(0), pinned: None, policy, rev: REV };
    let group = GroupRow { id: GroupId(0), copies, partitions: 1, rule: GroupRule::Keys, rev: REV };
    MapIndex::new(Map {
        cluster: ClusterId(1),
        version: REV,
        format: FORMAT,
        settings,
        workers,
        seats: Vec::new(),
        groups: vec![group],
        partitions: vec![row.into()],
        tables: vec![table],
    })
    .expect("it is well made")
}

fn shard() -> Shard<()> {
    Shard::new(Setup {
        me: worker("w1"),
        number: 0,
        shards: 1,
        hashes: Arc::new(KeyHash::new(1)),
        usages: Arc::new(Usages::default()),
        log_bytes_max: 64 * 1024,
        copying: Copying::new(),
        durable: true,
        rules: Rules::all(),
    })
}

/// All that the shard has for its disk now.
fn write(shard: &mut Shard<()>, disk: &mut Vec<u8>) {
    while let Some(mut filled) = shard.fill_disk(&mut Vec::new(), 100_000, 100_000) {
        filled.seal();
        disk.extend_from_slice(&filled.bytes);
    }
}

/// A shard that has read what is on disk.
fn restart(disk: &[u8]) -> Shard<()> {
    let frames = || {
        let mut rest = disk;
        std::iter::from_fn(move || {
            let (kind, body, length) = frame(rest).expect("it is well made")?;
            rest = &rest[length..];
            Some((kind, body))
        })
    };
    let (mut plan, mut shard) = (Plan::default(), shard());
    frames().for_each(|(kind, body)| plan.note(kind, body).expect("it is well made"));
    let mut reload = Reload::new(plan, Rules::all());
    for (kind, body) in frames() {
        reload.apply(kind, body, 1, |_, act| act(&mut shard)).expect("it is well made");
    }
    shard
}

/// What a restart finds of the partition; None: nothing.
fn read(disk: &[u8]) -> Option<View> {
    restart(disk).views(Now::default()).pop()
}

/// A primary had sent its copy a write that was not on its own disk yet, and died. The copy took over and showed the write,
/// which was not on its disk either; then it was killed, and the write was gone that had been read.
#[test]
fn a_reign_serves_when_what_it_begins_with_is_on_disk() {
    let (map, mut shard) = (map(&["w1"]), shard());
    shard.adopt(Now::default(), &map);
    let ops = [KeyOp { table: TableId(0), key: b"k", op: Op::Get }];
    let step = Step { partition: AT, once: None, guards: &[], ops: &ops };
    let get = |shard: &mut Shard<()>| shard.step(Now::default(), &map, &step, &mut |_| ());
    assert_eq!(get(&mut shard), Err(Refused::Wait));
    let filled = shard.fill_disk(&mut Vec::new(), 1_000, 100_000).expect("it begins");
    assert!(filled.hurry, "requests wait for it");
    assert_eq!(get(&mut shard), Err(Refused::Wait));
    shard.disk_synced(filled.mark);
    assert!(get(&mut shard).is_ok());
}

/// From where a copy follows.
#[derive(Default)]
struct Follow<'a> {
    snapshot: bool,
    sequence: u64,
    /// Records that come at once after it.
    more: u64,
    mended: &'a [u8],
}

struct Copy {
    shard: Shard<()>,
    session: u64,
}

impl Copy {
    fn take(&mut self, from: &str, item: &Item<'_>) -> Vec<u8> {
        let mut said = Notices::default();
        self.shard.receive(Now::default(), &worker(from), self.session, item, &mut said);
        said.into_ack(0, 1)
    }

    fn follow(&mut self, from: &str, epoch: Epoch, history: &History, base: Follow<'_>) {
        self.session += 1;
        let Follow { snapshot, sequence, more, mended } = base;
        let (history, last) = (history.clone(), sequence + more);
        let join = Item::Join {
            partition: AT,
            rev: REV,
            epoch,
            released: true,
            history: history.clone(),
            last,
        };
        self.take(from, &join);
        let base = Item::Base {
            partition: AT,
            epoch,
            history,
            sequence,
            last,
            clock: 0,
            snapshot,
            resumed: false,
            mended,
        };
        self.take(from, &base);
    }

    /// Whether it says that all of the partition is on its disk.
    fn is_kept(&mut self, from: &str) -> bool {
        let ack = self.take(from, &Item::Keep { partition: AT });
        let ack: Ack<'_> = decode(&ack).expect("it is well made");
        ack.notices == [Notice::Kept { partition: AT }]
    }

    fn record(&mut self, from: &str, epoch: Epoch, sequence: u64) {
        let mut record = Vec::new();
        let start = begin(&Head { partition: AT, epoch, sequence, clock: 0 }, &mut record);
        Effect::Start.write(&mut record);
        end(start, &mut record);
        self.take(from, &Item::Records(&record));
    }
}

/// A copy had records of a reign that came to nothing, as many as the next primary's snapshot had. While that was copied a
/// record came that followed on it; the copy restarted, and read it as if it followed on what it had had before.
#[test]
fn what_is_copied_anew_does_not_follow_on_what_was_there() {
    let (mut copy, mut disk) = (Copy { shard: shard(), session: 0 }, Vec::new());
    copy.shard.adopt(Now::default(), &map(&["w0", "w1"]));
    copy.follow("w0", Epoch(1), &History::new(), Follow::default());
    (1..=4).for_each(|sequence| copy.record("w0", Epoch(1), sequence));
    write(&mut copy.shard, &mut disk);
    assert_eq!(read(&disk).map(|view| view.sequence), Some(4));
    let anew = Follow { snapshot: true, sequence: 4, ..Follow::default() };
    copy.follow("w2", Epoch(2), &vec![(Epoch(2), 1)], anew);
    copy.record("w2", Epoch(2), 5);
    write(&mut copy.shard, &mut disk);
    let found = read(&disk).map(|view| (view.sequence, view.history));
    assert_eq!(found, None, "nothing is whole");
}

/// The same, where the sync failed with which that was to be said: what is lost is said again.
#[test]
fn what_does_not_count_any_more_is_said_again_when_it_was_lost() {
    let (mut copy, mut disk) = (Copy { shard: shard(), session: 0 }, Vec::new());
    copy.shard.adopt(Now::default(), &map(&["w0", "w1"]));
    copy.follow("w0", Epoch(1), &History::new(), Follow::default());
    (1..=4).for_each(|sequence| copy.record("w0", Epoch(1), sequence));
    write(&mut copy.shard, &mut disk);
    let anew = Follow { snapshot: true, sequence: 4, ..Follow::default() };
    copy.follow("w2", Epoch(2), &vec![(Epoch(2), 1)], anew);
    write(&mut copy.shard, &mut Vec::new());
    copy.shard.lose_disk();
    copy.record("w2", Epoch(2), 5);
    write(&mut copy.shard, &mut disk);
    let found = read(&disk).map(|view| (view.sequence, view.history));
    assert_eq!(found, None, "nothing is whole");
}

/// A map that was kept from before the partition came here took away what came back with it.
#[test]
fn a_map_that_is_older_than_this_run_takes_nothing_away() {
    let (mut copy, mut disk) = (Copy { shard: shard(), session: 0 }, Vec::new());
    copy.shard.adopt(Now::default(), &map(&["w0", "w1"]));
    copy.follow("w0", Epoch(1), &History::new(), Follow::default());
    copy.record("w0", Epoch(1), 1);
    write(&mut copy.shard, &mut disk);
    let mut shard = restart(&disk);
    let row = |incarnation| WorkerRow {
        name: worker("w1").name,
        incarnation: Incarnation(incarnation),
        addresses: [("peer".to_owned(), "h:1".to_owned())].into(),
        shards: 1,
        state: WorkerState::Up,
        since_ms: 0,
        rev: REV,
    };
    shard.adopt(Now::default(), &map_with(&["w0"], vec![row(0)]));
    assert_eq!(shard.views(Now::default()).len(), 1, "that map knows an earlier run");
    shard.adopt(Now::default(), &map_with(&["w0"], vec![row(1)]));
    assert!(shard.views(Now::default()).is_empty());
}

/// What waits for a copy's disk waited for a partition that could not be written before records came that mend it, and those
/// came behind what waited.
#[test]
fn a_disk_is_not_held_up_by_what_is_still_mended() {
    let mut copy = Copy { shard: shard(), session: 0 };
    copy.shard.adopt(Now::default(), &map(&["w0", "w1"]));
    copy.follow("w0", Epoch(1), &History::new(), Follow::default());
    (1..=4).for_each(|sequence| copy.record("w0", Epoch(1), sequence));
    let mut mended = 3u64.to_le_bytes().to_vec();
    Put { table: TableId(0), key: b"k", meta: b"", value: b"v", expires_at: None }
        .write(&mut mended);
    let base = Follow { sequence: 2, more: 1, mended: &mended, ..Follow::default() };
    copy.follow("w2", Epoch(2), &vec![(Epoch(1), 1), (Epoch(2), 3)], base);
    let is_on_disk = |copy: &mut Copy| {
        let mark = copy.shard.disk_mark().expect("it has a disk");
        let filled = copy.shard.fill_disk(&mut Vec::new(), 100_000, 100_000);
        filled.is_some_and(|filled| {
            copy.shard.disk_synced(filled.mark);
            filled.mark.reaches(mark)
        })
    };
    assert!(is_on_disk(&mut copy));
    assert!(!copy.is_kept("w2"), "what is there is of the reign that came to nothing");
    copy.record("w2", Epoch(2), 3);
    assert!(!copy.is_kept("w2"));
    assert!(is_on_disk(&mut copy));
    assert!(copy.is_kept("w2"));
}
