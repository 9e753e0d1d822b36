//! Snapshots: a table's entries in ranges of hashes, read where they are and put in place where they are wanted.
//!
//! A chunk is a range and all entries in it, each its version (u64, little-endian) and a put as in a record. It may be
//! newer than the records that are sent after it; see [`super::apply`]. Expired entries are in it: only the primary
//! expires.

use firn_wire::ids::{TableId, Version};
use firn_wire::record::{BadRecord, Effect, Effects, Put};

use super::arena::{Arena, Handle};
use super::entry::{Content, Entry};
use super::hash::KeyHash;
use super::table::Table;

/// Entries one chunk looks at before it is closed with what it has.
const VISIT_MAX: usize = 16 * 1024;
/// What a segment counts for beside its entries, so that a table of empty ones does not take long either.
const SEGMENT_VISIT: usize = 256;

/// Some hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first.
    pub(crate) from: u64,
    /// The last.
    pub(crate) to: u64,
}

impl Range {
    fn holds(self, hash: u64) -> bool {
        (self.from..=self.to).contains(&hash)
    }
}

/// Why a chunk was not put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is none: the table is as it was.
    Malformed(&'static str),
    /// There is no memory for all of it: some entries of the range are missing now.
    Memory,
}

impl From<BadRecord> for Unfit {
    fn from(_: BadRecord) -> Self {
        Self::Malformed("an entry does not read")
    }
}

/// A table that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'s> {
    pub(crate) arena: &'s Arena,
    pub(crate) hashes: &'s KeyHash,
    pub(crate) id: TableId,
    pub(crate) table: &'s Table,
}

impl Source<'_> {
    /// Appends the entries from a hash on to `out` until it has `bytes_soft` of them or has looked at enough; entries of one
    /// hash are never parted. Returns the last hash of the range they fill; `u64::MAX` when the table is through.
    pub(crate) fn read(&self, from: u64, bytes_soft: usize, out: &mut Vec<u8>) -> u64 {
        let bytes_max = out.len() + bytes_soft;
        let mut visited = 0;
        for (lowest, segment) in self.table.segments_from(from) {
            if lowest > from && (visited >= VISIT_MAX || out.len() >= bytes_max) {
                return lowest - 1;
            }
            visited += SEGMENT_VISIT + segment.len();
            if let Some(next) = self.read_segment(segment.iter(), from, bytes_max, out) {
                return next - 1;
            }
        }
        u64::MAX
    }

    /// Appends a segment's entries in order. Returns the hash before which it stopped.
    fn read_segment(
        &self,
        handles: impl Iterator<Item = Handle>,
        from: u64,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let entry = |handle| Entry::new(self.arena.get(handle));
        let mut found: Vec<(u64, Handle)> = handles
            .map(|handle| (self.hashes.of(entry(handle).key()), handle))
            .filter(|(hash, _)| *hash >= from)
            .collect();
        found.sort_unstable_by_key(|(hash, _)| *hash);
        let mut last = None;
        for (hash, handle) in found {
            if out.len() >= bytes_max && last.is_some_and(|last| last != hash) {
                return Some(hash);
            }
            write(self.id, entry(handle), out);
            last = Some(hash);
        }
        None
    }
}

fn write(table: TableId, entry: Entry<'_>, out: &mut Vec<u8>) {
    let Content { value, meta, expires_at } = entry.content();
    out.extend_from_slice(&entry.version().0.to_le_bytes());
    Put { table, key: entry.key(), meta, value, expires_at }.write(out);
}

/// Effects each with its version, in order. After an error there are none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versioned<'a>(&'a [u8]);

impl<'a> Versioned<'a> {
    /// Those in the bytes of a chunk, or of what mends a copy.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn read(&mut self) -> Result<(Version, Effect<'a>), Unfit> {
        let cut = Unfit::Malformed("an entry is cut short");
        let (version, rest) = self.0.split_first_chunk().ok_or(cut)?;
        let mut effects = Effects::of(rest);
        let effect = effects.next().ok_or(cut)??;
        self.0 = effects.rest();
        Ok((Version(u64::from_le_bytes(*version)), effect))
    }
}

