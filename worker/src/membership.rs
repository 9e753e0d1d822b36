//! This worker's place in the cluster: it registers, beats, and says goodbye.
//!
//! The uplink may be away at any time, also at the start when a map was kept: then only these things wait.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use firn_client::maps::Maps;
use firn_client::uplink::{Uplink, UplinkError};
use firn_wire::ids::MapVersion;
use firn_wire::registry::{
    ADDRESS_IN_USE, Heartbeat, KnownMap, NAME_IN_USE, OTHER_CLUSTER, REBUILDING, Register,
    Registered, SEND_MAP,
};
use tokio::sync::Notify;

/// How long to wait before the uplink is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// Likewise where it is another cluster's, which only a person can put right.
const RETRY_ELSEWHERE: Duration = Duration::from_secs(5);
/// How long a goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why this run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Expelled {
    /// The uplink refuses this worker for good.
    #[error("the uplink refuses this worker: {0}")]
    Refused(String),
    /// The uplink is that of another cluster.
    #[error("the uplink is another cluster's: {0}")]
    OtherCluster(String),
}

/// What this worker knows of its cluster.
#[derive(Clone)]
struct Known {
    /// The seed of the cluster's table hashes.
    hash_seed: u64,
    maps: Arc<Maps>,
}

/// A worker's dealings with the uplink.
pub(crate) struct Membership {
    uplink: Arc<Uplink>,
    register: Register,
    clock: Clock,
    /// What an uplink is told that has lost it; None: this worker has never been in a cluster.
    known: Mutex<Option<Known>>,
    /// When the uplink last answered, Unix milliseconds; 0: never in this run.
    heard_ms: AtomicU64,
    /// Whether it was told to stop.
    leaving: AtomicBool,
    /// The next beat is due at once.
    hurry: Notify,
}

impl Membership {
    /// Nothing is sent yet.
    pub(crate) fn new(uplink: Arc<Uplink>, register: Register, clock: Clock) -> Self {
        let (heard_ms, leaving) = (AtomicU64::new(0), AtomicBool::new(false));
        let (known, hurry) = (Mutex::default(), Notify::new());
        Self { uplink, register, clock, known, heard_ms, leaving, hurry }
    }

    /// The map in force is there from now on.
    pub(crate) fn know(&self, hash_seed: u64, maps: Arc<Maps>) {
        *self.known.lock().expect("no holder panics") = Some(Known { hash_seed, maps });
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.lock().expect("no holder panics").clone();
        known.filter(|known| known.maps.version() != MapVersion::default())
    }

