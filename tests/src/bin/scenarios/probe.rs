//! A key in each partition, asked over and over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firn_wire::key::KeyInteger;

use crate::talk::{self, Talk, Told};

/// How often a partition is asked.
const EVERY: Duration = Duration::from_millis(20);

/// A key of each partition, by its number.
pub(crate) fn keys(partitions: u16) -> Vec<String> {
    let mut found = vec![String::new(); usize::from(partitions)];
    let mut left = found.len();
    for number in 0.. {
        let key = format!("probe:{number}");
        let place = KeyInteger::Crc16.partition(key.as_bytes(), partitions);
        let slot = &mut found[usize::from(place)];
        if slot.is_empty() {
            *slot = key;
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    found
}

/// What came of asking partitions until each took a write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    /// When the last of them took one.
    pub(crate) at: Instant,
    /// Writes that were refused or of unknown fate before.
    pub(crate) failed: u64,
}

/// Writes each key until it is acknowledged.
pub(crate) fn until_served(mut talk: Talk, door: SocketAddr, mut keys: Vec<String>) -> Served {
    let mut failed = 0;
    loop {
        let before = keys.len();
        if write_each(&mut talk, &mut keys).is_err() {
            talk = Talk::connect(door).expect("a worker nobody ends takes connections");
        }
        if keys.is_empty() {
            return Served { at: Instant::now(), failed };
        }
        failed += keys.len() as u64;
        if keys.len() == before {
            thread::sleep(EVERY); // a refusal comes at once and would come again
        }
    }
}

/// Writes each key once and keeps those that were not acknowledged.
fn write_each(talk: &mut Talk, keys: &mut Vec<String>) -> Result<(), String> {
    let mut requests = Vec::new();
    keys.iter().for_each(|key| talk::set(&mut requests, key, b"probe"));
    let mut outcome = talk.send(&requests);
    keys.retain(|_| {
        let told = outcome.clone().and_then(|()| talk.reply());
        let done = told == Ok(Told::Done);
        outcome = told.map(drop);
        !done
    });
    outcome
}

/// Keys that are written again and again, each over a connection of its own.
#[derive(Debug)]
pub(crate) struct Probes {
    over: Arc<AtomicBool>,
    /// For each key the longest time between two answers.
    pauses: Vec<Arc<Mutex<Duration>>>,
    threads: Vec<JoinHandle<u64>>,
}

impl Probes {
    /// Starts to write keys, in turn through each of the doors.
    pub(crate) fn start(doors: &[SocketAddr], keys: Vec<String>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut pauses, mut threads) = (Vec::new(), Vec::new());
        for (key, door) in keys.into_iter().zip(doors.iter().copied().cycle()) {
            let pause = Arc::<Mutex<Duration>>::default();
            pauses.push(Arc::clone(&pause));
            let over = Arc::clone(&over);
            threads.push(thread::spawn(move || probe(door, &key, &pause, &over)));
        }
        Self { over, pauses, threads }
    }

    /// For each key the longest time between two answers since the start or the last time.
    pub(crate) fn take(&self) -> Vec<Duration> {
        let take = |pause: &Arc<Mutex<Duration>>| {
            std::mem::take(&mut *pause.lock().expect("no probe panics"))
        };
        self.pauses.iter().map(take).collect()
    }

    /// Ends and says how many writes were not acknowledged.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join());
        ended.map(|failed| failed.expect("no probe panics")).sum()
    }
}

/// Writes a key as often as agreed and notes the longest time between two acknowledgements.
fn probe(door: SocketAddr, key: &str, pause: &Mutex<Duration>, over: &AtomicBool) -> u64 {
    let mut request = Vec::new();
    talk::set(&mut request, key, b"probe");
    let (mut talk, mut failed) = (Talk::connect(door), 0);
    let (mut last, mut due) = (Instant::now(), Instant::now());
    while !over.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due = Instant::now().max(due + EVERY);
        let told = talk.as_mut().map_err(|why| why.clone()).and_then(|talk| {
            talk.send(&request)?;
            talk.reply()
        });
        match told {
            Ok(Told::Done) => {
                let mut longest = pause.lock().expect("no holder panics");
                *longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            told => {
                failed += 1;
                if told.is_err() {
                    talk = Talk::connect(door);
                }
            }
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_a_key() {
        for (number, key) in keys(64).into_iter().enumerate() {
            let place = KeyInteger::Crc16.partition(key.as_bytes(), 64);
            assert_eq!(usize::from(place), number, "{key}");
        }
    }
}
