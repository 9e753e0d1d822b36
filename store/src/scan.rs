//! Pages of a table's entries, in the order of their hashes.

use firn_wire::command::{Cursor, Filter, Scan};
use firn_wire::glob;
use firn_wire::ids::Version;
use firn_wire::limits::{MESSAGE_BYTES_SOFT, SCAN_COUNT_MAX, SCAN_VISIT_MAX};
use firn_wire::reply::{Reply, Row};

use super::arena::{Arena, Handle};
use super::entry::Entry;
use super::hash::KeyHash;
use super::table::Table;

/// A page being filled. It owns its rows, since they come from several shards, one lock after the other.
#[derive(Debug)]
pub struct Page<'q> {
    scan: &'q Scan<'q>,
    rows: Vec<OwnedRow>,
    visited: usize,
    bytes: usize,
}

#[derive(Debug)]
struct OwnedRow {
    at: Cursor,
    version: Version,
    expires_at: Option<u64>,
    length: u64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    meta: Vec<u8>,
}

/// Where a table's entries lie.
pub(crate) struct Place<'s> {
    pub(crate) arena: &'s Arena,
    pub(crate) hashes: &'s KeyHash,
    pub(crate) table: &'s Table,
    pub(crate) partition: u16,
    pub(crate) now: u64,
}

impl<'q> Page<'q> {
    /// An empty page.
    pub fn new(scan: &'q Scan<'q>) -> Self {
        Self { scan, rows: Vec::new(), visited: 0, bytes: 0 }
    }

    /// Whether it holds enough, or has looked at enough.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= (self.scan.count as usize).min(SCAN_COUNT_MAX)
            || self.visited >= SCAN_VISIT_MAX
            || self.bytes >= MESSAGE_BYTES_SOFT
    }

    /// Adds the entries of one partition from a position on. Returns where it stopped; None when the partition is
    /// through.
    pub(crate) fn add(&mut self, place: &Place<'_>, from: u64) -> Option<u64> {
        let first_hash = from << 16;
        for (lowest, segment) in place.table.segments_from(first_hash) {
            let from = from.max(Cursor::position_of(lowest));
            if self.is_full() {
                return Some(from);
            }
            self.visited += segment.len();
            if let Some(stopped) = self.add_segment(place, segment.iter(), from) {
                return Some(stopped);
            }
        }
        None
    }

    /// Adds a segment's entries in order; entries of one position are never parted.
    fn add_segment(
        &mut self,
        place: &Place<'_>,
        handles: impl Iterator<Item = Handle>,
        from: u64,
    ) -> Option<u64> {
        let entry = |handle| Entry::new(place.arena.get(handle));
        let mut found: Vec<(u64, Handle)> = handles
            .map(|handle| (Cursor::position_of(place.hashes.of(entry(handle).key())), handle))
            .filter(|(position, _)| *position >= from)
            .filter(|(_, handle)| !entry(*handle).is_expired(place.now))
            .filter(|(_, handle)| self.wants(entry(*handle).key()))
            .collect();
        found.sort_unstable_by_key(|(position, _)| *position);
        let mut last = None;
        for (position, handle) in found {
            if self.is_full() && last != Some(position) && last.is_some() {
                return Some(position);
            }
            self.push(Cursor { partition: place.partition, position }, entry(handle));
            last = Some(position);
        }
        None
    }

    fn wants(&self, key: &[u8]) -> bool {
        match self.scan.filter {
            Filter::All => true,
            Filter::Prefix(prefix) => key.starts_with(prefix),
            Filter::Glob(pattern) => glob::matches(pattern, key),
        }
    }

    fn push(&mut self, at: Cursor, entry: Entry<'_>) {
        let value = self.scan.values.then(|| entry.value().to_vec());
        let meta = if self.scan.values { entry.meta().to_vec() } else { Vec::new() };
        self.bytes += entry.key().len() + value.as_ref().map_or(0, Vec::len) + meta.len();
        self.rows.push(OwnedRow {
            at,
            version: entry.version(),
            expires_at: entry.expires_at(),
            length: entry.value_length() as u64,
            key: entry.key().to_vec(),
            value,
            meta,
        });
    }

    /// The page as a reply that goes on at `next`.
    pub fn reply(&self, next: Option<Cursor>) -> Reply<'_> {
        Reply::Page { next, rows: self.rows.iter().map(OwnedRow::view).collect() }
    }
}

impl OwnedRow {
    fn view(&self) -> Row<'_> {
        Row {
            at: self.at,
            key: &self.key,
            version: self.version,
            expires_at: self.expires_at,
            length: self.length,
            value: self.value.as_deref(),
            meta: &self.meta,
        }
    }
}
