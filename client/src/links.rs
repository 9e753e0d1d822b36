//! The links of a process to its peers: one per lane and peer, made when they are first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use firn_wire::ids::WorkerId;
use firn_wire::map::MapIndex;
use firn_wire::secret::Secret;
use tokio::runtime::Handle;

use crate::line::Caller;
use crate::link::Link;
use crate::maps::Maps;

/// The links of a process.
pub struct Links {
    caller: Arc<Caller>,
    lanes: Vec<Handle>,
    peers: ArcSwap<HashMap<WorkerId, Arc<Peer>>>,
    /// Held while `peers` gets another one.
    adding: Mutex<()>,
}

/// The links to one peer, by lane.
pub(crate) struct Peer(Vec<Link>);

impl Peer {
    /// The link of a session's lane. A session keeps to it, so that its requests keep their order.
    pub(crate) fn link(&self, lane: usize) -> &Link {
        &self.0[lane % self.0.len()]
    }
}

impl Links {
    /// Links of the process `me`, which learns the cluster from `maps`. To each peer there is a link for each lane, and its
    /// task runs there.
    ///
    /// # Panics
    /// Without lanes.
    pub fn new(me: WorkerId, secret: Secret, maps: Arc<Maps>, lanes: Vec<Handle>) -> Self {
        assert!(!lanes.is_empty(), "links run somewhere");
        Self {
            caller: Arc::new(Caller { me, secret, maps }),
            lanes,
            peers: ArcSwap::default(),
            adding: Mutex::new(()),
        }
    }

    /// The same without lanes of its own: two on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn here(me: WorkerId, secret: Secret, maps: Arc<Maps>) -> Self {
        Self::new(me, secret, maps, vec![Handle::current(); 2])
    }

    /// The links to a worker; None when the map does not know this run of it.
    pub(crate) fn peer(&self, map: &MapIndex, worker: &WorkerId) -> Option<Arc<Peer>> {
        if let Some(peer) = self.peers.load().get(worker) {
            return Some(Arc::clone(peer));
        }
        self.add(map, worker)
    }

    /// Adds a peer, and forgets those that are no more in the map.
    fn add(&self, map: &MapIndex, worker: &WorkerId) -> Option<Arc<Peer>> {
        let is_known =
            |id: &WorkerId| map.worker(&id.name).filter(|row| row.incarnation == id.incarnation);
        let address = is_known(worker)?.addresses.get("peer")?;
        let _one_at_a_time = self.adding.lock().expect("no holder panics");
        let known = self.peers.load();
        if let Some(peer) = known.get(worker) {
            return Some(Arc::clone(peer));
        }
        let links = self.lanes.iter().map(|lane| {
            let caller = Arc::clone(&self.caller);
            Link::new(caller, worker.clone(), address.clone(), lane.clone())
        });
        let peer = Arc::new(Peer(links.collect()));
        let mut peers = HashMap::clone(&known);
        peers.retain(|id, _| is_known(id).is_some());
        peers.insert(worker.clone(), Arc::clone(&peer));
        self.peers.store(Arc::new(peers));
        Some(peer)
    }
}
