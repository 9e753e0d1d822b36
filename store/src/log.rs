//! The log of a shard: a ring of records in memory, from which copies are fed.
//!
//! Positions count bytes since the shard began, so that one number says how far a copy has come. Each record lies behind
//! a link to the one before it of the same partition:
//!
//! ```text
//!  ┌──────────────────────────────────┬──────────────────────────────────────────────┐
//!  │ link u64, all ones: no such      │ a record, its length first: firn_wire::record │
//!  └──────────────────────────────────┴──────────────────────────────────────────────┘
//! ```
//! No checksum is kept: what goes out gets one in its frame.

use std::collections::VecDeque;

/// The bytes of a block that is not for one long record.
const BLOCK_BYTES_MAX: usize = 256 * 1024;
/// A small log still has so many blocks, since only whole ones are dropped.
const BLOCKS_MIN: usize = 8;
const LINK_BYTES: usize = 8;
const NO_LINK: u64 = u64::MAX;

/// A byte position in a shard's log: only grows, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position(pub(crate) u64);

/// A record as the log holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held<'a> {
    /// All of it: see `firn_wire::record`.
    pub(crate) record: &'a [u8],
    /// The record of the same partition before it, which may have been dropped since; None: there was none.
    pub(crate) prev: Option<Position>,
    /// Where the next record of the shard begins, or will begin.
    pub(crate) next: Position,
}

#[derive(Debug)]
struct Block {
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The record whose link is at `at`.
    fn held(&self, at: Position) -> Held<'_> {
        let (link, rest) = self.bytes[(at.0 - self.start) as usize..].split_at(LINK_BYTES);
        let link = u64::from_le_bytes(link.try_into().expect("8 bytes"));
        let record = &rest[..record_length(rest)];
        Held {
            record,
            prev: (link != NO_LINK).then_some(Position(link)),
            next: Position(at.0 + (LINK_BYTES + record.len()) as u64),
        }
    }
}

fn record_length(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes")) as usize
}

/// The ring.
///
/// Invariants:
/// - A block begins where the one before it ends, and the last ends at `end`; none is empty.
/// - No record spans blocks, and a block never moves to other memory while it is filled.
/// - `bytes` is the sum of the blocks' memory; it is above `bytes_max` by at most what [`Log::trim`] was told to keep.
#[derive(Debug)]
pub(crate) struct Log {
    blocks: VecDeque<Block>,
    end: u64,
    bytes: usize,
    bytes_max: usize,
    block_bytes: usize,
    /// The memory of a block that was dropped, for the next; beside `bytes`.
    spare: Option<Vec<u8>>,
    /// Where a record is written before its length is known.
    draft: Vec<u8>,
}

