//! Asking the uplink for a newer map at once, because a request needs to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::maps::Maps;
use crate::uplink::{Uplink, UplinkError};

/// After a failure nobody asks again for this long: what is not known is decided by the map in force.
const QUIET_AFTER_FAILURE: Duration = Duration::from_millis(250);

/// A storm of requests that all need a newer map becomes one question: each is content with any that was begun after it
/// came.
pub(crate) struct Refresh {
    uplink: Option<Arc<Uplink>>,
    begun: AtomicU64,
    /// Held by who asks; when asking last failed, and why.
    asking: Mutex<Option<(Instant, UplinkError)>>,
}

impl Refresh {
    pub(crate) fn new(uplink: Option<Arc<Uplink>>) -> Self {
        Self { uplink, begun: AtomicU64::new(0), asking: Mutex::new(None) }
    }

    /// The uplink; an error when this process has none.
    pub(crate) fn uplink(&self) -> Result<&Arc<Uplink>, UplinkError> {
        let missing = || UplinkError::NoAnswer("this process was given none".to_owned());
        self.uplink.as_ref().ok_or_else(missing)
    }

    /// Returns when `maps` has every change that was made before the call.
    pub(crate) async fn refresh(&self, maps: &Maps) -> Result<(), UplinkError> {
        let uplink = self.uplink()?;
        let came = self.begun.load(Ordering::Acquire);
        let mut failed = self.asking.lock().await;
        if self.begun.load(Ordering::Acquire) > came {
            return failed.as_ref().map_or(Ok(()), |(_, error)| Err(error.clone()));
        }
        if let Some((at, error)) = &*failed
            && at.elapsed() < QUIET_AFTER_FAILURE
        {
            return Err(error.clone());
        }
        self.begun.fetch_add(1, Ordering::AcqRel);
        let asked = fetch(maps, uplink).await;
        *failed = asked.as_ref().err().map(|error| (Instant::now(), error.clone()));
        asked
    }
}

async fn fetch(maps: &Maps, uplink: &Uplink) -> Result<(), UplinkError> {
    let Some(delta) = uplink.map(maps.version(), Duration::ZERO).await? else { return Ok(()) };
    let unfit = |error: crate::delta::DeltaError| UplinkError::NoAnswer(error.to_string());
    maps.take(delta).await.map_err(unfit)
}
