//! How much a worker copies at once: shared by its shards.
//!
//! Copying takes what requests leave. Its pace follows how long copies take to acknowledge records, which a client's write
//! waits for too, as LEDBAT's does (RFC 6817); but what is looked at is the slow ones, since it is those that copying makes
//! more of. In quiet times one of twenty takes longer than a time that is learnt then (Robbins and Monro, 1951). While
//! fewer than [`SLOW_MAX`] do, the pace grows, else it shrinks, between a share of COPY_RATE and all of it. COPY_RATE 0 has
//! no pace.
//!
//! Times are quiet while no partition of the cluster moves. That this worker copies nothing at the moment is not enough:
//! others may, and what was learnt then would be held to be as good as it gets.

use std::sync::{Arc, Mutex, MutexGuard};

/// Partitions a worker copies to others at once.
pub const COPIES_AT_ONCE_MAX: usize = 2;
/// What may be copied at once after a quiet time, in microseconds of the pace.
const BURST_US: u64 = 10_000;
/// The share of acknowledgements that take long in quiet times, and that which may while something is copied.
const SLOW_QUIET: f64 = 0.05;
const SLOW_MAX: f64 = 0.07;
/// How far one acknowledgement in quiet times moves what counts as long, as a share of it.
const LEARN: f64 = 0.01;
/// Acknowledgements from which is learnt even in times that are not quiet: somebody who has just come knows nothing.
const LEARN_FIRST: u32 = 1_000;
/// How often the pace changes, in milliseconds.
const CHANGE_EVERY_MS: u64 = 100;
/// The most it changes by at once.
const GAIN: f64 = 0.25;
/// How often what moves is looked at, in milliseconds: so many changes are proposed as one, and the map has fewer versions.
/// The second where clients write and copying has a pace.
const LOOK_EVERY_MS: u64 = 100;
const LOOK_SELDOM_MS: u64 = 500;
/// The slowest pace and that at which copying begins where there are requests, as shares of COPY_RATE.
const SLOWEST: f64 = 1.0 / 32.0;
const FIRST: f64 = 1.0 / 8.0;

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
    /// Whether a partition of the cluster moves.
    moves: bool,
    /// The moment up to which bytes have been paid for, in microseconds of the lease clock.
    paid_us: u64,
    delays: Delays,
}

/// How long acknowledgements take.
#[derive(Debug, Default)]
struct Delays {
    /// What counts as long, in microseconds; 0: not known yet.
    long: f64,
    /// From how many acknowledgements it was learnt, to [`LEARN_FIRST`].
    learnt: u32,
    /// Since the pace last changed.
    since_ms: u64,
    slow: u32,
    count: u32,
}

impl Delays {
    fn note(&mut self, micros: u64, is_quiet: bool) {
        let micros = micros as f64;
        if self.long == 0.0 {
            self.long = micros;
        }
        let is_slow = micros > self.long;
        self.slow += u32::from(is_slow);
        self.count += 1;
        if is_quiet || self.learnt < LEARN_FIRST {
            self.learnt = self.learnt.saturating_add(1);
            self.long *= 1.0 + LEARN * (f64::from(u8::from(is_slow)) - SLOW_QUIET);
        }
    }

