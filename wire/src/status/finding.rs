//! What is amiss with a cluster's partitions: what, because of whom, since when, and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::copies::Roll;
use crate::ids::{GroupId, WorkerId, WorkerName};
use crate::map::{Map, PartitionRow};

/// A kind of thing that is amiss, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amiss {
    /// No in-sync copy is on a worker that beats, and some have not come back.
    Unavailable,
    /// No in-sync copy is there, but all workers that had one have restarted and can claim it.
    Returning,
    /// The primary is gone and an in-sync copy lives.
    Leaderless,
    /// The uplink was rebuilt, and who may know more of the partition has not told it.
    Unsure,
    /// One in-sync copy lives, and there should be more.
    Single,
    /// Fewer in-sync copies live than there should be, but more than one.
    Short,
    /// What is, is not yet what is wanted.
    Moving,
}

/// Partitions that have one thing amiss. `Display` is one sentence: what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Amiss,
    /// How many partitions.
    pub partitions: usize,
    /// The workers it is because of, by name; none where it is because of nobody.
    pub workers: Vec<WorkerName>,
    /// Unix milliseconds at which the last of those workers took its state; None: nobody can be named.
    pub since_ms: Option<u64>,
}

/// Names written out in a sentence; more are counted.
const NAMES_SHOWN: usize = 5;

/// Everything that is amiss in a map. A partition may be in several, but in one at most of those that tell how many copies
/// live.
pub(super) fn all(map: &Map) -> Vec<Finding> {
    let roll = Roll::of(map);
    let copies: BTreeMap<GroupId, u8> =
        map.groups.iter().map(|group| (group.id, group.copies)).collect();
    let mut found: BTreeMap<Amiss, (usize, BTreeSet<&WorkerName>)> = BTreeMap::new();
    for row in &map.partitions {
        let wished = copies.get(&row.id.group).copied().unwrap_or(map.settings.copies);
        let unsure = (1..map.version.generation).contains(&row.rev.generation);
        let unsure = unsure.then(|| (Amiss::Unsure, not_up(&roll, row)));
        for (kind, missed) in of_row(&roll, row, usize::from(wished)).chain(unsure) {
            let (partitions, names) = found.entry(kind).or_default();
            *partitions += 1;
            names.extend(missed);
        }
    }
    let finding = |(kind, (partitions, names)): (Amiss, (usize, BTreeSet<&WorkerName>))| Finding {
        kind,
        partitions,
        since_ms: since(map, &names),
        workers: names.into_iter().cloned().collect(),
    };
    found.into_iter().map(finding).collect()
}

/// What is amiss with one partition, and who is missed.
fn of_row<'m>(
    roll: &Roll<'_>,
    row: &'m PartitionRow,
    wished: usize,
) -> impl Iterator<Item = (Amiss, Vec<&'m WorkerName>)> {
    let copies = of_copies(roll, row, wished);
    let lost = row.primary.as_ref().filter(|primary| !roll.lives(primary));
    let lost = lost.filter(|_| roll.copies(row) > 0);
    let leaderless = lost.map(|primary| (Amiss::Leaderless, vec![&primary.name]));
    let moving = roll.is_moving(row).then(|| (Amiss::Moving, Vec::new()));
    copies.into_iter().chain(leaderless).chain(moving)
}

/// Those who have a partition, or should have it, and are not up.
fn not_up<'m>(roll: &Roll<'_>, row: &'m PartitionRow) -> Vec<&'m WorkerName> {
    let concerned = row.isr.iter().map(|member| &member.name).chain(&row.wanted);
    concerned.filter(|name| !roll.is_up(name)).collect()
}

/// What is amiss with the number of copies.
fn of_copies<'m>(
    roll: &Roll<'_>,
    row: &'m PartitionRow,
    wished: usize,
) -> Option<(Amiss, Vec<&'m WorkerName>)> {
    let gone = row.isr.iter().filter(|member| !roll.lives(member));
    let is_back = |member: &&WorkerId| roll.has_restarted(member) && roll.is_up(&member.name);
    let (back, away): (Vec<_>, Vec<_>) = gone.partition(is_back);
    let names = |members: Vec<&'m WorkerId>| members.into_iter().map(|member| &member.name);
    match roll.copies(row) {
        0 if away.is_empty() && !back.is_empty() => Some((Amiss::Returning, names(back).collect())),
        0 => Some((Amiss::Unavailable, names(away).collect())),
        live if live >= wished => None,
        live => {
            let kind = if live == 1 { Amiss::Single } else { Amiss::Short };
            let down = row.wanted.iter().filter(|name| !roll.is_up(name));
            Some((kind, down.chain(names(away)).collect()))
        }
    }
}

fn since(map: &Map, names: &BTreeSet<&WorkerName>) -> Option<u64> {
    let rows = map.workers.iter().filter(|row| names.contains(&row.name));
    rows.map(|row| row.since_ms).max()
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.partitions;
        let who = Names(&self.workers);
        let partitions = if n == 1 { "partition" } else { "partitions" };
        let (has, are) = if n == 1 { ("has", "is") } else { ("have", "are") };
        write!(f, "{n} {partitions} ")?;
        match (self.kind, self.workers.as_slice()) {
            (Amiss::Unavailable, []) => {
                write!(f, "{has} no copy: `firn recover --accept-data-loss` starts with none")
            }
            (Amiss::Unavailable, _) => write!(
                f,
                "cannot be served without {who}: start again what is down, or give up what only that had with \
                 `firn recover --accept-data-loss`"
            ),
            (Amiss::Returning, _) => {
                write!(
                    f,
                    "{has} not been taken up again since {who} restarted: wait, or read the logs"
                )
            }
            (Amiss::Leaderless, _) => {
                write!(
                    f,
                    "{has} lost the primary on {who}: wait, another copy takes over in seconds"
                )
            }
            (Amiss::Unsure, []) => write!(
                f,
                "{has} a row that waits, since the uplink was rebuilt, for all who may know a newer one: wait, or go on \
                 with `firn recover --accept-data-loss`"
            ),
            (Amiss::Unsure, _) => write!(
                f,
                "{has} a row that waits, since the uplink was rebuilt, for {who}, which may know a newer one: start \
                 again what is down, or go on without it with `firn recover --accept-data-loss`"
            ),
            (Amiss::Single, _) => write!(f, "{has} one copy only{}", Remedy(&self.workers)),
            (Amiss::Short, _) => {
                write!(f, "{has} fewer copies than wanted{}", Remedy(&self.workers))
            }
            (Amiss::Moving, _) => write!(
                f,
                "{are} not yet where wanted: wait, and read the logs if their number stands still"
            ),
        }
    }
}

/// What to do about copies that are missing.
struct Remedy<'a>(&'a [WorkerName]);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str(": wait until more are made, or start workers to hold them"),
            gone => write!(f, ": start {} again, or wait until others hold them", Names(gone)),
        }
    }
}

/// Names in a sentence.
struct Names<'a>(&'a [WorkerName]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = self.0.split_at(self.0.len().min(NAMES_SHOWN));
        for (at, name) in shown.iter().enumerate() {
            let last = at + 1 == shown.len() && more.is_empty();
            let between = match at {
                0 => "",
                _ if last => " and ",
                _ => ", ",
            };
            write!(f, "{between}{name}")?;
        }
        match more.len() {
            0 => Ok(()),
            n => write!(f, " and {n} more"),
        }
    }
}
