//! What comes back: borrowed from the table under the shard's lock, or from a message of a peer.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::Cursor;
use crate::ids::{PartitionId, TableId, Version};
use crate::map::PartitionRow;

/// A value and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value<'a> {
    /// The bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: &'a [u8],
    /// What the HTTP door wrote beside them; empty is none.
    #[serde(with = "serde_bytes")]
    pub meta: &'a [u8],
    /// Its version; None where the key is absent (GETRANGE).
    pub version: Option<Version>,
    /// When it is gone, Unix milliseconds; None: never.
    pub expires_at: Option<u64>,
    /// The primary's clock at the reply, Unix milliseconds.
    pub now: u64,
}

/// Everything of an entry but its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Bytes of the value.
    pub length: u64,
    /// Bytes the entry takes in memory, its share of the index included.
    pub memory: u64,
    /// Its version.
    pub version: Version,
    /// When it is gone, Unix milliseconds; None: never.
    pub expires_at: Option<u64>,
    /// The primary's clock at the reply, Unix milliseconds.
    pub now: u64,
}

/// An entry of a scan's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<'a> {
    /// Where it stands.
    pub at: Cursor,
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: &'a [u8],
    /// Its version.
    pub version: Version,
    /// When it is gone, Unix milliseconds; None: never.
    pub expires_at: Option<u64>,
    /// Bytes of the value.
    pub length: u64,
    /// The value, if asked for.
    #[serde(with = "serde_bytes")]
    pub value: Option<&'a [u8]>,
    /// Its metadata, if values were asked for; empty is none.
    #[serde(with = "serde_bytes")]
    pub meta: &'a [u8],
}

/// A part of a partition: see [`crate::command::Export`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported<'a> {
    /// The last record that is in this part or in one before it.
    pub at: Version,
    /// The hash to go on from; None: the table is through.
    pub next: Option<u64>,
    /// Where the table is through: the entries of each table of the partition at this moment, expired ones included.
    pub counts: Vec<(TableId, u64)>,
    /// Puts, deletes and flushes in the order they are to be applied: see [`crate::record`].
    #[serde(with = "serde_bytes")]
    pub effects: &'a [u8],
}

