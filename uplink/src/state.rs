//! What the registry must not lose.

use std::sync::Arc;

use firn_wire::ids::{ClusterId, MapVersion, TableId};
use firn_wire::map::{FORMAT, Map, Settings};

/// The cluster's map, and what belongs to the cluster without being told to everyone. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The map. Before the first one is published its version is 0.0 and it has nothing but workers that wait.
    pub map: Arc<Map>,
    /// The seed of the cluster's table hashes: given to workers, never to clients.
    pub hash_seed: u64,
    /// The id the next table gets.
    pub next_table: TableId,
}

impl State {
    /// A cluster without a map.
    pub fn new(cluster: ClusterId, hash_seed: u64, settings: Settings) -> Self {
        let map = Map {
            cluster,
            version: MapVersion::default(),
            format: FORMAT,
            settings,
            workers: Vec::new(),
            seats: Vec::new(),
            groups: Vec::new(),
            partitions: Vec::new(),
            tables: Vec::new(),
        };
        Self { map: Arc::new(map), hash_seed, next_table: TableId::DEFAULT }
    }

    /// The cluster's settings from now on; a change of them is a new version of a map that has been published.
    pub fn set_settings(&mut self, settings: Settings) {
        if self.map.settings != settings {
            let map = Arc::make_mut(&mut self.map);
            map.settings = settings;
            if map.version != MapVersion::default() {
                map.version.counter += 1;
            }
        }
    }
}
