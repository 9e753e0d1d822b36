//! Unix milliseconds that never go back, whatever is done to the system's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock read from the system once, then advanced by its monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// Starts from the system's time.
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: since_epoch.as_millis() as u64 }
    }

    /// Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }
}
