//! The entries of one table in one partition: a directory of segments by the top bits of the hash (extendible hashing,
//! Fagin et al. 1979). Growth splits one segment at a time, so no write waits for a rebuild.
//!
//! Invariants:
//! - `directory` has 2^`depth` places; a segment of depth d stands in 2^(`depth` − d) neighbouring ones.
//! - `entries` and `bytes` are the sums over all segments, `digest` is that of [`mix`] over all entries.
//! - `soonest` is not later than that of any segment, so a sweep passes by a table in which nothing has expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::arena::{Arena, Full, Handle, bytes_taken};
use super::digest::mix;
use super::entry::{self, Content, Entry};
use super::hash::KeyHash;
use super::segment::{SEGMENT_MAX, Segment};
use firn_wire::ids::Version;

/// Top bits a directory may use; beyond them segments grow.
const DEPTH_MAX: u32 = 24;
/// An entry's share of its segment's index on average: 5 bytes at a load between 7/16 and 7/8.
pub(crate) const INDEX_BYTES_PER_ENTRY: u64 = 8;

/// Entries of one table in one partition.
#[derive(Debug)]
pub(crate) struct Table {
    depth: u32,
    directory: Vec<u32>,
    segments: Vec<Segment>,
    entries: u64,
    bytes: u64,
    digest: u64,
    /// Unix milliseconds before which none of its entries expires.
    soonest: u64,
    /// Bytes of all of the table's entries in this worker.
    usage: Arc<AtomicU64>,
}

