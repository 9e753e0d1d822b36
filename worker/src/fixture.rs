//! Small maps, for tests.

use firn_client::maps::no_map;
use firn_wire::ids::{Epoch, GroupId, Incarnation, MapVersion, PartitionId, WorkerId};
use firn_wire::map::{GroupRow, GroupRule, MapIndex, PartitionRow, WorkerRow, WorkerState};

/// A run of a worker.
pub(crate) fn id(name: &str, incarnation: u64) -> WorkerId {
    WorkerId { name: name.parse().unwrap(), incarnation: Incarnation(incarnation) }
}

/// A worker as it is registered.
pub(crate) fn worker(id: WorkerId, state: WorkerState) -> WorkerRow {
    let addresses = [("peer".to_owned(), format!("{}:1", id.name))].into();
    let WorkerId { name, incarnation } = id;
    let rev = Default::default();
    WorkerRow { name, incarnation, addresses, shards: 1, state, since_ms: 0, rev }
}

/// One row per list of in-sync runs and wanted names.
pub(crate) fn map(workers: Vec<WorkerRow>, rows: &[(&[WorkerId], &[&str])]) -> MapIndex {
    let mut map = no_map().map().clone();
    map.version = MapVersion { generation: 1, counter: 1 };
    let row = |number, (isr, wanted): &(&[WorkerId], &[&str])| PartitionRow {
        id: PartitionId { group: GroupId(0), number },
        rev: Default::default(),
        epoch: Epoch(1),
        primary: isr.first().cloned(),
        isr: isr.to_vec(),
        wanted: wanted.iter().map(|name| name.parse().unwrap()).collect(),
        released: false,
    };
    map.partitions = (0..).zip(rows).map(|(number, given)| row(number, given).into()).collect();
    let (partitions, rule) = (rows.len() as u16, GroupRule::Keys);
    map.groups = vec![GroupRow { id: GroupId(0), copies: 2, partitions, rule, rev: map.version }];
    map.workers = workers;
    MapIndex::new(map).unwrap()
}
