//! The seeds of the ordinary test run; scripts/sim.sh runs more.

use std::collections::BTreeMap;

use firn_simulation::scenario::UPLINK_LOST_FROM;
use firn_simulation::search::{run, run_all};
use firn_store::rules::{Rule, Rules};

/// How many seeds the ordinary run tries.
const SEEDS: u64 = 2_000;
/// Likewise with an uplink that loses its store.
const SEEDS_LOST: u64 = 500;
const THREADS: usize = 2;
/// For each rule a seed that fails without it: `scripts/sim.sh --mutations` finds others when these have gone stale.
const RECORDED: &str = include_str!("../seeds.txt");

#[test]
fn no_seed_breaks_an_invariant() {
    let sum = run_all(0..SEEDS, Rules::all(), THREADS, 5, |_, _| {});
    assert!(sum.failed.is_empty(), "{:?}", sum.failed);
    assert_eq!((sum.seeds, sum.gave_up), (SEEDS, 0), "{}", sum.tally);
    assert!(sum.tally.answered > 1_000 * SEEDS, "too little happens: {}", sum.tally);
    assert!(sum.tally.faults.len() >= 8, "too few kinds of faults: {}", sum.tally);
}

#[test]
fn no_seed_breaks_an_invariant_when_the_uplink_loses_its_store() {
    let seeds = UPLINK_LOST_FROM..UPLINK_LOST_FROM + SEEDS_LOST;
    let sum = run_all(seeds, Rules::all(), THREADS, 5, |_, _| {});
    assert!(sum.failed.is_empty(), "{:?}", sum.failed);
    assert_eq!((sum.seeds, sum.gave_up), (SEEDS_LOST, 0), "{}", sum.tally);
    let losses = sum.tally.faults["losses of the uplink"];
    assert!(losses > SEEDS_LOST, "too few are lost: {}", sum.tally);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 20, 300] {
        let [one, other] = [(); 2].map(|()| run(seed, Rules::all(), true));
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
    assert_eq!(recorded.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        let (seed, invariant) = recorded[format!("{rule:?}").as_str()];
        let without = run(seed, Rules::without(rule), false);
        let first = without.broken.first().map(String::as_str);
        assert!(
            first.is_some_and(|what| what.starts_with(invariant)),
            "{rule:?} {seed}: {first:?}"
        );
        let with = run(seed, Rules::all(), false);
        assert!(with.broken.is_empty(), "{rule:?} {seed}: {:?}", with.broken);
    }
}
