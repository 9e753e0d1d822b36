//! One who alone writes some keys, again and again with the next number, and knows which number must be there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::talk::{self, Talk, Told};

/// Keys of each.
const KEYS: usize = 50;
/// Requests that are sent at once.
const PIPELINE: usize = 8;
/// For how long it is known when a number was acknowledged: longer than it may be gone.
const KNOWN: Duration = Duration::from_secs(4);

/// One key.
#[derive(Debug, Default)]
struct Key {
    /// The last number sent.
    sent: u32,
    /// Acknowledged numbers, each with when, of the last time.
    acknowledged: VecDeque<(u32, Instant)>,
    /// The last one before those.
    floor: u32,
}

/// An end of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// A moment before the first process ended.
    pub(crate) at: Instant,
    /// What was acknowledged before is to be there.
    pub(crate) promised: Instant,
}

/// What was there and was not.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Writes that were to be there.
    pub(crate) lost: Vec<String>,
    /// Values nobody wrote.
    pub(crate) invented: Vec<String>,
    /// The oldest write that was acknowledged and is gone, by its age at the end.
    pub(crate) oldest: Duration,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Author {
    number: usize,
    keys: Vec<Key>,
}

impl Key {
    fn acknowledge(&mut self, number: u32) {
        let now = Instant::now();
        self.acknowledged.push_back((number, now));
        self.settle(now.checked_sub(KNOWN).unwrap_or(now));
    }

    /// What was acknowledged before a moment must be there.
    fn settle(&mut self, before: Instant) {
        while let Some((number, _)) = self.acknowledged.pop_front_if(|(_, when)| *when < before) {
            self.floor = number;
        }
    }

    /// Compares the value that is there with what must be, and goes on from it.
    fn check(&mut self, name: &str, value: Option<&[u8]>, end: End, findings: &mut Findings) {
        let first_lost = |found: u32| {
            let lost = self.acknowledged.iter().find(|(number, _)| *number > found);
            lost.map(|(_, when)| end.at.saturating_duration_since(*when))
        };
        let Some(found) = value.map_or(Some(0), |value| number(value, name)) else {
            return findings.invented.push(format!("{name}: something nobody wrote"));
        };
        if found > self.sent {
            return findings.invented.push(format!("{name}: {found}, and {} was sent", self.sent));
        }
        findings.oldest = findings.oldest.max(first_lost(found).unwrap_or_default());
        self.settle(end.promised);
        if found < self.floor {
            let lost = format!("{name}: {} was to survive, found {found}", self.floor);
            findings.lost.push(lost);
        }
        *self = Self { sent: self.sent, acknowledged: VecDeque::new(), floor: found };
    }
}

impl Author {
    /// Another number, other keys.
    pub(crate) fn new(number: usize) -> Self {
        Self { number, keys: (0..KEYS).map(|_| Key::default()).collect() }
    }

    /// How often it has written.
    pub(crate) fn written(&self) -> u64 {
        self.keys.iter().map(|key| u64::from(key.sent)).sum()
    }

    /// Writes every key again and again until it is over or nobody takes it any more. Over one connection: one for each time
    /// would fill the table of a firewall.
    pub(crate) fn write(&mut self, door: SocketAddr, over: &AtomicBool) {
        let Ok(mut talk) = Talk::connect(door) else { return };
        while !over.load(Ordering::Relaxed) && self.write_all(&mut talk) {}
    }

    /// Writes every key once; false when the connection ends.
    fn write_all(&mut self, talk: &mut Talk) -> bool {
        let author = self.number;
        for (place, some) in self.keys.chunks_mut(PIPELINE).enumerate() {
            let mut requests = Vec::new();
            for (at, key) in some.iter_mut().enumerate() {
                key.sent += 1;
                let name = name(author, place * PIPELINE + at);
                talk::set(&mut requests, &name, &value(key.sent, &name));
            }
            if talk.send(&requests).is_err() {
                return false;
            }
            for key in some {
                match talk.reply() {
                    Ok(Told::Done) => key.acknowledge(key.sent),
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        }
        true
    }

    /// Reads every key back and goes on from what is there.
    pub(crate) fn check(&mut self, door: SocketAddr, end: End, findings: &mut Findings) {
        for (place, key) in self.keys.iter_mut().enumerate() {
            let name = name(self.number, place);
            key.check(&name, read(door, &name).as_deref(), end, findings);
        }
    }
}

fn name(author: usize, key: usize) -> String {
    format!("crash:{author}:{key}")
}

fn value(number: u32, name: &str) -> Vec<u8> {
    format!("{number}:{name}:{}", "x".repeat(number as usize % 300)).into_bytes()
}

/// The number in a value; None: nobody wrote it.
fn number(bytes: &[u8], name: &str) -> Option<u32> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let number = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    (value(number, name) == bytes).then_some(number)
}

/// A key's value; asked again while nobody can say.
fn read(door: SocketAddr, name: &str) -> Option<Vec<u8>> {
    let deadline = Instant::now() + firn_tests::DEADLINE;
    loop {
        let mut request = Vec::new();
        talk::get(&mut request, name);
        let told = Talk::connect(door).and_then(|mut talk| {
            talk.send(&request)?;
            talk.reply()
        });
        match told {
            Ok(Told::Value(value)) => return value,
            other => assert!(Instant::now() < deadline, "{name} cannot be read: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_value_is_none() {
        let name = name(1, 2);
        assert_eq!(number(&value(7, &name), &name), Some(7));
        assert_eq!(number(&value(250, &name)[..100], &name), None);
    }

    /// What is found of 2 acknowledged writes, the last of which was promised or not.
    #[track_caller]
    fn check(found: u32, is_promised: bool, lost: usize, invented: usize) {
        let (mut key, mut findings) = (Key { sent: 2, ..Key::default() }, Findings::default());
        let start = Instant::now();
        key.acknowledge(1);
        key.acknowledge(2);
        let at = Instant::now() + KNOWN;
        let promised = if is_promised { at } else { start };
        let value = value(found, "k");
        key.check("k", (found > 0).then_some(&value), End { at, promised }, &mut findings);
        assert_eq!((findings.lost.len(), findings.invented.len()), (lost, invented));
        assert_eq!(findings.oldest >= KNOWN, found < 2, "{:?}", findings.oldest);
    }

    #[test]
    fn what_was_promised_is_to_be_there() {
        check(2, true, 0, 0);
        check(1, true, 1, 0);
        check(0, true, 1, 0);
        check(0, false, 0, 0);
        check(3, false, 0, 1);
    }
}
