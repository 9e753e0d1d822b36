//! A network that fails as it is told: a proxy between workers, and between each of them and the uplink.
//!
//! Every process is reached by others through a [`door`] of this network, whose address stays when the process comes back
//! at another. A caller is known by the hello of the peer protocol, or by having a door of its own; so each pair and
//! direction has its own [`rule`], which [`pump`] follows. Clients do not come this way.

mod door;
mod pump;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use door::{Callers, Door};
use rule::{Carried, Ruling};
pub use rule::{Name, Rule, UPLINK};

/// The network. It and its connections end when it is dropped.
#[derive(Debug)]
pub struct Network {
    runtime: Runtime,
    ruling: Ruling,
    carried: Carried,
    /// Where processes listen, by name.
    inside: BTreeMap<Name, watch::Sender<Option<SocketAddr>>>,
}

impl Default for Network {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("network")
            .enable_all()
            .build()
            .expect("a thread can be started");
        Self {
            runtime,
            ruling: Ruling::default(),
            carried: Carried::default(),
            inside: BTreeMap::new(),
        }
    }
}

impl Network {
    /// Opens the door through which workers reach `worker`, and says where it is.
    pub fn peer_door(&mut self, worker: &str) -> SocketAddr {
        self.door(Callers::Peers, worker)
    }

    /// Opens the door through which `worker`, and nobody else, reaches the uplink, and says where it is.
    pub fn uplink_door(&mut self, worker: &str) -> SocketAddr {
        self.door(Callers::Only(worker.into()), UPLINK)
    }

    fn door(&mut self, callers: Callers, to: &str) -> SocketAddr {
        let to: Name = to.into();
        let inside = self.inside.entry(to.clone()).or_default().subscribe();
        let (ruling, carried) = (self.ruling.clone(), Arc::clone(&self.carried));
        let door = Door { callers, to, inside, ruling, carried };
        let bound = self.runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = bound.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        self.runtime.spawn(door.open(listener));
        address
    }

    /// Says where a process listens from now on.
    pub fn lead(&mut self, to: &str, address: SocketAddr) {
        self.inside.entry(to.into()).or_default().send_replace(Some(address));
    }

    /// Makes a rule for one direction.
    pub fn set(&self, from: &str, to: &str, rule: Rule) {
        self.ruling.set(&from.into(), &to.into(), rule);
    }

    /// Makes a rule for both directions.
    pub fn set_both(&self, one: &str, other: &str, rule: &Rule) {
        self.set(one, other, rule.clone());
        self.set(other, one, rule.clone());
    }

    /// Breaks every connection between two.
    pub fn break_between(&self, one: &str, other: &str) {
        self.ruling.break_between(&one.into(), &other.into());
    }

    /// Bytes that have arrived at a process from others, so far.
    pub fn bytes_to(&self, to: &str) -> u64 {
        let carried = self.carried.lock().expect("no holder panics");
        carried.iter().filter(|((_, at), _)| &**at == to).map(|(_, bytes)| bytes).sum()
    }

    /// Takes every rule back.
    pub fn heal(&self) {
        self.ruling.clear();
    }
}