impl Table {
    /// An empty one, whose bytes count into `usage`.
    pub(crate) fn new(usage: Arc<AtomicU64>) -> Self {
        Self {
            depth: 0,
            directory: vec![0],
            segments: vec![Segment::new(0)],
            entries: 0,
            bytes: 0,
            digest: 0,
            soonest: u64::MAX,
            usage,
        }
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.usage.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Number of entries, expired ones not yet removed included.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// What its entries add up to, expired ones not yet removed included: see [`mix`].
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Bytes of the indexes.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.index_bytes() as u64).sum()
    }

    fn place(&self, hash: u64) -> usize {
        if self.depth == 0 { 0 } else { (hash >> (u64::BITS - self.depth)) as usize }
    }

    fn segment_of(&self, hash: u64) -> usize {
        self.directory[self.place(hash)] as usize
    }

    /// The entry of a key.
    #[inline]
    pub(crate) fn find(&self, arena: &Arena, hash: u64, key: &[u8]) -> Option<Handle> {
        self.segments[self.segment_of(hash)].find(arena, hash, key)
    }

    /// Writes an entry over `old`, which is the key's entry if it has one.
    pub(crate) fn put(
        &mut self,
        arena: &mut Arena,
        hashes: &KeyHash,
        at: (u64, &[u8]),
        old: Option<Handle>,
        version: Version,
        content: &Content<'_>,
    ) -> Result<(), Full> {
        let (hash, key) = at;
        let taken = bytes_taken(entry::length(key, content));
        let place = self.segment_of(hash);
        let before = old.map(|handle| mix(Entry::new(arena.get(handle)).version(), hash));
        self.note_expiry(place, content.expires_at.unwrap_or(u64::MAX));
        match old {
            Some(handle) if bytes_taken(Entry::new(arena.get(handle)).length()) == taken => {
                entry::write(arena.get_mut(handle), version, key, content);
            }
            Some(handle) => {
                let new = arena.take(taken)?;
                entry::write(arena.get_mut(new), version, key, content);
                self.segments[place].replace(hash, handle, new);
                self.grow(taken);
                self.release(arena, handle);
            }
            None => {
                let new = arena.take(taken)?;
                entry::write(arena.get_mut(new), version, key, content);
                self.segments[place].add(arena, hashes, hash, new);
                self.entries += 1;
                self.grow(taken);
                self.split_when_full(arena, hashes, hash);
            }
        }
        let added = mix(version, hash).wrapping_sub(before.unwrap_or(0));
        self.digest = self.digest.wrapping_add(added);
        Ok(())
    }

    fn note_expiry(&mut self, place: usize, expires_at: u64) {
        let soonest = &mut self.segments[place].soonest;
        *soonest = (*soonest).min(expires_at);
        self.soonest = self.soonest.min(expires_at);
    }

    /// Removes an entry that is there.
    pub(crate) fn remove(&mut self, arena: &mut Arena, hash: u64, handle: Handle) {
        let place = self.segment_of(hash);
        self.segments[place].remove(hash, handle);
        self.forget(arena, hash, handle);
    }

    /// Counts an entry out that is in no segment any more.
    fn forget(&mut self, arena: &mut Arena, hash: u64, handle: Handle) {
        let version = Entry::new(arena.get(handle)).version();
        self.digest = self.digest.wrapping_sub(mix(version, hash));
        self.entries -= 1;
        self.release(arena, handle);
    }

    fn release(&mut self, arena: &mut Arena, handle: Handle) {
        let bytes = bytes_taken(Entry::new(arena.get(handle)).length()) as u64;
        self.bytes -= bytes;
        self.usage.fetch_sub(bytes, Ordering::Relaxed);
        arena.give(handle);
    }

    fn split_when_full(&mut self, arena: &Arena, hashes: &KeyHash, hash: u64) {
        let place = self.segment_of(hash);
        let depth = self.segments[place].depth;
        if self.segments[place].len() <= SEGMENT_MAX || depth == DEPTH_MAX {
            return;
        }
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|at| [*at, *at]).collect();
            self.depth += 1;
        }
        let upper = self.segments[place].split(arena, hashes);
        let new = self.segments.len() as u32;
        self.segments.push(upper);
        let width = 1usize << (self.depth - depth);
        let first = self.place(hash) / width * width;
        self.directory[first + width / 2..first + width].fill(new);
    }

    /// The segments in ascending order of their hashes, from the one that holds hash `from` on, each with the lowest hash
    /// it may hold.
    pub(crate) fn segments_from(&self, from: u64) -> impl Iterator<Item = (u64, &Segment)> {
        let mut place = self.place(from);
        std::iter::from_fn(move || {
            let segment = &self.segments[*self.directory.get(place)? as usize];
            let width = 1usize << (self.depth - segment.depth);
            let first = place / width * width;
            place = first + width;
            let lowest =
                if self.depth == 0 { 0 } else { (first as u64) << (u64::BITS - self.depth) };
            Some((lowest, segment))
        })
    }

    /// Removes what is expired at `now` from the first segment that may hold such from segment number `from` on, each key
    /// given to `gone`. Returns how many went and the next segment to look at; None when the table is through.
    pub(crate) fn expire(
        &mut self,
        arena: &mut Arena,
        hashes: &KeyHash,
        now: u64,
        from: usize,
        gone: &mut dyn FnMut(&[u8]),
    ) -> Option<(u64, usize)> {
        if self.soonest > now {
            return None;
        }
        let later = self.segments.iter().skip(from).position(|segment| segment.soonest <= now);
        let Some(later) = later else {
            let soonest = self.segments.iter().map(|segment| segment.soonest).min();
            self.soonest = soonest.unwrap_or(u64::MAX);
            return None;
        };
        let at = from + later;
        let expired = self.segments[at].expire(arena, now);
        for handle in &expired {
            let key = Entry::new(arena.get(*handle)).key();
            gone(key);
            let hash = hashes.of(key);
            self.forget(arena, hash, *handle);
        }
        Some((expired.len() as u64, at + 1))
    }

    /// Takes the table out of the worker's count, before it is dissolved.
    pub(crate) fn retire(&mut self) {
        self.usage.fetch_sub(self.bytes, Ordering::Relaxed);
        (self.entries, self.bytes, self.digest) = (0, 0, 0);
    }

    /// Gives the entries of one segment back to the arena; false when there was none left. For a retired table.
    pub(crate) fn dissolve(&mut self, arena: &mut Arena) -> bool {
        let Some(segment) = self.segments.pop() else { return false };
        for handle in segment.iter() {
            arena.give(handle);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    struct Bench {
        arena: Arena,
        hashes: KeyHash,
        table: Table,
        written: u64,
    }

    impl Bench {
        fn new() -> Self {
            let (arena, hashes) = (Arena::new(), KeyHash::new(7));
            Self { arena, hashes, table: Table::new(Arc::default()), written: 0 }
        }
        fn put(&mut self, key: &[u8], value: &[u8], expires_at: Option<u64>) {
            let hash = self.hashes.of(key);
            let old = self.table.find(&self.arena, hash, key);
            let content = Content { value, meta: b"", expires_at };
            let at = (hash, key);
            self.written += 1;
            let version = Version(self.written);
            self.table.put(&mut self.arena, &self.hashes, at, old, version, &content).unwrap();
        }
        fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
            let handle = self.table.find(&self.arena, self.hashes.of(key), key)?;
            Some(Entry::new(self.arena.get(handle)).value().to_vec())
        }
        fn expire(&mut self, now: u64, from: usize) -> Option<(u64, usize)> {
            self.table.expire(&mut self.arena, &self.hashes, now, from, &mut |_| ())
        }
        /// The digest, from the entries.
        fn digest(&self) -> u64 {
            let handles = self.table.segments_from(0).flat_map(|(_, segment)| segment.iter());
            handles.fold(0, |sum, handle| {
                let entry = Entry::new(self.arena.get(handle));
                sum.wrapping_add(mix(entry.version(), self.hashes.of(entry.key())))
            })
        }
        fn remove(&mut self, key: &[u8]) -> bool {
            let hash = self.hashes.of(key);
            let Some(handle) = self.table.find(&self.arena, hash, key) else { return false };
            self.table.remove(&mut self.arena, hash, handle);
            true
        }
    }

    #[test]
    fn it_grows_one_split_at_a_time_and_keeps_the_order_of_hashes() {
        let mut bench = Bench::new();
        for n in 0..60_000u32 {
            bench.put(format!("key:{n}").as_bytes(), &n.to_le_bytes(), None);
        }
        for n in 0..60_000u32 {
            assert_eq!(bench.get(format!("key:{n}").as_bytes()).unwrap(), n.to_le_bytes());
        }
        let segments: Vec<_> = bench.table.segments_from(0).collect();
        assert!(segments.len() > 14, "{} segments", segments.len());
        assert_eq!(segments.iter().map(|(_, s)| s.len()).sum::<usize>(), 60_000);
        for (n, (lowest, segment)) in segments.iter().enumerate() {
            let end = segments.get(n + 1).map_or(u64::MAX, |(next, _)| next - 1);
            for handle in segment.iter() {
                let hash = bench.hashes.of(Entry::new(bench.arena.get(handle)).key());
                assert!((*lowest..=end).contains(&hash));
            }
            assert!(segment.len() <= SEGMENT_MAX);
        }
    }

    #[test]
    fn only_segments_that_may_hold_expired_entries_are_looked_at() {
        let mut bench = Bench::new();
        for n in 0..20_000u32 {
            let expires_at = (n % 2 == 0).then_some(u64::from(n));
            bench.put(format!("key:{n}").as_bytes(), b"v", expires_at);
        }
        let (mut gone, mut from) = (0, 0);
        while let Some((some, next)) = bench.expire(9_999, from) {
            (gone, from) = (gone + some, next);
        }
        assert_eq!(gone, 5_000);
        assert_eq!(bench.table.entries(), 15_000);
        assert_eq!(bench.expire(9_999, 0), None);
        assert_eq!(bench.table.soonest, 10_000, "the next pass waits for the next expiry");
        assert!(bench.expire(10_000, 0).is_some_and(|(gone, _)| gone == 1));
        assert_eq!(bench.table.digest(), bench.digest());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0u8..4, 0u16..300, 0usize..600), 1..600)) {
            let (mut bench, mut model) = (Bench::new(), HashMap::new());
            for (what, key, size) in steps {
                let key = key.to_string().into_bytes();
                if what == 0 {
                    prop_assert_eq!(bench.remove(&key), model.remove(&key).is_some());
                } else {
                    let value = vec![what; size];
                    bench.put(&key, &value, None);
                    model.insert(key, value);
                }
            }
            prop_assert_eq!(bench.table.entries(), model.len() as u64);
            prop_assert_eq!(bench.table.digest(), bench.digest());
            for (key, value) in &model {
                prop_assert_eq!(bench.get(key), Some(value.clone()));
            }
            for key in model.keys() {
                bench.remove(key);
            }
            prop_assert_eq!((bench.table.entries(), bench.table.bytes, bench.table.digest()), (0, 0, 0));
        }
    }
}
