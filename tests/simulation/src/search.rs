//! Runs seeds: one, or many on several threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::law::{Law, Mutation};
use crate::random::Random;
use crate::scenario::{DISKS_FROM, Scenario, UPLINK_LOST_FROM};
use crate::tally::Tally;
use crate::world::{Report, World};

/// Runs a seed to its end. A panic of what is tested is what is wrong with it.
pub fn run(seed: u64, law: Law, keep: bool) -> Report {
    let mut random = Random::new(seed);
    let mut scenario = Scenario::new(&mut random.split(), law);
    if seed >= DISKS_FROM {
        scenario = scenario.with_disks(&mut random.split());
    } else if seed >= UPLINK_LOST_FROM {
        scenario = scenario.with_lost_uplink();
    }
    let mut world = World::new(scenario, law, random, keep);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let mut report = world.report();
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        report.broken.insert(0, format!("panic: {}", text.unwrap_or_default()));
    }
    report
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Seeds that were run.
    pub seeds: u64,
    /// Those that failed, with what was wrong, ascending.
    pub failed: Vec<(u64, String)>,
    /// Keys the checker gave up.
    pub gave_up: usize,
    /// Counts of all.
    pub tally: Tally,
}

/// Runs many seeds on `threads` threads, and tells of each. After `stop_at` failures it stops.
pub fn run_all(
    seeds: std::ops::Range<u64>,
    law: Law,
    threads: usize,
    stop_at: usize,
    tell: impl Fn(u64, &Report) + Sync,
) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let failures = AtomicU64::new(0);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failures.load(Ordering::Relaxed) as usize >= stop_at {
                return sum;
            }
            let report = run(seed, law, false);
            tell(seed, &report);
            sum.seeds += 1;
            sum.gave_up += report.gave_up;
            sum.tally.add(&report.tally);
            if let Some(what) = report.broken.first() {
                failures.fetch_add(1, Ordering::Relaxed);
                sum.failed.push((seed, what.clone()));
            }
        }
    };
    let mut all = Sum::default();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for handle in handles {
            let sum = handle.join().expect("a run's panic is caught");
            all.seeds += sum.seeds;
            all.gave_up += sum.gave_up;
            all.tally.add(&sum.tally);
            all.failed.extend(sum.failed);
        }
    });
    all.failed.sort();
    all
}

/// The first seed that breaks an invariant without a rule, and which; else how many were tried. Rules of disks are looked for
/// among the seeds that have some. Being slow is not enough: a
/// seed may be that with all rules.
pub fn find(
    mut seeds: std::ops::Range<u64>,
    mutation: Mutation,
    threads: usize,
) -> Result<(u64, String), u64> {
    if mutation.is_of_disks() {
        seeds = seeds.start + DISKS_FROM..seeds.end + DISKS_FROM;
    }
    let mut tried = 0;
    loop {
        let sum = run_all(seeds.clone(), Law::without(mutation), threads, 1, |_, _| {});
        tried += sum.seeds;
        let breaks = |what: &str| !what.starts_with("liveness");
        if let Some(found) = sum.failed.iter().find(|(_, what)| breaks(what)) {
            return Ok(found.clone());
        }
        let Some((last, _)) = sum.failed.last() else { return Err(tried) };
        seeds.start = last + 1;
    }
}
