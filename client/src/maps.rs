//! The map in force of a process, and the one place where it changes.
//!
//! Invariants:
//! - The version in force only grows.
//! - A map is applied by the process ([`Adopt`]) before anybody routes by it.
//! - A row learnt from a peer's `Moved` counts until a map has it or a newer one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};
use firn_wire::ids::{MapVersion, PartitionId};
use firn_wire::map::{Map, MapIndex, PartitionRow};
use firn_wire::registry::MapDelta;
use tokio::sync::{Mutex, watch};

use crate::delta::{DeltaError, merge};

/// What a process does with a newer map before it is in force: keep it on disk, apply it to its shards.
pub type Adopt = Box<
    dyn Fn(Arc<MapIndex>) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>
        + Send
        + Sync
        + 'static,
>;

/// What requests are routed by: the map, and rows newer than it.
#[derive(Debug)]
pub struct View {
    /// The map in force.
    pub map: Arc<MapIndex>,
    newer: HashMap<PartitionId, PartitionRow>,
}

impl View {
    /// The newest row known of a partition; None when there is no such partition.
    pub fn row(&self, id: PartitionId) -> Option<&PartitionRow> {
        if !self.newer.is_empty()
            && let Some(row) = self.newer.get(&id)
        {
            return Some(row);
        }
        self.map.partition(id)
    }

    /// With another map: rows it does not have yet stay.
    fn with_map(&self, map: Arc<MapIndex>) -> Self {
        let newer = self.newer.iter().filter(|(id, row)| is_newer(&map, **id, row));
        let newer = newer.map(|(id, row)| (*id, row.clone())).collect();
        Self { map, newer }
    }

    /// With a newer row; None when it is not newer.
    fn with_row(&self, row: &PartitionRow) -> Option<Self> {
        let known = self.row(row.id)?;
        if row.rev <= known.rev {
            return None;
        }
        let mut newer = self.newer.clone();
        newer.insert(row.id, row.clone());
        Some(Self { map: Arc::clone(&self.map), newer })
    }
}

fn is_newer(map: &MapIndex, id: PartitionId, row: &PartitionRow) -> bool {
    map.partition(id).is_some_and(|here| here.rev < row.rev)
}

/// See the module's page.
pub struct Maps {
    view: ArcSwap<View>,
    /// Counts changes of the view, so that a request can wait for the next.
    changes: watch::Sender<u64>,
    adopt: Adopt,
    /// Held while a newer map is being adopted: they are put in force one after the other.
    adopting: Mutex<()>,
    /// Maps of this generation and of earlier ones are not taken; 0: all are. Set while `adopting` is held.
    closed: AtomicU32,
}

impl Maps {
    /// Starts with a map: one kept from an earlier run, or one just fetched. `adopt` is not called for it.
    pub fn new(first: Arc<MapIndex>, adopt: Adopt) -> Self {
        let view = View { map: first, newer: HashMap::new() };
        Self {
            view: ArcSwap::from_pointee(view),
            changes: watch::Sender::new(0),
            adopt,
            adopting: Mutex::new(()),
            closed: AtomicU32::new(0),
        }
    }

    /// Starts with a map that nobody needs to be told of.
    pub fn alone(first: Arc<MapIndex>) -> Self {
        Self::new(first, Box::new(|_| Box::pin(std::future::ready(()))))
    }

    /// The map in force.
    pub fn load(&self) -> Arc<MapIndex> {
        Arc::clone(&self.view.load().map)
    }

    /// What to route by now.
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// The version in force.
    pub fn version(&self) -> MapVersion {
        self.view.load().map.version
    }

    /// Sees every change of the map in force and of the rows newer than it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until the map in force is at least `version`.
    pub async fn reaches(&self, version: MapVersion) {
        let mut changes = self.changes();
        while self.version() < version {
            changes.changed().await.expect("the map outlives its watchers");
        }
    }

    /// The map in force, to tell an uplink that has lost its own. No other of its generation is taken from now on: one that
    /// the lost uplink has sent and that is still on its way would count here, and the next uplink would not know of it.
    pub async fn close(&self) -> Arc<MapIndex> {
        let _nobody_adopts = self.adopting.lock().await;
        let map = self.load();
        self.closed.store(map.version.generation, Ordering::Relaxed);
        map
    }

    /// An uplink has answered that is at this version: maps of its generation are taken.
    pub fn open(&self, version: MapVersion) {
        self.closed.fetch_min(version.generation.saturating_sub(1), Ordering::Relaxed);
    }

