//! The links of a process to its peers: a few per peer, made when they are first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use firn_wire::ids::WorkerId;
use firn_wire::map::MapIndex;
use firn_wire::secret::Secret;

use crate::line::Caller;
use crate::link::Link;
use crate::maps::Maps;

/// Connections to one peer. A session keeps to one of them, so that its requests keep their order.
pub const LINKS_PER_PEER: usize = 2;

/// The links of a process.
pub struct Links {
    caller: Arc<Caller>,
    peers: ArcSwap<HashMap<WorkerId, Arc<Peer>>>,
    /// Held while `peers` gets another one.
    adding: Mutex<()>,
}

/// The links to one peer.
pub(crate) struct Peer(Vec<Link>);

impl Peer {
    /// The link of a session.
    pub(crate) fn link(&self, session: u64) -> &Link {
        &self.0[session as usize % LINKS_PER_PEER]
    }
}

impl Links {
    /// Links of the process `me`, which learns the cluster from `maps`. Their tasks run on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(me: WorkerId, secret: Secret, maps: Arc<Maps>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self {
            caller: Arc::new(Caller { me, secret, maps, runtime }),
            peers: ArcSwap::default(),
            adding: Mutex::new(()),
        }
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
        let link = |_| Link::new(Arc::clone(&self.caller), worker.clone(), address.clone());
        let peer = Arc::new(Peer((0..LINKS_PER_PEER).map(link).collect()));
        let mut peers = HashMap::clone(&known);
        peers.retain(|id, _| is_known(id).is_some());
        peers.insert(worker.clone(), Arc::clone(&peer));
        self.peers.store(Arc::new(peers));
        Some(peer)
    }
}
