//! What a worker does with a newer map before its router goes by it.

use std::sync::{Arc, Mutex};

use firn_client::maps::Adopt;
use firn_wire::map::MapIndex;

use crate::beacons::Beacons;
use crate::peers::Company;
use crate::saved::{Folder, Saved};
use crate::shards::Shards;
use crate::streams::Streams;

/// Everyone in a worker who is told of a newer map.
pub(crate) struct Adopter {
    pub(crate) shards: Arc<Shards>,
    pub(crate) company: Mutex<Company>,
    pub(crate) streams: Streams,
    pub(crate) beacons: Arc<Beacons>,
    /// Where it is kept; None: nowhere.
    pub(crate) folder: Option<Arc<Folder>>,
    /// The seed of the cluster's table hashes, kept beside it.
    pub(crate) hash_seed: u64,
}

impl Adopter {
    /// As the holder of the map in force calls it.
    pub(crate) fn into_adopt(self) -> Adopt {
        let adopter = Arc::new(self);
        Box::new(move |map| {
            let adopter = Arc::clone(&adopter);
            Box::pin(async move {
                let adopted = tokio::task::spawn_blocking(move || adopter.adopt(map));
                adopted.await.expect("adopting a map does not panic");
            })
        })
    }

    /// The shards first: streams and beacons to new peers find what they are for.
    fn adopt(&self, map: Arc<MapIndex>) {
        self.shards.adopt(&map);
        let peers = self.company.lock().expect("no holder panics").read(&map).clone();
        self.streams.adopt(&peers);
        self.beacons.adopt(Arc::clone(&map), peers);
        let Some(folder) = &self.folder else { return };
        let saved = Saved { hash_seed: self.hash_seed, map: map.map().clone() };
        if let Err(error) = folder.save(&saved) {
            log::error!("map {} is not kept on disk: {error}", map.version);
        }
    }
}
