//! How a worker that was told to stop hands over what it leads, so that nobody misses it.

use std::sync::Arc;
use std::time::Duration;

use firn_client::maps::Maps;
use firn_client::uplink::Uplink;
use firn_wire::ids::{WorkerId, WorkerName};
use firn_wire::map::{MapIndex, PartitionRow, WorkerState};
use tokio::time::Instant;

/// How long an uplink that does not answer is waited for when nothing would be lost: without it nobody takes over.
const UPLINK_PATIENCE: Duration = Duration::from_secs(1);
/// How often the uplink's silence is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long requests are still answered after everything is handed over: who has an older map learns the newer one.
const LINGER: Duration = Duration::from_millis(250);

/// What was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Kept {
    /// In time.
    #[error(
        "{0} partitions were not handed over within {1:?} (DRAIN_TIMEOUT); those without another copy are lost"
    )]
    Late(usize, Duration),
    /// Because nobody could say who is to have it.
    #[error(
        "{0} partitions were not handed over, since the uplink does not answer; they have other copies"
    )]
    NoUplink(usize),
}

/// Waits until nothing depends on this worker any more. The uplink must have been told, or be told meanwhile.
pub(crate) async fn handed_over(
    me: &WorkerId,
    maps: &Maps,
    uplink: &Uplink,
    timeout: Duration,
) -> Result<(), Kept> {
    let begun = Instant::now();
    let mut changes = maps.changes();
    loop {
        let map = maps.load();
        if !has_stayers(me, &map) {
            return Ok(());
        }
        let standing = Standing::of(me, &map);
        if standing.is_known && standing.kept == 0 {
            tokio::time::sleep(LINGER).await;
            return Ok(());
        }
        let is_silent = uplink.heard().is_none_or(|ago| ago > UPLINK_PATIENCE);
        if is_silent && begun.elapsed() > UPLINK_PATIENCE && standing.alone == 0 {
            return Err(Kept::NoUplink(standing.kept));
        }
        if begun.elapsed() > timeout {
            return Err(Kept::Late(standing.kept, timeout));
        }
        tokio::select! {
            changed = changes.changed() => changed.expect("the map outlives its watchers"),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Whether somebody could take over.
fn has_stayers(me: &WorkerId, map: &MapIndex) -> bool {
    map.workers.iter().any(|row| row.name != me.name && row.state == WorkerState::Up)
}

/// What a map says of a worker that is to stop.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    /// Whether the uplink knows that it is to stop, and so who is to follow it.
    is_known: bool,
    /// Partitions that others should have and that it leads, or whose writes wait for it.
    kept: usize,
    /// Those of them that nobody else has.
    alone: usize,
}

impl Standing {
    fn of(me: &WorkerId, map: &MapIndex) -> Self {
        let is_known = map.worker(&me.name).is_none_or(|row| row.state != WorkerState::Up);
        let last = |row: &&PartitionRow| row.has_in_sync(me) && !has_other(me, map, row);
        let has = |row: &&PartitionRow| row.primary.as_ref() == Some(me) || row.has_in_sync(me);
        let stays =
            |name: &WorkerName| map.worker(name).is_some_and(|row| row.state == WorkerState::Up);
        let others =
            |row: &&PartitionRow| row.wanted.iter().any(|name| *name != me.name && stays(name));
        let rows = || map.partitions.iter().map(Arc::as_ref);
        Self {
            is_known,
            kept: rows().filter(has).filter(others).count(),
            alone: rows().filter(last).count(),
        }
    }
}

/// Whether a worker that beats has the partition too.
fn has_other(me: &WorkerId, map: &MapIndex, row: &PartitionRow) -> bool {
    let lives = |id: &WorkerId| {
        let row = map.worker(&id.name).filter(|row| row.incarnation == id.incarnation);
        row.is_some_and(|row| row.state != WorkerState::Down)
    };
    row.isr.iter().any(|id| id != me && lives(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_client::maps::no_map;
    use firn_wire::ids::{Epoch, GroupId, Incarnation, PartitionId};
    use firn_wire::map::{GroupRow, GroupRule, WorkerRow};

    fn id(name: &str) -> WorkerId {
        WorkerId { name: name.parse().unwrap(), incarnation: Incarnation(1) }
    }

    /// Workers by name and state; partitions by the names in sync, the primary first, and those wanted.
    fn map(workers: &[(&str, WorkerState)], rows: &[(&[&str], &[&str])]) -> MapIndex {
        let mut map = no_map().map().clone();
        let rev = map.version;
        let worker = |(name, state): &(&str, WorkerState)| WorkerRow {
            name: name.parse().unwrap(),
            incarnation: Incarnation(1),
            addresses: Default::default(),
            shards: 1,
            state: *state,
            since_ms: 0,
            rev,
        };
        let row = |number, (isr, wanted): &(&[&str], &[&str])| PartitionRow {
            id: PartitionId { group: GroupId(0), number },
            rev,
            epoch: Epoch(1),
            primary: isr.first().map(|name| id(name)),
            isr: isr.iter().map(|name| id(name)).collect(),
            wanted: wanted.iter().map(|name| name.parse().unwrap()).collect(),
            released: false,
        };
        map.workers = workers.iter().map(worker).collect();
        map.partitions = (0..).zip(rows).map(|(number, given)| row(number, given).into()).collect();
        let (partitions, rule) = (rows.len() as u16, GroupRule::Keys);
        map.groups = vec![GroupRow { id: GroupId(0), copies: 2, partitions, rule, rev }];
        MapIndex::new(map).unwrap()
    }

    #[test]
    fn what_it_leads_or_holds_up_is_kept_while_somebody_else_should_have_it() {
        use WorkerState::{Leaving, Up};
        let me = id("a");
        let workers = [("a", Leaving), ("b", Up), ("c", Leaving)];
        let standing = |isr: &[&str], wanted: &[&str]| {
            let Standing { kept, alone, .. } = Standing::of(&me, &map(&workers, &[(isr, wanted)]));
            (kept, alone)
        };
        assert_eq!(standing(&["a", "b"], &["b", "a"]), (1, 0), "it leads");
        assert_eq!(standing(&["b", "a"], &["b", "a"]), (1, 0), "writes wait for it");
        assert_eq!(standing(&["b"], &["b", "a"]), (0, 0));
        assert_eq!(standing(&["a"], &["b", "a"]), (1, 1), "nobody else has it");
        assert_eq!(standing(&["a", "c"], &["c", "a"]), (0, 0), "who should have it goes too");
    }

    #[test]
    fn the_uplink_must_know_before_its_plan_counts() {
        let rows: &[(&[&str], &[&str])] = &[(&["a"], &["a"])];
        let knows = |state| {
            let map = map(&[("a", state), ("b", WorkerState::Up)], rows);
            Standing::of(&id("a"), &map).is_known
        };
        assert!(!knows(WorkerState::Up));
        assert!(knows(WorkerState::Leaving) && knows(WorkerState::Draining));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_goes_at_once_and_who_holds_the_only_copy_waits() {
        let uplink = Uplink::new("http://127.0.0.1:1", Default::default()).unwrap();
        let ends = async |workers: &[(&str, WorkerState)], isr: &[&str]| {
            let maps = Maps::alone(map(workers, &[(isr, &["b", "a"])]).into());
            handed_over(&id("a"), &maps, &uplink, Duration::from_secs(30)).await
        };
        let (up, down) = (WorkerState::Up, WorkerState::Down);
        assert_eq!(ends(&[("a", up), ("b", down)], &["a"]).await, Ok(()));
        let two = [("a", WorkerState::Leaving), ("b", up)];
        assert_eq!(ends(&two, &["a", "b"]).await, Err(Kept::NoUplink(1)));
        let late = Kept::Late(1, Duration::from_secs(30));
        assert_eq!(ends(&two, &["a"]).await, Err(late), "it could come back");
        assert_eq!(ends(&two, &["b"]).await, Ok(()));
    }
}
