//! The seeds of the ordinary test run; scripts/sim.sh runs more.

use std::collections::BTreeMap;

use firn_simulation::law::{Law, Mutation};
use firn_simulation::scenario::{DISKS_FROM, UPLINK_LOST_FROM};
use firn_simulation::search::{run, run_all};

/// How many seeds the ordinary run tries.
const SEEDS: u64 = 2_000;
/// Likewise with an uplink that loses its store.
const SEEDS_LOST: u64 = 500;
/// Likewise with workers that have disks, and all of which may end at once.
const SEEDS_DISKS: u64 = 1_000;
const THREADS: usize = 2;
/// For each rule a seed that fails without it: `scripts/sim.sh --mutations` finds others when these have gone stale.
const RECORDED: &str = include_str!("../seeds.txt");

#[test]
fn no_seed_breaks_an_invariant() {
    let sum = run_all(0..SEEDS, Law::default(), THREADS, 5, |_, _| {});
    assert!(sum.failed.is_empty(), "{:?}", sum.failed);
    assert_eq!((sum.seeds, sum.gave_up), (SEEDS, 0), "{}", sum.tally);
    assert!(sum.tally.answered > 1_000 * SEEDS, "too little happens: {}", sum.tally);
    assert!(sum.tally.faults.len() >= 8, "too few kinds of faults: {}", sum.tally);
}

#[test]
fn no_seed_breaks_an_invariant_when_the_uplink_loses_its_store() {
    let seeds = UPLINK_LOST_FROM..UPLINK_LOST_FROM + SEEDS_LOST;
    let sum = run_all(seeds, Law::default(), THREADS, 5, |_, _| {});
    assert!(sum.failed.is_empty(), "{:?}", sum.failed);
    assert_eq!((sum.seeds, sum.gave_up), (SEEDS_LOST, 0), "{}", sum.tally);
    let losses = sum.tally.faults["losses of the uplink"];
    assert!(losses > SEEDS_LOST, "too few are lost: {}", sum.tally);
}

#[test]
fn no_seed_breaks_an_invariant_when_all_lose_their_power() {
    let seeds = DISKS_FROM..DISKS_FROM + SEEDS_DISKS;
    let sum = run_all(seeds, Law::default(), THREADS, 5, |_, _| {});
    assert!(sum.failed.is_empty(), "{:?}", sum.failed);
    assert_eq!((sum.seeds, sum.gave_up), (SEEDS_DISKS, 0), "{}", sum.tally);
    assert!(sum.tally.answered > 500 * SEEDS_DISKS, "too little happens: {}", sum.tally);
    let kinds = ["power cuts", "power cuts everywhere", "ends of all processes", "failed syncs"];
    for kind in kinds {
        let count = sum.tally.faults.get(kind).copied().unwrap_or_default();
        assert!(count > SEEDS_DISKS / 2, "too few {kind}: {}", sum.tally);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 20, 300, DISKS_FROM + 7] {
        let [one, other] = [(); 2].map(|()| run(seed, Law::default(), true));
        assert!(one.lines.len() > 100, "seed {seed} has {} lines", one.lines.len());
        assert_eq!((one.hash, &one.lines), (other.hash, &other.lines), "seed {seed}");
    }
}

#[test]
fn every_rule_is_needed_by_a_recorded_seed() {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    let recorded: BTreeMap<&str, (u64, &str)> = lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [rule, seed, invariant] = words[..] else { panic!("{line:?}") };
            (rule, (seed.parse().expect("a seed"), invariant))
        })
        .collect();
    assert_eq!(recorded.len(), Mutation::all().len());
    for mutation in Mutation::all() {
        let rule = mutation.name();
        let (seed, invariant) = recorded[rule.as_str()];
        let without = run(seed, Law::without(mutation), false);
        let first = without.broken.first().map(String::as_str);
        assert!(first.is_some_and(|what| what.starts_with(invariant)), "{rule} {seed}: {first:?}");
        let with = run(seed, Law::default(), false);
        assert!(with.broken.is_empty(), "{rule} {seed}: {:?}", with.broken);
    }
}