/// Why something was not done. The doors put it into their own words; see each one's `failure` function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure<'a> {
    /// A key of no bytes.
    #[error("the key is empty")]
    KeyEmpty,
    /// A key above the limit.
    #[error("the key is longer than {limit} bytes")]
    KeyTooLong {
        /// Bytes.
        limit: u64,
    },
    /// A value above the table's limit.
    #[error("the value is longer than the {limit} bytes its table allows")]
    ValueTooLong {
        /// Bytes.
        limit: u64,
    },
    /// Some other bound was reached; the text names it.
    #[error("{0}")]
    TooMuch(#[serde(borrow)] Cow<'a, str>),
    /// Increment of what is no integer of 64 bits.
    #[error("the value is not an integer or out of range")]
    NotInteger,
    /// Increment of what is no number.
    #[error("the value is not a valid float")]
    NotFloat,
    /// An increment beyond 64 bits.
    #[error("the increment would overflow")]
    Overflow,
    /// An increment to infinity or not-a-number.
    #[error("the increment would produce NaN or Infinity")]
    NotFinite,
    /// No table of that name or id.
    #[error("there is no such table")]
    NoSuchTable,
    /// Keys of several partitions where one atomic step was asked for.
    #[error(
        "the keys are in different partitions; give them one {{hash tag}} to keep them together"
    )]
    CrossPartition,
    /// This worker does not lead the partition (between workers only; the router heals it).
    #[error("partition {} is led elsewhere", .0.id)]
    Moved(PartitionRow),
    /// This worker's map is older than what the request assumes and it could not get a newer one (between workers only).
    #[error("partition {0} is not known here yet")]
    NotHereYet(PartitionId),
    /// Nobody can serve the partition now; nothing was applied. The text says who is missing.
    #[error("{0}")]
    Unavailable(#[serde(borrow)] Cow<'a, str>),
    /// The answer did not come in time after the request was sent: it may or may not have been applied.
    #[error("no answer in time: the request may or may not have been applied")]
    Unknown,
    /// Memory is full; nothing was applied.
    #[error("memory is full for table {table}")]
    MemoryFull {
        /// The table's name.
        #[serde(borrow)]
        table: Cow<'a, str>,
    },
    /// The role may not do this.
    #[error("not allowed: {0}")]
    Denied(#[serde(borrow)] Cow<'a, str>),
    /// The request is wrong in itself; the text says how.
    #[error("{0}")]
    Invalid(#[serde(borrow)] Cow<'a, str>),
    /// The uplink was needed and did not answer.
    #[error("the uplink does not answer: {0}")]
    NoUplink(#[serde(borrow)] Cow<'a, str>),
    /// The table is there already, with another policy.
    #[error("the table exists already")]
    TableExists,
    /// Fewer copies are in sync than an acknowledged write needs; nothing was applied.
    #[error("partition {partition} has {in_sync} in-sync copies and a write needs {needed}")]
    TooFewCopies {
        /// Which partition.
        partition: PartitionId,
        /// Copies in sync, the primary included.
        in_sync: u8,
        /// Copies needed.
        needed: u8,
    },
    /// The copies lag so far behind that the log is full; nothing was applied.
    #[error("the log is full: the copies of partition {0} do not keep up")]
    LogFull(PartitionId),
    /// The disk of the worker that would write it fails; nothing was applied, and what is there can be read.
    #[error("nothing that is to survive can be written: {0}")]
    DiskFailed(#[serde(borrow)] Cow<'a, str>),
}

/// A reply inside a reply, still encoded: so a reply never nests, whatever bytes a peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part<'a>(#[serde(with = "serde_bytes")] &'a [u8]);

impl<'a> Part<'a> {
    /// Takes encoded bytes, as [`encode`] writes them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The reply; one that does not read is a failure.
    pub fn reply(self) -> Reply<'a> {
        postcard::from_bytes(self.0).unwrap_or(Reply::Failed(Failure::Invalid(Cow::Borrowed(
            "a reply from another worker does not read",
        ))))
    }

    /// Its encoded bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Appends a reply's bytes.
pub fn encode(reply: &Reply<'_>, out: &mut Vec<u8>) {
    let written = postcard::to_extend(reply, std::mem::take(out));
    *out = written.expect("a reply has no unserialisable part");
}

/// The reply to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// The key is absent.
    Nil,
    /// A value.
    Value(#[serde(borrow)] Value<'a>),
    /// An entry without its value.
    Found(Found),
    /// Written.
    Written {
        /// The new version.
        version: Version,
        /// Whether the key was absent before.
        created: bool,
        /// The value that was there, if asked for.
        #[serde(borrow, with = "serde_bytes")]
        old: Option<&'a [u8]>,
    },
    /// The condition did not hold; nothing changed.
    NotMet {
        /// The version that is there; None: the key is absent.
        version: Option<Version>,
        /// The value that is there, if the old one was asked for.
        #[serde(borrow, with = "serde_bytes")]
        old: Option<&'a [u8]>,
    },
    /// Removed.
    Deleted {
        /// The value that was there, if asked for.
        #[serde(borrow, with = "serde_bytes")]
        old: Option<&'a [u8]>,
    },
    /// The result of an increment.
    Number {
        /// The new value.
        value: i64,
        /// The new version.
        version: Version,
    },
    /// The result of a fraction's increment.
    Text {
        /// The new value.
        #[serde(with = "serde_bytes")]
        value: &'a [u8],
        /// The new version.
        version: Version,
    },
    /// The length of a changed value.
    Length {
        /// Bytes.
        length: u64,
        /// The new version; None where nothing was there and nothing was written.
        version: Option<Version>,
    },
    /// Whether something changed.
    Done(bool),
    /// A count of entries.
    Count(u64),
    /// The replies of many operations, in their order.
    Many(#[serde(borrow)] Vec<Part<'a>>),
    /// A guard did not hold; nothing changed.
    Aborted,
    /// A page of a scan.
    Page {
        /// Where to go on; None: the table is through.
        next: Option<Cursor>,
        /// The entries, ascending by place.
        rows: Vec<Row<'a>>,
    },
    /// A table was made, found or changed.
    Table {
        /// Its id.
        id: TableId,
        /// Whether it was made now.
        created: bool,
    },
    /// The reply of one worker to a wide request.
    Wide {
        /// Those asked partitions it does not lead, ascending; the reply covers the others (for a scan, up to the first
        /// of these at most).
        refused: Vec<u16>,
        /// What came of the others.
        reply: Part<'a>,
    },
    /// Not done.
    Failed(Failure<'a>),
    /// A part of a partition, for a backup.
    Export(#[serde(borrow)] Exported<'a>),
}

impl<'a> From<Failure<'a>> for Reply<'a> {
    fn from(failure: Failure<'a>) -> Self {
        Self::Failed(failure)
    }
}

/// A reply that owns its bytes: encoded, so that a value inside a peer's message is not copied.
#[derive(Debug, Clone)]
pub struct ReplyBuf(Bytes);

impl ReplyBuf {
    /// Encodes a reply.
    pub fn new(reply: &Reply<'_>) -> Self {
        Self(postcard::to_stdvec(reply).expect("a reply has no unserialisable part").into())
    }

    /// Takes over encoded bytes after checking that they are one whole reply.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, postcard::Error> {
        let (_, rest) = postcard::take_from_bytes::<Reply<'_>>(&bytes)?;
        if rest.is_empty() { Ok(Self(bytes)) } else { Err(postcard::Error::DeserializeBadEncoding) }
    }

    /// The reply.
    pub fn view(&self) -> Reply<'_> {
        postcard::from_bytes(&self.0).expect("checked when it was made")
    }

    /// Its encoded bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<Failure<'_>> for ReplyBuf {
    fn from(failure: Failure<'_>) -> Self {
        Self::new(&Reply::Failed(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_survives_its_bytes_and_nothing_else_passes() {
        let inner = [
            Reply::Nil,
            Reply::Value(Value {
                bytes: b"v",
                meta: b"",
                version: Some(Version(7)),
                expires_at: None,
                now: 1,
            }),
            Reply::Written { version: Version(8), created: false, old: Some(b"old") },
            Reply::Failed(Failure::Unavailable("w3 does not answer".into())),
        ];
        let bufs: Vec<ReplyBuf> = inner.iter().map(ReplyBuf::new).collect();
        let reply = Reply::Many(bufs.iter().map(|buf| Part::new(buf.as_bytes())).collect());
        let kept = ReplyBuf::new(&reply);
        assert_eq!(kept.view(), reply);
        let Reply::Many(parts) = kept.view() else { panic!("{kept:?}") };
        assert!(parts.iter().map(|part| part.reply()).eq(inner));
        let bytes = kept.as_bytes().clone();
        for end in 0..bytes.len() {
            assert!(ReplyBuf::from_bytes(bytes.slice(..end)).is_err(), "cut at {end}");
        }
        assert!(matches!(Part::new(b"\xff").reply(), Reply::Failed(Failure::Invalid(_))));
    }
}
