//! The shards of this worker behind their locks.
//!
//! Critical sections are short and hold no wait: a step, one partition's part of a page, one item of a batch, one
//! segment's upkeep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firn_client::gate::Gate;
use firn_store::copying::Copying;
use firn_store::hash::KeyHash;
use firn_store::rules::Rules;
use firn_store::shard::{Holdings, Setup};
use firn_store::time::Now;
use firn_store::usage::Usages;
use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::map::{MapIndex, shard_of};

use crate::clock::Clock;
use crate::disk::{Bells, Synced};
use crate::wake::Wakes;

/// How long upkeep waits when there is none to do.
const UPKEEP_PAUSE: Duration = Duration::from_millis(50);

/// A shard; replies and requests wait behind gates.
pub(crate) type Shard = firn_store::shard::Shard<Arc<Gate>>;

/// A worker's shards.
#[derive(Debug)]
pub(crate) struct Shards {
    me: WorkerId,
    clock: Clock,
    shards: Vec<Mutex<Shard>>,
    wakes: Wakes,
    bells: Bells,
    synced: Synced,
    /// The pace of its copying.
    pub(crate) copying: Arc<Copying>,
    stopping: AtomicBool,
}

impl Shards {
    /// `count` empty shards, whose logs may take `log_bytes` together; `durable`: what is in them goes to disk.
    pub(crate) fn new(
        me: WorkerId,
        clock: Clock,
        count: u16,
        hash_seed: u64,
        log_bytes: usize,
        durable: bool,
    ) -> Self {
        let (hashes, usages) = (Arc::new(KeyHash::new(hash_seed)), Arc::new(Usages::default()));
        let copying = Copying::new();
        let setup = |number| Setup {
            me: me.clone(),
            number,
            shards: count,
            hashes: Arc::clone(&hashes),
            usages: Arc::clone(&usages),
            log_bytes_max: log_bytes / usize::from(count),
            copying: Arc::clone(&copying),
            durable,
            rules: Rules::all(),
        };
        let shards = (0..count).map(|number| Mutex::new(Shard::new(setup(number)))).collect();
        let stopping = AtomicBool::new(false);
        let (wakes, bells, synced) = (Wakes::default(), Bells::new(count), Synced::new(count));
        Self { me, clock, shards, wakes, bells, synced, copying, stopping }
    }

    /// Who this worker is.
    pub(crate) fn me(&self) -> &WorkerId {
        &self.me
    }

    /// The clock its shards go by.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Number of shards.
    pub(crate) fn count(&self) -> u16 {
        self.shards.len() as u16
    }

    /// The streams to be roused when a shard has news for their peers.
    pub(crate) fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    /// The threads to be woken when a shard has news for its disk.
    pub(crate) fn bells(&self) -> &Bells {
        &self.bells
    }

    /// How far the disks have come.
    pub(crate) fn synced(&self) -> &Synced {
        &self.synced
    }

    /// Does something to a shard, then tells whoever waited for it.
    ///
    /// The time is read after the lock was taken: a lease that is valid then covers all that is done before the lock is
    /// given back. Read before, it could have ended, and another worker have written, while this one waited for the lock.
    pub(crate) fn turn<T>(&self, number: usize, act: impl FnOnce(&mut Shard, Now) -> T) -> T {
        let mut shard = self.shards[number].lock().expect("a shard does not panic");
        let done = act(&mut shard, self.clock.now());
        let fates = shard.take_fates();
        let wakes = self.wakes.expect(number, |peer| shard.has_news(peer));
        let urgency = shard.disk_urgency();
        drop(shard);
        self.bells.ring(number, urgency);
        Wakes::rouse(&wakes, number);
        fates.into_iter().for_each(|(gate, fate)| gate.open(fate));
        done
    }

    /// A turn at the shard of a partition.
    pub(crate) fn turn_of<T>(
        &self,
        partition: PartitionId,
        act: impl FnOnce(&mut Shard, Now) -> T,
    ) -> T {
        self.turn(shard_of(partition, self.count()), act)
    }

    /// A turn at each shard, one after the other.
    pub(crate) fn each(&self, mut act: impl FnMut(&mut Shard, Now)) {
        (0..self.shards.len()).for_each(|number| self.turn(number, &mut act));
    }

    /// Takes a map, before the router goes by it.
    pub(crate) fn adopt(&self, map: &MapIndex) {
        self.each(|shard, now| shard.adopt(now, map));
    }

    /// What all shards hold.
    pub(crate) fn holdings(&self) -> Holdings {
        let mut sum = Holdings::default();
        self.each(|shard, _| {
            let some = shard.holdings();
            sum.entries += some.entries;
            sum.bytes += some.bytes;
        });
        sum
    }

    /// Removes expired entries and gives discarded memory back, a little at a time, and keeps the clock near the
    /// system's, until [`Shards::stop`]. For a thread of its own.
    pub(crate) fn upkeep(&self) {
        while !self.stopping.load(Ordering::Relaxed) {
            self.clock.follow_system();
            let mut more = false;
            self.each(|shard, now| more |= shard.tidy(now));
            if more {
                std::thread::yield_now();
            } else {
                std::thread::sleep(UPKEEP_PAUSE);
            }
        }
    }

    /// Ends [`Shards::upkeep`].
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
