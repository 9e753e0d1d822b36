//! This worker's place in the cluster: it registers, beats, takes over what an earlier run of it led, and says goodbye.
//!
//! The uplink may be away at any time, also at the start when a map was kept: then only these things wait.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use firn_client::maps::Maps;
use firn_client::uplink::{Uplink, UplinkError};
use firn_wire::ids::{Epoch, MapVersion, WorkerId};
use firn_wire::map::{MapIndex, PartitionRow};
use firn_wire::registry::{
    ADDRESS_IN_USE, Heartbeat, NAME_IN_USE, Proposal, Register, Registered, Verdict,
};

/// How long to wait before the uplink is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// How long the map may take to show what was applied, before it is asked for again.
const SETTLED_PATIENCE: Duration = Duration::from_secs(2);
/// How long a goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why this run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Expelled {
    /// The uplink refuses this worker for good.
    #[error("the uplink refuses this worker: {0}")]
    Refused(String),
}

/// A worker's dealings with the uplink.
pub(crate) struct Membership {
    uplink: Arc<Uplink>,
    register: Register,
    clock: Clock,
    /// When the uplink last answered, Unix milliseconds; 0: never in this run.
    heard_ms: AtomicU64,
}

impl Membership {
    /// Nothing is sent yet.
    pub(crate) fn new(uplink: Arc<Uplink>, register: Register, clock: Clock) -> Self {
        Self { uplink, register, clock, heard_ms: AtomicU64::new(0) }
    }

    /// How long ago the uplink last answered; None: never in this run.
    pub(crate) fn heard(&self) -> Option<Duration> {
        match self.heard_ms.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Duration::from_millis(self.clock.now_ms().saturating_sub(at))),
        }
    }

    fn me(&self) -> WorkerId {
        let Register { name, incarnation, .. } = &self.register;
        WorkerId { name: name.clone(), incarnation: *incarnation }
    }

    fn note(&self) {
        self.heard_ms.store(self.clock.now_ms(), Ordering::Relaxed);
    }

    /// Registers, once. None: the uplink did not answer, or an earlier run still counts as alive; try again.
    pub(crate) async fn try_register(&self) -> Result<Option<Registered>, Expelled> {
        match self.uplink.register(&self.register).await {
            Ok(registered) => {
                self.note();
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
            Err(error) => Err(Expelled::Refused(error.to_string())),
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

    /// Beats until this run may not go on. `every` is None when it is still to register.
    pub(crate) async fn beat(&self, every: Option<Duration>) -> Expelled {
        match self.try_beat(every).await {
            Err(expelled) => expelled,
            Ok(never) => match never {},
        }
    }

    async fn try_beat(&self, every: Option<Duration>) -> Result<Infallible, Expelled> {
        let mut lost = every.is_none();
        let mut every = match every {
            Some(every) => every,
            None => Duration::from_millis(self.registered().await?.heartbeat_ms),
        };
        loop {
            tokio::time::sleep(every).await;
            match self.uplink.heartbeat(&self.register.name, &self.heartbeat(false)).await {
                Ok(_) => {
                    self.note();
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
                    every = Duration::from_millis(self.registered().await?.heartbeat_ms);
                }
                Err(error) => return Err(Expelled::Refused(error.to_string())),
            }
        }
    }

    fn heartbeat(&self, goodbye: bool) -> Heartbeat {
        Heartbeat { incarnation: self.register.incarnation, goodbye }
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

    /// Takes over, for as long as the process lives, whatever the map says an earlier run of this worker leads: those
    /// partitions have no other copy, so they start again empty.
    pub(crate) async fn take_over(&self, maps: &Maps) {
        let mut changes = maps.changes();
        loop {
            let claims = claims(&self.me(), &maps.load());
            if claims.is_empty() {
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.uplink.propose(&claims).await {
                Ok(verdicts) => {
                    let refused = report(&verdicts);
                    let settled = maps.reaches(newest(&verdicts));
                    let _ = tokio::time::timeout(SETTLED_PATIENCE, settled).await;
                    if refused == 0 {
                        continue;
                    }
                }
                Err(error) => {
                    log::warn!("{} partitions wait for the uplink: {error}", claims.len());
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Whether a conflict ends by itself, with the lease of an earlier run.
fn is_passing(kind: &str) -> bool {
    [NAME_IN_USE, ADDRESS_IN_USE].contains(&kind)
}

/// The map that has every applied claim.
fn newest(verdicts: &[Verdict]) -> MapVersion {
    let applied = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Applied(rev) => Some(*rev),
        Verdict::Refused(_) => None,
    });
    applied.max().unwrap_or_default()
}

/// Says what came of claims; how many were refused.
fn report(verdicts: &[Verdict]) -> usize {
    let refused: Vec<&String> = verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Refused(why) => Some(why),
            Verdict::Applied(_) => None,
        })
        .collect();
    log::info!("took over {} partitions, empty", verdicts.len() - refused.len());
    if let Some(why) = refused.first() {
        log::warn!("{} partitions were not given to this run, as: {why}", refused.len());
    }
    refused.len()
}

/// What an earlier run of `me` leads alone, claimed for this one.
fn claims(me: &WorkerId, map: &MapIndex) -> Vec<Proposal> {
    let was_mine = |row: &&PartitionRow| {
        let earlier = |id: &WorkerId| id.name == me.name && id.incarnation != me.incarnation;
        row.primary.as_ref().is_some_and(earlier) && row.isr.iter().all(earlier)
    };
    map.partitions
        .iter()
        .filter(was_mine)
        .map(|row| Proposal {
            by: me.clone(),
            partition: row.id,
            rev: row.rev,
            epoch: Epoch(row.epoch.0 + 1),
            primary: me.clone(),
            isr: vec![me.clone()],
        })
        .collect()
}
