//! What workers say to each other about copies.
//!
//! A worker has one connection to each worker that holds copies of what it leads. Over it run the streams of its shards:
//! a [`Batch`] carries items of many partitions and a number that counts up; the copy applies it and answers an [`Ack`]
//! with that number, which acknowledges everything before it. What the copy could not
//! take is refused in the same ack, before the number counts. A third connection, on a thread of its own, carries
//! [`Beacon`]s and their [`Grant`]s.
//!
//! The talk about one partition: the primary says [`Item::Join`], the copy answers [`Notice::At`] with the last record
//! both have, the primary says [`Item::Base`] and sends what follows: records, or for a copy that is too far behind the
//! entries themselves in [`Item::Chunk`]s. A copy that is to be in sync is asked whether all of it is on its disk
//! ([`Item::Keep`]).

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, MapVersion, PartitionId, TableId};

/// Bytes that are no message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message about copies does not read: {0}")]
pub struct BadReplica(String);

/// Where each reign began: the first sequence number written in it, oldest first, epochs and numbers ascending.
pub type History = Vec<(Epoch, u64)>;

/// Some of what a shard has for one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch<'a> {
    /// Which of the primary's shards.
    pub shard: u16,
    /// Its number: counts up on a connection. Numbers and not places in the log, since what is sent again may reach no
    /// further than what was acknowledged before.
    pub number: u64,
    /// Whether it is to be acknowledged only when it is on the copy's disk, if that has one.
    pub durable: bool,
    /// In the order they are to be applied.
    #[serde(borrow)]
    pub items: Vec<Item<'a>>,
}

/// A part of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item<'a> {
    /// "I lead this partition: follow me." Answered by [`Notice::At`] or [`Notice::Refuse`].
    Join {
        /// Which.
        partition: PartitionId,
        /// The row by which the sender leads.
        rev: MapVersion,
        /// The sender's reign.
        epoch: Epoch,
        /// As in the row: no lease of an earlier primary lives.
        released: bool,
        /// The sender's reigns.
        history: History,
        /// The sender's last sequence number.
        last: u64,
    },
    /// "Go on from here." What the copy has beyond `sequence` is void.
    Base {
        /// Which.
        partition: PartitionId,
        /// The sender's reign.
        epoch: Epoch,
        /// The sender's reigns.
        history: History,
        /// The last sequence number the copy keeps; records from the next one on follow. With `snapshot`, the one the
        /// entries that follow are at least as new as.
        sequence: u64,
        /// The sender's last sequence number: once the copy has it, it is what the sender is.
        last: u64,
        /// The partition's time, Unix milliseconds: who leads it next goes on from there.
        clock: u64,
        /// Whether entries follow in chunks.
        snapshot: bool,
        /// Whether they go on from [`Notice::At::resume`]; else all entries follow.
        resumed: bool,
        /// Versioned effects for the keys of [`Notice::At::divergent`]: see [`Item::Chunk::entries`].
        #[serde(with = "serde_bytes")]
        mended: &'a [u8],
    },
    /// Records, one after the other: see [`crate::record`].
    Records(#[serde(with = "serde_bytes")] &'a [u8]),
    /// All entries of a table with hashes in a range: what the copy has there and is not here is gone.
    Chunk {
        /// Which.
        partition: PartitionId,
        /// The table.
        table: TableId,
        /// The first hash of the range.
        from: u64,
        /// The last hash of the range.
        to: u64,
        /// Each a version (u64) and an effect: a put, or a delete.
        #[serde(with = "serde_bytes")]
        entries: &'a [u8],
    },
    /// The idempotency keys of a partition: each the time it goes (u64, Unix milliseconds) and a `once` effect.
    Tokens {
        /// Which.
        partition: PartitionId,
        /// Them.
        #[serde(with = "serde_bytes")]
        tokens: &'a [u8],
    },
    /// The last chunk has been sent.
    Complete {
        /// Which.
        partition: PartitionId,
        /// The tables that have entries; others the copy has are gone.
        tables: Vec<TableId>,
        /// What the entries add up to now.
        digest: u64,
    },
    /// "Is all of it on your disk?" Answered by [`Notice::Kept`] once it is, and by nothing before: then it is asked again.
    Keep {
        /// Which.
        partition: PartitionId,
    },
}

/// What a copy answers to a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack<'a> {
    /// Which of the primary's shards.
    pub shard: u16,
    /// Every batch up to this one is applied, but for what the notices refuse.
    pub number: u64,
    /// They come before the number.
    #[serde(borrow)]
    pub notices: Vec<Notice<'a>>,
}

