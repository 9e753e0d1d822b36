//! How a partition's copies stand: who of those in its row beats.

use crate::ids::{WorkerId, WorkerName};
use crate::map::{Map, PartitionRow, WorkerRow, WorkerState};

/// Who is registered, and in which state: a map's workers.
#[derive(Debug)]
pub struct Roll<'m>(&'m [WorkerRow]);

impl<'m> Roll<'m> {
    /// Reads a map's workers.
    pub fn of(map: &'m Map) -> Self {
        Self(&map.workers)
    }

    fn row(&self, name: &WorkerName) -> Option<&WorkerRow> {
        let place = self.0.binary_search_by(|row| row.name.cmp(name)).ok()?;
        Some(&self.0[place])
    }

    /// Whether a run is the registered one and beats.
    pub fn lives(&self, worker: &WorkerId) -> bool {
        self.row(&worker.name).is_some_and(|row| {
            row.incarnation == worker.incarnation && row.state != WorkerState::Down
        })
    }

    /// Whether any run of a worker beats.
    pub fn is_up(&self, name: &WorkerName) -> bool {
        self.row(name).is_some_and(|row| row.state != WorkerState::Down)
    }

    /// Whether a run has ended and a later one of the same worker is registered.
    pub fn has_restarted(&self, worker: &WorkerId) -> bool {
        self.row(&worker.name).is_some_and(|row| row.incarnation != worker.incarnation)
    }

    /// How many in-sync copies of a partition are on workers that beat.
    pub fn copies(&self, row: &PartitionRow) -> usize {
        row.isr.iter().filter(|member| self.lives(member)).count()
    }

    /// Whether a partition is not yet led and held by whom it should be, as far as those beat. One without a copy that
    /// lives does not move.
    pub fn is_moving(&self, row: &PartitionRow) -> bool {
        let mut wanted = row.wanted.iter().filter(|name| self.is_up(name));
        let Some(first) = wanted.next() else { return false };
        let wanted = 1 + wanted.count();
        let held = self.copies(row);
        let led = row.primary.as_ref().is_some_and(|primary| primary.name == *first);
        let mut living = row.isr.iter().filter(|member| self.lives(member));
        held > 0 && (!led || held != wanted || living.any(|member| !row.wants(&member.name)))
    }
}
