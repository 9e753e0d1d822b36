//! How much a worker copies at once: shared by its shards.
//!
//! Copying takes what requests leave. Its pace follows how long copies take to acknowledge, as LEDBAT's does (RFC 6817):
//! a client's write waits for the same acknowledgements. Above the least time ever seen lately [`TARGET_US`] is allowed;
//! below, the pace grows, above it shrinks, between a share of COPY_RATE and all of it. COPY_RATE 0 has no pace.

use std::sync::{Arc, Mutex, MutexGuard};

/// Partitions a worker copies to others at once.
pub const COPIES_AT_ONCE_MAX: usize = 2;
/// What may be copied at once after a quiet time, in microseconds of the pace.
const BURST_US: u64 = 10_000;
/// How much longer than the least an acknowledgement may take on average, in microseconds.
const TARGET_US: f64 = 250.0;
/// How often the pace changes, in milliseconds.
const CHANGE_EVERY_MS: u64 = 100;
/// The most it changes by at once.
const GAIN: f64 = 0.25;
/// The slowest pace and that at which copying begins where there are requests, as shares of COPY_RATE.
const SLOWEST: f64 = 1.0 / 32.0;
const FIRST: f64 = 1.0 / 8.0;
/// How long the least time is remembered, in milliseconds: up to twice that.
const BASE_MS: u64 = 60_000;

/// The places and the pace of a worker's copying.
#[derive(Debug, Default)]
pub struct Copying(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    busy: usize,
    /// Bytes a second; 0: as fast as it goes.
    rate: u64,
    /// The share of it that is taken now.
    share: f64,
    /// The moment up to which bytes have been paid for, in microseconds of the lease clock.
    paid_us: u64,
    delays: Delays,
}

/// How long acknowledgements took, in microseconds.
#[derive(Debug)]
struct Delays {
    /// Since the pace last changed.
    since_ms: u64,
    sum: u64,
    count: u64,
    /// The least of this time and of the time before.
    base: [u64; 2],
    base_since_ms: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { since_ms: 0, sum: 0, count: 0, base: [u64::MAX; 2], base_since_ms: 0 }
    }
}

impl Delays {
    fn note(&mut self, now_ms: u64, micros: u64) {
        if now_ms >= self.base_since_ms + BASE_MS {
            (self.base, self.base_since_ms) = ([u64::MAX, self.base[0]], now_ms);
        }
        self.base[0] = self.base[0].min(micros);
        self.sum += micros;
        self.count += 1;
    }

    /// How far the mean is below the target, 1 to -1, once it is time to look; it begins anew then.
    fn off_target(&mut self, now_ms: u64) -> Option<f64> {
        if now_ms < self.since_ms + CHANGE_EVERY_MS || self.count == 0 {
            return None;
        }
        let mean = self.sum as f64 / self.count as f64;
        let queued = mean - self.base[0].min(self.base[1]) as f64;
        (self.since_ms, self.sum, self.count) = (now_ms, 0, 0);
        Some(((TARGET_US - queued) / TARGET_US).max(-1.0))
    }
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Copying>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
    }
}

impl Copying {
    /// Nothing is being copied.
    pub fn new() -> Arc<Self> {
        let state = State { share: 1.0, ..State::default() };
        Arc::new(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    pub(crate) fn set_rate(&self, bytes_per_second: u64) {
        self.state().rate = bytes_per_second;
    }

    /// A place, if one is free.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.state();
        if state.busy == COPIES_AT_ONCE_MAX {
            return None;
        }
        state.busy += 1;
        Some(Slot(Arc::clone(self)))
    }

    /// Whether something is being copied: then its pace goes on only if it is looked at every few milliseconds.
    pub fn is_busy(&self) -> bool {
        self.state().busy > 0
    }

    /// Whether something may be copied now.
    pub(crate) fn may_copy(&self, lease_ms: u64) -> bool {
        let state = self.state();
        state.rate == 0 || state.paid_us <= lease_ms * 1_000
    }

    /// Counts what was copied.
    pub(crate) fn copied(&self, lease_ms: u64, bytes: usize) {
        let mut state = self.state();
        if state.rate == 0 {
            return;
        }
        let pace = (state.rate as f64 * state.share).max(1.0);
        let price_us = (bytes as f64 * 1e6 / pace) as u64;
        let oldest = (lease_ms * 1_000).saturating_sub(BURST_US);
        state.paid_us = state.paid_us.max(oldest) + price_us;
    }

    /// A copy has acknowledged something so long after it was sent.
    pub fn acknowledged(&self, lease_ms: u64, micros: u64) {
        let mut state = self.state();
        state.delays.note(lease_ms, micros);
        let Some(off_target) = state.delays.off_target(lease_ms) else { return };
        state.share = match state.busy {
            0 => FIRST,
            _ => (state.share * (1.0 + GAIN * off_target)).clamp(SLOWEST, 1.0),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let copying = Copying::new();
        let first = copying.begin().unwrap();
        let second = copying.begin();
        assert!(second.is_some() && copying.begin().is_none());
        drop(first);
        assert!(copying.begin().is_some());
    }

    /// Copies for so long while every acknowledgement takes so many microseconds more than the first.
    fn copied_in(copying: &Arc<Copying>, times: std::ops::Range<u64>, queued: u64) -> u64 {
        let mut copied = 0;
        for now in times {
            copying.acknowledged(now, 300 + queued);
            while copying.may_copy(now) {
                copying.copied(now, 10_000);
                copied += 10_000;
            }
        }
        copied
    }

    #[test]
    fn the_pace_is_that_of_the_rate_while_copies_are_quick_and_a_share_of_it_while_they_are_not() {
        let copying = Copying::new();
        copying.set_rate(1_000_000);
        copying.acknowledged(4_000, 300);
        let _slot = copying.begin();
        let slow_start = copied_in(&copying, 5_000..5_500, 0);
        assert!(slow_start < 250_000, "{slow_start}");
        copied_in(&copying, 5_500..8_000, 0);
        let quick = copied_in(&copying, 8_000..18_000, 0);
        assert!((9_800_000..10_200_000).contains(&quick), "{quick} bytes in ten seconds");
        copied_in(&copying, 18_000..22_000, 3_000);
        let slow = copied_in(&copying, 22_000..32_000, 3_000);
        assert!((290_000..350_000).contains(&slow), "{slow} bytes in ten seconds");
        copied_in(&copying, 32_000..36_000, 0);
        let again = copied_in(&copying, 36_000..46_000, 0);
        assert!((9_800_000..10_200_000).contains(&again), "{again} bytes in ten seconds");
        copying.set_rate(0);
        assert!(copying.may_copy(0));
    }

    #[test]
    fn a_distance_that_never_shrinks_is_not_held_against_copies() {
        let copying = Copying::new();
        copying.set_rate(1_000_000);
        let _slot = copying.begin();
        copied_in(&copying, 0..3_000, 50_000);
        let far = copied_in(&copying, 3_000..13_000, 50_000);
        assert!((9_800_000..10_200_000).contains(&far), "{far} bytes in ten seconds");
    }
}
