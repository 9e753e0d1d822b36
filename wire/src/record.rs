//! Records: what one atomic step did to one partition, as copies apply it and logs keep it.
//!
//! A record holds effects, not commands: an increment is the value it gave. Copies need no clock, policy or condition to
//! apply it, so they cannot come to another result than the primary.
//!
//! ```text
//!  0         4       6        8       12         20       28
//!  ┌─────────┬───────┬────────┬───────┬──────────┬────────┬─────────────┐
//!  │ length  │ group │ number │ epoch │ sequence │ clock  │ effects …   │
//!  │ u32     │ u16   │ u16    │ u32   │ u64      │ u64    │             │
//!  └─────────┴───────┴────────┴───────┴──────────┴────────┴─────────────┘
//! ```
//! Little-endian; `length` counts the whole record; `clock` is the primary's, Unix milliseconds. An effect is a byte and
//! what follows from it:
//!
//! ```text
//! 1 put     table u32 | key length u16 | meta length u16 | value length u32 | expires at u64, 0 never | key meta value
//! 2 delete  table u32 | key length u16 | key
//! 3 flush   table u32              the table is empty in this partition
//! 4 start                          a reign begins
//! 5 digest  sum u64                what the partition's entries add up to after all records before this one
//! 6 once    token length u16 | replies u16 | token | each reply: length u32, bytes
//! ```
//! An effect of a kind this build does not know is refused, never skipped.

use crate::ids::{Epoch, GroupId, PartitionId, TableId, Version};
use crate::limits::{KEY_BYTES_MAX, META_BYTES_MAX, ONCE_BYTES_MAX, VALUE_BYTES_HARD_MAX};

/// Bytes before the effects.
pub const HEAD_BYTES: usize = 28;

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record does not read: {0}")]
pub struct BadRecord(&'static str);

/// What stands before a record's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whose step it was.
    pub partition: PartitionId,
    /// The reign.
    pub epoch: Epoch,
    /// Its place in the partition's order: one more than that of the record before it, also over a change of reign.
    pub sequence: u64,
    /// The primary's clock, Unix milliseconds.
    pub clock: u64,
}

impl Head {
    /// The version of every entry the record writes.
    pub fn version(&self) -> Version {
        Version::new(self.epoch, self.sequence)
    }
}

/// An entry's content as a record or a snapshot carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: &'a [u8],
    /// What the HTTP door keeps beside the value; empty is none.
    pub meta: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// When it is gone, Unix milliseconds; None: never.
    pub expires_at: Option<u64>,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The key has this content now.
    Put(Put<'a>),
    /// The key is not there any more.
    Delete {
        /// The table.
        table: TableId,
        /// The key.
        key: &'a [u8],
    },
    /// The table has no entry in this partition any more.
    Flush {
        /// The table.
        table: TableId,
    },
    /// A reign begins.
    Start,
    /// What the partition's entries add up to.
    Digest {
        /// See `firn_store`'s digest.
        sum: u64,
    },
    /// The step carried an idempotency key.
    Once {
        /// The key.
        token: &'a [u8],
        /// The replies to the step's operations, encoded.
        replies: Vec<&'a [u8]>,
    },
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const FLUSH: u8 = 3;
const START: u8 = 4;
const DIGEST: u8 = 5;
const ONCE: u8 = 6;

impl Effect<'_> {
    /// Appends the effect.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(put) => put.write(out),
            Self::Delete { table, key } => {
                out.push(DELETE);
                out.extend_from_slice(&table.0.to_le_bytes());
                out.extend_from_slice(&(key.len() as u16).to_le_bytes());
                out.extend_from_slice(key);
            }
            Self::Flush { table } => {
                out.push(FLUSH);
                out.extend_from_slice(&table.0.to_le_bytes());
            }
            Self::Start => out.push(START),
            Self::Digest { sum } => {
                out.push(DIGEST);
                out.extend_from_slice(&sum.to_le_bytes());
            }
            Self::Once { token, replies } => {
                out.push(ONCE);
                out.extend_from_slice(&(token.len() as u16).to_le_bytes());
                out.extend_from_slice(&(replies.len() as u16).to_le_bytes());
                out.extend_from_slice(token);
                for reply in replies {
                    out.extend_from_slice(&(reply.len() as u32).to_le_bytes());
                    out.extend_from_slice(reply);
                }
            }
        }
    }
}

