//! One key with its value, as it lies in the arena.
//!
//! ```text
//! version u64 | value length u32 | key length 13 bits, flags 3 bits (u16) | [expiry u64] | key | value | [meta length u16 | meta]
//! ```
//! 14 bytes beside key and value; 8 more with an expiry, 2 more with metadata. Little-endian.

use firn_wire::ids::Version;

const HEADER_BYTES: usize = 14;
const EXPIRY_BYTES: usize = 8;
const KEY_LENGTH_MASK: u16 = (1 << 13) - 1;
const HAS_EXPIRY: u16 = 1 << 13;
const HAS_META: u16 = 1 << 14;

/// What an entry holds besides its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    /// The value.
    pub(crate) value: &'a [u8],
    /// What the HTTP door keeps beside it; empty is none.
    pub(crate) meta: &'a [u8],
    /// When it is gone, Unix milliseconds; None: never.
    pub(crate) expires_at: Option<u64>,
}

/// Bytes of an entry.
pub(crate) fn length(key: &[u8], content: &Content<'_>) -> usize {
    let expiry = if content.expires_at.is_some() { EXPIRY_BYTES } else { 0 };
    let meta = if content.meta.is_empty() { 0 } else { 2 + content.meta.len() };
    HEADER_BYTES + expiry + key.len() + content.value.len() + meta
}

/// Writes an entry to the front of `out`.
///
/// # Panics
/// When key, value or metadata are beyond the limits of `firn_wire::limits`, or `out` is too short.
pub(crate) fn write(out: &mut [u8], version: Version, key: &[u8], content: &Content<'_>) {
    assert!(key.len() <= usize::from(KEY_LENGTH_MASK), "a key of {} bytes", key.len());
    let value_length = u32::try_from(content.value.len()).expect("values are at most 64 MiB");
    let mut bits = key.len() as u16;
    bits |= if content.expires_at.is_some() { HAS_EXPIRY } else { 0 };
    bits |= if content.meta.is_empty() { 0 } else { HAS_META };
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&version.0.to_le_bytes());
    put(&value_length.to_le_bytes());
    put(&bits.to_le_bytes());
    if let Some(expires_at) = content.expires_at {
        put(&expires_at.to_le_bytes());
    }
    put(key);
    put(content.value);
    if !content.meta.is_empty() {
        let length = u16::try_from(content.meta.len()).expect("metadata are at most 4 KiB");
        put(&length.to_le_bytes());
        put(content.meta);
    }
}

/// An entry in its slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a>(&'a [u8]);

impl<'a> Entry<'a> {
    /// The entry at the front of a slot.
    pub(crate) fn new(slot: &'a [u8]) -> Self {
        Self(slot)
    }

    fn bits(self) -> u16 {
        u16::from_le_bytes([self.0[12], self.0[13]])
    }

    fn number(self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("8 bytes"))
    }

    /// Its version.
    pub(crate) fn version(self) -> Version {
        Version(self.number(0))
    }

    /// When it is gone, Unix milliseconds; None: never.
    pub(crate) fn expires_at(self) -> Option<u64> {
        (self.bits() & HAS_EXPIRY != 0).then(|| self.number(HEADER_BYTES))
    }

    /// Whether it is gone at `now`.
    pub(crate) fn is_expired(self, now: u64) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    fn key_start(self) -> usize {
        HEADER_BYTES + if self.bits() & HAS_EXPIRY != 0 { EXPIRY_BYTES } else { 0 }
    }

    fn key_length(self) -> usize {
        usize::from(self.bits() & KEY_LENGTH_MASK)
    }

    /// Bytes of the value.
    pub(crate) fn value_length(self) -> usize {
        u32::from_le_bytes([self.0[8], self.0[9], self.0[10], self.0[11]]) as usize
    }

    /// The key.
    pub(crate) fn key(self) -> &'a [u8] {
        &self.0[self.key_start()..][..self.key_length()]
    }

    /// The value.
    pub(crate) fn value(self) -> &'a [u8] {
        &self.0[self.key_start() + self.key_length()..][..self.value_length()]
    }

    /// The metadata; empty is none.
    pub(crate) fn meta(self) -> &'a [u8] {
        if self.bits() & HAS_META == 0 {
            return &[];
        }
        let rest = &self.0[self.key_start() + self.key_length() + self.value_length()..];
        &rest[2..2 + usize::from(u16::from_le_bytes([rest[0], rest[1]]))]
    }

    /// All but the key.
    pub(crate) fn content(self) -> Content<'a> {
        Content { value: self.value(), meta: self.meta(), expires_at: self.expires_at() }
    }

    /// Its bytes.
    pub(crate) fn length(self) -> usize {
        length(self.key(), &self.content())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_reads_back_what_was_written(
            version in any::<u64>(),
            key in proptest::collection::vec(any::<u8>(), 1..=4096),
            value in proptest::collection::vec(any::<u8>(), 0..300),
            meta in proptest::collection::vec(any::<u8>(), 0..50),
            expires_at in any::<Option<u64>>(),
        ) {
            let content = Content { value: &value, meta: &meta, expires_at };
            let mut slot = vec![0xEE; length(&key, &content) + 5];
            write(&mut slot, Version(version), &key, &content);
            let entry = Entry::new(&slot);
            prop_assert_eq!(entry.version(), Version(version));
            prop_assert_eq!(entry.key(), &key[..]);
            prop_assert_eq!(entry.content(), content);
            prop_assert_eq!(entry.length(), slot.len() - 5);
            prop_assert!(slot[slot.len() - 5..].iter().all(|b| *b == 0xEE));
        }
    }
}
