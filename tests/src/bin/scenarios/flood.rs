//! As many writes as a cluster takes (closed loop), for figures of throughput.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use firn_tests::Choices;

use crate::talk::{self, Talk, Told};

/// Connections, spread over the doors.
const CONNECTIONS: usize = 50;
/// Requests under way on each.
const PIPELINE: usize = 16;
/// Keys written to, evenly drawn.
const KEYS: u64 = 100_000;
/// Bytes of a value.
const VALUE_BYTES: usize = 100;

/// Writes for a time and gives writes a second.
///
/// # Panics
/// When one is not acknowledged.
pub(crate) fn writes_per_second(doors: &[SocketAddr], time: Duration) -> f64 {
    let start = Instant::now();
    let writes: usize = thread::scope(|scope| {
        let started: Vec<_> = (0..CONNECTIONS)
            .map(|number| (number, doors[number % doors.len()]))
            .map(|(number, door)| scope.spawn(move || write(door, number as u64, start + time)))
            .collect();
        started.into_iter().map(|thread| thread.join().expect("its panic is printed")).sum()
    });
    writes as f64 / start.elapsed().as_secs_f64()
}

fn write(door: SocketAddr, seed: u64, end: Instant) -> usize {
    let (mut choices, mut writes, mut requests) = (Choices(seed), 0, Vec::new());
    let value = [b'x'; VALUE_BYTES];
    let mut talk = Talk::connect(door).expect("a quiet cluster takes connections");
    while Instant::now() < end {
        requests.clear();
        for _ in 0..PIPELINE {
            talk::set(&mut requests, &format!("flood:{}", choices.below(KEYS)), &value);
        }
        talk.send(&requests).expect("a quiet cluster takes requests");
        for _ in 0..PIPELINE {
            assert_eq!(talk.reply(), Ok(Told::Done));
        }
        writes += PIPELINE;
    }
    writes
}
