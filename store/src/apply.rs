//! What a copy does to a table when a record says so.
//!
//! An entry with a newer version than the record's stays as it is: a snapshot chunk may have brought it before its record.
//! One with the same version does not stay, since a step may write a key more than once. A flush needs no such care: it
//! discards the table, and whatever a chunk brought too early comes again with its record.

use firn_wire::ids::Version;

use super::arena::{Arena, Full, Handle};
use super::entry::{Content, Entry};
use super::hash::KeyHash;
use super::table::Table;

impl Table {
    /// The key has this content, unless a newer one.
    pub(crate) fn apply_put(
        &mut self,
        arena: &mut Arena,
        hashes: &KeyHash,
        key: &[u8],
        version: Version,
        content: &Content<'_>,
    ) -> Result<(), Full> {
        let hash = hashes.of(key);
        let old = self.find(arena, hash, key);
        if old.is_some_and(|handle| version_of(arena, handle) > version) {
            return Ok(());
        }
        self.put(arena, hashes, (hash, key), old, version, content)
    }

    /// The key is not there, unless with a newer entry.
    pub(crate) fn apply_delete(
        &mut self,
        arena: &mut Arena,
        hashes: &KeyHash,
        key: &[u8],
        version: Version,
    ) {
        let hash = hashes.of(key);
        let old = self.find(arena, hash, key);
        if let Some(handle) = old.filter(|handle| version_of(arena, *handle) <= version) {
            self.remove(arena, hash, handle);
        }
    }
}

fn version_of(arena: &Arena, handle: Handle) -> Version {
    Entry::new(arena.get(handle)).version()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Bench {
        arena: Arena,
        hashes: KeyHash,
        table: Table,
    }

    impl Bench {
        fn new() -> Self {
            Self { arena: Arena::new(), hashes: KeyHash::new(7), table: Table::new(Arc::default()) }
        }
        fn put(&mut self, key: &[u8], version: u64, value: &[u8]) {
            let content = Content { value, meta: b"", expires_at: None };
            let version = Version(version);
            self.table
                .apply_put(&mut self.arena, &self.hashes, key, version, &content)
                .expect("there is room");
        }
        fn delete(&mut self, key: &[u8], version: u64) {
            self.table.apply_delete(&mut self.arena, &self.hashes, key, Version(version));
        }
        fn get(&self, key: &[u8]) -> Option<(u64, &[u8])> {
            let handle = self.table.find(&self.arena, self.hashes.of(key), key)?;
            let entry = Entry::new(self.arena.get(handle));
            Some((entry.version().0, entry.value()))
        }
    }

    #[test]
    fn what_is_newer_stays_and_the_last_of_a_step_counts() {
        let mut bench = Bench::new();
        bench.put(b"k", 5, b"five");
        bench.put(b"k", 4, b"four");
        bench.delete(b"k", 4);
        assert_eq!(bench.get(b"k"), Some((5, &b"five"[..])));
        bench.put(b"k", 5, b"five again");
        assert_eq!(bench.get(b"k"), Some((5, &b"five again"[..])));
        bench.delete(b"k", 5);
        assert_eq!((bench.get(b"k"), bench.table.digest()), (None, 0));
        bench.delete(b"k", 6);
        assert_eq!(bench.table.entries(), 0);
    }
}
