//! The index of at most [`SEGMENT_MAX`] entries of one table whose hashes share their top bits.

use hashbrown::HashTable;

use super::arena::{Arena, Handle};
use super::entry::Entry;
use super::hash::KeyHash;

/// A segment with more entries is split: as many as an index of 256 buckets takes. Few, since a snapshot looks at all of a
/// segment for each chunk of it, and a split is one step of a write.
pub(crate) const SEGMENT_MAX: usize = 224;

/// The index of some entries.
///
/// Invariants: `soonest` is not later than the expiry of any entry in it; handles are valid in the shard's arena.
#[derive(Debug)]
pub(crate) struct Segment {
    index: HashTable<Handle>,
    /// How many top bits its entries' hashes share.
    pub(crate) depth: u32,
    /// Unix milliseconds before which none of its entries expires.
    pub(crate) soonest: u64,
}

/// The directory uses a hash's top bits and `HashTable` uses its top 7 to tell entries apart: turned by half, the two do
/// not see the same bits.
fn turned(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl Segment {
    /// An empty one.
    pub(crate) fn new(depth: u32) -> Self {
        Self { index: HashTable::new(), depth, soonest: u64::MAX }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of the index.
    pub(crate) fn index_bytes(&self) -> usize {
        self.index.allocation_size()
    }

    /// The entry of a key.
    #[inline]
    pub(crate) fn find(&self, arena: &Arena, hash: u64, key: &[u8]) -> Option<Handle> {
        let same = |handle: &Handle| Entry::new(arena.get(*handle)).key() == key;
        self.index.find(turned(hash), same).copied()
    }

    /// Adds an entry whose key is not there.
    pub(crate) fn add(&mut self, arena: &Arena, hashes: &KeyHash, hash: u64, handle: Handle) {
        let hash_of = |other: &Handle| turned(hashes.of(Entry::new(arena.get(*other)).key()));
        self.index.insert_unique(turned(hash), handle, hash_of);
    }

    /// Lets an entry that is there point elsewhere.
    pub(crate) fn replace(&mut self, hash: u64, old: Handle, new: Handle) {
        let place = self.index.find_mut(turned(hash), |handle| *handle == old);
        *place.expect("the entry was found before") = new;
    }

    /// Takes an entry out that is there.
    pub(crate) fn remove(&mut self, hash: u64, handle: Handle) {
        let found = self.index.find_entry(turned(hash), |other| *other == handle);
        found.expect("the entry was found before").remove();
    }

    /// Every entry, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Handle> + '_ {
        self.index.iter().copied()
    }

    /// Moves the entries whose next top bit is set into a new segment.
    pub(crate) fn split(&mut self, arena: &Arena, hashes: &KeyHash) -> Segment {
        let bit = 1u64 << (u64::BITS - 1 - self.depth);
        let hash_of = |handle: &Handle| hashes.of(Entry::new(arena.get(*handle)).key());
        self.depth += 1;
        let mut upper = Segment { soonest: self.soonest, ..Segment::new(self.depth) };
        for handle in self.index.extract_if(|handle| hash_of(handle) & bit != 0) {
            upper.index.insert_unique(turned(hash_of(&handle)), handle, |h| turned(hash_of(h)));
        }
        self.index.shrink_to_fit(|handle| turned(hash_of(handle)));
        upper
    }

    /// Takes out every entry that is expired at `now`, each given to `gone` with its hash, and finds `soonest` anew.
    pub(crate) fn expire(&mut self, arena: &Arena, now: u64) -> Vec<Handle> {
        let mut soonest = u64::MAX;
        let gone = self
            .index
            .extract_if(|handle| {
                let expires_at = Entry::new(arena.get(*handle)).expires_at();
                let expired = expires_at.is_some_and(|at| at <= now);
                if !expired {
                    soonest = soonest.min(expires_at.unwrap_or(u64::MAX));
                }
                expired
            })
            .collect();
        self.soonest = soonest;
        gone
    }
}