    /// Takes what an uplink sent: applies it here, then puts it in force. A delta that is not newer changes nothing.
    pub async fn take(&self, delta: MapDelta) -> Result<(), DeltaError> {
        let _one_at_a_time = self.adopting.lock().await;
        if delta.version.generation <= self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let old = self.load();
        let known = (old.version != MapVersion::default()).then(|| old.map());
        match merge(known, delta) {
            Ok(map) => {
                self.put_in_force(Arc::new(map)).await;
                Ok(())
            }
            Err(DeltaError::NotNewer(..)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn put_in_force(&self, map: Arc<MapIndex>) {
        (self.adopt)(Arc::clone(&map)).await;
        self.view.rcu(|view| view.with_map(Arc::clone(&map)));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes a row that a peer says is newer; true when it was.
    pub(crate) fn heal(&self, row: &PartitionRow) -> bool {
        let mut healed = false;
        self.view.rcu(|view| match view.with_row(row) {
            Some(newer) => {
                healed = true;
                Arc::new(newer)
            }
            None => {
                healed = false;
                Arc::clone(view)
            }
        });
        if healed {
            self.changes.send_modify(|count| *count += 1);
        }
        healed
    }
}

/// A map without anything, for a process that has not seen one yet.
pub fn no_map() -> MapIndex {
    use firn_wire::map::{FORMAT, Placement, Settings};
    let map = Map {
        cluster: Default::default(),
        version: MapVersion::default(),
        format: FORMAT,
        settings: Settings {
            key_integer: Default::default(),
            partitions: 0,
            placement: Placement::default(),
            copies: 1,
            expect_workers: 1,
            name_ranges: Vec::new(),
            worker_lease_ms: 0,
            replication: Default::default(),
        },
        workers: Vec::new(),
        seats: Vec::new(),
        groups: Vec::new(),
        partitions: Vec::new(),
        tables: Vec::new(),
    };
    MapIndex::new(map).expect("nothing breaks no invariant")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::sync::Mutex as Lock;

    fn at(counter: u64) -> MapVersion {
        MapVersion { generation: 1, counter }
    }

    #[tokio::test]
    async fn a_map_is_adopted_before_it_is_in_force_and_never_goes_back() {
        let adopted: Arc<Lock<Vec<u64>>> = Arc::default();
        let seen = Arc::clone(&adopted);
        let adopt: Adopt = Box::new(move |map| {
            seen.lock().unwrap().push(map.version.counter);
            Box::pin(std::future::ready(()))
        });
        let maps = Maps::new(Arc::new(no_map()), adopt);
        let mut map = fixture::map(2, 4);
        for counter in [3, 2, 3, 4] {
            map.version = at(counter);
            maps.take(fixture::delta(&map)).await.unwrap();
        }
        assert_eq!(*adopted.lock().unwrap(), [3, 4]);
        assert_eq!(maps.version(), at(4));
    }

    #[tokio::test]
    async fn what_a_lost_uplink_has_sent_is_not_taken_once_the_next_was_told() {
        let mut map = fixture::map(2, 4);
        let maps = Maps::alone(Arc::new(MapIndex::new(map.clone()).unwrap()));
        assert_eq!(maps.close().await.version, map.version);
        map.version.counter += 1;
        let late = fixture::delta(&map);
        maps.take(late.clone()).await.unwrap();
        assert_ne!(maps.version(), map.version);
        // It was the same uplink after all.
        maps.open(map.version);
        maps.take(late).await.unwrap();
        assert_eq!(maps.version(), map.version);

        maps.close().await;
        map.version = MapVersion { generation: 2, counter: 1 };
        maps.take(fixture::delta(&map)).await.unwrap();
        assert_eq!(maps.version(), map.version);
    }

    #[tokio::test]
    async fn a_newer_row_counts_until_a_map_has_it() {
        let mut map = fixture::map(2, 4);
        let maps = Maps::alone(Arc::new(MapIndex::new(map.clone()).unwrap()));
        let mut row = PartitionRow::clone(&map.partitions[1]);
        assert!(!maps.heal(&row), "the same rev is nothing new");
        (row.rev, row.primary) = (at(5), Some(fixture::worker(0)));
        assert!(maps.heal(&row) && !maps.heal(&row));
        map.version = at(4);
        maps.take(fixture::delta(&map)).await.unwrap();
        assert_eq!(maps.view().row(row.id), Some(&row));
        map.version = at(6);
        map.row_mut(1).rev = at(6);
        maps.take(fixture::delta(&map)).await.unwrap();
        assert_eq!(maps.view().row(row.id), Some(&*map.partitions[1]));
        assert!(maps.view().newer.is_empty());
    }
}
