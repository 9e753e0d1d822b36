//! How much a worker copies at once: shared by its shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Partitions a worker copies to others at once.
pub const COPIES_AT_ONCE_MAX: usize = 2;
/// What may be copied at once after a quiet time, as a share of a second.
const BURST_PER_SECOND: u64 = 20;

/// The places and the rate of a worker's copying.
#[derive(Debug, Default)]
pub struct Copying {
    busy: AtomicUsize,
    /// Bytes a second; 0: as fast as it goes.
    rate: AtomicU64,
    /// The moment, in milliseconds of the lease clock times the rate, up to which bytes have been paid for.
    paid: AtomicU64,
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Copying>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Copying {
    /// Nothing is being copied.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// A place, if one is free.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Slot> {
        let taken = self.busy.fetch_update(Ordering::AcqRel, Ordering::Acquire, |busy| {
            (busy < COPIES_AT_ONCE_MAX).then_some(busy + 1)
        });
        taken.ok().map(|_| Slot(Arc::clone(self)))
    }

    /// Whether something may be copied now.
    pub(crate) fn may_copy(&self, lease_ms: u64) -> bool {
        let rate = self.rate.load(Ordering::Relaxed);
        rate == 0 || self.paid.load(Ordering::Relaxed) <= lease_ms.saturating_mul(rate)
    }

    /// Counts what was copied.
    pub(crate) fn copied(&self, lease_ms: u64, bytes: usize) {
        let rate = self.rate.load(Ordering::Relaxed);
        let now = lease_ms.saturating_mul(rate);
        let oldest = now.saturating_sub(rate * 1_000 / BURST_PER_SECOND);
        let price = bytes as u64 * 1_000;
        let paid = |paid: u64| Some(paid.max(oldest).saturating_add(price));
        let updated = self.paid.fetch_update(Ordering::AcqRel, Ordering::Acquire, paid);
        updated.expect("the update is never refused");
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

    #[test]
    fn the_rate_is_kept_over_time() {
        let copying = Copying::new();
        copying.set_rate(1_000_000);
        let mut copied = 0;
        for now in 5_000..15_000 {
            while copying.may_copy(now) {
                copying.copied(now, 10_000);
                copied += 10_000;
            }
        }
        assert!((9_900_000..10_200_000).contains(&copied), "{copied} bytes in ten seconds");
        copying.set_rate(0);
        assert!(copying.may_copy(0));
    }
}
