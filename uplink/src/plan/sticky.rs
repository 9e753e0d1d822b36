//! The sticky placement: places stay where they are, and a change of membership moves the fewest partitions after which
//! every worker leads as many as the others, one more or less.

use std::cmp::Reverse;

use firn_wire::ids::WorkerName;

/// One group's places while they are planned: workers by their place in `members`.
struct Places {
    /// For each partition its workers, the primary first.
    rows: Vec<Vec<usize>>,
    members: usize,
}

/// New wanted places from those held. Workers that are no members lose theirs. While members leave nothing is balanced:
/// what they had is handed over to whom has it already, and comes back with them or is dealt out once they are away.
pub(super) fn replan(
    members: &[&WorkerName],
    leaves: &[bool],
    copies: usize,
    held: &[&[WorkerName]],
) -> Vec<Vec<WorkerName>> {
    let place_of = |name: &WorkerName| members.iter().position(|member| *member == name);
    let mut orphans = Vec::new();
    let mut rows = Vec::with_capacity(held.len());
    for (partition, wanted) in held.iter().enumerate() {
        if wanted.first().and_then(place_of).is_none() {
            orphans.push(partition);
        }
        rows.push(wanted.iter().filter_map(place_of).collect());
    }
    let mut places = Places { rows, members: members.len() };
    if leaves.contains(&true) && leaves.contains(&false) {
        places.ease(copies, leaves);
    } else if !members.is_empty() {
        places.balance_primaries(orphans);
        places.fill(copies);
        places.balance_backups();
    }
    let named = |row: &Vec<usize>| row.iter().map(|place| members[*place].clone()).collect();
    places.rows.iter().map(named).collect()
}

impl Places {
    /// Gives `orphans`, whose primary is gone, and what some lead too many of, to those who lead too few.
    fn balance_primaries(&mut self, mut orphans: Vec<usize>) {
        let mut leads = vec![0usize; self.members];
        let mut is_orphan = vec![false; self.rows.len()];
        orphans.iter().for_each(|partition| is_orphan[*partition] = true);
        for (row, _) in self.rows.iter().zip(&is_orphan).filter(|(_, orphan)| !**orphan) {
            leads[row[0]] += 1;
        }
        let quota = self.quotas(&leads);
        self.promote_backups(&mut leads, &quota, &is_orphan);
        for (partition, row) in self.rows.iter().enumerate().rev() {
            if !is_orphan[partition] && leads[row[0]] > quota[row[0]] {
                leads[row[0]] -= 1;
                orphans.push(partition);
            }
        }
        for partition in orphans {
            let row = &mut self.rows[partition];
            // A backup that takes over has the data already.
            let backup = row.iter().copied().find(|place| leads[*place] < quota[*place]);
            let next = || (0..leads.len()).find(|place| leads[*place] < quota[*place]);
            let primary = backup.or_else(next).expect("the quotas add up to all partitions");
            leads[primary] += 1;
            row.retain(|place| *place != primary);
            row.insert(0, primary);
        }
    }

    /// Lets backups lead where the primary leads too many and they too few: they have the data already.
    fn promote_backups(&mut self, leads: &mut [usize], quota: &[usize], is_orphan: &[bool]) {
        let led = self.rows.iter_mut().zip(is_orphan).filter(|(_, orphan)| !**orphan);
        for (row, _) in led.filter(|(row, _)| row.len() > 1) {
            let may_take_over = |place: &usize| leads[*place] < quota[*place];
            let Some(backup) = row[1..].iter().position(may_take_over) else { continue };
            if leads[row[0]] > quota[row[0]] {
                leads[row[0]] -= 1;
                row.swap(0, backup + 1);
                leads[row[0]] += 1;
            }
        }
    }

