//! What peers say about copies, from the listener to the shards and to the thread of beacons.

use std::net::TcpStream;
use std::sync::Arc;

use firn_gateway::execute::{Acked, Replicate};
use firn_wire::ids::WorkerId;
use firn_wire::replica::BadReplica;

use crate::beacons::Beacons;
use crate::shards::Shards;

/// A worker as a copy.
pub(crate) struct Copies {
    pub(crate) shards: Arc<Shards>,
    pub(crate) beacons: Arc<Beacons>,
}

impl Replicate for Copies {
    fn batch(&self, from: &WorkerId, session: u64, batch: &[u8]) -> Result<Acked, BadReplica> {
        self.shards.receive(from, session, batch)
    }

    fn beacons(&self, from: WorkerId, socket: TcpStream, read: Vec<u8>) {
        self.beacons.take(from, socket, read);
    }
}