    /// How far the share of slow ones is below what it may be, 1 to -1, once it is time to look; it begins anew then. Where
    /// nobody writes, nobody waits.
    fn off_target(&mut self, now_ms: u64) -> Option<f64> {
        if now_ms < self.since_ms + CHANGE_EVERY_MS {
            return None;
        }
        let slow = f64::from(self.slow) / f64::from(self.count.max(1));
        (self.since_ms, self.slow, self.count) = (now_ms, 0, 0);
        Some(((SLOW_MAX - slow) / SLOW_MAX).max(-1.0))
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

    /// Whether a partition of the cluster moves, by the newest map.
    pub(crate) fn set_moves(&self, moves: bool) {
        self.state().moves = moves;
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

    /// How often what moves is to be looked at, in milliseconds. Every look may make a version of the map, which all workers
    /// take at once: so there are fewer where somebody waits for them.
    pub(crate) fn look_every_ms(&self) -> u64 {
        let state = self.state();
        let is_paced = state.rate > 0 && state.delays.long > 0.0;
        if is_paced { LOOK_SELDOM_MS } else { LOOK_EVERY_MS }
    }

    /// Whether something may be copied now.
    pub(crate) fn may_copy(&self, lease_ms: u64) -> bool {
        let mut state = self.state();
        state.change_pace(lease_ms); // where no client writes, nothing is acknowledged
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

    /// A copy has acknowledged records so long after they were sent.
    pub fn acknowledged(&self, lease_ms: u64, micros: u64) {
        let mut state = self.state();
        let is_quiet = !state.moves;
        state.delays.note(micros, is_quiet);
        state.change_pace(lease_ms);
    }
}

impl State {
    fn change_pace(&mut self, lease_ms: u64) {
        let Some(off_target) = self.delays.off_target(lease_ms) else { return };
        self.share = match self.moves {
            false => FIRST,
            true => (self.share * (1.0 + GAIN * off_target)).clamp(SLOWEST, 1.0),
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

    /// Copies for so long while of twenty acknowledgements in a millisecond so many are slow.
    fn copied_in(copying: &Arc<Copying>, times: std::ops::Range<u64>, slow: u64) -> u64 {
        let mut copied = 0;
        for now in times {
            (0..20).for_each(|n| copying.acknowledged(now, if n < slow { 3_000 } else { 300 }));
            while copying.may_copy(now) {
                copying.copied(now, 10_000);
                copied += 10_000;
            }
        }
        copied
    }

    #[test]
    fn what_moves_is_looked_at_seldom_while_requests_would_wait() {
        let copying = Copying::new();
        assert_eq!(copying.look_every_ms(), LOOK_EVERY_MS, "nothing is known of requests");
        quiet(&copying);
        assert_eq!(copying.look_every_ms(), LOOK_SELDOM_MS);
        copying.set_rate(0);
        assert_eq!(copying.look_every_ms(), LOOK_EVERY_MS, "it has no pace");
    }

    fn quiet(copying: &Arc<Copying>) {
        copying.set_rate(1_000_000);
        for now in 0..5_000 {
            (0..20).for_each(|n| copying.acknowledged(now, 200 + 10 * n));
        }
    }

    #[test]
    fn the_pace_is_that_of_the_rate_while_copies_are_quick_and_a_share_of_it_while_they_are_not() {
        let copying = Copying::new();
        quiet(&copying);
        copying.set_moves(true);
        let slow_start = copied_in(&copying, 5_000..5_500, 0);
        assert!(slow_start < 250_000, "{slow_start}");
        copied_in(&copying, 5_500..8_000, 0);
        let quick = copied_in(&copying, 8_000..18_000, 0);
        assert!((9_800_000..10_200_000).contains(&quick), "{quick} bytes in ten seconds");
        copied_in(&copying, 18_000..22_000, 4);
        let slow = copied_in(&copying, 22_000..32_000, 4);
        assert!((290_000..350_000).contains(&slow), "{slow} bytes in ten seconds");
        copied_in(&copying, 32_000..40_000, 1);
        let again = copied_in(&copying, 40_000..50_000, 1);
        assert!((9_800_000..10_200_000).contains(&again), "as many slow ones as ever: {again}");
        copying.set_rate(0);
        assert!(copying.may_copy(0));
    }

    #[test]
    fn what_is_seen_while_others_copy_is_not_learnt_nor_forgotten_between_two_partitions() {
        let copying = Copying::new();
        quiet(&copying);
        copying.set_moves(true);
        (5_000..9_000).for_each(|now| (0..20).for_each(|_| copying.acknowledged(now, 3_000)));
        let share_of_rate = copied_in(&copying, 9_000..10_000, 4);
        assert!(share_of_rate < 50_000, "{share_of_rate} bytes in a second, at the slowest pace");
        copying.set_moves(false);
        assert!(copying.state().delays.long < 500.0, "as it was learnt before");
    }

    #[test]
    fn who_has_just_come_learns_while_others_copy() {
        let copying = Copying::new();
        copying.set_rate(1_000_000);
        copying.set_moves(true);
        copying.acknowledged(0, 10);
        (0..4_000).for_each(|now| (0..20).for_each(|_| copying.acknowledged(now, 300)));
        assert!(copying.state().delays.long > 290.0, "not what happened to come first");
    }

    #[test]
    fn where_nobody_writes_it_is_as_quick_as_the_rate() {
        let copying = Copying::new();
        copying.set_rate(1_000_000);
        copying.acknowledged(4_000, 300);
        copying.set_moves(true);
        let mut copied = 0;
        for now in 5_000..15_000 {
            while copying.may_copy(now) {
                copying.copied(now, 10_000);
                copied += 10_000;
            }
        }
        assert!((9_000_000..10_200_000).contains(&copied), "{copied} bytes in ten seconds");
    }
}