impl Put<'_> {
    /// Appends the effect.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut head = [0; 21];
        head[0] = PUT;
        head[1..5].copy_from_slice(&self.table.0.to_le_bytes());
        head[5..7].copy_from_slice(&(self.key.len() as u16).to_le_bytes());
        head[7..9].copy_from_slice(&(self.meta.len() as u16).to_le_bytes());
        head[9..13].copy_from_slice(&(self.value.len() as u32).to_le_bytes());
        head[13..21].copy_from_slice(&self.expires_at.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.meta);
        out.extend_from_slice(self.value);
    }
}

/// Reads from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadRecord> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BadRecord("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        Ok(self.take(N)?.try_into().expect("as many as were asked for"))
    }

    fn u16(&mut self) -> Result<usize, BadRecord> {
        self.array().map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    fn u32(&mut self) -> Result<u32, BadRecord> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadRecord> {
        self.array().map(u64::from_le_bytes)
    }

    fn effect(&mut self) -> Result<Effect<'a>, BadRecord> {
        Ok(match self.array::<1>()?[0] {
            PUT => Effect::Put(self.put()?),
            DELETE => {
                let table = TableId(self.u32()?);
                let length = self.u16()?;
                Effect::Delete { table, key: self.key(length)? }
            }
            FLUSH => Effect::Flush { table: TableId(self.u32()?) },
            START => Effect::Start,
            DIGEST => Effect::Digest { sum: self.u64()? },
            ONCE => self.once()?,
            _ => return Err(BadRecord("an effect of a kind this build does not know")),
        })
    }

    fn key(&mut self, length: usize) -> Result<&'a [u8], BadRecord> {
        if !(1..=KEY_BYTES_MAX).contains(&length) {
            return Err(BadRecord("a key of a length no key has"));
        }
        self.take(length)
    }

    fn put(&mut self) -> Result<Put<'a>, BadRecord> {
        let table = TableId(self.u32()?);
        let (key, meta) = (self.u16()?, self.u16()?);
        let value = self.u32()? as usize;
        let expires_at = self.u64()?;
        if meta > META_BYTES_MAX || value > VALUE_BYTES_HARD_MAX {
            return Err(BadRecord("a value longer than any may be"));
        }
        Ok(Put {
            table,
            key: self.key(key)?,
            meta: self.take(meta)?,
            value: self.take(value)?,
            expires_at: (expires_at > 0).then_some(expires_at),
        })
    }

    fn once(&mut self) -> Result<Effect<'a>, BadRecord> {
        let (length, count) = (self.u16()?, self.u16()?);
        if length > ONCE_BYTES_MAX {
            return Err(BadRecord("an idempotency key longer than any may be"));
        }
        let token = self.take(length)?;
        let mut replies = Vec::new();
        for _ in 0..count {
            let length = self.u32()? as usize;
            replies.push(self.take(length)?);
        }
        Ok(Effect::Once { token, replies })
    }
}

/// A record in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What stands before the effects.
    pub head: Head,
    /// All of it.
    pub bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the first record of `bytes`; gives what follows it.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BadRecord> {
        let mut reader = Reader(bytes);
        let length = reader.u32()? as usize;
        let group = reader.u16()? as u16;
        let number = reader.u16()? as u16;
        let epoch = Epoch(reader.u32()?);
        let (sequence, clock) = (reader.u64()?, reader.u64()?);
        if length < HEAD_BYTES {
            return Err(BadRecord("it is shorter than its head"));
        }
        if epoch > Epoch::MAX || sequence > Version::SEQUENCE_MAX {
            return Err(BadRecord("its epoch or sequence is beyond what a version holds"));
        }
        let (bytes, rest) = bytes.split_at_checked(length).ok_or(BadRecord("it is cut short"))?;
        let partition = PartitionId { group: GroupId(group), number };
        Ok((Self { head: Head { partition, epoch, sequence, clock }, bytes }, rest))
    }

    /// Its effects, in order. After an error there are none.
    pub fn effects(&self) -> Effects<'a> {
        Effects(Reader(&self.bytes[HEAD_BYTES..]))
    }
}

