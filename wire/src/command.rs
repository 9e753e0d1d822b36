//! What can be asked of the store: the one vocabulary behind every door.
//!
//! Everything that touches data is an [`Op`] on one key. Operations on keys of one partition that must be atomic form
//! a [`Step`]: one lock, one record. Whole tables are asked by a [`Wide`] request to each worker for the partitions it
//! leads. A door only ever builds a [`Command`]; the router turns it into steps and wides.

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, PartitionId, TableId, Version};
use crate::map::TablePolicy;

/// When an entry is to be gone. Relative times are counted by the primary's clock when it applies the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiry {
    /// The table's default: none, or its `ttl_ms`.
    Default,
    /// What the entry has now (none for a new one).
    Keep,
    /// None.
    Never,
    /// This many milliseconds from now; 0 is gone at once.
    After(u64),
    /// At this Unix time in milliseconds; one that has passed is gone at once.
    At(u64),
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition<'a> {
    /// Nothing.
    Always,
    /// The key is not there.
    Absent,
    /// The key is there.
    Present,
    /// The key is there with this version.
    Version(Version),
    /// The key is there with this value.
    Equal(#[serde(with = "serde_bytes")] &'a [u8]),
}

/// Which expiries an [`Op::Expire`] may replace (Redis' NX, XX, GT, LT; no expiry counts as infinitely late).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireIf {
    /// Any.
    Always,
    /// Only where there is none.
    None,
    /// Only where there is one.
    Some,
    /// Only an earlier one.
    Later,
    /// Only a later one.
    Earlier,
    /// Only a later one, and not the lack of one (XX with LT).
    SomeEarlier,
}

/// A value to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set<'a> {
    /// The value.
    #[serde(with = "serde_bytes")]
    pub value: &'a [u8],
    /// What the HTTP door keeps beside it (content type, `X-Meta-*`); empty is none.
    #[serde(with = "serde_bytes")]
    pub meta: &'a [u8],
    /// When it is to be gone.
    pub expiry: Expiry,
    /// What must hold.
    #[serde(borrow)]
    pub condition: Condition<'a>,
    /// Whether the reply carries the value that was there.
    pub want_old: bool,
}

impl<'a> Set<'a> {
    /// Writes `value`, whatever is there, with the table's default expiry.
    pub fn plain(value: &'a [u8]) -> Self {
        Self {
            value,
            meta: b"",
            expiry: Expiry::Default,
            condition: Condition::Always,
            want_old: false,
        }
    }
}

/// An operation on one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op<'a> {
    /// The value → `Value` or `Nil`.
    Get,
    /// Everything but the value → `Found` or `Nil`.
    Inspect,
    /// Bytes `start..=end` of the value, negative counted from its end, as GETRANGE → `Value` (empty where absent).
    GetRange {
        /// First byte.
        start: i64,
        /// Last byte.
        end: i64,
    },
    /// The value, and a new expiry (`Keep` changes nothing) → `Value` or `Nil`.
    GetExpire {
        /// The new expiry.
        expiry: Expiry,
    },
    /// Write → `Written`, or `NotMet`.
    Set(#[serde(borrow)] Set<'a>),
    /// Remove → `Deleted`, `Nil` where absent, or `NotMet`. `Condition::Absent` makes no sense and is `NotMet`/`Nil`.
    Delete {
        /// What must hold.
        #[serde(borrow)]
        condition: Condition<'a>,
        /// Whether the reply carries the value that was there.
        want_old: bool,
    },
    /// Add to the decimal integer (absent counts as 0); the expiry stays → `Number`, or a failure.
    Increment {
        /// What to add.
        by: i64,
    },
    /// Add to the decimal fraction, as INCRBYFLOAT; the expiry stays → `Text`, or a failure.
    IncrementFloat {
        /// What to add, as text.
        #[serde(with = "serde_bytes")]
        by: &'a [u8],
    },
    /// Append; the expiry stays → `Length` of the result.
    Append {
        /// What to append.
        #[serde(with = "serde_bytes")]
        value: &'a [u8],
    },
    /// Overwrite from a byte on, padding with zero bytes; the expiry stays → `Length` of the result.
    SetRange {
        /// First byte overwritten.
        offset: u64,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        value: &'a [u8],
    },
    /// Change the expiry → `Done(changed)`. `Never` removes it: done only where there was one. A time that has passed
    /// removes the entry: done.
    Expire {
        /// The new expiry.
        expiry: Expiry,
        /// Which it may replace.
        only: ExpireIf,
    },
    /// Copy value, expiry and metadata to another key, of this or another table → `Done(true)`, `Nil` where the source is absent,
    /// `Done(false)` where the target exists and may not be replaced. With `remove` the source goes (RENAME).
    /// In a step both keys are in its partition; the router does what spans two.
    Copy {
        /// The target's table.
        table: TableId,
        /// The target.
        #[serde(with = "serde_bytes")]
        to: &'a [u8],
        /// Whether an existing target may go.
        replace: bool,
        /// Whether the source goes.
        remove: bool,
    },
}

