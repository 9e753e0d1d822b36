//! Partitions whose in-sync copies are all gone: given to another worker when an operator accepts the loss, or by itself in
//! a cluster that is set up as a cache.

use std::collections::BTreeSet;

use firn_wire::ids::{Epoch, PartitionId, WorkerId, WorkerName};
use firn_wire::map::{PartitionRow, WorkerRow, WorkerState};
use firn_wire::registry::{Recover, Recovered};
use firn_wire::status::Roll;

use super::ranges::Ranges;
use super::rebuild::{REIGNS_SKIPPED, is_sure};
use super::{Answer, Refusal, RefusalKind, Registry};

/// Members of an isr that have not come back: neither is that run alive nor a later one. When there are none the
/// partition is not lost: those who are back claim it, the one who has most of it first.
fn missing<'m>(roll: &Roll<'_>, row: &'m PartitionRow) -> Vec<&'m WorkerId> {
    let is_back = |id: &WorkerId| roll.has_restarted(id) && roll.is_up(&id.name);
    row.isr.iter().filter(|id| !roll.lives(id) && !is_back(id)).collect()
}

/// Whether nobody leads a partition or can come to lead it.
fn is_lost(roll: &Roll<'_>, row: &PartitionRow) -> bool {
    roll.copies(row) == 0 && (row.isr.is_empty() || !missing(roll, row).is_empty())
}

