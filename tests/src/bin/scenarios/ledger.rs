//! What was written and what was seen of it: one register per key, whose number only grows.
//!
//! Invariants:
//! - Each key has one writer, which writes its numbers one after the other and stops after a write of unknown fate. So
//!   whoever begins to read a key must find its floor or more: what was acknowledged, or seen by somebody, before.
//! - Nobody finds more than was sent.

use std::sync::atomic::{AtomicU32, Ordering};

/// A key's number.
pub(crate) type Key = u32;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Ledger {
    registers: Vec<Register>,
    value_bytes: usize,
}

#[derive(Debug, Default)]
struct Register {
    /// The highest number anybody knows to be there; 0: none.
    floor: AtomicU32,
    /// The highest number sent.
    sent: AtomicU32,
}

impl Ledger {
    /// One for keys that are not there yet, with values of at least this many bytes.
    pub(crate) fn new(keys: Key, value_bytes: usize) -> Self {
        let registers = (0..keys).map(|_| Register::default()).collect();
        Self { registers, value_bytes }
    }

    /// How many keys there are.
    pub(crate) fn keys(&self) -> Key {
        self.registers.len() as Key
    }

    fn register(&self, key: Key) -> &Register {
        &self.registers[key as usize]
    }

    /// Notes that the next number of a key is about to be sent, and gives it.
    pub(crate) fn next(&self, key: Key) -> u32 {
        self.register(key).sent.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Notes that a write was acknowledged.
    pub(crate) fn acknowledged(&self, key: Key, number: u32) {
        self.register(key).floor.fetch_max(number, Ordering::SeqCst);
    }

    /// What a read that begins now must find at least.
    pub(crate) fn floor(&self, key: Key) -> u32 {
        self.register(key).floor.load(Ordering::SeqCst)
    }

    /// Judges what was found by a read that began when the floor was `floor`.
    pub(crate) fn found(&self, key: Key, floor: u32, found: Option<&[u8]>) -> Result<(), String> {
        let number = match found {
            None => 0,
            Some(bytes) => self.number(key, bytes).ok_or_else(|| {
                format!("key {key}: a value nobody wrote: {:.60}", bytes.escape_ascii())
            })?,
        };
        let sent = self.register(key).sent.load(Ordering::SeqCst);
        if number < floor {
            return Err(format!("key {key}: {floor} was acknowledged, found {number}"));
        }
        if number > sent {
            return Err(format!("key {key}: found {number}, only {sent} was sent"));
        }
        self.acknowledged(key, number);
        Ok(())
    }

    /// The bytes of a key.
    pub(crate) fn name(key: Key) -> String {
        format!("key:{key}")
    }

    /// The bytes of a number as a key's value.
    pub(crate) fn value(&self, key: Key, number: u32) -> Vec<u8> {
        let mut bytes = format!("{number}:{key}:").into_bytes();
        bytes.resize(bytes.len().max(self.value_bytes), b'x');
        bytes
    }

    /// The number in a key's value; None: it is no value of this key.
    fn number(&self, key: Key, bytes: &[u8]) -> Option<u32> {
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        let number = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
        (self.value(key, number) == bytes).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_or_seen_must_be_found() {
        let ledger = Ledger::new(2, 20);
        let found = |floor, number: u32| ledger.found(1, floor, Some(&ledger.value(1, number)));
        assert_eq!(ledger.found(1, ledger.floor(1), None), Ok(()));
        assert_eq!((ledger.next(1), ledger.next(1)), (1, 2));
        ledger.acknowledged(1, 1);
        assert_eq!(ledger.floor(1), 1);
        assert!(ledger.found(1, 1, None).is_err(), "it is lost");
        assert_eq!(found(1, 2), Ok(()), "the second is under way and may be seen");
        assert_eq!(ledger.floor(1), 2, "and once it was seen it stays");
        assert!(found(2, 1).is_err(), "it is stale");
        assert_eq!(found(1, 1), Ok(()), "whoever began before may see the older one");
        assert!(found(0, 3).is_err(), "nobody sent it");
        assert!(ledger.found(1, 0, Some(&ledger.value(0, 1))).is_err(), "it is another key's");
    }
}
