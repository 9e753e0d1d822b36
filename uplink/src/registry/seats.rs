//! Seats: who comes is given one, who is drained or forgotten gives his up.

use std::collections::BTreeSet;
use std::sync::Arc;

use firn_wire::ids::{MapVersion, WorkerName};
use firn_wire::map::{Map, SeatRow, WorkerState};

use super::Registry;

/// How long a worker beats before it is given a seat, so that those who come together are one change.
const JOIN_AFTER_MS: u64 = 1_000;

impl Registry {
    /// Gives seats to all who have none once one of them has beaten for long enough, and plans anew.
    pub(super) fn seat_newcomers(&mut self, now_ms: u64) {
        let seated: BTreeSet<&WorkerName> =
            self.map().seats.iter().filter_map(|seat| seat.worker.as_ref()).collect();
        let rows = self.map().workers.iter();
        let new = rows.filter(|row| row.state == WorkerState::Up && !seated.contains(&row.name));
        // Never longer than the lease: who falls silent has a seat by then, or was drained.
        let wait_ms = JOIN_AFTER_MS.min(self.map().settings.worker_lease_ms);
        let (names, ages): (Vec<WorkerName>, Vec<u64>) =
            new.map(|row| (row.name.clone(), age_ms(now_ms, row.since_ms))).unzip();
        if ages.iter().all(|age| *age < wait_ms) {
            return;
        }
        let (map, version) = self.change();
        names.into_iter().for_each(|name| sit(map, version, name));
        self.replan();
    }

    /// The number of a worker's seat.
    pub(super) fn seat_of(&self, name: &WorkerName) -> Option<u16> {
        let seat = self.map().seats.iter().find(|seat| seat.worker.as_ref() == Some(name));
        seat.map(|seat| seat.number)
    }

    /// Whether anybody else has a seat, so that one can be given up.
    pub(super) fn others_sit(&self, name: &WorkerName) -> bool {
        let mut seated = self.map().seats.iter().filter_map(|seat| seat.worker.as_ref());
        seated.any(|worker| worker != name)
    }

    /// Takes a worker's seat away, if it has one, and plans anew. Vacant seats at the end are no seats, so that the modulo
    /// is the number of workers again; one before another's waits for the next who comes.
    pub(super) fn vacate(&mut self, name: &WorkerName) {
        assert!(self.others_sit(name), "{name} has the last seat");
        let Some(number) = self.seat_of(name) else { return };
        let (map, version) = self.change();
        let seat = &mut map.seats[usize::from(number)];
        (seat.worker, seat.rev) = (None, version);
        let before = map.seats.len();
        while map.seats.pop_if(|seat| seat.worker.is_none()).is_some() {}
        let left = map.seats.len();
        if left < before {
            Arc::make_mut(&mut self.history).seats_gone(version, left as u16);
        }
        self.replan();
    }
}

/// Gives a worker the first vacant seat, or one more.
fn sit(map: &mut Map, version: MapVersion, name: WorkerName) {
    let worker = Some(name);
    match map.seats.iter_mut().find(|seat| seat.worker.is_none()) {
        Some(vacant) => (vacant.worker, vacant.rev) = (worker, version),
        None => {
            let number = u16::try_from(map.seats.len()).expect("there are at most 1,024 workers");
            map.seats.push(SeatRow { number, worker, rev: version });
        }
    }
}

/// How long ago something was; what lies ahead was noted by an uplink whose clock was another, long ago.
pub(super) fn age_ms(now_ms: u64, since_ms: u64) -> u64 {
    now_ms.checked_sub(since_ms).unwrap_or(u64::MAX)
}
