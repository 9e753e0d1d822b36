//! What is gone from the map, so that a change can be told instead of the whole.

use std::collections::VecDeque;

use firn_wire::ids::{MapVersion, TableId, WorkerName};
use firn_wire::map::Map;
use firn_wire::registry::{MapDelta, Removed};

/// Removals remembered; who asks for a change from before the oldest gets the whole map.
const REMOVALS_MAX: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Gone {
    Worker(WorkerName),
    /// Seats from this number on.
    Seats(u16),
    Table(TableId),
}

/// The last removals. Not kept over a restart of the uplink: its history then begins at the version it starts with.
#[derive(Debug, Clone)]
pub struct History {
    /// Every removal after this version is here.
    from: MapVersion,
    gone: VecDeque<(MapVersion, Gone)>,
}

/// A version was named that this registry has not issued: its store is older than what somebody saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead;

impl History {
    /// A history that begins at a version.
    pub fn new(from: MapVersion) -> Self {
        Self { from, gone: VecDeque::new() }
    }

    pub(super) fn worker_gone(&mut self, version: MapVersion, name: WorkerName) {
        self.push(version, Gone::Worker(name));
    }

    pub(super) fn seats_gone(&mut self, version: MapVersion, from: u16) {
        self.push(version, Gone::Seats(from));
    }

    pub(super) fn table_gone(&mut self, version: MapVersion, id: TableId) {
        self.push(version, Gone::Table(id));
    }

    fn push(&mut self, version: MapVersion, gone: Gone) {
        if self.gone.len() == REMOVALS_MAX
            && let Some((forgotten, _)) = self.gone.pop_front()
        {
            self.from = forgotten;
        }
        self.gone.push_back((version, gone));
    }

    /// What changed in `map` after a version; the whole for None, and where the history does not reach back.
    pub fn delta(&self, map: &Map, after: Option<MapVersion>) -> Result<MapDelta, Ahead> {
        let from = after.unwrap_or_default();
        if from > map.version {
            return Err(Ahead);
        }
        let full = after.is_none() || from < self.from || from == MapVersion::default();
        let from = if full { MapVersion::default() } else { from };
        Ok(MapDelta {
            version: map.version,
            from,
            full,
            cluster: map.cluster,
            format: map.format,
            settings: map.settings.clone(),
            workers: newer(&map.workers, full, from, |row| row.rev),
            seats: newer(&map.seats, full, from, |row| row.rev),
            groups: newer(&map.groups, full, from, |row| row.rev),
            partitions: newer(&map.partitions, full, from, |row| row.rev),
            tables: newer(&map.tables, full, from, |row| row.rev),
            removed: if full { Removed::default() } else { self.removed(map, from) },
        })
    }

    /// Removals after a version. A worker that has come back under its name is not gone. A seat that has is: its row is as
    /// new as whatever else changed since.
    fn removed(&self, map: &Map, from: MapVersion) -> Removed {
        let mut removed = Removed::default();
        for (_, gone) in self.gone.iter().filter(|(version, _)| *version > from) {
            match gone {
                Gone::Worker(name) if map.workers.iter().any(|row| row.name == *name) => {}
                Gone::Worker(name) => removed.workers.push(name.clone()),
                Gone::Seats(first) => {
                    let before = removed.seats_from.unwrap_or(*first);
                    removed.seats_from = Some(before.min(*first));
                }
                Gone::Table(id) => removed.tables.push(*id),
            }
        }
        removed
    }
}

fn newer<T: Clone>(
    rows: &[T],
    full: bool,
    from: MapVersion,
    rev: impl Fn(&T) -> MapVersion,
) -> Vec<T> {
    rows.iter().filter(|row| full || rev(row) > from).cloned().collect()
}
