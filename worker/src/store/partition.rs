//! One partition led by this worker: its tables and the one order of its writes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use firn_wire::ids::{Epoch, PartitionId, TableId, Version};

use super::once::Once;
use super::table::Table;

/// A partition. Invariant: `version` grows with every step that changes something.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Which.
    pub(crate) id: PartitionId,
    /// Its idempotency keys.
    pub(crate) once: Once,
    epoch: Epoch,
    sequence: u64,
    tables: Vec<(TableId, Table)>,
}

impl Partition {
    /// An empty one at the start of a reign.
    pub(crate) fn new(id: PartitionId, epoch: Epoch) -> Self {
        Self { id, once: Once::default(), epoch, sequence: 0, tables: Vec::new() }
    }

    /// The reign under which it takes writes.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The version of the next step that changes something.
    pub(crate) fn next_version(&mut self) -> Version {
        self.sequence += 1;
        Version::new(self.epoch, self.sequence)
    }

    /// A table, if anything was ever written to it here.
    #[inline]
    pub(crate) fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.iter().find(|(other, _)| *other == id).map(|(_, table)| table)
    }

    /// A table, to be changed, if anything was ever written to it here.
    #[inline]
    pub(crate) fn table_mut(&mut self, id: TableId) -> Option<&mut Table> {
        self.tables.iter_mut().find(|(other, _)| *other == id).map(|(_, table)| table)
    }

    /// A table to be written to.
    pub(crate) fn table_or_new(
        &mut self,
        id: TableId,
        usage: impl FnOnce() -> Arc<AtomicU64>,
    ) -> &mut Table {
        let at = match self.tables.iter().position(|(other, _)| *other == id) {
            Some(at) => at,
            None => {
                self.tables.push((id, Table::new(usage())));
                self.tables.len() - 1
            }
        };
        &mut self.tables[at].1
    }

    /// All tables with something in them.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().map(|(_, table)| table)
    }

    /// The table at a place, for a sweep that goes through all.
    pub(crate) fn table_at(&mut self, place: usize) -> Option<&mut Table> {
        self.tables.get_mut(place).map(|(_, table)| table)
    }

    /// Takes out the tables that are not to be kept.
    pub(crate) fn take_tables(&mut self, mut go: impl FnMut(TableId) -> bool) -> Vec<Table> {
        let (gone, kept) = self.tables.drain(..).partition(|(id, _)| go(*id));
        self.tables = kept;
        gone.into_iter().map(|(_, table): (_, Table)| table).collect()
    }
}
