//! What MULTI queues and WATCH notes, until EXEC.

use std::borrow::Cow;

use firn_wire::command::{Guard, KeyOp, Op};
use firn_wire::ids::{TableId, Version};
use firn_wire::limits::BATCH_OPERATIONS_MAX;

use super::parse::REQUEST_BYTES_MAX;
use super::refusal::Refusal;
use super::words::{Kept, Words};

/// Requests one MULTI may queue.
pub const QUEUED_MAX: usize = 100 * BATCH_OPERATIONS_MAX;

/// What MULTI has opened.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) queue: Kept,
    /// A request could not be queued, so EXEC will refuse.
    pub(super) failed: bool,
    /// What must hold; filled when EXEC is read.
    pub(super) watched: Vec<Watched>,
}

impl Transaction {
    /// Queues a request.
    pub(super) fn push(&mut self, words: Words<'_, '_>) -> Result<(), Refusal> {
        let bytes: usize = words.from(0).map(<[u8]>::len).sum();
        if self.queue.len() >= QUEUED_MAX || self.queue.byte_count() + bytes > REQUEST_BYTES_MAX {
            self.failed = true;
            let text = format!(
                "ERR MULTI queues at most {QUEUED_MAX} requests of {REQUEST_BYTES_MAX} bytes"
            );
            return Err(Refusal(Cow::Owned(text.into_bytes())));
        }
        self.queue.push(words);
        Ok(())
    }

    /// Makes EXEC refuse.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Requests queued.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// A watched key as it was.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) table: TableId,
    pub(super) key: Vec<u8>,
    pub(super) version: Option<Version>,
}

impl Watched {
    /// The guard that it is still so.
    pub(super) fn guard(&self) -> Guard<'_> {
        Guard { table: self.table, key: &self.key, version: self.version }
    }

    /// The look that says how it is.
    pub(super) fn look(&self) -> KeyOp<'_> {
        KeyOp { table: self.table, key: &self.key, op: Op::Inspect }
    }
}
