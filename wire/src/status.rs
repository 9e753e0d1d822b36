//! What a map says of the cluster's health: the numbers, and one sentence of them for people.

use std::collections::HashMap;
use std::fmt;

use crate::ids::{WorkerId, WorkerName};
use crate::map::{Map, WorkerRow, WorkerState};

/// How one worker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'m> {
    /// Its row.
    pub worker: &'m WorkerRow,
    /// Its place in the modulo; None is a spare.
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
}

impl<'m> Status<'m> {
    /// Reads a map.
    pub fn of(map: &'m Map) -> Self {
        let mut of_run: HashMap<&WorkerId, usize> = HashMap::new();
        let mut of_name: HashMap<&WorkerName, usize> = HashMap::new();
        for primary in map.partitions.iter().filter_map(|row| row.primary.as_ref()) {
            *of_run.entry(primary).or_default() += 1;
            *of_name.entry(&primary.name).or_default() += 1;
        }
        let workers: Vec<_> = map
            .workers
            .iter()
            .map(|worker| {
                let seat = map.seats.iter().find(|seat| seat.worker.as_ref() == Some(&worker.name));
                let leads = of_run.get(&worker.id()).copied().unwrap_or(0);
                let owes = of_name.get(&worker.name).map_or(0, |all| all - leads);
                Standing { worker, seat: seat.map(|seat| seat.number), leads, owes }
            })
            .collect();
        let served: usize = workers.iter().filter(|w| w.is_up()).map(|w| w.leads).sum();
        let partitions = map.partitions.len();
        Self { workers, partitions, unserved: partitions - served }
    }

    /// Workers that beat.
    pub fn up(&self) -> usize {
        self.workers.iter().filter(|worker| worker.is_up()).count()
    }

    /// Whether every worker beats and every partition is served.
    pub fn is_well(&self) -> bool {
        self.up() == self.workers.len() && self.unserved == 0 && self.partitions > 0
    }
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
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId};
    use crate::key::KeyInteger;
    use crate::map::{FORMAT, PartitionRow, Placement, SeatRow, Settings};

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
    fn map(names: &[&str]) -> Map {
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
            },
            seats: seats.collect(),
            groups: Vec::new(),
            partitions: partitions.collect(),
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
    fn a_spare_has_no_seat_and_a_map_without_partitions_is_none() {
        let mut spare = map(&["w1"]);
        spare.workers.push(worker("w2", 1));
        let status = Status::of(&spare);
        assert_eq!((status.workers[0].seat, status.workers[1].seat), (Some(0), None));
        assert!(status.is_well());

        let mut early = map(&["w1"]);
        early.partitions.clear();
        let status = Status::of(&early);
        assert_eq!(status.to_string(), "1 worker up, no map has been published yet");
        assert!(!status.is_well());
    }
}
