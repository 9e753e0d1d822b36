//! Reading a partition for a backup, part by part, while it is written to.
//!
//! A part is taken under one lock: first what was written to the partition since the part before, from the log, then a
//! chunk of a table's entries. Applied in this order the last part of the last table leaves exactly what the partition
//! held at that moment: an entry of a chunk is newer than every record before it in the parts, and every record behind
//! it is newer than the entry. A step is one record, so that none of it is ever there without the rest.
//!
//! Nothing is kept here between two parts but a promise to keep the log, so that whoever leads the partition next can go
//! on: the same records have the same versions everywhere.

use firn_wire::command::Export;
use firn_wire::ids::{PartitionId, TableId, Version};
use firn_wire::limits::{EXPORT_BYTES_SOFT, STEP_REPLY_BYTES_MAX};
use firn_wire::record::{Effect, Record};
use firn_wire::reply::Exported;

use super::chunk::{Source, Versioned};
use super::log::Position;
use super::shard::{Await, Refused, Shard};
use super::time::Now;

/// For how long after a part the log is kept of a partition that has no other need of it, in milliseconds.
const LOGGED_MS: u64 = 60_000;

/// A part that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    at: Version,
    next: Option<u64>,
    counts: Vec<(TableId, u64)>,
    effects: Vec<u8>,
}

impl Part {
    /// As a reply carries it.
    pub fn reply(&self) -> Exported<'_> {
        let Self { at, next, counts, effects } = self;
        Exported { at: *at, next: *next, counts: counts.clone(), effects }
    }
}

/// How far the records of a part go.
enum Reached {
    /// To the newest.
    All,
    /// To this one; there was no room for more.
    Until(Version),
}

/// Appends the effects of a record that change entries.
fn write_changes(record: &Record<'_>, out: &mut Vec<u8>) {
    for effect in record.effects() {
        match effect.expect("the log holds whole records") {
            Effect::Start | Effect::Digest { .. } | Effect::Once { .. } => {}
            effect => effect.write(out),
        }
    }
}

impl<H> Shard<H> {
    /// The next part of a partition led here; None: what was written since the one before is not known any more. The part
    /// may be shown once everything in it is committed.
    pub fn export(
        &mut self,
        now: Now,
        (id, table): (PartitionId, TableId),
        export: Export,
    ) -> Result<(Option<Part>, Option<Await>), Refused> {
        let at = self.ready(id, now)?;
        self.replicas[at].exported_until = now.lease_ms + LOGGED_MS;
        Ok((self.part(at, table, export), self.newest_pending(at)))
    }

    fn part(&self, at: usize, id: TableId, export: Export) -> Option<Part> {
        let mut effects = Vec::new();
        if let Some(since) = export.since
            && let Reached::Until(at) = self.write_missed(at, since, &mut effects)?
        {
            return Some(Part { at, next: Some(export.from), counts: Vec::new(), effects });
        }
        let partition = &self.replicas[at].partition;
        let next = self.write_chunk(at, id, export.from, &mut effects);
        let counted = |id| (id, partition.table(id).map_or(0, |table| table.entries()));
        let counts = match next {
            None => partition.table_ids().map(counted).collect(),
            Some(_) => Vec::new(),
        };
        Some(Part { at: partition.order.version(), next, counts, effects })
    }

    /// Where the records after a version lie, the first one last; None: not all of them are in the log, or the version
    /// is of another history.
    fn missed_since(&self, at: usize, since: Version) -> Option<Vec<Position>> {
        let (order, sequence) = (&self.replicas[at].partition.order, since.sequence());
        let history = vec![(since.epoch(), sequence)];
        if order.common(&history, sequence) != Some(sequence) {
            return None;
        }
        self.missed(at, sequence)
    }

    /// Appends what was changed after a version; None: it is not known, or a record is too long for an answer.
    fn write_missed(&self, at: usize, since: Version, out: &mut Vec<u8>) -> Option<Reached> {
        let mut left = self.missed_since(at, since)?;
        while let Some(position) = left.pop() {
            let held = self.log.record(position).expect("it was found under the same lock");
            if held.record.len() > STEP_REPLY_BYTES_MAX {
                return None;
            }
            let (record, _) = Record::read(held.record).expect("the log holds whole records");
            write_changes(&record, out);
            if out.len() >= EXPORT_BYTES_SOFT {
                return Some(Reached::Until(record.head.version()));
            }
        }
        Some(Reached::All)
    }

    /// Appends entries of a table. Gives the hash to go on from; None: it is through.
    fn write_chunk(&self, at: usize, id: TableId, from: u64, out: &mut Vec<u8>) -> Option<u64> {
        let table = self.replicas[at].partition.table(id)?;
        let (arena, hashes) = (&self.arena, &*self.setup.hashes);
        let mut entries = Vec::new();
        let to = Source { arena, hashes, id, table }.read(from, EXPORT_BYTES_SOFT, &mut entries);
        for entry in Versioned::of(&entries) {
            let (_, effect) = entry.expect("written above");
            effect.write(out);
        }
        to.checked_add(1)
    }

    /// Forgets the backups of which nothing was heard for long.
    pub(crate) fn end_exports(&mut self, now: Now) {
        for replica in &mut self.replicas {
            if replica.exported_until <= now.lease_ms {
                replica.exported_until = 0;
            }
        }
    }
}
