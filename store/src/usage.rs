//! How much memory each table takes in this worker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use firn_wire::ids::TableId;

/// Bytes of each table in this worker, counted over all shards.
#[derive(Debug, Default)]
pub struct Usages(Mutex<HashMap<TableId, Arc<AtomicU64>>>);

impl Usages {
    /// The count of a table.
    pub fn of(&self, table: TableId) -> Arc<AtomicU64> {
        let mut counts = self.0.lock().expect("no holder panics");
        Arc::clone(counts.entry(table).or_default())
    }

    /// Bytes a table takes now.
    pub fn bytes(&self, table: TableId) -> u64 {
        self.of(table).load(Ordering::Relaxed)
    }
}
