//! Seconds of what scripts/scenarios.sh does for an hour: what must be is checked, not how long it took.

use std::process::Command;

use firn_tests::binary;
use firn_tests::outside::skip;

/// The exit code of a scenario that this machine cannot do.
const CANNOT: i32 = 2;

#[track_caller]
fn run(arguments: &[&str]) {
    let mut command = Command::new(binary::path("scenarios"));
    let output = command.args(arguments).output().expect("a built binary can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT) && error.is_empty() {
        return skip(said.trim());
    }
    assert!(output.status.success(), "{arguments:?}: {}\n{said}\n{error}", output.status);
    assert!(said.lines().count() > 2, "{arguments:?} says what it saw: {said:?}");
}

#[track_caller]
fn short(scenario: &str) {
    run(&[scenario, "--short"]);
}

#[test]
fn a_killed_worker_is_succeeded_and_comes_back() {
    short("failover");
}

#[test]
fn a_worker_that_is_told_to_stop_is_not_missed() {
    short("sigterm");
}

#[test]
fn a_fourth_worker_comes_and_goes() {
    short("resize");
}

#[test]
fn a_fourth_worker_of_a_sticky_cluster_is_filled() {
    short("sticky");
}

#[test]
fn a_worker_that_was_away_is_sent_what_it_missed() {
    short("rejoin");
}

#[test]
fn a_worker_that_stands_still_does_no_harm() {
    short("sigstop");
}

#[test]
fn the_uplink_is_not_missed() {
    short("uplink-down");
}

#[test]
fn what_was_written_a_second_before_everything_was_killed_is_there() {
    short("crash");
}

#[test]
fn what_was_acknowledged_before_the_power_of_a_whole_cluster_went_is_there() {
    let always = ["--durability", "always", "--workers", "3"];
    run(&[&["crash", "--power", "--rounds", "2"], always.as_slice()].concat());
}

#[test]
fn what_a_killed_uplink_has_answered_is_there() {
    short("uplink-kill");
}

#[test]
fn copies_cost_what_they_cost() {
    short("cost");
}