    /// How many partitions each worker shall lead. Those who lead most get the ones that do not divide: fewest moves.
    fn quotas(&self, leads: &[usize]) -> Vec<usize> {
        let (each, over) = (self.rows.len() / self.members, self.rows.len() % self.members);
        let mut by_leads: Vec<usize> = (0..self.members).collect();
        by_leads.sort_by_key(|place| Reverse(leads[*place]));
        let mut quota = vec![each; self.members];
        by_leads[..over].iter().for_each(|place| quota[*place] += 1);
        quota
    }

    fn loads(&self) -> Vec<usize> {
        let mut loads = vec![0; self.members];
        self.rows.iter().flatten().for_each(|place| loads[*place] += 1);
        loads
    }

    /// Puts members that leave behind those that stay. A row that is short, or has nobody who stays, is filled with those
    /// who have least.
    fn ease(&mut self, copies: usize, leaves: &[bool]) {
        let staying = leaves.iter().filter(|leaves| !**leaves).count();
        let mut loads = self.loads();
        for row in &mut self.rows {
            row.sort_by_key(|place| leaves[*place]);
            let mut stay = row.iter().filter(|place| !leaves[**place]).count();
            while stay < staying && (stay == 0 || row.len() < copies) {
                let others =
                    (0..loads.len()).filter(|place| !leaves[*place] && !row.contains(place));
                let least = others.min_by_key(|place| loads[*place]);
                let least = least.expect("fewer than all who stay are in the row");
                loads[least] += 1;
                row.insert(stay, least);
                stay += 1;
            }
        }
    }

    /// Cuts rows to `copies` and fills short ones with those who have least.
    fn fill(&mut self, copies: usize) {
        let copies = copies.min(self.members);
        self.rows.iter_mut().for_each(|row| row.truncate(copies));
        let mut loads = self.loads();
        for row in &mut self.rows {
            while row.len() < copies {
                let others = (0..loads.len()).filter(|place| !row.contains(place));
                let least = others.min_by_key(|place| loads[*place]);
                let least = least.expect("a row has fewer than all members");
                loads[least] += 1;
                row.push(least);
            }
        }
    }

