//! What a worker is sent that was killed and comes back with its folder: what it missed, and not what it has.

use std::path::PathBuf;
use std::time::Duration;

use firn_tests::redis::{Talk, request};
use firn_tests::sockets::Received;
use firn_tests::{Cluster, Http, outside, wait_until};
use serde_json::Value;

/// The worker that is killed.
const VICTIM: usize = 2;
/// Keys before, and more of them while it is away.
const KEYS: u32 = 40_000;
const MISSED: u32 = 3_000;
const VALUE_BYTES: u64 = 100;
/// Requests under way on a connection.
const PIPELINE: u32 = 500;
/// How long a cluster may take to be whole again on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `/v1/cluster` says.
fn standing(cluster: &Cluster) -> Value {
    Http::connect(cluster.uplink().http()).ask("GET", "/v1/cluster", "", "").json()
}

fn is_whole(cluster: &Cluster) -> bool {
    let standing = standing(cluster);
    let none = ["partitions_unserved", "partitions_short_of_copies", "partitions_moving"];
    standing["workers_up"] == 3 && none.iter().all(|name| standing[name] == 0)
}

fn write(cluster: &Cluster, keys: std::ops::Range<u32>) {
    let mut talk = Talk::connect(cluster.worker(0).resp());
    let value = "v".repeat(VALUE_BYTES as usize);
    for from in keys.clone().step_by(PIPELINE as usize) {
        let some = from..(from + PIPELINE).min(keys.end);
        let set = |key| request(&["SET", &format!("key:{key}"), &value]);
        talk.send(&some.clone().flat_map(set).collect::<Vec<u8>>());
        some.for_each(|key| assert_eq!(talk.reply(), b"+OK\r\n", "key:{key}"));
    }
}

/// Entries that the victim holds.
fn held(cluster: &Cluster) -> u64 {
    let metrics = Http::connect(cluster.worker(VICTIM).http()).ask("GET", "/metrics", "", "");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("firn_entries "));
    line.and_then(|number| number.parse().ok()).expect("a worker counts its entries")
}

/// Kills the victim, and waits until the others serve everything without it.
fn kill(cluster: &mut Cluster) {
    cluster.worker_mut(VICTIM).kill();
    wait_until("the others have taken over", PATIENCE, || {
        let standing = standing(cluster);
        (standing["workers_up"] == 2 && standing["partitions_unserved"] == 0).then_some(())
    });
}

/// Starts it again and waits until it is in sync with everything. Gives the bytes that its peers have sent it.
fn come_back(cluster: &mut Cluster) -> u64 {
    let mut received = Received::at(cluster.worker(VICTIM).peer());
    cluster.worker_mut(VICTIM).restart();
    wait_until("the cluster is whole", PATIENCE, || {
        // All the time: what a connection that has ended brought last is not counted.
        received.look();
        is_whole(cluster).then_some(())
    });
    received.look()
}

fn folder(cluster: &Cluster) -> PathBuf {
    cluster.data_folder(cluster.worker(VICTIM).name())
}

/// No test counted that: a worker that read nothing back from its folder came back as well, only with every byte sent anew.
#[test]
fn a_killed_worker_is_sent_what_it_missed_and_without_its_folder_everything() {
    if outside("ss").is_none() {
        return;
    }
    // Nobody takes its place while it is away.
    let builder = Cluster::builder(3).env("COPIES", 2).env("REPLACE_AFTER", "5m");
    let mut cluster = builder.data().start();
    wait_until("the cluster is whole", PATIENCE, || is_whole(&cluster).then_some(()));
    write(&cluster, 0..KEYS);
    let before = held(&cluster);
    assert!(before > u64::from(KEYS) / 2, "of two copies on three workers it has {before}");

    kill(&mut cluster);
    write(&cluster, KEYS..KEYS + MISSED);
    let delta = come_back(&mut cluster);
    let after = held(&cluster);
    let (missed, had) = ((after - before) * VALUE_BYTES, before * VALUE_BYTES);
    println!("it missed {missed} B of values, was sent {delta} B and had {had} B");
    assert!(missed > u64::from(MISSED) / 2 * VALUE_BYTES, "it missed {missed} B of values");
    assert!(delta >= missed, "it missed {missed} B of values and was sent {delta} B");
    assert!(delta < had / 4, "it had {had} B of values and was sent {delta} B");

    kill(&mut cluster);
    std::fs::remove_dir_all(folder(&cluster)).expect("it has a folder");
    let whole = come_back(&mut cluster);
    println!("without its folder it was sent {whole} B");
    let holds = held(&cluster) * VALUE_BYTES;
    assert_eq!(holds, after * VALUE_BYTES, "it holds what it held");
    assert!(whole >= holds, "it holds {holds} B of values and was sent {whole} B");
}