    /// How long ago the uplink last answered; None: never in this run.
    pub(crate) fn heard(&self) -> Option<Duration> {
        match self.heard_ms.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Duration::from_millis(self.clock.now_ms().saturating_sub(at))),
        }
    }

    /// From now on the beats say that this worker was told to stop.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.hurry.notify_one();
    }

    /// The uplink has answered with the version it is at.
    fn note(&self, version: MapVersion) {
        self.heard_ms.store(self.clock.now_ms(), Ordering::Relaxed);
        if let Some(known) = self.known() {
            known.maps.open(version);
        }
    }

    /// Registers, once. None: the uplink did not answer, or an earlier run still counts as alive; try again.
    pub(crate) async fn try_register(&self) -> Result<Option<Registered>, Expelled> {
        let cluster = self.known().map(|known| known.maps.load().cluster);
        let register = Register { cluster, ..self.register.clone() };
        match self.uplink.register(&register).await {
            Ok(registered) => {
                self.note(registered.version);
                Ok(Some(registered))
            }
            Err(UplinkError::NoAnswer(text)) => {
                log::info!("not registered yet: {text}");
                Ok(None)
            }
            Err(UplinkError::Conflict(problem)) if is_passing(&problem.kind) => {
                log::info!("not registered yet: {}", problem.detail);
                Ok(None)
            }
            Err(UplinkError::Conflict(problem)) if problem.kind == SEND_MAP => {
                self.tell_map().await;
                Ok(None)
            }
            Err(UplinkError::Conflict(problem)) if problem.kind == OTHER_CLUSTER => {
                Err(Expelled::OtherCluster(problem.detail))
            }
            Err(error) => Err(Expelled::Refused(error.to_string())),
        }
    }

    /// Tells an uplink that has lost its map the last one seen here.
    async fn tell_map(&self) {
        let Some(Known { hash_seed, maps }) = self.known() else {
            return log::error!("the uplink asks for a map and this worker has seen none");
        };
        let map = maps.close().await;
        let incarnation = self.register.incarnation;
        let known = KnownMap { incarnation, hash_seed, map: map.map().clone() };
        match self.uplink.tell(&self.register.name, &known).await {
            Ok(_) => log::warn!("the uplink has lost its map and was told {}", map.version),
            Err(error) => log::error!("the uplink was not told map {}: {error}", map.version),
        }
    }

    /// Registers once more. An uplink of another cluster is a mistake somebody can put right, and what is held here is not
    /// thrown away for it.
    async fn registered_again(&self) -> Result<Registered, Expelled> {
        loop {
            match self.registered().await {
                Err(Expelled::OtherCluster(why)) => {
                    log::error!("going on without an uplink: {why}");
                    tokio::time::sleep(RETRY_ELSEWHERE).await;
                }
                done => return done,
            }
        }
    }

    /// Registers, however long that takes.
    pub(crate) async fn registered(&self) -> Result<Registered, Expelled> {
        loop {
            if let Some(registered) = self.try_register().await? {
                return Ok(registered);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Beats until this run may not go on. `every` is None when it is still to register. `vouched` is told of each beat
    /// that was answered when it was sent, lease clock.
    pub(crate) async fn beat(&self, every: Option<Duration>, vouched: impl Fn(u64)) -> Expelled {
        match self.try_beat(every, vouched).await {
            Err(expelled) => expelled,
            Ok(never) => match never {},
        }
    }

    async fn try_beat(
        &self,
        every: Option<Duration>,
        vouched: impl Fn(u64),
    ) -> Result<Infallible, Expelled> {
        let mut lost = every.is_none();
        let mut every = match every {
            Some(every) => every,
            None => Duration::from_millis(self.registered_again().await?.heartbeat_ms),
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.hurry.notified() => {}
            }
            let sent = self.clock.now().lease_ms;
            match self.uplink.heartbeat(&self.register.name, &self.heartbeat(false)).await {
                Ok(beaten) => {
                    self.note(beaten.version);
                    vouched(sent);
                    lost = false;
                }
                Err(UplinkError::NoAnswer(text)) => {
                    if !lost {
                        log::warn!(
                            "the uplink does not answer: {text}; the last map stays in force"
                        );
                    }
                    lost = true;
                }
                Err(UplinkError::Absent(_)) => {
                    every = Duration::from_millis(self.registered_again().await?.heartbeat_ms);
                }
                Err(error) => return Err(Expelled::Refused(error.to_string())),
            }
        }
    }

    fn heartbeat(&self, goodbye: bool) -> Heartbeat {
        let leaving = self.leaving.load(Ordering::Relaxed);
        Heartbeat { incarnation: self.register.incarnation, goodbye, leaving }
    }

    /// The last beat.
    pub(crate) async fn goodbye(&self) {
        let beat = self.heartbeat(true);
        let said = self.uplink.heartbeat(&self.register.name, &beat);
        match tokio::time::timeout(GOODBYE_TIMEOUT, said).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => log::warn!("no goodbye: {error}"),
            Err(_) => log::warn!("no goodbye: the uplink does not answer"),
        }
    }
}

/// Whether a conflict ends by itself: with the lease of an earlier run, or once other workers have told their maps.
fn is_passing(kind: &str) -> bool {
    [NAME_IN_USE, ADDRESS_IN_USE, REBUILDING].contains(&kind)
}
