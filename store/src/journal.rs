//! What a step does, as it does it: the effects of its record, and the keys others must wait for.

use firn_wire::ids::TableId;
use firn_wire::map::{Ack, Durability, TablePolicy};
use firn_wire::record::{Effect, Put};

use super::few::Few;

/// What stands for a key of a table among keys that wait.
pub(crate) fn mark(table: TableId, hash: u64) -> u64 {
    hash ^ u64::from(table.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The effects of one step. Nothing is kept of a partition that has no copies.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    is_on: bool,
    effects: Vec<u8>,
    marks: Few<u64>,
    flushed: Option<TableId>,
    /// What has to have the step before it is answered.
    waits: Waits,
}

/// What has to have a write before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Waits {
    /// All in-sync copies.
    pub(crate) copies: bool,
    /// The disk, here and where the copies are.
    pub(crate) disk: bool,
}

impl Waits {
    /// By a table's policy, at a primary that has copies or a disk. What must be on disks waits for all copies too.
    pub(crate) fn of(policy: &TablePolicy, is_copied: bool, is_durable: bool) -> Self {
        let disk = is_durable && policy.durability_or_default() == Durability::Always;
        Self { copies: is_copied && (disk || policy.ack_or_default() == Ack::All), disk }
    }

    pub(crate) fn any(self) -> bool {
        self.copies || self.disk
    }
}

/// Memory above this is given back after a long step.
const KEEP_BYTES: usize = 64 * 1024;

impl Journal {
    /// Begins a step.
    pub(crate) fn begin(&mut self, is_on: bool) {
        self.is_on = is_on;
        self.effects.clear();
        self.effects.shrink_to(KEEP_BYTES);
        (self.marks, self.flushed, self.waits) = (Few::None, None, Waits::default());
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn put(&mut self, put: &Put<'_>, hash: u64, waits: Waits) {
        if self.is_on {
            put.write(&mut self.effects);
            self.note(put.table, hash, waits);
        }
    }

    pub(crate) fn delete(&mut self, table: TableId, key: &[u8], hash: u64, waits: Waits) {
        if self.is_on {
            Effect::Delete { table, key }.write(&mut self.effects);
            self.note(table, hash, waits);
        }
    }

    fn note(&mut self, table: TableId, hash: u64, waits: Waits) {
        if waits.any() {
            self.wait(waits);
            self.marks.push(mark(table, hash));
        }
    }

    pub(crate) fn flush(&mut self, table: TableId, waits: Waits) {
        self.effect(&Effect::Flush { table });
        self.flushed = (self.is_on && waits.any()).then_some(table);
        self.wait(waits);
    }

    /// Has the step wait for these, whatever it does.
    pub(crate) fn wait(&mut self, waits: Waits) {
        self.waits.copies |= waits.copies;
        self.waits.disk |= waits.disk;
    }

    /// An effect that concerns no key.
    pub(crate) fn effect(&mut self, effect: &Effect<'_>) {
        if self.is_on {
            effect.write(&mut self.effects);
        }
    }

    /// The effects so far.
    pub(crate) fn effects(&self) -> &[u8] {
        &self.effects
    }

    pub(crate) fn waits(&self) -> Waits {
        self.waits
    }

    /// What others must wait for.
    pub(crate) fn take_marks(&mut self) -> (Few<u64>, Option<TableId>) {
        (std::mem::take(&mut self.marks), self.flushed.take())
    }
}
