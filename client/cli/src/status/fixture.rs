//! A map for the tests of this folder.

use std::sync::Arc;

use firn_wire::ids::{ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId};
use firn_wire::key::KeyInteger;
use firn_wire::map::{
    FORMAT, GroupRow, GroupRule, Map, PartitionRow, Placement, SeatRow, Settings, WorkerRow,
    WorkerState,
};

const REV: MapVersion = MapVersion { generation: 1, counter: 1 };
/// When every worker came up: 2025-11-03T14:03:11Z.
pub(super) const UP_SINCE_MS: u64 = 1_762_178_591_000;
/// When those that are down went.
pub(super) const DOWN_SINCE_MS: u64 = UP_SINCE_MS + 60_000;

fn worker(number: usize) -> WorkerRow {
    WorkerRow {
        name: format!("w{number}").parse().unwrap(),
        incarnation: Incarnation(1),
        addresses: [("peer".to_owned(), format!("127.0.0.1:{number}"))].into(),
        shards: 4,
        state: WorkerState::Up,
        since_ms: UP_SINCE_MS,
        rev: REV,
    }
}

/// Workers w1, w2, … and six partitions, each in sync on as many of them as it should be, in turns.
pub(super) fn map(workers: usize, copies: u8) -> Map {
    let workers: Vec<_> = (1..=workers).map(worker).collect();
    let seats = (0..).zip(&workers).map(|(number, row)| {
        let worker = Some(row.name.clone());
        SeatRow { number, worker, rev: REV }
    });
    let partitions = (0..6u16).map(|number| {
        let place = |copy: usize| workers[(usize::from(number) + copy) % workers.len()].id();
        let isr: Vec<_> = (0..usize::from(copies)).map(place).collect();
        PartitionRow {
            id: PartitionId { group: GroupId(0), number },
            rev: REV,
            epoch: Epoch(1),
            primary: Some(isr[0].clone()),
            wanted: isr.iter().map(|copy| copy.name.clone()).collect(),
            isr,
            released: false,
        }
    });
    let group = GroupRow { id: GroupId(0), copies, partitions: 6, rule: GroupRule::Keys, rev: REV };
    Map {
        cluster: ClusterId(1),
        version: REV,
        format: FORMAT,
        settings: settings(copies),
        seats: seats.collect(),
        groups: vec![group],
        partitions: partitions.map(Arc::new).collect(),
        tables: Vec::new(),
        workers,
    }
}

fn settings(copies: u8) -> Settings {
    Settings {
        key_integer: KeyInteger::Literal,
        partitions: 6,
        placement: Placement::Modulo,
        copies,
        expect_workers: 1,
        name_ranges: Vec::new(),
        worker_lease_ms: 2_500,
        replication: Default::default(),
    }
}

/// Stops a worker, by its place.
pub(super) fn down(map: &mut Map, at: usize) {
    map.workers[at].state = WorkerState::Down;
    map.workers[at].since_ms = DOWN_SINCE_MS;
}
