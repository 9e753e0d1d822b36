//! Workers that come, go and come back.

use std::process::{Command, Output};

use firn_tests::{Cluster, DEADLINE, Http, Raw, binary, wait_until};
use serde_json::Value;

const KEYS: usize = 200;

fn set_all(redis: &mut Raw, value: &str) {
    for n in 0..KEYS {
        redis.expect(format!("SET key:{n} {value}\r\n"), "+OK\r\n");
    }
}

/// How many of the keys have `value`, and how many are not there; no reply may be anything else.
fn count(redis: &mut Raw, value: &str) -> (usize, usize) {
    let (mut there, mut gone) = (0, 0);
    for n in 0..KEYS {
        redis.send(format!("GET key:{n}\r\n").as_bytes());
        match redis.line().as_str() {
            "$-1\r\n" => gone += 1,
            length => {
                assert_eq!(length, format!("${}\r\n", value.len()));
                assert_eq!(redis.line(), format!("{value}\r\n"));
                there += 1;
            }
        }
    }
    (there, gone)
}

/// What `firn status` says once it is as it should be.
#[track_caller]
fn status_when(what: &str, cluster: &Cluster, holds: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, DEADLINE, || {
        let output = cluster.firn(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok().filter(&holds)
    })
}

/// Waits until every partition has the copies it should have.
#[track_caller]
fn wait_settled(cluster: &Cluster) {
    status_when("every copy is made", cluster, |status| {
        status["movement"]["left"] == 0 && status["single"] == 0
    });
}

#[test]
fn nothing_is_lost_with_a_killed_worker_and_it_comes_back_under_its_name() {
    let mut cluster = Cluster::start(3);
    let mut redis = Raw::connect(cluster.worker(0).resp());
    set_all(&mut redis, "old");
    wait_settled(&cluster);

    cluster.worker_mut(1).kill();
    cluster.worker_mut(1).restart();
    assert_eq!(count(&mut redis, "old"), (KEYS, 0));
    set_all(&mut redis, "new");
    let mut restarted = Raw::connect(cluster.worker(1).resp());
    assert_eq!(count(&mut restarted, "new"), (KEYS, 0));
}

/// What `/readyz` says.
fn readiness(http: &mut Http) -> (u16, String) {
    let answer = http.ask("GET", "/readyz", "", "");
    (answer.status, answer.text().to_owned())
}

