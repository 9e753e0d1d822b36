//! How a partition's copies stand: who of those in its row beats.

use std::collections::HashMap;

use crate::ids::{Incarnation, WorkerId, WorkerName};
use crate::map::{Map, PartitionRow, WorkerState};

/// Who is registered, and in which state: a map's workers by name, made once for many questions.
#[derive(Debug)]
pub struct Roll<'m>(HashMap<&'m WorkerName, (Incarnation, WorkerState)>);

impl<'m> Roll<'m> {
    /// Reads a map's workers.
    pub fn of(map: &'m Map) -> Self {
        let rows = map.workers.iter();
        Self(rows.map(|row| (&row.name, (row.incarnation, row.state))).collect())
    }

    /// Whether a run is the registered one and beats.
    pub fn lives(&self, worker: &WorkerId) -> bool {
        let registered = self.0.get(&worker.name);
        registered.is_some_and(|(incarnation, state)| {
            *incarnation == worker.incarnation && *state != WorkerState::Down
        })
    }

    /// Whether any run of a worker beats.
    pub fn is_up(&self, name: &WorkerName) -> bool {
        self.0.get(name).is_some_and(|(_, state)| *state != WorkerState::Down)
    }

    /// Whether a run has ended and a later one of the same worker is registered.
    pub fn has_restarted(&self, worker: &WorkerId) -> bool {
        let registered = self.0.get(&worker.name);
        registered.is_some_and(|(incarnation, _)| *incarnation != worker.incarnation)
    }

    /// How many in-sync copies of a partition are on workers that beat.
    pub fn copies(&self, row: &PartitionRow) -> usize {
        row.isr.iter().filter(|member| self.lives(member)).count()
    }

    /// Whether a partition is not yet led and held by whom it should be, as far as those beat. One without a copy that
    /// lives does not move.
    pub fn is_moving(&self, row: &PartitionRow) -> bool {
        let mut held: Vec<_> = row.isr.iter().filter(|member| self.lives(member)).collect();
        let mut wanted: Vec<_> = row.wanted.iter().filter(|name| self.is_up(name)).collect();
        let (Some(first), false) = (wanted.first(), held.is_empty()) else { return false };
        let led = row.primary.as_ref().is_some_and(|primary| primary.name == **first);
        held.sort();
        wanted.sort();
        !led || !held.iter().map(|member| &member.name).eq(wanted)
    }
}
