//! What a map says of the cluster's health: the numbers, one sentence of them for people, and a sentence for each thing
//! that is amiss.

mod copies;
mod finding;

use std::collections::HashMap;
use std::fmt;

use crate::ids::{WorkerId, WorkerName};
use crate::map::{Map, WorkerRow, WorkerState};

pub use copies::Roll;
pub use finding::{Amiss, Finding};

/// How one worker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'m> {
    /// Its row.
    pub worker: &'m WorkerRow,
    /// Its place in the modulo; None: it is being drained, or has just come.
    pub seat: Option<u16>,
    /// Partitions this run of it is the primary of.
    pub leads: usize,
    /// Partitions an earlier run of it is still the primary of: nobody serves them until it takes over.
    pub owes: usize,
}

impl Standing<'_> {
    /// Whether it beats, leaving or not.
    pub fn is_up(&self) -> bool {
        self.worker.state != WorkerState::Down
    }

    /// Partitions nobody serves because of this worker.
    pub fn unserved(&self) -> usize {
        if self.is_up() { self.owes } else { self.leads + self.owes }
    }
}

/// The health of a cluster as its map has it. `Display` is one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status<'m> {
    /// Every registered worker, in the map's order.
    pub workers: Vec<Standing<'m>>,
    /// All partitions.
    pub partitions: usize,
    /// Those no worker that beats is the primary of.
    pub unserved: usize,
    /// Those of which no in-sync copy is on a worker that beats.
    pub unavailable: usize,
    /// Those with fewer in-sync copies on workers that beat than they should have, the unavailable ones apart.
    pub short: usize,
    /// The short ones that live on one copy.
    pub single: usize,
    /// Those that are not yet led and held by whom they should be, of those that beat.
    pub moving: usize,
    /// What is amiss, the worst first.
    pub findings: Vec<Finding>,
}

impl<'m> Status<'m> {
    /// Reads a map.
    pub fn of(map: &'m Map) -> Self {
        let workers = standings(map);
        let served: usize = workers.iter().filter(|w| w.is_up()).map(|w| w.leads).sum();
        let partitions = map.partitions.len();
        let findings = finding::all(map);
        let count = |kinds: &[Amiss]| {
            let of_kind = findings.iter().filter(|finding| kinds.contains(&finding.kind));
            of_kind.map(|finding| finding.partitions).sum()
        };
        Self {
            workers,
            partitions,
            unserved: partitions - served,
            unavailable: count(&[Amiss::Unavailable, Amiss::Returning]),
            short: count(&[Amiss::Single, Amiss::Short]),
            single: count(&[Amiss::Single]),
            moving: count(&[Amiss::Moving]),
            findings,
        }
    }

    /// Workers that beat.
    pub fn up(&self) -> usize {
        self.workers.iter().filter(|worker| worker.is_up()).count()
    }

    /// Whether every worker beats and every partition is served from as many copies as it should have.
    pub fn is_well(&self) -> bool {
        let all_up = self.up() == self.workers.len();
        all_up && self.unserved == 0 && self.short == 0 && self.partitions > 0
    }
}

fn standings(map: &Map) -> Vec<Standing<'_>> {
    let mut of_run: HashMap<&WorkerId, usize> = HashMap::new();
    let mut of_name: HashMap<&WorkerName, usize> = HashMap::new();
    for primary in map.partitions.iter().filter_map(|row| row.primary.as_ref()) {
        *of_run.entry(primary).or_default() += 1;
        *of_name.entry(&primary.name).or_default() += 1;
    }
    let standing = |worker: &'_ WorkerRow| {
        let leads = of_run.get(&worker.id()).copied().unwrap_or(0);
        (leads, of_name.get(&worker.name).map_or(0, |all| all - leads))
    };
    let seat_of = |name: &WorkerName| map.seats.iter().find(|s| s.worker.as_ref() == Some(name));
    let row = |worker| {
        let (leads, owes) = standing(worker);
        Standing { worker, seat: seat_of(&worker.name).map(|seat| seat.number), leads, owes }
    };
    map.workers.iter().map(row).collect()
}

impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (up, all) = (self.up(), self.workers.len());
        if self.partitions == 0 {
            let s = if up == 1 { "" } else { "s" };
            return write!(f, "{up} worker{s} up, no map has been published yet");
        }
        match (up, all) {
            (1, 1) => f.write_str("The only worker is up, ")?,
            _ if up == all => write!(f, "All {all} workers up, ")?,
            _ => write!(f, "{up} of {all} workers up, ")?,
        }
        match self.unserved {
            0 => f.write_str("every partition has a primary"),
            n => write!(f, "{n} of {} partitions have no primary that answers", self.partitions),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::{ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId};
    use crate::key::KeyInteger;
    use crate::map::{FORMAT, PartitionRow, Placement, SeatRow, Settings};
    use std::sync::Arc;

    fn worker(name: &str, incarnation: u64) -> WorkerRow {
        WorkerRow {
            name: name.parse().unwrap(),
            incarnation: Incarnation(incarnation),
            addresses: [("peer".to_owned(), "127.0.0.1:1".to_owned())].into(),
            shards: 4,
            state: WorkerState::Up,
            since_ms: 0,
            rev: MapVersion::default(),
        }
    }

    /// `names` sit in order and lead four partitions by turns.
    pub(crate) fn map(names: &[&str]) -> Map {
        let rev = MapVersion { generation: 1, counter: 1 };
        let workers: Vec<_> = names.iter().map(|name| worker(name, 1)).collect();
        let seats = (0..).zip(&workers).map(|(number, row)| SeatRow {
            number,
            worker: Some(row.name.clone()),
            rev,
        });
        let partitions = (0..4u16).map(|number| {
            let primary = workers[usize::from(number) % workers.len()].id();
            PartitionRow {
                id: PartitionId { group: GroupId(0), number },
                rev,
                epoch: Epoch(1),
                isr: vec![primary.clone()],
                wanted: vec![primary.name.clone()],
                released: false,
                primary: Some(primary),
            }
        });
        Map {
            cluster: ClusterId(1),
            version: rev,
            format: FORMAT,
            settings: Settings {
                key_integer: KeyInteger::Crc16,
                partitions: 4,
                placement: Placement::Modulo,
                copies: 1,
                expect_workers: 1,
                name_ranges: Vec::new(),
                worker_lease_ms: 2_500,
                replication: Default::default(),
            },
            seats: seats.collect(),
            groups: Vec::new(),
            partitions: partitions.map(Arc::new).collect(),
            tables: Vec::new(),
            workers,
        }
    }

    #[test]
    fn a_well_cluster_says_so_in_one_sentence() {
        let four = map(&["w1", "w2", "w3", "w4"]);
        let status = Status::of(&four);
        assert!(status.is_well());
        assert_eq!(status.to_string(), "All 4 workers up, every partition has a primary");
        let one = map(&["w1"]);
        assert_eq!(
            Status::of(&one).to_string(),
            "The only worker is up, every partition has a primary"
        );
    }

    #[test]
    fn what_nobody_serves_is_counted() {
        let mut down = map(&["w1", "w2"]);
        down.workers[1].state = WorkerState::Down;
        let status = Status::of(&down);
        assert_eq!(
            status.to_string(),
            "1 of 2 workers up, 2 of 4 partitions have no primary that answers"
        );
        assert_eq!(status.workers[1].unserved(), 2);
        assert!(!status.is_well());

        let mut restarted = map(&["w1", "w2"]);
        restarted.workers[1].incarnation = Incarnation(2);
        let status = Status::of(&restarted);
        assert_eq!((status.workers[1].leads, status.workers[1].owes, status.unserved), (0, 2, 2));
        assert_eq!(
            status.to_string(),
            "All 2 workers up, 2 of 4 partitions have no primary that answers"
        );
    }

    #[test]
    fn who_has_just_come_has_no_seat_and_a_map_without_partitions_is_none() {
        let mut joined = map(&["w1"]);
        joined.workers.push(worker("w2", 1));
        let status = Status::of(&joined);
        assert_eq!((status.workers[0].seat, status.workers[1].seat), (Some(0), None));
        assert!(status.is_well());

        let mut early = map(&["w1"]);
        early.partitions.clear();
        let status = Status::of(&early);
        assert_eq!(status.to_string(), "1 worker up, no map has been published yet");
        assert!(!status.is_well());
    }
    /// As [`map`], with each partition's next worker wanted and in sync too.
    fn twice(names: &[&str]) -> Map {
        let mut map = map(names);
        map.settings.copies = 2;
        for (place, row) in map.partitions.iter_mut().enumerate() {
            let second = &map.workers[(place + 1) % names.len()];
            let row = Arc::make_mut(row);
            row.isr.push(second.id());
            row.wanted.push(second.name.clone());
        }
        map
    }

    fn findings(map: &Map) -> Vec<String> {
        Status::of(map).findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn with_every_copy_nothing_is_amiss() {
        let map = twice(&["w1", "w2", "w3"]);
        let status = Status::of(&map);
        assert!(status.is_well() && status.findings.is_empty());
        assert_eq!(status.to_string(), "All 3 workers up, every partition has a primary");
    }

    #[test]
    fn lost_copies_are_counted_and_named_with_what_to_do() {
        let mut map = twice(&["w1", "w2", "w3"]);
        (map.workers[2].state, map.workers[2].since_ms) = (WorkerState::Down, 7_000);
        // Partition 0 is at w1 and w2, 1 at w2 and w3, 2 at w3 and w1, 3 at w1 and w2.
        let status = Status::of(&map);
        assert_eq!((status.single, status.short, status.unavailable, status.moving), (2, 2, 0, 1));
        assert!(status.findings.iter().take(2).all(|finding| finding.since_ms == Some(7_000)));
        assert_eq!(
            findings(&map),
            [
                "1 partition has lost the primary on w3: wait, another copy takes over in seconds",
                "2 partitions have one copy only: start w3 again, or wait until others hold them",
                "1 partition is not yet where wanted: wait, and read the logs if their number stands still",
            ]
        );
        assert!(!status.is_well());

        // Also once w3 is no longer in sync.
        map.row_mut(1).isr.pop();
        assert_eq!(
            findings(&map)[1],
            "2 partitions have one copy only: start w3 again, or wait until others hold them"
        );
        map.settings.copies = 3;
        assert_eq!(
            findings(&map)[2],
            "2 partitions have fewer copies than wanted: wait until more are made, or start workers to hold them"
        );
    }

    #[test]
    fn what_cannot_be_served_names_who_is_missed() {
        let mut map = twice(&["w1", "w2", "w3"]);
        map.workers[0].state = WorkerState::Down;
        map.workers[1].state = WorkerState::Down;
        let status = Status::of(&map);
        assert_eq!((status.unavailable, status.single), (2, 2));
        assert_eq!(
            status.findings[0].to_string(),
            "2 partitions cannot be served without w1 and w2: start again what is down, or give up what only that had \
             with `firn recover --accept-data-loss`"
        );
        // One of the two is back: the other is what is missed.
        (map.workers[0].state, map.workers[0].incarnation) = (WorkerState::Up, Incarnation(2));
        assert_eq!(Status::of(&map).findings[0].workers, [map.workers[1].name.clone()]);
        (map.workers[1].state, map.workers[1].incarnation) = (WorkerState::Up, Incarnation(2));
        assert_eq!(
            findings(&map)[0],
            "2 partitions have not been taken up again since w1 and w2 restarted: wait, or read the logs"
        );
        map.row_mut(3).isr.clear();
        assert!(findings(&map)[0].starts_with("1 partition has no copy: "), "{:?}", findings(&map));
    }

    #[test]
    fn a_partition_moves_until_it_is_led_and_held_as_wanted() {
        let mut map = twice(&["w1", "w2", "w3"]);
        map.row_mut(0).wanted.reverse();
        map.row_mut(1).wanted[1] = map.workers[0].name.clone();
        assert_eq!(Status::of(&map).moving, 2);
        // The learner that is waited for is down: as far as those that are up go, only w3 is one too many.
        map.workers[0].state = WorkerState::Down;
        let roll = Roll::of(&map);
        assert!(roll.is_moving(&map.partitions[1]));
        let mut gone = map.partitions[1].clone();
        Arc::make_mut(&mut gone).isr.clear();
        assert!(!roll.is_moving(&gone), "what nobody has does not move");
    }

    #[test]
    fn many_names_are_cut() {
        let workers: Vec<WorkerName> = (1..=8).map(|n| format!("w{n}").parse().unwrap()).collect();
        let finding = Finding { kind: Amiss::Leaderless, partitions: 8, workers, since_ms: None };
        assert!(finding.to_string().contains("w1, w2, w3, w4, w5 and 3 more"), "{finding}");
    }
}
