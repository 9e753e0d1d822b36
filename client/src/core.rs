//! What submissions and tickets share: the ways to a partition.

use std::sync::Arc;

use firn_wire::command::Step;
use firn_wire::exchange::Role;
use firn_wire::ids::WorkerId;
use firn_wire::map::{MapIndex, PartitionRow};
use firn_wire::message::Head;
use firn_wire::reply::ReplyBuf;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::gate::Held;
use crate::links::Links;
use crate::local::{Local, NotNow, Stepped};
use crate::maps::Maps;
use crate::parts::Parts;
use crate::refresh::Refresh;

/// The parts of a router.
pub(crate) struct Core<L> {
    pub(crate) local: L,
    pub(crate) maps: Arc<Maps>,
    pub(crate) links: Links,
    pub(crate) refresh: Refresh,
}

/// For whom something is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    /// The session, whose requests keep their order.
    pub(crate) stream: u64,
    /// See [`firn_wire::exchange::Session::lane`].
    pub(crate) lane: usize,
    pub(crate) role: Role,
    pub(crate) deadline: Instant,
}

impl Asker {
    /// What stands before its asks. `alone`: see [`Head::alone`].
    pub(crate) fn head(&self, map: &MapIndex, alone: bool) -> Head {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let remaining_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        Head { role: self.role, remaining_ms, stream: self.stream, alone, map: map.version }
    }
}

/// Where a partition is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way<'v> {
    /// In this process.
    Here,
    /// By a peer.
    To(&'v WorkerId),
    /// By nobody yet.
    Nowhere,
}

impl<L: Local> Core<L> {
    /// Where a partition's row sends requests.
    pub(crate) fn way<'v>(&self, row: &'v PartitionRow) -> Way<'v> {
        match &row.primary {
            None => Way::Nowhere,
            Some(primary) if self.local.me() == Some(primary) => Way::Here,
            Some(primary) => Way::To(primary),
        }
    }

    /// Waits for another map or row, or a moment that grows with `tries`; false when the deadline has passed.
    pub(crate) async fn pause(
        &self,
        changes: &mut watch::Receiver<u64>,
        tries: u32,
        deadline: Instant,
    ) -> bool {
        let moment = std::time::Duration::from_millis(5 << tries.min(5));
        tokio::select! {
            changed = changes.changed() => changed.expect("the map outlives its watchers"),
            () = tokio::time::sleep(moment) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        Instant::now() < deadline
    }
}

/// A reply, or one that is to be shown later.
#[derive(Debug)]
pub enum Ran {
    /// It may be shown.
    Reply(ReplyBuf),
    /// Not yet.
    Held(Held),
}

/// Runs a step of a partition led here. Its reply is that of its operation when it has one, else `Many` or `Aborted`.
pub fn run_step<L: Local + ?Sized>(
    local: &L,
    map: &MapIndex,
    step: &Step<'_, '_>,
) -> Result<Ran, NotNow> {
    if let [_] = step.ops {
        let mut only = None;
        return match local.step(map, step, &mut |reply| only = Some(ReplyBuf::new(&reply)))? {
            Stepped::Answered => Ok(Ran::Reply(only.expect("an operation has a reply"))),
            Stepped::Held(held) => Ok(Ran::Held(held)),
        };
    }
    let (mut parts, mut place) = (Parts::new(step.ops.len(), true), 0);
    let stepped = local.step(map, step, &mut |reply| {
        parts.put(place, &reply);
        place += 1;
    })?;
    if let Stepped::Held(held) = stepped {
        return Ok(Ran::Held(held));
    }
    assert_eq!(place, step.ops.len(), "each operation has a reply");
    Ok(Ran::Reply(parts.reply(place)))
}
