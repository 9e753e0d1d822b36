//! The shards of this worker behind their locks: what the router has at hand.
//!
//! Critical sections are short and hold no wait: a step, one partition's part of a page, one segment's upkeep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use firn_client::local::{Local, NotLed};
use firn_wire::command::{Cursor, Scan, Step, Wide, WideOp};
use firn_wire::ids::{Epoch, PartitionId, WorkerId};
use firn_wire::map::{MapIndex, shard_of};
use firn_wire::reply::{Part, Reply, encode};

use crate::clock::Clock;
use crate::store::hash::KeyHash;
use crate::store::scan::Page;
use crate::store::shard::{Holdings, Shard};
use crate::store::usage::Usages;

/// How long upkeep waits when there is none to do.
const UPKEEP_PAUSE: Duration = Duration::from_millis(50);

/// A worker's shards.
#[derive(Debug)]
pub(crate) struct Shards {
    me: WorkerId,
    clock: Clock,
    shards: Vec<Mutex<Shard>>,
    stopping: AtomicBool,
}

impl Shards {
    /// `count` empty shards.
    pub(crate) fn new(me: WorkerId, clock: Clock, count: u16, hash_seed: u64) -> Self {
        let (hashes, usages) = (Arc::new(KeyHash::new(hash_seed)), Arc::new(Usages::default()));
        let shard = || Mutex::new(Shard::new(Arc::clone(&hashes), Arc::clone(&usages)));
        let shards = (0..count).map(|_| shard()).collect();
        Self { me, clock, shards, stopping: AtomicBool::new(false) }
    }

    fn of(&self, partition: PartitionId) -> MutexGuard<'_, Shard> {
        let at = shard_of(partition, self.shards.len() as u16);
        self.shards[at].lock().expect("a shard does not panic")
    }

    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().expect("a shard does not panic"))
    }

    /// Takes a map, before the router goes by it.
    pub(crate) fn adopt(&self, map: &MapIndex) {
        let mut led: Vec<HashMap<PartitionId, Epoch>> = vec![HashMap::new(); self.shards.len()];
        for row in map.partitions.iter().filter(|row| row.primary.as_ref() == Some(&self.me)) {
            led[shard_of(row.id, self.shards.len() as u16)].insert(row.id, row.epoch);
        }
        for (mut shard, led) in self.each().zip(&led) {
            shard.adopt(map, led);
        }
    }

    /// What all shards hold.
    pub(crate) fn holdings(&self) -> Holdings {
        self.each().map(|shard| shard.holdings()).fold(Holdings::default(), |sum, some| Holdings {
            entries: sum.entries + some.entries,
            bytes: sum.bytes + some.bytes,
        })
    }

    /// Number of shards.
    pub(crate) fn count(&self) -> u16 {
        self.shards.len() as u16
    }

    /// Removes expired entries and gives discarded memory back, a little at a time, until [`Shards::stop`]. For a thread
    /// of its own.
    pub(crate) fn upkeep(&self) {
        while !self.stopping.load(Ordering::Relaxed) {
            let mut more = false;
            for shard in &self.shards {
                let now = self.clock.now_ms();
                more |= shard.lock().expect("a shard does not panic").tidy(now);
            }
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

    /// Adds up a number over the led ones of some partitions.
    fn sum(
        &self,
        wide: &Wide<'_>,
        each: impl Fn(&mut Shard, PartitionId) -> Result<u64, NotLed>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) {
        let (mut total, mut refused) = (0, Vec::new());
        for number in &wide.partitions {
            let partition = PartitionId { group: wide.group, number: *number };
            match each(&mut self.of(partition), partition) {
                Ok(some) => total += some,
                Err(NotLed) => refused.push(*number),
            }
        }
        answer_wide(refused, &Reply::Count(total), answer);
    }

    fn scan(&self, wide: &Wide<'_>, scan: &Scan<'_>, answer: &mut dyn FnMut(Reply<'_>)) {
        let mut page = Page::new(scan);
        let (mut next, mut refused) = (None, Vec::new());
        for number in wide.partitions.iter().filter(|number| **number >= scan.from.partition) {
            let from = if *number == scan.from.partition { scan.from.position } else { 0 };
            let partition = PartitionId { group: wide.group, number: *number };
            let stopped = if page.is_full() {
                Ok(Some(from))
            } else {
                let now = self.clock.now_ms();
                self.of(partition).scan(now, (partition, wide.table), from, &mut page)
            };
            match stopped {
                Ok(None) => {}
                Ok(Some(position)) => next = Some(Cursor { partition: *number, position }),
                Err(NotLed) => {
                    refused.push(*number);
                    next = Some(Cursor { partition: *number, position: from });
                }
            }
            if next.is_some() {
                break;
            }
        }
        answer_wide(refused, &page.reply(next), answer);
    }
}

fn answer_wide(refused: Vec<u16>, reply: &Reply<'_>, answer: &mut dyn FnMut(Reply<'_>)) {
    let mut bytes = Vec::new();
    encode(reply, &mut bytes);
    answer(Reply::Wide { refused, reply: Part::new(&bytes) });
}

impl Local for Shards {
    fn me(&self) -> Option<&WorkerId> {
        Some(&self.me)
    }

    fn step(
        &self,
        map: &MapIndex,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Result<(), NotLed> {
        let now = self.clock.now_ms();
        self.of(step.partition).step(now, map, step, answer)
    }

    fn wide(&self, _: &MapIndex, wide: &Wide<'_>, answer: &mut dyn FnMut(Reply<'_>)) {
        match &wide.op {
            WideOp::Count => self.sum(wide, |shard, at| shard.count(at, wide.table), answer),
            WideOp::Flush => self.sum(wide, |shard, at| shard.flush(at, wide.table), answer),
            WideOp::Scan(scan) => self.scan(wide, scan, answer),
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}