impl Op<'_> {
    /// Whether it can change nothing, so that it may be sent again whatever became of the first try.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Get | Self::Inspect | Self::GetRange { .. } => true,
            Self::GetExpire { expiry } => *expiry == Expiry::Keep,
            _ => false,
        }
    }
}

/// An operation with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOp<'a> {
    /// The key's table.
    pub table: TableId,
    /// The key, 1 byte to 4 KiB.
    #[serde(with = "serde_bytes")]
    pub key: &'a [u8],
    /// What to do.
    #[serde(borrow)]
    pub op: Op<'a>,
}

/// What must hold for a whole step (WATCH, MSETNX).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard<'a> {
    /// The key's table.
    pub table: TableId,
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: &'a [u8],
    /// The version it must have; None: it must not be there.
    pub version: Option<Version>,
}

/// Operations on keys of one partition: one lock, one record. Operations do not undo each other: one that fails has its
/// failure as its reply, and the others happen. If a guard does not hold nothing happens and each reply is `Aborted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step<'r, 'a> {
    /// Where.
    pub partition: PartitionId,
    /// A token remembered with the replies for a minute: the same token again gets the same replies and changes nothing.
    #[serde(with = "serde_bytes")]
    pub once: Option<&'a [u8]>,
    /// What must hold.
    pub guards: &'r [Guard<'a>],
    /// What to do, in order.
    pub ops: &'r [KeyOp<'a>],
}

impl Step<'_, '_> {
    /// Whether doing it twice is the same as once: it only reads, or carries a token.
    pub fn is_repeatable(&self) -> bool {
        self.once.is_some() || self.ops.iter().all(|op| op.op.is_read())
    }
}

/// A [`Step`] as it is read from a message; its lists are its own, their bytes are the message's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StepBuf<'a> {
    /// As [`Step::partition`].
    pub partition: PartitionId,
    /// As [`Step::once`].
    #[serde(borrow, with = "serde_bytes")]
    pub once: Option<&'a [u8]>,
    /// As [`Step::guards`].
    #[serde(borrow)]
    pub guards: Vec<Guard<'a>>,
    /// As [`Step::ops`].
    #[serde(borrow)]
    pub ops: Vec<KeyOp<'a>>,
}

impl<'a> StepBuf<'a> {
    /// The step itself.
    pub fn as_step(&self) -> Step<'_, 'a> {
        Step { partition: self.partition, once: self.once, guards: &self.guards, ops: &self.ops }
    }
}

/// A place in a scan of a table: partition number, then the upper 48 bits of the hash from which entries are still to
/// come. As Redis' cursor it is one u64; 0 is both "from the start" and "no more".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Cursor {
    /// Partition number within the table's group.
    pub partition: u16,
    /// The upper 48 bits of the first hash still to come.
    pub position: u64,
}

impl Cursor {
    const POSITION_BITS: u32 = 48;
    /// One past the highest position.
    pub const POSITION_END: u64 = 1 << Self::POSITION_BITS;

    /// As one number.
    pub fn to_u64(self) -> u64 {
        u64::from(self.partition) << Self::POSITION_BITS | self.position
    }

    /// From one number; any number is a place.
    pub fn from_u64(number: u64) -> Self {
        Self {
            partition: (number >> Self::POSITION_BITS) as u16,
            position: number & (Self::POSITION_END - 1),
        }
    }

    /// The position of a hash.
    pub fn position_of(hash: u64) -> u64 {
        hash >> (u64::BITS - Self::POSITION_BITS)
    }
}

/// Which keys a scan returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter<'a> {
    /// All.
    All,
    /// Those that start so.
    Prefix(#[serde(with = "serde_bytes")] &'a [u8]),
    /// Those that match a Redis glob.
    Glob(#[serde(with = "serde_bytes")] &'a [u8]),
}

/// One page of a scan: at least every entry that is there all the time from the cursor on is returned once the pages are
/// through; one that comes or goes meanwhile may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan<'a> {
    /// Where to start.
    pub from: Cursor,
    /// About how many entries to return; at most [`crate::limits::SCAN_COUNT_MAX`] are asked for.
    pub count: u32,
    /// Which.
    #[serde(borrow)]
    pub filter: Filter<'a>,
    /// Whether values come too.
    pub values: bool,
}

