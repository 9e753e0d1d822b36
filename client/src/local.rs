//! What a router may have at hand: the shards of its own process.

use firn_wire::command::{Step, Wide};
use firn_wire::ids::WorkerId;
use firn_wire::map::MapIndex;
use firn_wire::reply::Reply;

/// The partition is not led here (any more, or yet): nothing was applied and `answer` was not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLed;

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
    ) -> Result<(), NotLed>;

    /// Runs a wide request over those of its partitions that are led here. `answer` is called once, with `Reply::Wide` or
    /// `Reply::Failed`.
    fn wide(&self, map: &MapIndex, wide: &Wide<'_>, answer: &mut dyn FnMut(Reply<'_>));

    /// Unix milliseconds, on a clock that never goes back.
    fn now_ms(&self) -> u64;
}