/// The effects in some bytes, in order.
pub struct Effects<'a>(Reader<'a>);

impl<'a> Effects<'a> {
    /// Effects without a record around them, as a snapshot's entries are.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(Reader(bytes))
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0.0
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = Result<Effect<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let effect = self.0.effect();
        if effect.is_err() {
            self.0.0 = &[];
        }
        Some(effect)
    }
}

/// Begins a record at the end of `out`; effects are appended after it, then [`end`] closes it. Returns where it starts.
pub fn begin(head: &Head, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut bytes = [0; HEAD_BYTES];
    bytes[4..6].copy_from_slice(&head.partition.group.0.to_le_bytes());
    bytes[6..8].copy_from_slice(&head.partition.number.to_le_bytes());
    bytes[8..12].copy_from_slice(&head.epoch.0.to_le_bytes());
    bytes[12..20].copy_from_slice(&head.sequence.to_le_bytes());
    bytes[20..28].copy_from_slice(&head.clock.to_le_bytes());
    out.extend_from_slice(&bytes);
    start
}

/// Closes the record that starts at `start`.
pub fn end(start: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - start).expect("a record is below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        let partition = PartitionId { group: GroupId(3), number: 77 };
        Head { partition, epoch: Epoch(9), sequence: 1 << 40, clock: 1_790_000_000_000 }
    }

    fn effects() -> Vec<Effect<'static>> {
        let put = Put {
            table: TableId(5),
            key: b"key",
            meta: b"text/plain",
            value: b"value",
            expires_at: Some(7),
        };
        vec![
            Effect::Start,
            Effect::Put(put),
            Effect::Put(Put { meta: b"", value: b"", expires_at: None, ..put }),
            Effect::Delete { table: TableId(6), key: b"k" },
            Effect::Flush { table: TableId(7) },
            Effect::Digest { sum: u64::MAX },
            Effect::Once { token: b"token", replies: vec![b"one", b""] },
        ]
    }

    fn record(effects: &[Effect<'_>]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let start = begin(&head(), &mut out);
        effects.iter().for_each(|effect| effect.write(&mut out));
        end(start, &mut out);
        out.split_off(start)
    }

    #[test]
    fn a_record_reads_back_and_a_cut_one_does_not() {
        let mut bytes = record(&effects());
        let length = bytes.len();
        bytes.extend_from_slice(b"rest");
        let (read, rest) = Record::read(&bytes).unwrap();
        assert_eq!((read.head, rest), (head(), &b"rest"[..]));
        let got: Vec<_> = read.effects().collect::<Result<_, _>>().unwrap();
        assert_eq!(got, effects());
        for end in 0..length {
            assert!(Record::read(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let mut bytes = record(&[Effect::Start]);
        bytes[HEAD_BYTES] = 200;
        let (read, _) = Record::read(&bytes).unwrap();
        assert!(read.effects().next().unwrap().is_err());
        assert!(read.effects().count() == 1, "it ends there");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((record, _)) = Record::read(&bytes) {
                let _ = record.effects().count();
            }
            let _ = Effects::of(&bytes).count();
        }

        #[test]
        fn a_flipped_byte_is_an_error_or_another_record(
            at in 0usize..100, to in any::<u8>(),
        ) {
            let mut bytes = record(&effects());
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok((record, _)) = Record::read(&bytes) {
                let _ = record.effects().collect::<Result<Vec<_>, _>>();
            }
        }
    }
}
