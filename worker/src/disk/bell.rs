//! How a shard's news gets its disk's thread going.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use firn_store::disk::Urgency;

/// A bell for each shard.
#[derive(Debug)]
pub(crate) struct Bells {
    rung: Vec<AtomicU8>,
    threads: OnceLock<Vec<Thread>>,
    closed: AtomicBool,
}

impl Bells {
    /// For so many shards.
    pub(crate) fn new(shards: u16) -> Self {
        let rung = (0..shards).map(|_| AtomicU8::new(0)).collect();
        Self { rung, threads: OnceLock::new(), closed: AtomicBool::new(false) }
    }

    /// These are the threads to be woken.
    pub(super) fn hang(&self, threads: Vec<Thread>) {
        let all = self.threads.get_or_init(|| threads);
        all.iter().for_each(Thread::unpark);
    }

    /// A shard has news. To be called after its lock was given back.
    pub(crate) fn ring(&self, shard: usize, urgency: Urgency) {
        let urgency = urgency as u8;
        if self.rung[shard].load(Ordering::Acquire) < urgency
            && self.rung[shard].fetch_max(urgency, Ordering::AcqRel) < urgency
        {
            self.wake(shard);
        }
    }

    fn wake(&self, shard: usize) {
        if let Some(threads) = self.threads.get() {
            threads[shard].unpark();
        }
    }

    /// It is heard: only what rings from now on counts.
    pub(super) fn hear(&self, shard: usize) {
        self.rung[shard].store(0, Ordering::Release);
    }

    /// Waits until it rings as loud as this, or for so long.
    pub(super) fn wait(&self, shard: usize, urgency: Urgency, patience: Duration) {
        let until = Instant::now() + patience;
        while self.rung[shard].load(Ordering::Acquire) < urgency as u8 && !self.is_closed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    /// No news will come any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        (0..self.rung.len()).for_each(|shard| self.wake(shard));
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
