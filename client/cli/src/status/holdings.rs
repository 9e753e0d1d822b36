//! Who has which partitions, who should, and what can be handed over.

use std::collections::{BTreeMap, HashMap};

use firn_wire::ids::{WorkerId, WorkerName};
use firn_wire::map::{Map, PartitionRow, WorkerRow};
use firn_wire::status::Roll;

/// The partitions of all workers, counted.
#[derive(Debug, Default)]
pub(super) struct Holdings<'m> {
    in_sync: HashMap<&'m WorkerId, usize>,
    wanted: HashMap<&'m WorkerName, usize>,
    /// Partitions that could be handed over now, by who leads them and who should.
    pub(super) due: BTreeMap<(&'m WorkerName, &'m WorkerName), usize>,
}

impl<'m> Holdings<'m> {
    /// Reads a map.
    pub(super) fn of(map: &'m Map) -> Self {
        let roll = Roll::of(map);
        let mut holdings = Self::default();
        for row in &map.partitions {
            row.isr.iter().for_each(|copy| *holdings.in_sync.entry(copy).or_default() += 1);
            row.wanted.iter().for_each(|name| *holdings.wanted.entry(name).or_default() += 1);
            if let Some(pair) = due(&roll, row) {
                *holdings.due.entry(pair).or_default() += 1;
            }
        }
        holdings
    }

    /// Partitions the last run of a worker is an in-sync copy of, those it leads among them.
    pub(super) fn in_sync(&self, worker: &WorkerRow) -> usize {
        self.in_sync.get(&worker.id()).copied().unwrap_or(0)
    }

    /// Partitions a worker should have.
    pub(super) fn wanted(&self, worker: &WorkerRow) -> usize {
        self.wanted.get(&worker.name).copied().unwrap_or(0)
    }
}

/// Who leads a partition and who should, once that one has all of it.
fn due<'m>(roll: &Roll<'_>, row: &'m PartitionRow) -> Option<(&'m WorkerName, &'m WorkerName)> {
    let (leader, wanted) = (row.primary.as_ref()?, row.wanted.first()?);
    let target = row.isr.iter().find(|copy| copy.name == *wanted)?;
    let is_due = leader.name != *wanted && roll.lives(leader) && roll.lives(target);
    is_due.then_some((&leader.name, wanted))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{down, map};
    use super::*;
    use firn_wire::ids::Incarnation;

    #[test]
    fn each_worker_has_what_its_last_run_has() {
        let mut map = map(3, 2);
        let counts = |map: &Map, at: usize| {
            let (holdings, worker) = (Holdings::of(map), &map.workers[at]);
            (holdings.in_sync(worker), holdings.wanted(worker))
        };
        assert_eq!([counts(&map, 0), counts(&map, 2)], [(4, 4), (4, 4)]);
        map.workers[0].incarnation = Incarnation(2);
        assert_eq!(counts(&map, 0), (0, 4), "a new run has nothing of the last one");
    }

    #[test]
    fn a_hand_over_is_due_once_the_target_has_all() {
        let mut map = map(3, 2);
        assert!(Holdings::of(&map).due.is_empty());
        map.row_mut(0).wanted.swap(0, 1);
        let due: Vec<_> = Holdings::of(&map).due.into_iter().collect();
        let (w1, w2) = (&map.workers[0].name, &map.workers[1].name);
        assert_eq!(due, [((w1, w2), 1)]);
        let mut copying = map.clone();
        copying.row_mut(0).isr.truncate(1);
        assert!(Holdings::of(&copying).due.is_empty());
        down(&mut map, 1);
        assert!(Holdings::of(&map).due.is_empty());
    }
}
