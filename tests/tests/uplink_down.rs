//! The uplink is not on the way of data: killed, it is not missed; back, membership works again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firn_tests::doors::{Answer, Ask, Door, doors};
use firn_tests::{Cluster, DEADLINE, Http, Process, Raw, wait_until};

/// How long the uplink is away: `UPLINK_DOWN_SECONDS`, which scripts/uplink_down.sh sets to a minute, else 5 s.
fn time_down() -> Duration {
    let seconds = std::env::var("UPLINK_DOWN_SECONDS").map(|text| text.parse());
    Duration::from_secs(seconds.unwrap_or(Ok(5)).expect("UPLINK_DOWN_SECONDS is a number"))
}

/// Writes through every door of one process what every door of the next one reads, until `end`.
fn traffic(number: usize, own: &Process, next: &Process, end: Instant, operations: &AtomicU64) {
    let (mut writers, mut readers) = (doors(own), doors(next));
    for round in 0.. {
        for writer in &mut writers {
            let key = format!("{number}:{round}:{}", writer.name());
            let value = format!("value-of-{key}");
            expect(&mut **writer, Ask::Write(key.as_bytes(), value.as_bytes()), &Answer::Done);
            let value = Answer::Value(value.into_bytes());
            for reader in &mut readers {
                expect(&mut **reader, Ask::Get(key.as_bytes()), &value);
            }
            operations.fetch_add(1 + readers.len() as u64, Ordering::Relaxed);
            if Instant::now() > end {
                return;
            }
        }
    }
}

fn expect(door: &mut dyn Door, ask: Ask<'_>, answer: &Answer) {
    let got = door.ask("default", ask);
    assert_eq!(got.as_ref(), Some(answer), "{ask:?} through {}", door.name());
}

/// Four workers and a proxy, each with a client of its own.
fn traffic_everywhere(cluster: &Cluster, duration: Duration) {
    let (start, operations) = (Instant::now(), AtomicU64::new(0));
    let processes: Vec<&Process> = cluster.workers().iter().chain(cluster.proxies()).collect();
    std::thread::scope(|scope| {
        for (number, own) in processes.iter().enumerate() {
            let (next, operations) = (processes[(number + 1) % processes.len()], &operations);
            scope.spawn(move || traffic(number, own, next, start + duration, operations));
        }
    });
    let done = operations.load(Ordering::Relaxed);
    eprintln!("{done} operations in {:.0?} without the uplink, no failure", start.elapsed());
}

#[test]
fn traffic_goes_on_without_the_uplink_and_membership_with_it() {
    let mut cluster = Cluster::builder(4).data().start();
    cluster.add_proxy();
    cluster.uplink_mut().kill();
    traffic_everywhere(&cluster, time_down());

    // What only the uplink can do is refused meanwhile, and says why.
    let mut winter = Raw::connect(cluster.worker(0).winter());
    winter.send(b"CREATE meanwhile\n");
    let refused = winter.line();
    assert!(refused.starts_with("error "), "{refused}");

    cluster.uplink_mut().restart();
    wait_until("a table can be made again", DEADLINE, || {
        winter.send(b"CREATE afterwards\n");
        ["created\n", "already created\n"].contains(&winter.line().as_str()).then_some(())
    });
    let fifth = cluster.add_worker();
    Raw::connect(fifth.winter()).expect("PUTNEW afterwards k v\n", "ok\n");
    for worker in cluster.workers() {
        Raw::connect(worker.winter()).expect("GET afterwards k\n", "v\n");
    }
}

/// A worker that starts while no uplink answers has its last map on disk and passes requests on by it. With one copy each:
/// with more, partitions whose in-sync copies are not all there wait for the uplink.
#[test]
fn a_worker_starts_without_the_uplink() {
    let mut cluster = Cluster::builder(2).env("COPIES", 1).data().start();
    for number in 0..50 {
        Raw::connect(cluster.worker(0).winter())
            .expect(format!("PUTNEW default k{number} v\n"), "ok\n");
    }
    let mut first = Http::connect(cluster.worker(0).http());
    let held_by_first: Vec<String> = (0..50)
        .map(|number| format!("k{number}"))
        .filter(|key| first.ask("GET", &format!("/api?key={key}"), "", "").json()["node"] == "w1")
        .collect();
    assert!(!held_by_first.is_empty(), "one of two workers holds about half of the keys");

    cluster.worker_mut(1).kill();
    cluster.uplink_mut().kill();
    cluster.worker_mut(1).restart();
    for key in held_by_first {
        Raw::connect(cluster.worker(1).winter()).expect(format!("GET default {key}\n"), "v\n");
    }
}
