//! Seconds of what scripts/scenarios.sh does for an hour: what must be is checked, not how long it took.

use std::process::Command;

use firn_tests::binary;

#[track_caller]
fn short(scenario: &str) {
    let output = Command::new(binary::path("scenarios"))
        .args([scenario, "--short"])
        .output()
        .expect("a built binary can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {}\n{said}\n{error}", output.status);
    assert!(said.lines().count() > 2, "{scenario} says what it saw: {said:?}");
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
fn what_a_killed_uplink_has_answered_is_there() {
    short("uplink-kill");
}

#[test]
fn copies_cost_what_they_cost() {
    short("cost");
}
