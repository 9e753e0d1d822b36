//! Seconds of what scripts/chaos.sh does for minutes, and the proof that it finds what it looks for.

use std::time::Duration;

use firn_tests::chaos::plant::Plant;
use firn_tests::chaos::{Options, run};

/// Little enough for a debug build beside other tests.
fn short(seconds: u64) -> Options {
    Options {
        time: Duration::from_secs(seconds),
        partitions: 64,
        clients: 12,
        rate: 1_500,
        keys: 100,
        ..Options::default()
    }
}

#[test]
fn nothing_acknowledged_is_lost_while_things_fail() {
    let report = run(&Options { seed: 20, ..short(10) }, |text| eprintln!("{text}"));
    eprintln!("{report}");
    assert!(report.faults.values().sum::<u64>() >= 3, "too few faults: {:?}", report.faults);
    assert!(report.is_clean(), "{report}");
}

/// A run in which nothing fails but the clients' own answers.
fn finds(plant: Plant) {
    let report = run(&Options { faults: false, plant: Some(plant), ..short(2) }, |_| {});
    assert!(!report.verdict.violations.is_empty(), "{plant:?} was not found: {report}");
}

#[test]
fn a_planted_stale_read_is_found() {
    finds(Plant::StaleRead);
}

#[test]
fn a_planted_lost_write_is_found() {
    finds(Plant::LostWrite);
}

#[test]
fn without_faults_there_is_nothing_to_find() {
    let report = run(&Options { faults: false, ..short(2) }, |_| {});
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.unknown, report.troubles.len()), (0, 0), "{report}");
}
