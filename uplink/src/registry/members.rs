//! Workers that are registered: they beat, leave, fall silent and say goodbye.

use firn_wire::ids::WorkerName;
use firn_wire::map::{WorkerRow, WorkerState};
use firn_wire::registry::{Beaten, Heartbeat};

use super::{Answer, Refusal, RefusalKind, Registry};

/// How often what follows from silence alone is looked for, in milliseconds.
const REVIEW_EVERY_MS: u64 = 100;

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
        if self.heard.get(name) == Some(&Heard::Goodbye) && !beat.goodbye {
            let detail = format!("{} has said goodbye; it must register with a new run", row.id());
            return Err(Refusal::new(RefusalKind::OtherIncarnation, detail));
        }
        if !beat.goodbye && self.must_tell(&row.id()) {
            let detail = format!("{} is to register again and to send its map", row.id());
            return Err(Refusal::new(RefusalKind::UnknownWorker, detail));
        }
        let (state, next) = (row.state, self.state_after(row, beat));
        let heard = if beat.goodbye { Heard::Goodbye } else { Heard::At(now_ms) };
        self.heard.insert(name.clone(), heard);
        if next == WorkerState::Down && state != WorkerState::Down {
            self.leave(now_ms, std::slice::from_ref(name));
        } else if next != state {
            self.set_states(now_ms, std::slice::from_ref(name), next);
            self.review_absences(now_ms);
        }
        Ok(Answer::Beaten(Beaten { version: self.version() }))
    }

    /// The state a beat puts a worker into. Who leaves or is drained goes on doing so until that run has ended.
    fn state_after(&self, row: &WorkerRow, beat: &Heartbeat) -> WorkerState {
        let has_seat = || self.seat_of(&row.name).is_some();
        match row.state {
            _ if beat.goodbye => WorkerState::Down,
            WorkerState::Up | WorkerState::Leaving | WorkerState::Draining if !beat.leaving => {
                row.state
            }
            WorkerState::Draining => WorkerState::Draining,
            // It had its seat before it could fall silent: this run was drained of it.
            WorkerState::Down if self.is_published() && !has_seat() => WorkerState::Draining,
            _ if beat.leaving && self.is_published() => WorkerState::Leaving,
            _ => WorkerState::Up,
        }
    }

    /// Time has passed: newcomers are seated, and who is silent is found out about.
    pub(super) fn tick(&mut self, now_ms: u64) {
        if self.is_published() {
            self.seat_newcomers(now_ms);
        } else {
            self.rebuild_when_told(now_ms);
        }
        self.judge_silence(now_ms);
        if self.is_published() {
            self.review(now_ms);
        }
    }

    /// What follows from silence and takes a look at every partition: after a change, and every now and then.
    fn review(&mut self, now_ms: u64) {
        let (version, at_ms) = self.reviewed;
        if version == self.version() && now_ms < at_ms + REVIEW_EVERY_MS {
            return;
        }
        self.claims.tidy(&self.state.map);
        self.forget_the_long_gone(now_ms);
        self.rehome(now_ms);
        self.review_absences(now_ms);
        self.progress.measure(now_ms, &self.state.map);
        self.reviewed = (self.version(), now_ms);
    }

    /// Workers that live no more: down in the map, or no longer waited with before there is one.
    pub(super) fn leave(&mut self, now_ms: u64, names: &[WorkerName]) {
        if self.is_published() {
            return self.set_states(now_ms, names, WorkerState::Down);
        }
        let (map, _) = self.change();
        map.workers.retain(|row| !names.contains(&row.name));
        self.heard.retain(|name, _| !names.contains(name));
    }

    pub(super) fn set_states(&mut self, now_ms: u64, names: &[WorkerName], state: WorkerState) {
        let (map, version) = self.change();
        for row in map.workers.iter_mut().filter(|row| names.contains(&row.name)) {
            row.state = state;
            row.since_ms = now_ms;
            row.rev = version;
        }
    }

    pub(super) fn expect_worker(&self, name: &WorkerName) -> Result<&WorkerRow, Refusal> {
        let detail = || format!("no worker {name} is registered");
        self.worker(name).ok_or_else(|| Refusal::new(RefusalKind::UnknownWorker, detail()))
    }
}
