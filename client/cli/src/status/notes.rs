//! What is not as it should be: what, since when, and what to do. One sentence each.

use firn_wire::map::WorkerState;
use firn_wire::registry::Movement;
use firn_wire::status::{Amiss, Finding, Standing, Status};

use super::holdings::Holdings;
use crate::movement::stands_since;
use crate::since::since;

/// A cluster, read for what is amiss with it.
pub(super) struct Notes<'m> {
    /// What the map says of its health.
    pub(super) status: &'m Status<'m>,
    /// What the map says of who has what.
    pub(super) holdings: &'m Holdings<'m>,
    /// What moves; None: the server that was asked does not know.
    pub(super) movement: Option<&'m Movement>,
    /// Unix milliseconds now.
    pub(super) now_ms: u64,
}

impl Notes<'_> {
    /// The sentences: what is the matter with partitions, the worst first, then with workers.
    pub(super) fn sentences(&self) -> Vec<String> {
        let findings = self.status.findings.iter().filter_map(|finding| self.finding(finding));
        let workers = self.status.workers.iter().filter_map(|standing| self.worker(standing));
        findings.chain(self.stuck()).chain(workers).collect()
    }

    /// What moves is no matter where it is known how it goes on.
    fn finding(&self, finding: &Finding) -> Option<String> {
        if finding.kind == Amiss::Moving && self.movement.is_some() {
            return None;
        }
        Some(match finding.since_ms {
            Some(since_ms) => format!("{finding}; since {}", since(since_ms, self.now_ms)),
            None => finding.to_string(),
        })
    }

    fn worker(&self, standing: &Standing<'_>) -> Option<String> {
        let (worker, leads) = (standing.worker, standing.leads);
        let (name, since) = (&worker.name, since(worker.since_ms, self.now_ms));
        Some(match (worker.state, self.holdings.in_sync(worker)) {
            (WorkerState::Down, _) if leads > 0 => format!(
                "{name} is down since {since} and {leads} partitions it led wait for it or for another copy to take \
                 over: start it again under its name"
            ),
            (WorkerState::Down, _) => format!(
                "{name} is down since {since}; it leads nothing: start it again under its name, or `firn forget {name}`"
            ),
            (WorkerState::Leaving, _) => format!(
                "{name} is leaving since {since}; it still leads {leads} partitions: it hands them over and ends by \
                 itself"
            ),
            (WorkerState::Draining, 0) => {
                format!(
                    "{name} is drained since {since} and has nothing left: stop it when you like"
                )
            }
            (WorkerState::Draining, in_sync) => format!(
                "{name} is being drained since {since}; it still leads {leads} partitions and is an in-sync copy of \
                 {in_sync}: do not stop it yet"
            ),
            (WorkerState::Up, _) if standing.seat.is_none() => format!(
                "{name} is up since {since} and has no seat: a worker that has just come gets one within seconds, until \
                 then it passes requests on"
            ),
            (WorkerState::Up, _) => return None,
        })
    }

    /// A movement nothing has come of.
    fn stuck(&self) -> Option<String> {
        let Movement { left, total, .. } = self.movement?;
        let since = since(stands_since(self.movement?, self.now_ms)?, self.now_ms);
        let most = self.holdings.due.iter().max_by_key(|(_, due)| **due);
        let remedy = match most {
            None => "read the logs of their workers".to_owned(),
            Some(((from, to), due)) => format!(
                "{from} could hand over {due} to {to}, read the logs of both; restarting {to} is safe"
            ),
        };
        Some(format!(
            "nothing has moved since {since} and {left} of {total} partitions are left: {remedy}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{DOWN_SINCE_MS, down, map};
    use super::*;
    use firn_wire::map::Map;

    fn notes_of(map: &Map, movement: Option<Movement>) -> Vec<String> {
        let (status, holdings) = (Status::of(map), Holdings::of(map));
        let (movement, now_ms) = (movement.as_ref(), DOWN_SINCE_MS + 63_000);
        Notes { status: &status, holdings: &holdings, movement, now_ms }.sentences()
    }

    /// One of six partitions is left; the last one arrived so long ago.
    fn moving(unchanged_ms: u64) -> Option<Movement> {
        let unchanged_since_ms = Some(DOWN_SINCE_MS + 63_000 - unchanged_ms);
        Some(Movement {
            left: 1,
            total: 6,
            since_ms: Some(DOWN_SINCE_MS - 60_000),
            unchanged_since_ms,
            rate_per_second: 5.0,
            ends_in_ms: Some(200),
        })
    }

    #[test]
    fn nothing_is_said_of_a_cluster_that_is_well() {
        assert_eq!(notes_of(&map(3, 2), None), [""; 0]);
        assert_eq!(notes_of(&map(3, 2), moving(1_000)), [""; 0]);
    }

    #[test]
    fn what_is_amiss_is_named_with_since_when_and_what_to_do() {
        let mut one = map(3, 1);
        down(&mut one, 2);
        let notes = notes_of(&one, None);
        assert!(notes[0].starts_with("2 partitions cannot be served without w3: start again"));
        assert!(notes[0].ends_with("; since 2025-11-03T14:04:11Z (1m 3s ago)"), "{notes:?}");
        assert_eq!(
            notes[1],
            "w3 is down since 2025-11-03T14:04:11Z (1m 3s ago) and 2 partitions it led wait for it or for another copy \
             to take over: start it again under its name"
        );
        let mut idle = map(3, 1);
        down(&mut idle, 2);
        idle.partitions.retain(|row| row.wanted[0].as_str() != "w3");
        assert!(notes_of(&idle, None)[0].contains("it leads nothing: start it again"));
        let mut two = map(3, 2);
        down(&mut two, 2);
        let notes = notes_of(&two, None);
        assert!(
            notes
                .iter()
                .any(|note| note.starts_with("4 partitions have one copy only: start w3 again"))
        );
    }

    #[test]
    fn each_state_is_explained() {
        let said = |state, seated: bool| {
            let mut map = map(2, 1);
            map.workers[0].state = state;
            if !seated {
                map.seats[0].worker = None;
            }
            notes_of(&map, None).remove(0)
        };
        assert!(said(WorkerState::Leaving, true).contains("still leads 3 partitions"));
        assert!(said(WorkerState::Draining, false).contains("copy of 3: do not stop it yet"));
        assert!(said(WorkerState::Up, false).contains("has no seat"));
        let mut drained = map(2, 1);
        drained.workers[0].state = WorkerState::Draining;
        drained.partitions.retain(|row| row.wanted[0].as_str() != "w1");
        assert!(notes_of(&drained, None)[0].contains("has nothing left: stop it"));
    }

    #[test]
    fn a_movement_of_which_nothing_comes_is_stuck() {
        let mut handing = map(3, 2);
        handing.row_mut(0).wanted.swap(0, 1);
        assert_eq!(notes_of(&handing, moving(9_999)), [""; 0], "it goes on");
        assert_eq!(
            notes_of(&handing, moving(63_000)),
            [
                "nothing has moved since 2025-11-03T14:04:11Z (1m 3s ago) and 1 of 6 partitions are left: w1 could hand \
                 over 1 to w2, read the logs of both; restarting w2 is safe"
            ]
        );
        let notes = notes_of(&map(3, 2), moving(63_000));
        assert!(notes[0].ends_with("read the logs of their workers"), "{notes:?}");
        assert!(notes_of(&handing, None)[0].contains("not yet where wanted"));
    }
}