/// Workers by name, each once.
fn names<'m>(names: impl Iterator<Item = &'m WorkerName>) -> String {
    let names: BTreeSet<&str> = names.map(WorkerName::as_str).collect();
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

impl Registry {
    /// Gives lost partitions away. With a worker named, only those in which nobody else is missed.
    pub(super) fn recover(&mut self, asked: &Recover) -> Result<Answer, Refusal> {
        self.expect_map()?;
        let lost = self.lost(asked.worker.as_ref());
        let mut held = self.held_by(asked.worker.as_ref());
        held.retain(|place| !lost.contains(place));
        let nothing = lost.is_empty() && held.is_empty();
        if !asked.accept_data_loss && !nothing {
            return Err(self.what_would_be_lost(&lost, &held));
        }
        self.give_away(&lost)?;
        self.settle(&held);
        let mut places = [lost, held].concat();
        places.sort_unstable();
        let partitions = Ranges::of(&self.ids(&places)).texts().collect();
        let (version, recovered) = (self.version(), places.len());
        Ok(Answer::Recovered(Recovered { version, recovered, partitions }))
    }

    /// Places of lost partitions.
    fn lost(&self, worker: Option<&WorkerName>) -> Vec<usize> {
        let roll = Roll::of(self.map());
        let only_it = |row: &PartitionRow| {
            worker.is_none_or(|name| missing(&roll, row).iter().all(|id| id.name == *name))
        };
        let rows = self.map().partitions.iter().enumerate();
        let lost = rows.filter(|(_, row)| is_lost(&roll, row) && only_it(row));
        lost.map(|(place, _)| place).collect()
    }

    fn ids(&self, places: &[usize]) -> Vec<PartitionId> {
        places.iter().map(|place| self.map().partitions[*place].id).collect()
    }

    fn what_would_be_lost(&self, lost: &[usize], held: &[usize]) -> Refusal {
        let roll = Roll::of(self.map());
        let rows = |places: &[usize]| -> Vec<&PartitionRow> {
            places.iter().map(|place| &*self.map().partitions[*place]).collect()
        };
        let mut would = Vec::new();
        if !lost.is_empty() {
            let missing = rows(lost).into_iter().flat_map(|row| missing(&roll, row));
            let names = names(missing.map(|id| &id.name));
            let (count, which) = (lost.len(), Ranges::of(&self.ids(lost)));
            would.push(format!("{count} partitions ({which}) would lose what only {names} had"));
        }
        if !held.is_empty() {
            let names = names(rows(held).into_iter().flat_map(|row| self.missed_in(row)));
            let (count, which) = (held.len(), Ranges::of(&self.ids(held)));
            would.push(format!(
                "{count} partitions ({which}) wait for {names} to tell what it knows since the uplink was rebuilt"
            ));
        }
        let detail =
            format!("{}: start again what is down, or say accept_data_loss", would.join("; "));
        Refusal::new(RefusalKind::DataLoss, detail)
    }

    fn give_away(&mut self, lost: &[usize]) -> Result<(), Refusal> {
        if lost.is_empty() {
            return Ok(());
        }
        let heirs: Option<Vec<WorkerId>> = lost.iter().map(|place| self.heir(*place)).collect();
        let Some(heirs) = heirs else {
            let detail = "no worker is up to take the partitions: start one";
            return Err(Refusal::later(RefusalKind::NobodyUp, detail, 1_000));
        };
        let next = |place: &usize| self.next_reign(&self.map().partitions[*place]);
        let epochs: Vec<Epoch> = lost.iter().map(next).collect();
        if let Some(last) = epochs.iter().position(|epoch| *epoch > Epoch::MAX) {
            let id = self.map().partitions[lost[last]].id;
            let detail = format!("partition {id} has had its last reign");
            return Err(Refusal::new(RefusalKind::TooMany, detail));
        }
        let (map, version) = self.change();
        for ((place, heir), epoch) in lost.iter().zip(heirs).zip(epochs) {
            let row = map.row_mut(*place);
            row.epoch = epoch;
            row.isr = vec![heir.clone()];
            row.primary = Some(heir);
            row.released = false;
            row.rev = version;
        }
        self.note_missed();
        Ok(())
    }

    /// The reign a lost partition begins with. Of a row that is not sure there may be later ones somebody knows of.
    fn next_reign(&self, row: &PartitionRow) -> Epoch {
        let next = self.claims.epoch_after(row);
        let skipped = if is_sure(self.map(), row) { 0 } else { REIGNS_SKIPPED };
        Epoch(next.0.saturating_add(skipped))
    }

    /// Who gets a lost partition: of those who were in sync and are back the one who is known to have kept most; else who
    /// should have it; else anybody who sits.
    fn heir(&self, place: usize) -> Option<WorkerId> {
        let row = &self.map().partitions[place];
        let in_state = |name: &WorkerName, good: &dyn Fn(WorkerState) -> bool| {
            self.worker(name).filter(|row| good(row.state)).map(WorkerRow::id)
        };
        let is_up = |state| state == WorkerState::Up;
        let is_back = |state| state != WorkerState::Down;
        let was_in_sync = row.isr.iter().rev();
        let back = was_in_sync.filter_map(|id| in_state(&id.name, &is_back));
        let back = back.max_by_key(|id| self.claims.kept(self.map(), row, &id.name));
        let wanted = || row.wanted.iter().find_map(|name| in_state(name, &is_up));
        let anybody = || {
            let seated = self.map().seats.iter().filter_map(|seat| seat.worker.as_ref());
            let up: Vec<WorkerId> = seated.filter_map(|name| in_state(name, &is_up)).collect();
            up.get(place.checked_rem(up.len())?).cloned()
        };
        back.or_else(wanted).or_else(anybody)
    }

    /// Starts partitions again whose copies have all been away for longer than the cluster waits. A primary serves such a
    /// cluster only under a lease from the uplink, which ends before this: sent + Lr with Lr(1 + ρ)/(1 − ρ) below
    /// REHOME_AFTER, so Lr = REHOME_AFTER × 9/11 − slack for clocks that differ by up to a tenth each.
    pub(super) fn rehome(&mut self, now_ms: u64) {
        let Some(after_ms) = self.map().settings.replication.rehome_after_ms else { return };
        let roll = Roll::of(self.map());
        let long_gone = |id: &&WorkerId| {
            self.worker(&id.name)
                .and_then(|row| self.down_ms(now_ms, row))
                .is_none_or(|ms| ms >= after_ms)
        };
        let due: Vec<usize> = self
            .lost(None)
            .into_iter()
            .filter(|place| missing(&roll, &self.map().partitions[*place]).iter().all(long_gone))
            .collect();
        if self.give_away(&due).is_ok() {
            self.rehomed += due.len() as u64;
        }
    }
}