/// The next part of a partition for a backup: what was written to all its tables since the part before, then entries of
/// one table. Whoever applies all parts in order, table after table, has the partition as it was at the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// [`crate::reply::Exported::at`] of the part before; None: this is the first.
    pub since: Option<Version>,
    /// The first hash whose entries are still to come.
    pub from: u64,
}

/// What is asked of all of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WideOp<'a> {
    /// → `Count`.
    Count,
    /// Remove every entry → `Count` of those removed.
    Flush,
    /// → `Page`.
    Scan(#[serde(borrow)] Scan<'a>),
    /// For a backup, of one partition → `Export`, or `Nil` where it must begin anew.
    Export(Export),
}

impl WideOp<'_> {
    /// Whether doing it twice is the same as once. A second flush would take what was written after the first.
    pub fn is_repeatable(&self) -> bool {
        matches!(self, Self::Count | Self::Scan(_) | Self::Export(_))
    }
}

/// Something asked of those partitions of a table that one worker leads. Its reply is [`crate::reply::Reply::Wide`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wide<'a> {
    /// Which table.
    pub table: TableId,
    /// Its group.
    pub group: GroupId,
    /// The numbers of the partitions asked for, ascending.
    pub partitions: Vec<u16>,
    /// What.
    #[serde(borrow)]
    pub op: WideOp<'a>,
}

/// What a door asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'a> {
    /// One operation → its reply.
    Key(KeyOp<'a>),
    /// One operation that happens at most once for its token → its reply.
    Once {
        /// The token, at most [`crate::limits::ONCE_BYTES_MAX`].
        token: &'a [u8],
        /// The operation.
        op: KeyOp<'a>,
    },
    /// Many → `Many`, a reply each in this order. One atomic step per partition, the steps not isolated from each other.
    /// With guards all keys must be in one partition, else `CrossPartition`; a guard that fails: `Aborted`.
    Many {
        /// What must hold.
        guards: Vec<Guard<'a>>,
        /// What to do.
        ops: Vec<KeyOp<'a>>,
    },
    /// Number of entries of a table → `Count`.
    Count {
        /// Which table.
        table: TableId,
    },
    /// Remove every entry of some tables → `Count` of those removed.
    Flush {
        /// Which tables.
        tables: Vec<TableId>,
    },
    /// One page of a table's entries → `Page`.
    Scan {
        /// Which table.
        table: TableId,
        /// Which page.
        scan: Scan<'a>,
    },
    /// Any key of a table → `Page` with one entry, or none where the table is empty.
    Random {
        /// Which table.
        table: TableId,
    },
    /// A change of the cluster's tables, done by the uplink → `Table`, `Done` or a failure.
    Table(TableCommand<'a>),
}

/// A change of the cluster's tables.
#[derive(Debug, Clone, PartialEq)]
pub enum TableCommand<'a> {
    /// Make a table where there is none → `Table`, also where it exists already with this placement.
    Create {
        /// Its name.
        name: &'a crate::ids::TableName,
        /// The first byte of the bucket's name as its user wrote it, for `name-ranges`.
        first_byte: u8,
        /// Its policy.
        policy: TablePolicy,
    },
    /// Change its policy by a JSON merge patch (RFC 7396) → `Table`.
    Alter {
        /// Its name.
        name: &'a crate::ids::TableName,
        /// The patch, JSON.
        patch: &'a str,
    },
    /// Remove it with all it holds → `Done(whether it was there)`.
    Drop {
        /// Its name.
        name: &'a crate::ids::TableName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_repeats_when_all_of_it_reads_or_it_has_a_token() {
        let key = |op| KeyOp { table: TableId::DEFAULT, key: b"k", op };
        let touch = Op::GetExpire { expiry: Expiry::After(1) };
        let ops = [key(Op::Get), key(Op::Inspect), key(Op::Set(Set::plain(b"v"))), key(touch)];
        let repeats = |ops, once| {
            Step { partition: PartitionId::default(), once, guards: &[], ops }.is_repeatable()
        };
        assert!(repeats(&ops[..2], None));
        assert!(!repeats(&ops[..3], None));
        assert!(!repeats(&ops[3..], None));
        assert!(repeats(&ops, Some(&b"token"[..])));
    }
}