impl<'a> Iterator for Versioned<'a> {
    type Item = Result<(Version, Effect<'a>), Unfit>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

/// A table that is changed.
#[derive(Debug)]
pub(crate) struct Target<'s> {
    pub(crate) arena: &'s mut Arena,
    pub(crate) hashes: &'s KeyHash,
    pub(crate) id: TableId,
    pub(crate) table: &'s mut Table,
}

/// An entry of a chunk.
struct Row<'a> {
    hash: u64,
    version: Version,
    put: Put<'a>,
}

impl Target<'_> {
    /// Afterwards the table has exactly these entries in the range. What it has there is looked at once, so a range takes
    /// as long as the table has entries in it.
    pub(crate) fn replace(&mut self, range: Range, entries: &[u8]) -> Result<(), Unfit> {
        let rows = self.rows(range, entries)?;
        for (hash, handle) in self.strangers(range, &rows) {
            self.table.remove(self.arena, hash, handle);
        }
        rows.iter().try_for_each(|row| self.set(row.hash, row.version, &row.put))
    }

    /// The entries of a chunk, checked before any is written.
    fn rows<'a>(&self, range: Range, entries: &'a [u8]) -> Result<Vec<Row<'a>>, Unfit> {
        let mut rows: Vec<Row<'a>> = Vec::new();
        for entry in Versioned::of(entries) {
            let (version, effect) = entry?;
            let Effect::Put(put) = effect else {
                return Err(Unfit::Malformed("an entry is no put"));
            };
            let hash = self.hashes.of(put.key);
            if put.table != self.id || !range.holds(hash) {
                return Err(Unfit::Malformed("an entry is of another table or range"));
            }
            if rows.last().is_some_and(|last| last.hash > hash) {
                return Err(Unfit::Malformed("the entries are not in order"));
            }
            rows.push(Row { hash, version, put });
        }
        Ok(rows)
    }

    /// What the table has in the range and the chunk has not.
    fn strangers(&self, range: Range, rows: &[Row<'_>]) -> Vec<(u64, Handle)> {
        let key = |handle| Entry::new(self.arena.get(handle)).key();
        let is_named = |(hash, handle): &(u64, Handle)| {
            let first = rows.partition_point(|row| row.hash < *hash);
            let same = rows[first..].iter().take_while(|row| row.hash == *hash);
            same.map(|row| row.put.key).any(|named| named == key(*handle))
        };
        self.table
            .segments_from(range.from)
            .take_while(|(lowest, _)| *lowest <= range.to)
            .flat_map(|(_, segment)| segment.iter())
            .map(|handle| (self.hashes.of(key(handle)), handle))
            .filter(|(hash, _)| range.holds(*hash))
            .filter(|stranger| !is_named(stranger))
            .collect()
    }

    /// The key has exactly this entry, whatever it had. What has its very version stays.
    pub(crate) fn set(&mut self, hash: u64, version: Version, put: &Put<'_>) -> Result<(), Unfit> {
        let old = self.table.find(self.arena, hash, put.key);
        let before = old.map(|handle| Entry::new(self.arena.get(handle)).version());
        if before == Some(version) {
            return Ok(());
        }
        let content = Content { value: put.value, meta: put.meta, expires_at: put.expires_at };
        let (at, hashes) = ((hash, put.key), self.hashes);
        let done = self.table.put(self.arena, hashes, at, old, version, &content);
        done.map_err(|_| Unfit::Memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::Epoch;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, VecDeque};
    use std::sync::Arc;

    const ID: TableId = TableId(3);
    const WHOLE: Range = Range { from: 0, to: u64::MAX };

    type Entries = BTreeMap<Vec<u8>, (Version, Vec<u8>, Vec<u8>, Option<u64>)>;

    /// One record's effect.
    #[derive(Debug, Clone)]
    enum Change {
        Put(Vec<u8>, Vec<u8>),
        Delete(Vec<u8>),
        Flush,
    }

    struct Side {
        arena: Arena,
        hashes: KeyHash,
        table: Table,
    }

    impl Side {
        fn new() -> Self {
            Self { arena: Arena::new(), hashes: KeyHash::new(7), table: Table::new(Arc::default()) }
        }
        fn apply(&mut self, version: Version, change: &Change) {
            let (arena, hashes) = (&mut self.arena, &self.hashes);
            match change {
                Change::Put(key, value) => {
                    // Some with metadata, some with an expiry long past: only a primary would act on it.
                    let meta = if value.len() % 3 == 0 { &b"text"[..] } else { b"" };
                    let expires_at = (value.len() % 2 == 0).then_some(1);
                    let content = Content { value, meta, expires_at };
                    self.table.apply_put(arena, hashes, key, version, &content).unwrap();
                }
                Change::Delete(key) => self.table.apply_delete(arena, hashes, key, version),
                Change::Flush => {
                    self.table.retire();
                    while self.table.dissolve(arena) {}
                    self.table = Table::new(Arc::default());
                }
            }
        }
        /// The next chunk from a hash on.
        fn read(&self, from: u64, bytes_soft: usize) -> (Range, Vec<u8>) {
            let Self { arena, hashes, table } = self;
            let mut entries = Vec::new();
            let to = Source { arena, hashes, id: ID, table }.read(from, bytes_soft, &mut entries);
            (Range { from, to }, entries)
        }
        fn replace(&mut self, range: Range, entries: &[u8]) -> Result<(), Unfit> {
            let Self { arena, hashes, table } = self;
            Target { arena, hashes, id: ID, table }.replace(range, entries)
        }
        fn entries(&self) -> Entries {
            let handles = self.table.segments_from(0).flat_map(|(_, segment)| segment.iter());
            let entries = handles.map(|handle| Entry::new(self.arena.get(handle)));
            entries
                .map(|entry| {
                    let Content { value, meta, expires_at } = entry.content();
                    let held = (entry.version(), value.to_vec(), meta.to_vec(), expires_at);
                    (entry.key().to_vec(), held)
                })
                .collect()
        }
    }

    fn key(number: u16) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    fn changes() -> impl Strategy<Value = Change> {
        let keys = || (0u16..60).prop_map(key);
        prop_oneof![
            12 => (keys(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(k, v)| Change::Put(k, v)),
            5 => keys().prop_map(Change::Delete),
            1 => Just(Change::Flush),
        ]
    }

    fn version(epoch: u32, sequence: usize) -> Version {
        Version::new(Epoch(epoch), sequence as u64)
    }

    fn fill(side: &mut Side, epoch: u32, changes: &[Change]) {
        for (n, change) in changes.iter().enumerate() {
            side.apply(version(epoch, n + 1), change);
        }
    }

    #[test]
    fn chunks_of_many_segments_are_in_order_short_and_complete() {
        let (mut source, mut target) = (Side::new(), Side::new());
        for n in 0..20_000 {
            source.apply(version(1, n + 1), &Change::Put(key(n as u16), vec![7; n % 50]));
        }
        for n in 15_000..24_000 {
            target.apply(version(2, n), &Change::Put(key(n as u16), b"junk".to_vec()));
        }
        let (mut from, mut chunks) = (0, 0);
        loop {
            let (range, entries) = source.read(from, 10_000);
            assert!(entries.len() < 10_200, "{} bytes", entries.len());
            target.replace(range, &entries).unwrap();
            chunks += 1;
            if range.to == u64::MAX {
                break;
            }
            from = range.to + 1;
        }
        assert!(chunks > 100, "{chunks} chunks");
        assert_eq!(target.entries(), source.entries());
        assert_eq!(target.table.digest(), source.table.digest());
    }

    #[test]
    fn a_table_of_empty_segments_is_read_in_more_than_one_go() {
        let mut side = Side::new();
        for n in 0..400_000u64 {
            side.apply(version(1, 1), &Change::Put(n.to_le_bytes().to_vec(), Vec::new()));
        }
        assert!(side.table.segments_from(0).count() > VISIT_MAX / SEGMENT_VISIT);
        for n in 0..400_000u64 {
            side.apply(version(1, 1), &Change::Delete(n.to_le_bytes().to_vec()));
        }
        assert_eq!(side.table.entries(), 0);
        let (range, entries) = side.read(0, 1);
        assert!(entries.is_empty() && range.to < u64::MAX);
    }

    #[test]
    fn what_is_no_chunk_changes_nothing() {
        let mut side = Side::new();
        fill(&mut side, 1, &[1, 2, 3].map(|n| Change::Put(key(n), b"value".to_vec())));
        let (_, entries) = side.read(0, usize::MAX);
        let before = side.entries();
        let first = {
            let Some(Ok((_, Effect::Put(put)))) = Versioned::of(&entries).next() else { panic!() };
            side.hashes.of(put.key)
        };
        let mut refuses = |range, entries: &[u8]| {
            assert!(matches!(side.replace(range, entries), Err(Unfit::Malformed(_))));
            assert_eq!(side.entries(), before);
        };
        for end in (1..entries.len()).filter(|end| end % (entries.len() / 3) != 0) {
            refuses(WHOLE, &entries[..end]);
        }
        refuses(Range { from: first + 1, to: u64::MAX }, &entries);
        refuses(Range { from: 0, to: first }, &entries);
        let second = entries.len() / 3;
        refuses(WHOLE, &[&entries[second..], &entries[..second]].concat());
        let mut delete = version(1, 9).0.to_le_bytes().to_vec();
        Effect::Delete { table: ID, key: &key(1) }.write(&mut delete);
        refuses(WHOLE, &delete);
        let mut other = version(1, 9).0.to_le_bytes().to_vec();
        let put = Put { table: TableId(4), key: b"k", meta: b"", value: b"", expires_at: None };
        put.write(&mut other);
        refuses(WHOLE, &other);
        assert_eq!(side.replace(WHOLE, &entries), Ok(()));
        assert_eq!(side.entries(), before);
    }

    proptest! {
        /// The copy has what an earlier reign left. The primary changes while it is read, and each chunk overtakes some of
        /// the records before it. Once all has arrived, both are the same.
        #[test]
        fn a_copy_made_by_chunks_and_records_is_the_same(
            old in proptest::collection::vec(changes(), 0..150),
            junk in proptest::collection::vec(changes(), 0..150),
            during in proptest::collection::vec((changes(), 0u8..6), 0..300),
            late in 0usize..20,
            bytes_soft in 0usize..400,
        ) {
            let (mut source, mut target) = (Side::new(), Side::new());
            fill(&mut source, 1, &old);
            fill(&mut target, 2, &junk);
            let mut records = VecDeque::new();
            let mut from = Some(0);
            let mut during = during.into_iter().enumerate();
            while from.is_some() || during.len() > 0 {
                let mut chunk_now = true;
                if let Some((n, (change, chance))) = during.next() {
                    source.apply(version(3, n + 1), &change);
                    records.push_back((version(3, n + 1), change));
                    chunk_now = chance == 0;
                }
                while records.len() > late {
                    let (version, change) = records.pop_front().unwrap();
                    target.apply(version, &change);
                }
                if let Some(first) = from.filter(|_| chunk_now) {
                    let (range, entries) = source.read(first, bytes_soft);
                    target.replace(range, &entries).unwrap();
                    from = range.to.checked_add(1);
                }
            }
            for (version, change) in records {
                target.apply(version, &change);
            }
            prop_assert_eq!(target.entries(), source.entries());
            prop_assert_eq!(target.table.digest(), source.table.digest());
            prop_assert_eq!(target.table.entries(), source.table.entries());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Side::new().replace(WHOLE, &bytes);
        }
    }
}
