//! The clocks of a worker.
//!
//! Leases go by CLOCK_BOOTTIME, which counts on while the machine sleeps and is never set. Deadlines and records go by Unix
//! milliseconds: the system's time at the start plus CLOCK_BOOTTIME since, drawn slowly towards the system's time.
//!
//! Invariant: Unix milliseconds never go back, whatever is done to the system's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firn_store::time::Now;
use rustix::time::{ClockId, clock_gettime};

/// The clock is drawn by at most one part in so many of the time that passes: 1 %.
const SLEW_PARTS: u64 = 100;
/// A longer pause between two looks counts as this much, so that the clock never stands still for long.
const SLEW_PAUSE_MAX: Duration = Duration::from_secs(1);
const NANOS_PER_MS: u64 = 1_000_000;

/// The clocks, read together. Clones are the same clock.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    started: Instant,
    hand: Arc<Hand>,
}

/// How Unix time follows from the time since boot.
#[derive(Debug)]
struct Hand {
    /// Unix time less the time since boot, nanoseconds.
    offset: AtomicI64,
    /// The latest Unix milliseconds shown: the offset may shrink between two reads.
    shown: AtomicU64,
    /// When the offset was last looked at, nanoseconds since boot.
    looked: AtomicU64,
}

/// Nanoseconds of a clock; 0 before its epoch.
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl Clock {
    /// Starts from the system's time.
    pub(crate) fn start() -> Self {
        let boot = nanos(ClockId::Boottime);
        let hand = Hand {
            offset: AtomicI64::new(nanos(ClockId::Realtime) as i64 - boot as i64),
            shown: AtomicU64::new(0),
            looked: AtomicU64::new(boot),
        };
        Self { started: Instant::now(), hand: Arc::new(hand) }
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        let boot = nanos(ClockId::Boottime);
        Now { lease_ms: boot / NANOS_PER_MS, unix_ms: self.hand.show(boot) }
    }

    /// Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now().unix_ms
    }

    /// Draws Unix time towards the system's. For one thread, which calls it again and again.
    pub(crate) fn follow_system(&self) {
        self.hand.follow(nanos(ClockId::Boottime), nanos(ClockId::Realtime));
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }
}

impl Hand {
    /// Unix milliseconds at a time since boot.
    fn show(&self, boot: u64) -> u64 {
        let unix = boot.saturating_add_signed(self.offset.load(Ordering::Relaxed)) / NANOS_PER_MS;
        let shown = self.shown.load(Ordering::Relaxed);
        if unix > shown {
            // Once a millisecond, not at each read: the line is shared by all threads.
            self.shown.fetch_max(unix, Ordering::Relaxed).max(unix)
        } else {
            shown
        }
    }

    /// Moves the offset towards what the system's clock says now.
    fn follow(&self, boot: u64, system: u64) {
        let passed = boot.saturating_sub(self.looked.swap(boot, Ordering::Relaxed));
        let most = passed.min(SLEW_PAUSE_MAX.as_nanos() as u64) / SLEW_PARTS;
        let offset = self.offset.load(Ordering::Relaxed);
        let wanted = system as i64 - boot as i64;
        let step = (wanted - offset).clamp(-(most as i64), most as i64);
        self.offset.store(offset + step, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn hand(boot: u64, system: u64) -> Hand {
        Hand {
            offset: AtomicI64::new(system as i64 - boot as i64),
            shown: AtomicU64::new(0),
            looked: AtomicU64::new(boot),
        }
    }

    /// Looks every 50 ms of `passed` at a system's clock that is `ahead` of the hand's start, and gives how far the hand
    /// has been drawn, in milliseconds.
    fn drawn(passed: u64, ahead: i64) -> i64 {
        let (start, unix) = (7 * SECOND, 1_700_000_000 * SECOND);
        let hand = hand(start, unix);
        let mut last = hand.show(start);
        for at in (start..=start + passed).step_by(50_000_000) {
            hand.follow(at, (unix + at - start).saturating_add_signed(ahead));
            let shown = hand.show(at);
            assert!(shown >= last, "{shown} after {last}");
            last = shown;
        }
        last as i64 - ((unix + passed) / NANOS_PER_MS) as i64
    }

    #[test]
    fn the_systems_clock_is_followed_by_one_part_in_a_hundred() {
        let hour = 3_600 * SECOND as i64;
        assert_eq!(drawn(10 * SECOND, 0), 0);
        assert_eq!(drawn(10 * SECOND, hour), 100);
        assert_eq!(drawn(10 * SECOND, -hour), -100);
        assert_eq!(drawn(10 * SECOND, 30_000_000), 30, "and no further than it is");
    }

    #[test]
    fn a_long_pause_draws_no_more_than_a_second_does() {
        let (start, unix) = (7 * SECOND, 1_700_000_000 * SECOND);
        let hand = hand(start, unix);
        let before = hand.show(start + 60 * SECOND);
        hand.follow(start + 60 * SECOND, unix);
        assert_eq!(hand.show(start + 60 * SECOND), before, "it stands");
        assert_eq!(hand.show(start + 60 * SECOND + 10_000_000), before, "for ten milliseconds");
        assert_eq!(hand.show(start + 60 * SECOND + 11_000_000), before + 1, "and goes on");
    }

    #[test]
    fn both_clocks_go_on() {
        let clock = Clock::start();
        let first = clock.now();
        while clock.now().lease_ms <= first.lease_ms + 2 {
            clock.follow_system();
        }
        assert!(clock.now().unix_ms > first.unix_ms);
    }
}
