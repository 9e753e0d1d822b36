//! Whether this worker can serve, and has what it should have: `/readyz`.
//!
//! Being in sync counts once. What a run is to have at its start it must have before others rely on it, so that workers
//! can be restarted one after the other; that partitions move later says nothing against it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firn_client::maps::Maps;
use firn_wire::ids::{MapVersion, WorkerId};
use firn_wire::map::{MapIndex, PartitionRow, WorkerState};

/// What a run of a worker waits for.
pub(crate) struct Ready {
    me: WorkerId,
    maps: Arc<Maps>,
    /// Whether every copy that should be here was in sync.
    in_sync: AtomicBool,
}

impl Ready {
    /// Of a run that has just begun.
    pub(crate) fn new(me: WorkerId, maps: Arc<Maps>) -> Self {
        Self { me, maps, in_sync: AtomicBool::new(false) }
    }

    /// What is missing, in one sentence.
    pub(crate) fn missing(&self) -> Option<String> {
        let map = self.maps.load();
        unserved(&map, &self.me).or_else(|| {
            let (behind, wanted) = behind(&map, &self.me);
            let waits = behind > 0 && !self.in_sync.load(Ordering::Relaxed);
            waits.then(|| format!("{behind} of {wanted} copies here are not in sync yet"))
        })
    }

    /// Waits until the map is at least `version` and, unless there is none yet, this worker can serve by it.
    pub(crate) async fn serves(&self, version: MapVersion) {
        self.maps.reaches(version).await;
        if version != MapVersion::default() {
            self.comes_to(|map| unserved(map, &self.me).is_none()).await;
        }
    }

    /// Waits until every copy that should be here is in sync, and remembers it.
    pub(crate) async fn syncs(&self) {
        self.comes_to(|map| unserved(map, &self.me).is_none() && behind(map, &self.me).0 == 0)
            .await;
        self.in_sync.store(true, Ordering::Relaxed);
    }

    /// Waits for a map.
    async fn comes_to(&self, what: impl Fn(&MapIndex) -> bool) {
        let mut changes = self.maps.changes();
        while !what(&self.maps.load()) {
            changes.changed().await.expect("the map outlives its watchers");
        }
    }
}

/// What a worker waits for before it can serve, in one sentence.
fn unserved(map: &MapIndex, me: &WorkerId) -> Option<String> {
    if map.version == MapVersion::default() {
        return Some("no map yet: the uplink waits for more workers, or does not answer".into());
    }
    let rows = map.partitions.iter();
    let owed = rows.filter(|row| row.primary.as_ref().is_some_and(|run| is_earlier(run, me)));
    match owed.count() {
        0 => None,
        some => Some(format!("{some} partitions of an earlier run are still to be taken over")),
    }
}

/// How many copies that should be here are not in sync; and how many should be here. What nobody leads and no earlier run of
/// this worker had is not to be had from anywhere.
fn behind(map: &MapIndex, me: &WorkerId) -> (usize, usize) {
    let is_to_be_had =
        |row: &PartitionRow| is_led(map, row) || row.isr.iter().any(|run| is_earlier(run, me));
    let (mut wanted, mut behind) = (0, 0);
    for row in map.partitions.iter().filter(|row| row.wants(&me.name) && is_to_be_had(row)) {
        wanted += 1;
        behind += usize::from(!row.has_in_sync(me));
    }
    (behind, wanted)
}

/// Whether there is a worker to get a partition from.
fn is_led(map: &MapIndex, row: &PartitionRow) -> bool {
    let Some(primary) = &row.primary else { return false };
    map.worker(&primary.name).is_some_and(|worker| {
        worker.incarnation == primary.incarnation && worker.state != WorkerState::Down
    })
}

fn is_earlier(run: &WorkerId, me: &WorkerId) -> bool {
    run.name == me.name && run.incarnation != me.incarnation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{id, map, worker};
    use firn_client::maps::no_map;

    /// What is missing of `me@2` where each row has these in sync, and is led by the first; all want `me` and b.
    fn missing(b: WorkerState, rows: &[&[WorkerId]]) -> (Option<String>, (usize, usize)) {
        let me = id("me", 2);
        let wanted: &[&str] = &["b", "me"];
        let rows: Vec<_> = rows.iter().map(|isr| (*isr, wanted)).collect();
        let map = map(vec![worker(id("b", 1), b), worker(me.clone(), WorkerState::Up)], &rows);
        (unserved(&map, &me), behind(&map, &me))
    }

    #[test]
    fn a_copy_that_is_still_to_come_is_missed() {
        let [b, me, earlier] = [id("b", 1), id("me", 2), id("me", 1)];
        let (with_me, without): (&[_], &[_]) = (&[b.clone(), me.clone()], std::slice::from_ref(&b));
        assert_eq!(missing(WorkerState::Up, &[with_me, without]), (None, (1, 2)));
        assert_eq!(missing(WorkerState::Up, &[with_me, with_me]), (None, (0, 2)));
        let had: &[_] = &[b.clone(), earlier.clone()];
        assert_eq!(missing(WorkerState::Up, &[had]), (None, (1, 1)), "an earlier run is not this");
    }

    #[test]
    fn what_cannot_be_had_is_not_missed_unless_it_was_here_before() {
        let [b, earlier] = [id("b", 1), id("me", 1)];
        let (theirs, both): (&[_], &[_]) =
            (std::slice::from_ref(&b), &[b.clone(), earlier.clone()]);
        assert_eq!(missing(WorkerState::Down, &[theirs, &[]]), (None, (0, 0)));
        assert_eq!(missing(WorkerState::Down, &[theirs, both]), (None, (1, 1)));
        let led: &[_] = &[earlier, b];
        let (unserved, _) = missing(WorkerState::Up, &[led]);
        assert!(unserved.is_some_and(|text| text.starts_with("1 partitions of an earlier run")));
    }

    #[test]
    fn without_a_map_nothing_can_be_served() {
        assert!(unserved(&no_map(), &id("me", 1)).is_some_and(|text| text.starts_with("no map")));
    }
}