/// Whoever restarts workers one after the other goes by that: the next one may be the only one with a copy.
#[test]
fn a_worker_that_comes_back_is_ready_when_its_copies_are_in_sync() {
    let mut cluster = Cluster::builder(3).env("COPY_RATE", "1MiB").start();
    let mut redis = Raw::connect(cluster.worker(0).resp());
    let value = "x".repeat(30_000);
    set_all(&mut redis, &value);
    cluster.worker_mut(1).kill();
    cluster.worker_mut(1).restart();
    let mut http = Http::connect(cluster.worker(1).http());
    let (status, why) = readiness(&mut http);
    assert!(status == 503 && why.contains("are not in sync yet"), "{status} {why}");
    assert_eq!(count(&mut Raw::connect(cluster.worker(1).resp()), &value), (KEYS, 0));
    wait_until("it is ready", DEADLINE, || (readiness(&mut http).0 == 200).then_some(()));
    let status = cluster.firn(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("it answers");
    let w2 = &status["workers"][1];
    assert!(w2["in_sync"] == w2["wanted"] && w2["wanted"].as_u64() > Some(300), "{w2}");

    // That partitions move later is no reason to send requests elsewhere.
    cluster.add_worker();
    let moving = || cluster.firn(&["status", "--json"]).stdout;
    wait_until("partitions move", DEADLINE, || {
        let status: Value = serde_json::from_slice(&moving()).ok()?;
        (status["movement"]["left"].as_u64()? > 0).then_some(())
    });
    assert_eq!(readiness(&mut http).0, 200);
}

#[test]
fn without_copies_a_killed_worker_comes_back_with_empty_partitions_and_nobody_elses_data_go() {
    let mut cluster = Cluster::builder(3).env("COPIES", 1).start();
    let mut redis = Raw::connect(cluster.worker(0).resp());
    set_all(&mut redis, "old");
    assert_eq!(count(&mut redis, "old"), (KEYS, 0));

    cluster.worker_mut(1).kill();
    cluster.worker_mut(1).restart();
    cluster.wait_ready();
    let (there, gone) = count(&mut redis, "old");
    assert!(there > KEYS / 3 && gone > KEYS / 6, "{there} keys are there, {gone} are gone");
    set_all(&mut redis, "new");
    let mut restarted = Raw::connect(cluster.worker(1).resp());
    assert_eq!(count(&mut restarted, "new"), (KEYS, 0));
}

/// Also without copies: it hands over what it alone has before it ends.
#[test]
fn a_worker_that_is_told_to_stop_is_missed_by_nobody() {
    for copies in [1, 2] {
        let mut cluster = Cluster::builder(3).env("COPIES", copies).start();
        let mut redis = Raw::connect(cluster.worker(0).resp());
        set_all(&mut redis, "v");
        assert!(cluster.worker_mut(2).terminate().success());
        assert_eq!(count(&mut redis, "v"), (KEYS, 0));
        let status = status_when("the status names the worker", &cluster, |status| {
            status["workers"][2]["state"] == "down" && status["unserved"] == 0
        });
        assert!(status["notes"].to_string().contains("w3 is down since "), "{status}");
    }
}

#[test]
fn without_copies_a_killed_worker_is_named_and_the_others_serve_on() {
    let mut cluster = Cluster::builder(3).env("COPIES", 1).start();
    let mut redis = Raw::connect(cluster.worker(0).resp());
    set_all(&mut redis, "v");
    cluster.worker_mut(2).kill();
    let (mut served, mut named) = (0, 0);
    // Each refusal takes a request's whole time: a few tell enough.
    for n in 0..KEYS {
        redis.send(format!("GET key:{n}\r\n").as_bytes());
        match redis.line().as_str() {
            "$1\r\n" => {
                assert_eq!(redis.line(), "v\r\n");
                served += 1;
            }
            refusal => {
                assert!(refusal.starts_with("-UNAVAILABLE"), "{refusal}");
                assert!(refusal.contains("w3"), "{refusal}");
                named += 1;
            }
        }
        if served > 0 && named == 2 {
            break;
        }
    }
    assert!(served > 0 && named == 2, "{served} served, {named} refused");
}

#[test]
fn a_worker_that_comes_later_answers_for_every_key_and_is_given_its_share() {
    let mut cluster = Cluster::start(2);
    set_all(&mut Raw::connect(cluster.worker(0).resp()), "v");
    let mut later = Raw::connect(cluster.add_worker().resp());
    assert_eq!(count(&mut later, "v"), (KEYS, 0));
    status_when("it leads a third", &cluster, |status| {
        let w3 = &status["workers"][2];
        w3["leads"].as_u64() > Some(300) && w3["in_sync"] == w3["wanted"]
    });
    assert_eq!(count(&mut later, "v"), (KEYS, 0));
}

#[test]
fn keys_that_are_numbers_find_their_worker_in_a_literal_cluster() {
    let cluster = Cluster::builder(4).key_integer("literal").start();
    set_all(&mut Raw::connect(cluster.worker(3).resp()), "v");
    for n in 0..4 {
        Raw::connect(cluster.worker(n).resp()).expect(format!("SET {} x\r\n", 840 + n), "+OK\r\n");
        let mut http = Http::connect(cluster.worker(0).http());
        let answer = http.ask("GET", &format!("/api?key={}", 840 + n), "", "").json();
        assert_eq!(answer["node"], format!("w{}", n + 1), "{} mod 4 is {n}: {answer}", 840 + n);
    }
    assert_eq!(count(&mut Raw::connect(cluster.worker(2).resp()), "v"), (KEYS, 0));
}

/// Starts a worker that must end by itself.
fn refused(cluster: &Cluster, name: &str, secret: Option<&str>) -> Output {
    let mut command = Command::new(binary::path("firn-worker"));
    command.args(["--listen", "peer=127.0.0.1:0", "--name", name]);
    command.args(["--uplink", &cluster.uplink().url("")]).env_remove("CLUSTER_SECRET");
    command.envs(secret.map(|secret| ("CLUSTER_SECRET", secret)));
    command.output().expect("a built binary can be started")
}

#[test]
fn who_does_not_know_the_secret_does_not_join() {
    let cluster = Cluster::builder(2).secret("the secret of this cluster").start();
    for secret in [None, Some("not the secret of this cluster")] {
        let output = refused(&cluster, "stranger", secret);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("refuses this worker"), "{error}");
        assert!(!error.contains("secret of this cluster"), "a secret is in the log: {error}");
    }
    let mut redis = Raw::connect(cluster.worker(0).resp());
    set_all(&mut redis, "v");
    assert_eq!(count(&mut Raw::connect(cluster.worker(1).resp()), "v"), (KEYS, 0));
}
