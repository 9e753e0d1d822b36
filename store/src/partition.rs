//! One partition's data: its tables, its idempotency keys, and the one order of its writes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use firn_wire::ids::{Epoch, PartitionId, TableId, Version};

use super::once::Once;
use super::order::Order;
use super::table::Table;

/// A partition. Invariant: `order` grows with every step that changes something.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Which.
    pub(crate) id: PartitionId,
    /// Its idempotency keys.
    pub(crate) once: Once,
    /// The reign under which it takes writes, where it is led here.
    pub(crate) reign: Epoch,
    /// How far it has come.
    pub(crate) order: Order,
    /// The latest time of any of its records, Unix milliseconds.
    pub(crate) clock: u64,
    /// By id.
    tables: Vec<(TableId, Table)>,
}

impl Partition {
    /// An empty one.
    pub(crate) fn new(id: PartitionId) -> Self {
        let (once, order) = (Once::default(), Order::default());
        Self { id, once, reign: Epoch(0), order, clock: 0, tables: Vec::new() }
    }

    /// The version of the next step that changes something.
    pub(crate) fn next_version(&mut self) -> Version {
        let sequence = self.order.advance(self.reign);
        Version::new(self.reign, sequence)
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
        let at = match self.tables.binary_search_by_key(&id, |(other, _)| *other) {
            Ok(at) => at,
            Err(at) => {
                self.tables.insert(at, (id, Table::new(usage())));
                at
            }
        };
        &mut self.tables[at].1
    }

    /// All tables with something in them.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().map(|(_, table)| table)
    }

    /// Their ids, ascending.
    pub(crate) fn table_ids(&self) -> impl DoubleEndedIterator<Item = TableId> {
        self.tables.iter().map(|(id, _)| *id)
    }

    /// The table at a place, for a sweep that goes through all.
    pub(crate) fn table_at(&mut self, place: usize) -> Option<(TableId, &mut Table)> {
        self.tables.get_mut(place).map(|(id, table)| (*id, table))
    }

    /// What all its entries add up to: the same in every copy that has come equally far.
    pub(crate) fn digest(&self) -> u64 {
        self.tables().fold(0, |sum, table| sum.wrapping_add(table.digest()))
    }

    /// Takes out the tables that are not to be kept.
    pub(crate) fn take_tables(&mut self, mut go: impl FnMut(TableId) -> bool) -> Vec<Table> {
        let (gone, kept) = self.tables.drain(..).partition(|(id, _)| go(*id));
        self.tables = kept;
        gone.into_iter().map(|(_, table): (_, Table)| table).collect()
    }
}
