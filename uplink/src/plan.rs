//! Who should have which partition: `plan(map, absences) → wanted`, from seats, settings and who is not to be counted on.
//!
//! What *is* (primary, in-sync replicas) follows later, by proposals; nothing but this file and `sticky` knows which
//! placement is in force.

mod absences;
mod sticky;

use std::sync::Arc;

use firn_wire::ids::WorkerName;
use firn_wire::map::{GroupRow, Map, PartitionRow, Placement};

pub use absences::Absences;

/// For each partition, in the map's order, the workers that should have it, the primary first. Fewer than the group's
/// copies where fewer workers have a seat and are not away; one more where all of them leave.
pub fn plan(map: &Map, absences: &Absences) -> Vec<Vec<WorkerName>> {
    let seats: Vec<Option<&WorkerName>> =
        map.seats.iter().map(|seat| seat.worker.as_ref()).collect();
    let seats = absences.without_away(&seats);
    let mut rows = map.partitions.as_slice();
    let mut wanted = Vec::with_capacity(rows.len());
    for group in &map.groups {
        let (of_group, rest) = rows.split_at(usize::from(group.partitions));
        rows = rest;
        wanted.extend(plan_group(map.settings.placement, &seats, absences, group, of_group));
    }
    wanted
}

fn plan_group(
    placement: Placement,
    seats: &[Option<&WorkerName>],
    absences: &Absences,
    group: &GroupRow,
    rows: &[Arc<PartitionRow>],
) -> Vec<Vec<WorkerName>> {
    let copies = usize::from(group.copies);
    let is_new = rows.iter().all(|row| row.wanted.is_empty());
    if placement == Placement::Sticky && !is_new {
        let members: Vec<&WorkerName> = seats.iter().flatten().copied().collect();
        let leaves: Vec<bool> = members.iter().map(|name| absences.leaves(name)).collect();
        let held: Vec<&[WorkerName]> = rows.iter().map(|row| row.wanted.as_slice()).collect();
        return sticky::replan(&members, &leaves, copies, &held);
    }
    let leaves = |name: &WorkerName| absences.leaves(name);
    let numbers = rows.iter().map(|row| usize::from(row.id.number));
    numbers.map(|number| eased(modulo(number, seats), copies, leaves)).collect()
}

/// The first `copies` of a partition's places, those who leave after those who stay; where none of them stays the next
/// place's worker who does goes in front.
fn eased<'s>(
    mut places: impl Iterator<Item = &'s WorkerName>,
    copies: usize,
    leaves: impl Fn(&WorkerName) -> bool,
) -> Vec<WorkerName> {
    let (leaving, staying): (Vec<_>, Vec<_>) =
        places.by_ref().take(copies).partition(|name| leaves(name));
    let next = if staying.is_empty() { places.find(|name| !leaves(name)) } else { None };
    next.into_iter().chain(staying).chain(leaving).cloned().collect()
}

/// The places of partition p among n seats: the primary sits at p mod n; the k-th backup at
/// (p mod n + 1 + (p / n + k) mod (n − 1)) mod n, so that what a lost worker led spreads over all others. A vacant seat
/// is passed over. Places beyond the wanted copies are those who stand in.
fn modulo<'s>(
    p: usize,
    seats: &'s [Option<&'s WorkerName>],
) -> impl Iterator<Item = &'s WorkerName> {
    let n = seats.len();
    let backup = move |k| (p % n + 1 + (p / n + k) % (n - 1)) % n;
    let first = (n > 0).then(|| p % n);
    let places = first.into_iter().chain((0..n.saturating_sub(1)).map(backup));
    places.filter_map(|seat| seats[seat])
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
        let show = |p| modulo(p, &seats).take(3).map(|w| &w.as_str()[4..]).collect::<String>();
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
                let wanted = eased(modulo(p, &seats), copies, |_| false);
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
            prop_assert_eq!(modulo(p, &seats).count(), n - 1);
            prop_assert!(modulo(p, &seats).all(|name| *name != names[vacant]));
        }

        #[test]
        fn who_leaves_is_last_and_never_alone(
            n in 1usize..9, copies in 1usize..4, p in 0usize..100, leaving in any::<u8>(),
        ) {
            let names = names(n);
            let seats: Vec<_> = names.iter().map(Some).collect();
            let leaves = |name: &WorkerName| leaving >> names.iter().position(|n| n == name).unwrap() & 1 == 1;
            let usual = eased(modulo(p, &seats), copies, |_| false);
            let wanted = eased(modulo(p, &seats), copies, leaves);
            let staying = wanted.iter().filter(|name| !leaves(name)).count();
            prop_assert!(wanted[staying..].iter().all(leaves), "{wanted:?}");
            prop_assert!(usual.iter().all(|name| wanted.contains(name)), "{usual:?} {wanted:?}");
            if names.iter().any(|name| !leaves(name)) {
                prop_assert!(staying > 0);
                prop_assert_eq!(wanted.len() - usual.len(), usize::from(usual.iter().all(leaves)));
            }
        }
    }
}
