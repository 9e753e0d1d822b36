//! Writing every key of a ledger, and reading every key back.

use std::net::SocketAddr;
use std::ops::Range;
use std::thread;

use crate::ledger::{Key, Ledger};
use crate::talk::{self, Talk, Told};

/// Requests under way on a connection.
const PIPELINE: usize = 256;
/// Connections to each door.
const CONNECTIONS: usize = 2;

/// Writes every key once.
///
/// # Panics
/// When one is refused: nothing has been made to fail yet.
pub(crate) fn fill(ledger: &Ledger, doors: &[SocketAddr]) {
    each_range(ledger, doors, |talk, keys| {
        let mut requests = Vec::new();
        let numbers = keys.clone().map(|key| (key, ledger.next(key)));
        let numbers: Vec<_> = numbers.collect();
        for (key, number) in &numbers {
            talk::set(&mut requests, &Ledger::name(*key), &ledger.value(*key, *number));
        }
        talk.send(&requests).expect("a quiet cluster takes requests");
        for (key, number) in numbers {
            assert_eq!(talk.reply(), Ok(Told::Done), "key {key} of a quiet cluster");
            ledger.acknowledged(key, number);
        }
        Vec::new()
    });
}

/// Reads every key and gives what is lost or wrong.
///
/// # Panics
/// When a read is not answered: nothing is made to fail any more.
pub(crate) fn missing(ledger: &Ledger, doors: &[SocketAddr]) -> Vec<String> {
    each_range(ledger, doors, |talk, keys| {
        let mut requests = Vec::new();
        keys.clone().for_each(|key| talk::get(&mut requests, &Ledger::name(key)));
        let floors: Vec<_> = keys.map(|key| (key, ledger.floor(key))).collect();
        talk.send(&requests).expect("a quiet cluster takes requests");
        let judge = |(key, floor)| match talk.reply() {
            Ok(Told::Value(found)) => ledger.found(key, floor, found.as_deref()).err(),
            other => panic!("key {key} of a quiet cluster: {other:?}"),
        };
        floors.into_iter().filter_map(judge).collect()
    })
}

/// Runs `work` on pieces of all keys, over several connections to each door.
fn each_range(
    ledger: &Ledger,
    doors: &[SocketAddr],
    work: impl Fn(&mut Talk, Range<Key>) -> Vec<String> + Sync,
) -> Vec<String> {
    let connections = doors.iter().cycle().take(doors.len() * CONNECTIONS);
    let share = (ledger.keys() as usize).div_ceil(doors.len() * CONNECTIONS);
    let all = |door: SocketAddr, first: usize| {
        let mut talk = Talk::connect(door).expect("a quiet cluster takes connections");
        let end = (first + share).min(ledger.keys() as usize);
        let pieces = (first..end).step_by(PIPELINE);
        let piece = |from: usize| from as Key..end.min(from + PIPELINE) as Key;
        pieces.flat_map(|from| work(&mut talk, piece(from))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let all = &all;
        let started: Vec<_> = connections
            .enumerate()
            .map(|(number, door)| scope.spawn(move || all(*door, number * share)))
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.flat_map(|lines| lines.expect("what it panicked over is printed")).collect()
    })
}
