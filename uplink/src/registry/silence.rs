//! Silence: how long workers have been away, and who the plan therefore does not count on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firn_wire::ids::{GroupId, WorkerName};
use firn_wire::map::{Map, PartitionRow, WorkerRow, WorkerState};
use firn_wire::status::Roll;

use super::Registry;
use super::members::Heard;
use super::seats::age_ms;
use crate::plan::Absences;

impl Registry {
    /// Workers that have not beaten for their lease are down.
    pub(super) fn judge_silence(&mut self, now_ms: u64) {
        let lease_ms = self.map().settings.worker_lease_ms;
        let rows = self.map().workers.iter().filter(|row| row.state != WorkerState::Down);
        let silent = |row: &&WorkerRow| match self.heard.get(&row.name) {
            Some(Heard::At(heard_ms)) => now_ms.saturating_sub(*heard_ms) >= lease_ms,
            Some(Heard::Goodbye) | None => true,
        };
        let silent: Vec<WorkerName> = rows.filter(silent).map(|row| row.name.clone()).collect();
        if !silent.is_empty() {
            self.leave(now_ms, &silent);
        }
    }

    /// This process itself stood still, and does not know what was said meanwhile: silence counts anew.
    pub(super) fn wake(&mut self, now_ms: u64) {
        self.silence_from_ms = now_ms;
        for heard in self.heard.values_mut().filter(|heard| **heard != Heard::Goodbye) {
            *heard = Heard::At(now_ms);
        }
    }

    /// How long a worker has been down, as far as this process has seen it; None: it is not.
    pub(super) fn down_ms(&self, now_ms: u64, row: &WorkerRow) -> Option<u64> {
        let seen_ms = now_ms.saturating_sub(self.silence_from_ms);
        (row.state == WorkerState::Down).then(|| age_ms(now_ms, row.since_ms).min(seen_ms))
    }

    /// Plans anew when a worker is no longer to be counted on, or is again. When none is, as in a cluster that is stopped,
    /// the plan stays: nobody could carry out another.
    pub(super) fn review_absences(&mut self, now_ms: u64) {
        let absences = self.absences(now_ms);
        if absences == self.absences {
            return;
        }
        let mut seated = self.map().seats.iter().filter_map(|seat| seat.worker.as_ref());
        let anybody_stays = absences.anybody_stays(&mut seated);
        self.absences = absences;
        if anybody_stays {
            self.replan();
        }
    }

    fn absences(&self, now_ms: u64) -> Absences {
        let missed = missed(self.map());
        let after_ms = self.map().settings.replication.replace_after_ms;
        let (mut away, mut leaving) = (BTreeSet::new(), BTreeSet::new());
        for row in &self.map().workers {
            let name = &row.name;
            let was = &self.absences;
            match self.down_ms(now_ms, row) {
                None if row.state == WorkerState::Leaving => drop(leaving.insert(name.clone())),
                None => {}
                Some(down_ms)
                    if down_ms >= after_ms || was.away.contains(name) || missed.contains(name) =>
                {
                    away.insert(name.clone());
                }
                // Who left is expected back; his places stay handed over until then.
                Some(_) if was.leaving.contains(name) => drop(leaving.insert(name.clone())),
                Some(_) => {}
            }
        }
        Absences { away, leaving }
    }
}

/// Who was not to be counted on when an uplink before this one made a map's plan: leavers, and workers that are down and
/// nobody wants any more.
pub(super) fn absences_of(map: &Map) -> Absences {
    let wanted: BTreeSet<&WorkerName> = map.partitions.iter().flat_map(|row| &row.wanted).collect();
    let in_state = |state: WorkerState| map.workers.iter().filter(move |row| row.state == state);
    let away = in_state(WorkerState::Down).filter(|row| !wanted.contains(&row.name));
    let leaving = in_state(WorkerState::Leaving);
    Absences {
        away: away.map(|row| row.name.clone()).collect(),
        leaving: leaving.map(|row| row.name.clone()).collect(),
    }
}

/// Workers that are down and whose copies cannot be waited for: writes are refused for want of copies, or the only others
/// who should have the partition leave.
fn missed(map: &Map) -> BTreeSet<&WorkerName> {
    if map.workers.iter().all(|row| row.state != WorkerState::Down) {
        return BTreeSet::new();
    }
    let roll = Roll::of(map);
    let leaving = map.workers.iter().filter(|row| row.state == WorkerState::Leaving);
    let leaving: BTreeSet<&WorkerName> = leaving.map(|row| &row.name).collect();
    let copies: BTreeMap<GroupId, usize> =
        map.groups.iter().map(|group| (group.id, usize::from(group.copies))).collect();
    let cannot_wait = |row: &&Arc<PartitionRow>| {
        let min_in_sync = copies[&row.id.group].saturating_sub(1).max(1);
        let stays = |name: &WorkerName| roll.is_up(name) && !leaving.contains(name);
        let only_leavers =
            row.wanted.iter().any(|name| leaving.contains(name)) && !row.wanted.iter().any(stays);
        only_leavers || (1..min_in_sync).contains(&roll.copies(row))
    };
    let rows = map.partitions.iter().filter(cannot_wait);
    rows.flat_map(|row| &row.wanted).filter(|name| !roll.is_up(name)).collect()
}
