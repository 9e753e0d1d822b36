//! Who should have which partition: `plan(map) → wanted`, from seats and settings alone.
//!
//! What *is* (primary, in-sync replicas) follows later, by proposals; nothing but this file and `sticky` knows which
//! placement is in force.

mod sticky;

use firn_wire::ids::WorkerName;
use firn_wire::map::{GroupRow, Map, PartitionRow, Placement};

/// For each partition, in the map's order, the workers that should have it, the primary first. Fewer than the group's
/// copies where fewer workers have a seat.
pub fn plan(map: &Map) -> Vec<Vec<WorkerName>> {
    let seats: Vec<Option<&WorkerName>> =
        map.seats.iter().map(|seat| seat.worker.as_ref()).collect();
    let mut rows = map.partitions.as_slice();
    let mut wanted = Vec::with_capacity(rows.len());
    for group in &map.groups {
        let (of_group, rest) = rows.split_at(usize::from(group.partitions));
        rows = rest;
        wanted.extend(plan_group(map.settings.placement, &seats, group, of_group));
    }
    wanted
}

fn plan_group(
    placement: Placement,
    seats: &[Option<&WorkerName>],
    group: &GroupRow,
    rows: &[PartitionRow],
) -> Vec<Vec<WorkerName>> {
    let copies = usize::from(group.copies);
    let is_new = rows.iter().all(|row| row.wanted.is_empty());
    if placement == Placement::Sticky && !is_new {
        let members: Vec<&WorkerName> = seats.iter().flatten().copied().collect();
        let held: Vec<&[WorkerName]> = rows.iter().map(|row| row.wanted.as_slice()).collect();
        return sticky::replan(&members, copies, &held);
    }
    rows.iter().map(|row| modulo(usize::from(row.id.number), copies, seats)).collect()
}

/// The wanted places of partition p among n seats: the primary sits at p mod n; the k-th backup at
/// (p mod n + 1 + (p / n + k) mod (n − 1)) mod n, so that what a lost worker led spreads over all others. A vacant seat
/// is passed over.
fn modulo(p: usize, copies: usize, seats: &[Option<&WorkerName>]) -> Vec<WorkerName> {
    let n = seats.len();
    if n == 0 {
        return Vec::new();
    }
    let backups = (0..n - 1).map(|k| (p % n + 1 + (p / n + k) % (n - 1)) % n);
    let places = std::iter::once(p % n).chain(backups);
    places.filter_map(|seat| seats[seat].cloned()).take(copies).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(n: usize) -> Vec<WorkerName> {
        (1..=n).map(|i| format!("w{i:04}").parse().unwrap()).collect()
    }

    #[test]
    fn places_are_those_of_the_formula() {
        let names = names(4);
        let seats: Vec<_> = names.iter().map(Some).collect();
        let show = |p| {
            let places = modulo(p, 3, &seats);
            places.iter().map(|w| w.as_str()[4..].to_owned()).collect::<String>()
        };
        // p mod 4 leads; the backups of 0, 4, 8 (all led by the first) go round the other three.
        let shown: Vec<_> = [0, 1, 2, 3, 4, 8, 12].map(show).to_vec();
        assert_eq!(shown, ["123", "234", "341", "412", "134", "142", "123"]);
    }

    proptest! {
        #[test]
        fn modulo_is_balanced_in_leading_and_in_backing_up(
            n in 1usize..40, copies in 1usize..5, rounds in 1usize..4,
        ) {
            let names = names(n);
            let seats: Vec<_> = names.iter().map(Some).collect();
            let mut leads = vec![0; n];
            let mut backs = vec![0; n];
            // Over n (n − 1) partitions every pair of primary and backup comes up equally often.
            let partitions = n * (n - 1).max(1) * rounds;
            for p in 0..partitions {
                let wanted = modulo(p, copies, &seats);
                prop_assert_eq!(wanted.len(), copies.min(n));
                let places: Vec<_> =
                    wanted.iter().map(|w| names.iter().position(|name| name == w).unwrap()).collect();
                let apart: std::collections::BTreeSet<_> = places.iter().collect();
                prop_assert_eq!(apart.len(), places.len());
                prop_assert_eq!(places[0], p % n);
                leads[places[0]] += 1;
                places[1..].iter().for_each(|place| backs[*place] += 1);
            }
            prop_assert!(leads.iter().all(|count| *count == partitions / n));
            prop_assert!(backs.iter().all(|count| *count == backs[0]), "{:?}", backs);
        }

        #[test]
        fn a_vacant_seat_is_passed_over(n in 2usize..20, vacant in 0usize..20, p in 0usize..1_000) {
            let names = names(n);
            let vacant = vacant % n;
            let seats: Vec<_> =
                names.iter().enumerate().map(|(i, name)| (i != vacant).then_some(name)).collect();
            let wanted = modulo(p, n, &seats);
            prop_assert_eq!(wanted.len(), n - 1);
            prop_assert!(!wanted.contains(&names[vacant]));
        }
    }
}
