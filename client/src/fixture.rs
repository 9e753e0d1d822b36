//! Maps for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_wire::ids::*;
use firn_wire::key::KeyInteger;
use firn_wire::map::*;
use firn_wire::registry::MapDelta;

const FIRST: MapVersion = MapVersion { generation: 1, counter: 1 };

/// `w0`, `w1`, …, each in its first run.
pub(crate) fn worker(number: usize) -> WorkerId {
    let name = format!("w{number}").parse().unwrap();
    WorkerId { name, incarnation: Incarnation(1) }
}

/// Partitions dealt to workers in turn; tables `default` and `other`.
pub(crate) fn map(workers: usize, partitions: u16) -> Map {
    let table = |id: u32, name: &str| TableRow {
        id: TableId(id),
        name: name.parse().unwrap(),
        group: GroupId(0),
        pinned: None,
        policy: TablePolicy::default(),
        rev: FIRST,
    };
    let row = |number: u16| {
        let primary = worker(usize::from(number) % workers);
        PartitionRow {
            id: PartitionId { group: GroupId(0), number },
            rev: FIRST,
            epoch: Epoch(1),
            isr: vec![primary.clone()],
            wanted: vec![primary.name.clone()],
            released: false,
            primary: Some(primary),
        }
    };
    Map {
        cluster: ClusterId(5),
        version: FIRST,
        format: FORMAT,
        settings: Settings {
            key_integer: KeyInteger::Literal,
            partitions,
            placement: Placement::Modulo,
            copies: 1,
            expect_workers: 1,
            name_ranges: vec![],
            worker_lease_ms: 2_500,
            replication: Default::default(),
        },
        workers: (0..workers)
            .map(|number| WorkerRow {
                name: worker(number).name,
                incarnation: Incarnation(1),
                addresses: BTreeMap::from([("peer".to_owned(), "127.0.0.1:9".to_owned())]),
                shards: 4,
                state: WorkerState::Up,
                since_ms: 0,
                rev: FIRST,
            })
            .collect(),
        seats: (0..workers)
            .map(|number| SeatRow {
                number: number as u16,
                worker: Some(worker(number).name),
                rev: FIRST,
            })
            .collect(),
        groups: vec![GroupRow {
            id: GroupId(0),
            copies: 1,
            partitions,
            rule: GroupRule::Keys,
            rev: FIRST,
        }],
        partitions: (0..partitions).map(row).map(Arc::new).collect(),
        tables: vec![table(0, "default"), table(1, "other")],
    }
}

/// The whole of a map as an uplink sends it.
pub(crate) fn delta(map: &Map) -> MapDelta {
    MapDelta::whole(map.clone())
}
