//! The streams of this worker: one to each worker that it has copies in common with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use firn_wire::ids::WorkerId;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::peers::Peers;
use crate::stream::{Caller, run};
use crate::wake::Wake;

/// See the module's page.
pub(crate) struct Streams {
    caller: Arc<Caller>,
    /// Where their tasks run, in turn.
    lanes: Vec<Handle>,
    open: Mutex<BTreeMap<WorkerId, Open>>,
}

struct Open {
    wake: Arc<Wake>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Streams {
    /// None yet. Their tasks will run on the event loops in turn.
    pub(crate) fn new(caller: Arc<Caller>, lanes: Vec<Handle>) -> Self {
        Self { caller, lanes, open: Mutex::default() }
    }

    /// Begins and ends streams, so that there is one to each of these.
    pub(crate) fn adopt(&self, peers: &Peers) {
        let mut open = self.open.lock().expect("no holder panics");
        open.retain(|peer, _| peers.contains_key(peer));
        for (peer, address) in peers {
            // A run that is not the registered one any more keeps the stream it has.
            if let Some(address) = address
                && !open.contains_key(peer)
            {
                let lane = &self.lanes[open.len() % self.lanes.len()];
                open.insert(peer.clone(), self.begin(peer, address.clone(), lane));
            }
        }
        self.caller
            .shards
            .wakes()
            .set(open.values().map(|stream| Arc::clone(&stream.wake)).collect());
    }

    fn begin(&self, peer: &WorkerId, address: String, lane: &Handle) -> Open {
        let wake = Arc::new(Wake::new(peer.clone(), self.caller.shards.count()));
        let running = run(Arc::clone(&self.caller), Arc::clone(&wake), address);
        Open { wake, task: lane.spawn(running) }
    }
}
