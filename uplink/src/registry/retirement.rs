//! Workers that go for good: drained, deleted, or forgotten after a long silence.

use std::sync::Arc;

use firn_wire::ids::{PartitionId, WorkerName};
use firn_wire::map::{PartitionRow, WorkerRow, WorkerState};
use firn_wire::registry::Draining;
use firn_wire::status::Roll;

use super::ranges::Ranges;
use super::{Answer, Refusal, RefusalKind, Registry};

/// When a worker can be deleted whose partitions others are taking over.
const TAKEN_OVER_MS: u64 = 1_000;

fn holds(row: &PartitionRow, name: &WorkerName) -> bool {
    row.isr.iter().any(|member| member.name == *name)
}

impl Registry {
    /// Takes a worker's seat, so that all it has moves away; asked again, how far that is.
    pub(super) fn drain(&mut self, now_ms: u64, name: &WorkerName) -> Result<Answer, Refusal> {
        self.expect_map()?;
        let row = self.expect_worker(name)?;
        let is_drained = row.state == WorkerState::Draining
            || row.state == WorkerState::Down && self.seat_of(name).is_none();
        if !is_drained {
            self.check_drain(row)?;
            self.set_states(now_ms, std::slice::from_ref(name), WorkerState::Draining);
            self.vacate(name);
        }
        Ok(Answer::Draining(self.draining(name)))
    }

    fn check_drain(&self, row: &WorkerRow) -> Result<(), Refusal> {
        let name = &row.name;
        let refused = |detail: String| Err(Refusal::new(RefusalKind::StillInUse, detail));
        if row.state == WorkerState::Down {
            return refused(format!(
                "{name} is down and cannot give away what it has: start it again, or delete it"
            ));
        }
        let mut seated = self.map().seats.iter().filter_map(|seat| seat.worker.as_ref());
        let is_up =
            |other: &WorkerName| self.worker(other).is_some_and(|row| row.state == WorkerState::Up);
        if !seated.any(|other| other != name && is_up(other)) {
            return refused(format!("no other worker is up to take what {name} has: start one"));
        }
        Ok(())
    }

    fn draining(&self, name: &WorkerName) -> Draining {
        let state = self.worker(name).expect("the caller has found it").state;
        let rows = &self.map().partitions;
        let leads =
            |row: &&Arc<PartitionRow>| row.primary.as_ref().is_some_and(|id| id.name == *name);
        Draining {
            worker: name.clone(),
            state,
            leads: rows.iter().filter(leads).count(),
            in_sync: rows.iter().filter(|row| holds(row, name)).count(),
        }
    }

    /// Forgets a worker that is down and without which nothing is lost.
    pub(super) fn delete(&mut self, name: &WorkerName) -> Result<Answer, Refusal> {
        let row = self.expect_worker(name)?;
        let refused = |detail: String| Err(Refusal::new(RefusalKind::StillInUse, detail));
        if row.state != WorkerState::Down {
            return refused(format!("{name} beats; drain it, then stop it"));
        }
        if self.is_published() && !self.others_sit(name) {
            return refused(format!("{name} has the only seat; start another worker first"));
        }
        self.check_not_needed(name)?;
        Ok(Answer::Gone(self.forget(name)))
    }

    /// Nothing is lost with a worker that is in no isr. While it is in one, another member that is up takes it out.
    fn check_not_needed(&self, name: &WorkerName) -> Result<(), Refusal> {
        let roll = Roll::of(self.map());
        let held = self.map().partitions.iter().filter(|row| holds(row, name));
        let (others, alone): (Vec<_>, Vec<_>) = held.partition(|row| roll.copies(row) > 0);
        if !alone.is_empty() {
            let ids: Vec<PartitionId> = alone.iter().map(|row| row.id).collect();
            let detail = format!(
                "{} of {name}'s partitions ({}) have no other copy that lives: start it again under its name, or give \
                 them up with `firn recover --accept-data-loss` first",
                ids.len(),
                Ranges::of(&ids)
            );
            return Err(Refusal::new(RefusalKind::StillInUse, detail));
        }
        if !others.is_empty() {
            let detail = format!("{} partitions of {name} are being taken over", others.len());
            return Err(Refusal::later(RefusalKind::StillInUse, detail, TAKEN_OVER_MS));
        }
        Ok(())
    }

    /// Forgets workers that have been down for very long and without which nothing is lost.
    pub(super) fn forget_the_long_gone(&mut self, now_ms: u64) {
        let after_ms = self.map().settings.replication.forget_after_ms;
        let is_due = |row: &&WorkerRow| self.down_ms(now_ms, row).is_some_and(|ms| ms >= after_ms);
        let due = self.map().workers.iter().filter(is_due);
        for name in due.map(|row| row.name.clone()).collect::<Vec<_>>() {
            if self.others_sit(&name) && self.is_replaced(&name) {
                self.forget(&name);
            }
        }
    }

    /// Whether every partition of a worker lives on without it.
    fn is_replaced(&self, name: &WorkerName) -> bool {
        let roll = Roll::of(self.map());
        let mut rows = self.map().partitions.iter();
        rows.all(|row| !holds(row, name) && (!row.wants(name) || roll.copies(row) > 0))
    }

    fn forget(&mut self, name: &WorkerName) -> firn_wire::ids::MapVersion {
        if self.is_published() {
            self.vacate(name);
        }
        let (map, version) = self.change();
        map.workers.retain(|row| row.name != *name);
        Arc::make_mut(&mut self.history).worker_gone(version, name.clone());
        self.heard.remove(name);
        version
    }
}