impl Log {
    /// An empty log that may take so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            end: 0,
            bytes: 0,
            bytes_max,
            block_bytes: (bytes_max / BLOCKS_MIN).min(BLOCK_BYTES_MAX),
            spare: None,
            draft: Vec::new(),
        }
    }

    /// Appends the one whole record that `write` adds to the end of what it is given; `prev` is where the same
    /// partition's record before it begins. Returns where this one begins and ends.
    ///
    /// # Panics
    /// When `write` adds anything but one whole record.
    pub(crate) fn append(
        &mut self,
        prev: Option<Position>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> (Position, Position) {
        let start = Position(self.end);
        assert!(prev.is_none_or(|prev| prev < start), "{start:?} is linked to {prev:?}");
        self.draft.clear();
        self.draft.extend_from_slice(&prev.map_or(NO_LINK, |prev| prev.0).to_le_bytes());
        write(&mut self.draft);
        let length = self.draft.len() - LINK_BYTES;
        assert!(length >= 4, "a record of {length} bytes");
        assert_eq!(record_length(&self.draft[LINK_BYTES..]), length, "not one whole record");
        self.end += self.draft.len() as u64;
        self.take_draft(start.0);
        (start, Position(self.end))
    }

    fn take_draft(&mut self, start: u64) {
        if let Some(last) = self.blocks.back_mut()
            && last.bytes.capacity() - last.bytes.len() >= self.draft.len()
        {
            last.bytes.extend_from_slice(&self.draft);
            return;
        }
        let bytes = if self.draft.len() > self.block_bytes {
            // The long record is not copied: its draft is the block.
            let mut bytes = std::mem::take(&mut self.draft);
            bytes.shrink_to_fit();
            bytes
        } else {
            let spare = self.spare.take();
            let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(self.block_bytes));
            bytes.extend_from_slice(&self.draft);
            bytes
        };
        self.bytes += bytes.capacity();
        self.blocks.push_back(Block { start, bytes });
    }

    /// Where the oldest record that is held begins; the end when none is.
    pub(crate) fn start(&self) -> Position {
        Position(self.blocks.front().map_or(self.end, |block| block.start))
    }

    /// The end of the newest record.
    pub(crate) fn end(&self) -> Position {
        Position(self.end)
    }

    /// Which block holds a position; its number is beyond the last for the end.
    fn block_of(&self, at: Position) -> usize {
        self.blocks.partition_point(|block| block.end() <= at.0)
    }

    /// The record that begins at a position which [`Log::append`] or a [`Held`] gave; None when it has been dropped, or is
    /// the end.
    pub(crate) fn record(&self, at: Position) -> Option<Held<'_>> {
        if at < self.start() {
            return None;
        }
        Some(self.blocks.get(self.block_of(at))?.held(at))
    }

    /// All records from one on, or from the end, each with where it begins.
    ///
    /// # Panics
    /// When the record has been dropped: what follows it is then no whole story.
    pub(crate) fn walk(&self, from: Position) -> impl Iterator<Item = (Position, Held<'_>)> {
        assert!(from >= self.start(), "{from:?} is before the start, {:?}", self.start());
        let (mut at, mut number) = (from, self.block_of(from));
        std::iter::from_fn(move || {
            let block = self.blocks.get(number)?;
            let (here, held) = (at, block.held(at));
            at = held.next;
            number += usize::from(at.0 == block.end());
            Some((here, held))
        })
    }

    /// Bytes of memory the records take, the unused ends of blocks included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is above its bound.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > self.bytes_max
    }

    /// Whether it is at twice its bound.
    pub(crate) fn is_twice_full(&self) -> bool {
        self.bytes > 2 * self.bytes_max
    }

    /// Drops the oldest blocks while above the bound, but no record that ends after `keep`. Returns whether it is within
    /// its bound now.
    pub(crate) fn trim(&mut self, keep: Position) -> bool {
        while self.is_full() && self.drop_first(keep) {}
        !self.is_full()
    }

    /// Drops all blocks but those with a record that ends after `keep`.
    pub(crate) fn release(&mut self, keep: Position) {
        while self.drop_first(keep) {}
    }

    fn drop_first(&mut self, keep: Position) -> bool {
        let Some(block) = self.blocks.pop_front_if(|block| block.end() <= keep.0) else {
            return false;
        };
        self.bytes -= block.bytes.capacity();
        if self.spare.is_none() && block.bytes.capacity() == self.block_bytes {
            let mut bytes = block.bytes;
            bytes.clear();
            self.spare = Some(bytes);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record of `length` bytes, all `mark` but for its length.
    fn record(length: usize, mark: u8) -> Vec<u8> {
        let mut record = vec![mark; length];
        record[..4].copy_from_slice(&(length as u32).to_le_bytes());
        record
    }

    fn append(log: &mut Log, prev: Option<Position>, record: &[u8]) -> Position {
        let (start, end) = log.append(prev, |out| out.extend_from_slice(record));
        assert_eq!(end, log.end());
        start
    }

    #[test]
    fn a_long_record_has_a_block_of_its_own_and_the_memory_of_others_is_used_again() {
        let mut log = Log::new(8 * 1024);
        append(&mut log, None, &record(100, 1));
        let long = append(&mut log, None, &record(5_000, 2));
        append(&mut log, None, &record(100, 3));
        assert_eq!(log.blocks.len(), 3);
        assert_eq!(log.bytes(), 1_024 + 5_008 + 1_024);
        let memory = log.blocks[0].bytes.as_ptr();
        append(&mut log, None, &record(2_000, 4));
        assert!(log.is_full() && log.trim(log.end()));
        assert_eq!(log.start(), long, "one block was enough");
        append(&mut log, None, &record(1_000, 5));
        assert_eq!(log.blocks.back().unwrap().bytes.as_ptr(), memory);
    }

    #[test]
    fn what_is_to_be_kept_stays_above_the_bound_and_an_emptied_log_goes_on() {
        let mut log = Log::new(1_000);
        let first = append(&mut log, None, &record(600, 1));
        let second = append(&mut log, Some(first), &record(600, 2));
        assert!(!log.trim(Position(second.0 - 1)), "the first ends a byte later");
        assert_eq!(log.start(), first);
        assert!(log.trim(second) && log.record(first).is_none());
        let end = log.end();
        append(&mut log, Some(second), &record(1_200, 3));
        assert!(log.trim(log.end()), "a record longer than the bound goes when it may");
        assert_eq!((log.start(), log.bytes()), (log.end(), 0));
        assert_eq!(log.walk(log.end()).count(), 0);
        assert_eq!(log.record(end), None);
        let next = append(&mut log, Some(end), &record(50, 4));
        assert_eq!(log.record(next).unwrap().prev, Some(end));
    }

    proptest! {
        /// Against a list of everything ever appended, by several partitions in turn.
        #[test]
        fn it_holds_what_was_appended_and_every_partition_finds_its_own(
            bytes_max in 0usize..20_000,
            steps in proptest::collection::vec((0usize..4, 4usize..3_000, 0usize..8, 0usize..40), 1..200),
        ) {
            let mut log = Log::new(bytes_max);
            let mut all: Vec<(Position, Option<Position>, Vec<u8>)> = Vec::new();
            let mut last = [None; 4];
            let mut keep = Position(0);
            for (n, (partition, length, trim, back)) in steps.into_iter().enumerate() {
                let record = record(length, n as u8);
                let at = append(&mut log, last[partition], &record);
                all.push((at, last[partition], record));
                last[partition] = Some(at);
                if trim == 0 {
                    keep = keep.max(all[all.len().saturating_sub(back + 1)].0);
                    let within = log.trim(keep);
                    prop_assert_eq!(within, log.bytes() <= bytes_max);
                    prop_assert!(log.start() <= keep, "kept from {:?}", log.start());
                    let first = log.blocks.front().map_or(u64::MAX, Block::end);
                    prop_assert!(within || first > keep.0, "more could have gone");
                }
                let used = (log.end().0 - log.start().0) as usize;
                prop_assert!(log.bytes() >= used);
                prop_assert_eq!(log.is_full(), log.bytes() > bytes_max);
            }
            let held: Vec<_> = all.iter().filter(|(at, ..)| *at >= log.start()).collect();
            prop_assert!(held.first().is_none_or(|(at, ..)| *at == log.start()));
            for from in 0..=held.len() {
                let start = held.get(from).map_or(log.end(), |(at, ..)| *at);
                let walked: Vec<_> = log.walk(start).map(|(at, held)| (at, held.prev, held.record)).collect();
                let expected: Vec<_> =
                    held[from..].iter().map(|(at, prev, record)| (*at, *prev, &record[..])).collect();
                prop_assert_eq!(walked, expected);
            }
            for (at, prev, record) in &all {
                let found = log.record(*at);
                prop_assert_eq!(found.is_some(), *at >= log.start());
                if let Some(found) = found {
                    prop_assert_eq!((found.prev, found.record), (*prev, &record[..]));
                }
            }
            for end in last {
                let chain = std::iter::successors(end, |at| log.record(*at)?.prev);
                let own: Vec<_> = chain.filter(|at| *at >= log.start()).collect();
                let back: Vec<_> = std::iter::successors(end, |at| all.iter().find(|(a, ..)| a == at)?.1)
                    .filter(|at| *at >= log.start()).collect();
                prop_assert_eq!(own, back);
            }
        }
    }
}