/// What a copy says about one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice<'a> {
    /// The answer to [`Item::Join`].
    At {
        /// Which.
        partition: PartitionId,
        /// The reign it was asked to follow.
        epoch: Epoch,
        /// The last sequence number both have; None: nothing of it is of use, all entries are needed.
        sequence: Option<u64>,
        /// Keys of what the copy has beyond it: their entries are needed as they are now. Each a `delete` effect.
        #[serde(with = "serde_bytes")]
        divergent: &'a [u8],
        /// How far an earlier snapshot came: everything before this table and hash is there as of `sequence`.
        resume: Option<(TableId, u64)>,
    },
    /// The copy does not take records of this partition, and what it has not acknowledged it will not.
    Refuse {
        /// Which.
        partition: PartitionId,
        /// The newest reign it has promised itself to.
        epoch: Epoch,
        /// The last sequence number it has.
        sequence: u64,
        /// Why.
        why: Refusal,
    },
    /// The answer to [`Item::Keep`]: all the copy has is on its disk, but for what everybody may lose; or it has no disk.
    Kept {
        /// Which.
        partition: PartitionId,
    },
}

impl Notice<'_> {
    /// The partition.
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::At { partition, .. }
            | Self::Refuse { partition, .. }
            | Self::Kept { partition } => *partition,
        }
    }
}

/// Why a copy takes no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It has promised itself to a newer reign.
    Promised,
    /// It has granted an earlier primary a lease that may still live: later.
    Granted,
    /// It was not asked to join in this connection, or a record before this one is missing.
    Gap,
    /// Its map says that it is not to have the partition.
    Unknown,
    /// No memory for the entry.
    Memory,
    /// Its entries add up to something else: they must be copied anew.
    Digest,
    /// What it has beyond the last common record cannot be undone key by key: they must be copied anew.
    Diverged,
}

/// A worker's sign of life to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// Counts up on a connection.
    pub number: u64,
    /// The sender's clock, Unix milliseconds.
    pub clock: u64,
    /// The map the sender goes by.
    pub map: MapVersion,
}

/// The answer to a beacon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The beacon it answers.
    pub number: u64,
    /// For how long after its arrival the granter neither seeks nor supports another primary for what the sender leads,
    /// in milliseconds.
    pub grant_ms: u64,
    /// Partitions the grant does not cover: the granter has promised itself to a newer reign.
    pub except: Vec<PartitionId>,
}

/// Encodes a message.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message).expect("a message has no unserialisable part")
}

/// Reads a message that must be all of `bytes`.
pub fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<M, BadReplica> {
    let bad = |error: postcard::Error| BadReplica(error.to_string());
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(bad)?;
    if rest.is_empty() { Ok(message) } else { Err(BadReplica("bytes are left over".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupId;
    use proptest::prelude::*;

    #[test]
    fn a_batch_and_its_ack_survive_the_way() {
        let partition = PartitionId { group: GroupId(1), number: 2 };
        let rev = MapVersion { generation: 1, counter: 9 };
        let (epoch, history) = (Epoch(3), vec![(Epoch(1), 1), (Epoch(3), 17)]);
        let items = vec![
            Item::Join {
                partition,
                rev,
                epoch,
                released: true,
                history: history.clone(),
                last: 40,
            },
            Item::Base {
                partition,
                epoch,
                history,
                sequence: 16,
                last: 40,
                snapshot: false,
                clock: 1_700_000_000_000,
                resumed: false,
                mended: b"m",
            },
            Item::Records(b"records"),
            Item::Chunk { partition, table: TableId(1), from: 0, to: u64::MAX, entries: b"e" },
            Item::Tokens { partition, tokens: b"t" },
            Item::Complete { partition, tables: vec![TableId(1)], digest: 5 },
            Item::Keep { partition },
        ];
        let batch = Batch { shard: 3, number: 1 << 50, durable: true, items };
        let bytes = encode(&batch);
        assert_eq!(decode::<Batch<'_>>(&bytes).unwrap(), batch);
        for end in 0..bytes.len() {
            assert!(decode::<Batch<'_>>(&bytes[..end]).is_err(), "cut at {end}");
        }
        let at = Notice::At {
            partition,
            epoch,
            sequence: Some(16),
            divergent: b"d",
            resume: Some((TableId(1), 7)),
        };
        let refuse = Notice::Refuse { partition, epoch, sequence: 3, why: Refusal::Gap };
        let ack =
            Ack { shard: 3, number: 9, notices: vec![at, refuse, Notice::Kept { partition }] };
        assert_eq!(decode::<Ack<'_>>(&encode(&ack)).unwrap(), ack);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Batch<'_>>(&bytes);
            let _ = decode::<Ack<'_>>(&bytes);
            let _ = decode::<Grant>(&bytes);
        }
    }
}
