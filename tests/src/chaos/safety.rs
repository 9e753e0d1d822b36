//! What may be ended without losing anything, by what the uplink's map says. Pure.
//!
//! `ack=all` promises that nothing acknowledged is lost while one in-sync copy of a partition lives at every moment; so the
//! last one is never ended. The uplink's list of in-sync copies is the one that counts: each of them has everything that
//! was acknowledged, whatever their primary is about to propose.

use std::collections::BTreeSet;
use std::sync::Arc;

use firn_wire::ids::{WorkerId, WorkerName};
use firn_wire::map::{Map, PartitionRow};

/// In-sync copies of a partition on runs that live.
fn living<'m>(
    row: &'m PartitionRow,
    alive: &BTreeSet<WorkerId>,
) -> impl Iterator<Item = &'m WorkerId> {
    row.isr.iter().filter(|member| alive.contains(member))
}

/// Whether each partition has an in-sync copy on a living run of another worker.
pub fn is_spare(map: &Map, worker: &str, alive: &BTreeSet<WorkerId>) -> bool {
    let kept =
        |row: &Arc<PartitionRow>| living(row, alive).any(|member| member.name.as_str() != worker);
    !map.partitions.is_empty() && map.partitions.iter().all(kept)
}

/// Whether each partition is led by a living run and has as many in-sync copies on such as its group should have.
pub fn is_whole(map: &Map, alive: &BTreeSet<WorkerId>) -> bool {
    let copies_of = |row: &PartitionRow| {
        let group = map.groups.iter().find(|group| group.id == row.id.group);
        group.map_or(1, |group| usize::from(group.copies)).min(alive.len())
    };
    let whole = |row: &Arc<PartitionRow>| {
        let is_led = row.primary.as_ref().is_some_and(|primary| alive.contains(primary));
        is_led && living(row, alive).count() >= copies_of(row)
    };
    !map.partitions.is_empty() && map.partitions.iter().all(whole)
}

/// Whether no partition is held or wanted by a worker.
pub fn has_nothing(map: &Map, worker: &WorkerName) -> bool {
    map.partitions.iter().all(|row| {
        let holds = row.isr.iter().chain(&row.primary).any(|member| member.name == *worker);
        !holds && !row.wants(worker)
    })
}

#[cfg(test)]
mod tests {
    use firn_wire::ids::{ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId};
    use firn_wire::key::KeyInteger;
    use firn_wire::map::{FORMAT, GroupRow, GroupRule, Placement, Settings};

    use super::*;

    fn run(name: &str, incarnation: u64) -> WorkerId {
        WorkerId { name: name.parse().unwrap(), incarnation: Incarnation(incarnation) }
    }

    /// A map of partitions that are led by the first of their in-sync copies.
    fn map(partitions: &[&[WorkerId]]) -> Map {
        let rev = MapVersion { generation: 1, counter: 1 };
        let row = |(number, isr): (u16, &&[WorkerId])| PartitionRow {
            id: PartitionId { group: GroupId(0), number },
            rev,
            epoch: Epoch(1),
            primary: isr.first().cloned(),
            isr: isr.to_vec(),
            wanted: isr.iter().map(|member| member.name.clone()).collect(),
            released: false,
        };
        let group =
            GroupRow { id: GroupId(0), copies: 2, partitions: 2, rule: GroupRule::Keys, rev };
        let settings = Settings {
            key_integer: KeyInteger::Crc16,
            partitions: 2,
            placement: Placement::Modulo,
            copies: 2,
            expect_workers: 1,
            name_ranges: Vec::new(),
            worker_lease_ms: 2_500,
            replication: Default::default(),
        };
        Map {
            cluster: ClusterId(1),
            version: rev,
            format: FORMAT,
            settings,
            workers: Vec::new(),
            seats: Vec::new(),
            groups: vec![group],
            partitions: (0..).zip(partitions).map(row).map(Arc::new).collect(),
            tables: Vec::new(),
        }
    }

    #[test]
    fn the_last_living_copy_is_not_spare() {
        let (a, b, c) = (run("a", 1), run("b", 1), run("c", 1));
        let both = [a.clone(), b.clone()];
        let map = map(&[&both, &[b.clone(), c.clone()]]);
        let all = BTreeSet::from([a.clone(), b.clone(), c.clone()]);
        assert!(["a", "b", "c"].iter().all(|worker| is_spare(&map, worker, &all)));
        assert!(is_whole(&map, &all));

        let without_c = BTreeSet::from([a, b]);
        assert!(is_spare(&map, "a", &without_c));
        assert!(!is_spare(&map, "b", &without_c), "c has ended and b alone has the second");
        assert!(!is_whole(&map, &without_c));
    }

    #[test]
    fn another_run_of_a_copy_has_nothing_of_the_last_one() {
        let both = [run("a", 1), run("b", 1)];
        let map = map(&[&both, &both]);
        let alive = BTreeSet::from([run("a", 1), run("b", 2)]);
        assert!(!is_spare(&map, "a", &alive));
        assert!(is_spare(&map, "b", &alive));
    }

    #[test]
    fn who_is_wanted_still_has_something() {
        let mut map = map(&[&[run("a", 1)]]);
        assert!(!has_nothing(&map, &"a".parse().unwrap()));
        assert!(has_nothing(&map, &"b".parse().unwrap()));
        map.row_mut(0).wanted.push("b".parse().unwrap());
        assert!(!has_nothing(&map, &"b".parse().unwrap()));
    }
}
