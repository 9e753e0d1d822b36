//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use firn_client::delta::merge;
use firn_uplink::registry::History;
use firn_wire::ids::{Epoch, MapVersion, PartitionId, WorkerId};
use firn_wire::map::{Map, MapIndex, WorkerState};

/// Of one step.
pub(crate) fn check_step(before: &Map, after: &Map) {
    let none = MapVersion::default();
    let is_rebuilt = before.version == none && after.version.generation > 1;
    assert!(before.cluster == after.cluster || is_rebuilt);
    if before.version == none {
        assert!(after.version == none || after.version.counter == 1, "{}", after.version);
    } else if before == after {
        return;
    } else {
        let next = before.version.counter + 1;
        assert_eq!(after.version, MapVersion { counter: next, ..before.version });
    }
    macro_rules! rows {
        ($($rows:ident by $key:expr),*) => {$(
            if !is_rebuilt {
                check_revs(&before.$rows, &after.$rows, after.version, $key, |row| row.rev);
            }
        )*};
    }
    rows!(
        workers by |row| row.name.clone(),
        seats by |row| row.number,
        groups by |row| row.id,
        partitions by |row| row.id,
        tables by |row| row.id
    );
    check_ids(before, after);
    check_partitions(before, after);
    check_seats(after);
    MapIndex::new(after.clone()).expect("every map is one");
}

/// A row changes if and only if its rev becomes the map's version, and keys ascend.
fn check_revs<T: PartialEq + Debug, K: Ord + Debug>(
    before: &[T],
    after: &[T],
    version: MapVersion,
    key: impl Fn(&T) -> K,
    rev: impl Fn(&T) -> MapVersion,
) {
    let old: BTreeMap<K, &T> = before.iter().map(|row| (key(row), row)).collect();
    for row in after {
        match old.get(&key(row)) {
            Some(same) if *same == row => {}
            // What was told of an older generation keeps its rev.
            _ if rev(row).generation < version.generation => {}
            _ => assert_eq!(rev(row), version, "{row:?} has changed"),
        }
        assert!(rev(row) <= version, "{row:?} is from the future");
    }
    let keys: Vec<K> = after.iter().map(key).collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "not sorted: {keys:?}");
}

fn check_ids(before: &Map, after: &Map) {
    let last = before.tables.last().map(|row| row.id);
    let old: BTreeSet<_> = before.tables.iter().map(|row| row.id).collect();
    for table in after.tables.iter().filter(|row| !old.contains(&row.id)) {
        assert!(last.is_none_or(|last| table.id > last), "table id {} again", table.id.0);
    }
    let names: BTreeSet<_> = after.tables.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), after.tables.len(), "two tables of one name");
    assert!(after.seats.iter().map(|seat| seat.number).eq(0..after.seats.len() as u16));
}

fn check_partitions(before: &Map, after: &Map) {
    let copies: BTreeMap<_, _> = after.groups.iter().map(|row| (row.id, row.copies)).collect();
    for row in &after.partitions {
        let primary = row.primary.as_ref().expect("a partition has a primary from its first row");
        assert!(row.isr.contains(primary), "{row:?}");
        assert!(row.epoch.0 >= 1, "{row:?}");
        let wanted: BTreeSet<_> = row.wanted.iter().collect();
        let copies = usize::from(copies[&row.id.group]);
        let seated = after.seats.iter().filter(|seat| seat.worker.is_some()).count();
        assert_eq!(wanted.len(), row.wanted.len(), "somebody is wanted twice: {row:?}");
        // One more than the copies where all who have them leave.
        assert!((1..=seated.min(copies + 1)).contains(&wanted.len()), "{row:?}");
        let names: BTreeSet<_> = row.isr.iter().map(|id| &id.name).collect();
        assert_eq!(names.len(), row.isr.len(), "somebody is in sync twice: {row:?}");
    }
    for (old, new) in before.partitions.iter().zip(&after.partitions) {
        let raised = old.primary != new.primary;
        assert_eq!(new.epoch > old.epoch, raised, "from {old:?} to {new:?}");
        assert!(new.epoch >= old.epoch, "from {old:?} to {new:?}");
        assert!(!new.released || new.released == old.released || raised, "{new:?}");
    }
}

fn check_seats(map: &Map) {
    let seated: Vec<_> = map.seats.iter().filter_map(|seat| seat.worker.as_ref()).collect();
    let apart: BTreeSet<_> = seated.iter().collect();
    assert_eq!(apart.len(), seated.len(), "somebody sits twice: {seated:?}");
    assert!(map.seats.last().is_none_or(|seat| seat.worker.is_some()), "a vacant seat at the end");
    assert_eq!(seated.is_empty(), map.version == MapVersion::default(), "{:?}", map.seats);
    for row in map.workers.iter().filter(|row| row.state == WorkerState::Draining) {
        assert!(!seated.contains(&&row.name), "{} is drained and sits", row.name);
    }
    let known: BTreeSet<_> = map.workers.iter().map(|row| &row.name).collect();
    let wanted = map.partitions.iter().flat_map(|row| &row.wanted);
    for name in seated.iter().copied().chain(wanted) {
        assert!(known.contains(name), "{name} sits or is wanted and is not registered");
    }
}

/// Of all maps ever published: one primary per partition and epoch, and no row that goes back.
#[derive(Debug, Default)]
pub(crate) struct Reigns(BTreeMap<(PartitionId, Epoch), WorkerId>);

impl Reigns {
    pub(crate) fn check(&mut self, map: &Map) {
        for row in &map.partitions {
            let primary = row.primary.clone().expect("a partition has a primary");
            let first = self.0.entry((row.id, row.epoch)).or_insert_with(|| primary.clone());
            assert_eq!(*first, primary, "two primaries of {} in epoch {}", row.id, row.epoch.0);
        }
    }
}

/// A change from any map that was ever published gives the newest.
pub(crate) fn check_history(maps: &[Arc<Map>], history: &History) {
    let newest = maps.last().expect("the caller has published one");
    let whole = history.delta(newest, None).expect("nothing is ahead of the whole");
    assert!(whole.full);
    assert_eq!(merge(None, whole).expect("the whole is a map").map(), &**newest);
    // The last few, and the first of all.
    let (first, rest) = maps.split_first().expect("there is one");
    for old in rest.iter().rev().skip(1).take(8).chain([first]) {
        let delta = history.delta(newest, Some(old.version)).expect("it was published");
        if old.version != newest.version {
            let merged = merge(Some(old), delta).expect("a change of a published map");
            assert_eq!(merged.map(), &**newest, "from {}", old.version);
        }
    }
    let ahead = MapVersion { counter: newest.version.counter + 1, ..newest.version };
    assert!(history.delta(newest, Some(ahead)).is_err());
}
