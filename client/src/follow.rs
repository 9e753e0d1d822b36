//! Following the map: one long poll after the other for as long as the process lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delta::DeltaError;
use crate::maps::Maps;
use crate::uplink::{Uplink, UplinkError};
use firn_wire::ids::MapVersion;

/// How long one poll waits for a change.
pub const POLL: Duration = Duration::from_secs(25);
/// While partitions move there are many versions a second: those of so long are taken as one.
const TOGETHER: Duration = Duration::from_millis(5);
/// The longest pause after a failure; half of it is chance, so that a cluster does not ask in step.
const PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Keeps `maps` up to date for ever. With the uplink gone the last map stays.
pub async fn follow(maps: Arc<Maps>, uplink: Arc<Uplink>) {
    let mut failures = 0;
    let mut base = maps.version();
    loop {
        let asked = Instant::now();
        match poll(&maps, &uplink, base).await {
            Ok(true) => {
                if failures > 0 {
                    log::info!("the uplink answers again; the map is {}", maps.version());
                }
                failures = 0;
                base = maps.version();
                tokio::time::sleep(TOGETHER.saturating_sub(asked.elapsed())).await;
            }
            // It answered at once that there is nothing: it does not wait, so we do.
            Ok(false) => {
                failures = 0;
                base = maps.version();
                tokio::time::sleep(PAUSE_MAX.saturating_sub(asked.elapsed())).await;
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    log::warn!("no newer map: {error}; {} stays in force", maps.version());
                }
                // A change that does not fit the map here: the whole one does, or says why not.
                base = if error.wants_all { MapVersion::default() } else { maps.version() };
                tokio::time::sleep(pause(failures, random())).await;
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct PollError {
    text: String,
    wants_all: bool,
}

impl From<UplinkError> for PollError {
    fn from(error: UplinkError) -> Self {
        Self { text: error.to_string(), wants_all: false }
    }
}

impl From<DeltaError> for PollError {
    fn from(error: DeltaError) -> Self {
        Self { text: error.to_string(), wants_all: true }
    }
}

/// Whether something came.
async fn poll(maps: &Maps, uplink: &Uplink, base: MapVersion) -> Result<bool, PollError> {
    let Some(delta) = uplink.map(base, POLL).await? else { return Ok(false) };
    let before = maps.version();
    maps.take(delta).await?;
    Ok(maps.version() > before)
}

/// How long to wait after so many failures in a row; `chance` is any number.
pub fn pause(failures: u32, chance: u32) -> Duration {
    let whole = PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    whole / 2 + (whole / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

/// Any number; 0 where the system has none to give.
pub fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        for failures in 1..40 {
            let (least, most) = (pause(failures, 0), pause(failures, u32::MAX));
            assert!(least >= PAUSE_MIN && least < most && most <= PAUSE_MAX, "{failures}");
        }
        assert!(pause(1, 0) < pause(5, 0));
    }
}
