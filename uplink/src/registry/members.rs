//! Workers that are registered: they beat, fall silent, say goodbye and are forgotten.

use std::sync::Arc;

use firn_wire::ids::WorkerName;
use firn_wire::map::{WorkerRow, WorkerState};
use firn_wire::registry::{Beaten, Heartbeat};

use super::{Answer, Refusal, RefusalKind, Registry};

/// What was last heard of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A sign of life at this time, in Unix milliseconds.
    At(u64),
    /// That it ends.
    Goodbye,
}

impl Registry {
    pub(super) fn beat(
        &mut self,
        now_ms: u64,
        name: &WorkerName,
        beat: &Heartbeat,
    ) -> Result<Answer, Refusal> {
        let Some(row) = self.worker(name) else {
            let detail = format!("no worker {name} is registered; it must register first");
            return Err(Refusal::new(RefusalKind::UnknownWorker, detail));
        };
        if row.incarnation != beat.incarnation {
            let detail = format!("{} is registered, not {}", row.id(), beat.incarnation);
            return Err(Refusal::new(RefusalKind::OtherIncarnation, detail));
        }
        let state = row.state;
        if self.heard.get(name) == Some(&Heard::Goodbye) && !beat.goodbye {
            let detail = format!("{} has said goodbye; it must register with a new run", row.id());
            return Err(Refusal::new(RefusalKind::OtherIncarnation, detail));
        }
        let heard = if beat.goodbye { Heard::Goodbye } else { Heard::At(now_ms) };
        self.heard.insert(name.clone(), heard);
        match (beat.goodbye, state) {
            (true, WorkerState::Up | WorkerState::Leaving) => {
                self.leave(now_ms, std::slice::from_ref(name))
            }
            (false, WorkerState::Down) => {
                self.set_states(now_ms, std::slice::from_ref(name), WorkerState::Up)
            }
            _ => {}
        }
        Ok(Answer::Beaten(Beaten { version: self.version() }))
    }

    pub(super) fn tick(&mut self, now_ms: u64) -> Result<Answer, Refusal> {
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
        Ok(Answer::Nothing)
    }

    /// Workers that live no more: down in the map, or no longer waited with before there is one.
    fn leave(&mut self, now_ms: u64, names: &[WorkerName]) {
        if self.is_published() {
            return self.set_states(now_ms, names, WorkerState::Down);
        }
        let (map, _) = self.change();
        map.workers.retain(|row| !names.contains(&row.name));
        self.heard.retain(|name, _| !names.contains(name));
    }

    fn set_states(&mut self, now_ms: u64, names: &[WorkerName], state: WorkerState) {
        let (map, version) = self.change();
        for row in map.workers.iter_mut().filter(|row| names.contains(&row.name)) {
            row.state = state;
            row.since_ms = now_ms;
            row.rev = version;
        }
    }

    pub(super) fn forget(&mut self, name: &WorkerName) -> Result<Answer, Refusal> {
        let Some(row) = self.worker(name) else {
            let detail = format!("no worker {name} is registered");
            return Err(Refusal::new(RefusalKind::UnknownWorker, detail));
        };
        let refused = |detail: String| Err(Refusal::new(RefusalKind::StillInUse, detail));
        if row.state != WorkerState::Down {
            return refused(format!("{name} beats; stop it first"));
        }
        if let Some(seat) = self.map().seats.iter().find(|seat| seat.worker.as_ref() == Some(name))
        {
            return refused(format!(
                "{name} has seat {} and the partitions that go with it; start it again",
                seat.number
            ));
        }
        let (map, version) = self.change();
        map.workers.retain(|row| row.name != *name);
        Arc::make_mut(&mut self.history).worker_gone(version, name.clone());
        self.heard.remove(name);
        Ok(Answer::Gone(version))
    }
}