    /// Moves backups from who has most places to who has least until they differ by one, or no single move helps.
    fn balance_backups(&mut self) {
        let mut loads = self.loads();
        let mut start = 0;
        loop {
            let most = (0..loads.len()).max_by_key(|place| loads[*place]).unwrap_or(0);
            let least = (0..loads.len()).min_by_key(|place| loads[*place]).unwrap_or(0);
            if loads[most] <= loads[least] + 1 {
                return;
            }
            let count = self.rows.len();
            // Going on where the last search ended keeps all moves together near one pass.
            let found = (start..start + count).map(|at| at % count).find(|at| {
                let row = &self.rows[*at];
                row[1..].contains(&most) && !row.contains(&least)
            });
            let Some(at) = found else { return };
            let moved = self.rows[at].iter_mut().find(|place| **place == most);
            *moved.expect("the search looked for it") = least;
            loads[most] -= 1;
            loads[least] += 1;
            start = at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn name(i: usize) -> WorkerName {
        format!("w{i}").parse().unwrap()
    }

    /// Nobody leaves.
    fn stay(members: &[&WorkerName]) -> Vec<bool> {
        vec![false; members.len()]
    }

    /// The sizes of the sets of partitions the members lead.
    fn leads(members: &[WorkerName], rows: &[Vec<WorkerName>]) -> Vec<usize> {
        members.iter().map(|member| rows.iter().filter(|row| row[0] == *member).count()).collect()
    }

    /// The fewest primaries that must change: the orphans, and what is over the best choice of quotas.
    fn fewest_moves(members: &[WorkerName], rows: &[Vec<WorkerName>]) -> usize {
        let mut kept = leads(members, rows);
        let orphans = rows.len() - kept.iter().sum::<usize>();
        let (each, over) = (rows.len() / kept.len(), rows.len() % kept.len());
        kept.sort_by_key(|count| Reverse(*count));
        let surplus =
            |(i, count): (usize, &usize)| count.saturating_sub(each + usize::from(i < over));
        orphans + kept.iter().enumerate().map(surplus).sum::<usize>()
    }

    proptest! {
        #[test]
        fn each_change_moves_the_fewest_and_restores_balance(
            partitions in 1usize..200,
            copies in 1usize..4,
            memberships in proptest::collection::vec(
                proptest::collection::btree_set(0usize..12, 1..8), 1..6),
        ) {
            let mut rows: Vec<Vec<WorkerName>> = vec![Vec::new(); partitions];
            for membership in &memberships {
                let members: Vec<WorkerName> = membership.iter().map(|i| name(*i)).collect();
                let borrowed: Vec<&WorkerName> = members.iter().collect();
                let held: Vec<&[WorkerName]> = rows.iter().map(Vec::as_slice).collect();
                let planned = replan(&borrowed, &stay(&borrowed), copies, &held);
                prop_assert_eq!(&planned, &replan(&borrowed, &stay(&borrowed), copies, &held), "the same input");

                let counts = leads(&members, &planned);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(most - least <= 1, "{:?}", counts);
                if rows.iter().all(|row| !row.is_empty()) {
                    let moved = rows.iter().zip(&planned).filter(|(old, new)| old[0] != new[0]);
                    prop_assert_eq!(moved.count(), fewest_moves(&members, &rows));
                }
                for row in &planned {
                    let apart: BTreeSet<_> = row.iter().collect();
                    prop_assert_eq!(apart.len(), copies.min(members.len()));
                    prop_assert_eq!(row.len(), apart.len());
                    prop_assert!(row.iter().all(|worker| members.contains(worker)));
                }
                rows = planned;
            }
        }

        #[test]
        fn nothing_moves_when_nothing_changes(partitions in 1usize..100, n in 1usize..9, copies in 1usize..4) {
            let members: Vec<WorkerName> = (0..n).map(name).collect();
            let borrowed: Vec<&WorkerName> = members.iter().collect();
            let empty: Vec<&[WorkerName]> = vec![&[]; partitions];
            let first = replan(&borrowed, &stay(&borrowed), copies, &empty);
            let held: Vec<&[WorkerName]> = first.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(replan(&borrowed, &stay(&borrowed), copies, &held), first);
        }

        /// A rolling restart: each member leaves and comes back. Nothing is copied when it leaves, and hardly anything when
        /// it comes back: to move the fewest primaries, one may go to a worker that has no copy.
        #[test]
        fn who_leaves_and_comes_back_costs_hardly_a_copy(partitions in 1usize..100, n in 2usize..7, copies in 2usize..4) {
            let members: Vec<WorkerName> = (0..n).map(name).collect();
            let borrowed: Vec<&WorkerName> = members.iter().collect();
            let empty: Vec<&[WorkerName]> = vec![&[]; partitions];
            let mut rows = replan(&borrowed, &stay(&borrowed), copies, &empty);
            for leaver in 0..n {
                let leaves: Vec<bool> = (0..n).map(|place| place == leaver).collect();
                let held: Vec<&[WorkerName]> = rows.iter().map(Vec::as_slice).collect();
                let eased = replan(&borrowed, &leaves, copies, &held);
                prop_assert!(eased.iter().all(|row| row[0] != members[leaver]));
                let held: Vec<&[WorkerName]> = eased.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(&eased, &replan(&borrowed, &leaves, copies, &held));
                let back = replan(&borrowed, &stay(&borrowed), copies, &held);
                let mut copied = 0;
                for ((old, away), new) in rows.iter().zip(&eased).zip(&back) {
                    let set = |row: &[WorkerName]| row.iter().cloned().collect::<BTreeSet<_>>();
                    prop_assert_eq!(set(old), set(away));
                    copied += usize::from(set(away) != set(new));
                }
                prop_assert!(copied <= n, "{copied} of {partitions}");
                let counts = leads(&members, &back);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(most - least <= 1, "{:?}", counts);
                rows = back;
            }
        }
    }
}
