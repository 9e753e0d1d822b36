//! What a router may have at hand: the shards of its own process.

use std::sync::Arc;

use firn_wire::command::{Step, Wide};
use firn_wire::ids::WorkerId;
use firn_wire::map::MapIndex;
use firn_wire::reply::{Part, Reply, encode};

use crate::gate::{Gate, Held};

/// What came of a step.
#[derive(Debug)]
pub enum Stepped {
    /// `answer` has been called, once per operation.
    Answered,
    /// `answer` was not called: the reply of the whole step (as [`crate::run_step`] gives it) may be shown later.
    Held(Held),
}

/// Nothing was applied and `answer` was not called.
#[derive(Debug)]
pub enum NotNow {
    /// The partition is not led here (any more, or yet).
    NotLed,
    /// It is led here and cannot be served for a moment: ask again when the gate opens, whatever it says.
    Wait(Arc<Gate>),
}

/// The shards of this process. A proxy has none: [`Nothing`].
pub trait Local: Send + Sync + 'static {
    /// Who this process is in the map's rows; None leads nothing.
    fn me(&self) -> Option<&WorkerId>;

    /// Runs a step of a partition led here. `answer` is called once per operation, in order, while the shard is locked:
    /// it encodes and never waits. A guard that does not hold: each reply is `Aborted`. The map's tables give the policies.
    fn step(
        &self,
        map: &MapIndex,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Result<Stepped, NotNow>;

    /// Runs a wide request over those of its partitions that are led and can be served here. `answer` is called once, with
    /// `Reply::Wide` or `Reply::Failed`, unless the reply is held: then it is not called.
    fn wide(
        &self,
        map: &MapIndex,
        wide: &Wide<'_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held>;

    /// Unix milliseconds, on a clock that never goes back.
    fn now_ms(&self) -> u64;
}

impl<L: Local> Local for Arc<L> {
    fn me(&self) -> Option<&WorkerId> {
        (**self).me()
    }

    fn step(
        &self,
        map: &MapIndex,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Result<Stepped, NotNow> {
        (**self).step(map, step, answer)
    }

    fn wide(
        &self,
        map: &MapIndex,
        wide: &Wide<'_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held> {
        (**self).wide(map, wide, answer)
    }

    fn now_ms(&self) -> u64 {
        (**self).now_ms()
    }
}

/// The shards of a process that has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Local for Nothing {
    fn me(&self) -> Option<&WorkerId> {
        None
    }

    fn step(
        &self,
        _: &MapIndex,
        _: &Step<'_, '_>,
        _: &mut dyn FnMut(Reply<'_>),
    ) -> Result<Stepped, NotNow> {
        Err(NotNow::NotLed)
    }

    fn wide(
        &self,
        _: &MapIndex,
        wide: &Wide<'_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held> {
        let mut nothing = Vec::new();
        encode(&Reply::Nil, &mut nothing);
        answer(Reply::Wide { refused: wide.partitions.clone(), reply: Part::new(&nothing) });
        None
    }

    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}
