//! Partitions all of whose in-sync replicas have restarted: each of them says what it kept, and the one with the longest log
//! has every acknowledged write that is left. So nobody is given such a partition before all of them have spoken.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use firn_wire::ids::{Epoch, Incarnation, MapVersion, PartitionId, WorkerId, WorkerName};
use firn_wire::map::{Map, PartitionRow};
use firn_wire::registry::{Kept, Proposal};

/// A rule of claims, by name: so that a simulation can take it out and see what breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimRule {
    /// Everyone who was in sync speaks before anybody is given the partition.
    AllSpeak,
    /// The one with the longest log is given it.
    LongestLogWins,
}

impl ClaimRule {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::AllSpeak, Self::LongestLogWins];
}

/// Claims that wait for others. Kept in memory only: who claims sends again until it is settled. At most one for each member
/// of each partition's isr.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    by_partition: BTreeMap<PartitionId, Claimed>,
    /// The rule that is taken out; None: all are in force, which alone is safe.
    pub(super) without: Option<ClaimRule>,
}

/// What is said of one partition.
#[derive(Debug, Clone)]
struct Claimed {
    /// The row the claims assume.
    rev: MapVersion,
    kept: BTreeMap<WorkerName, (Incarnation, Kept)>,
}

/// A claim that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Won {
    /// The new reign, after every one somebody has records of.
    pub(super) epoch: Epoch,
    /// Whether there is nothing left of the partition.
    pub(super) is_empty: bool,
}

impl Claims {
    /// Takes down a claim that follows the rules. It applies when everyone has claimed and nobody has more.
    pub(super) fn judge(
        &mut self,
        map: &Map,
        row: &PartitionRow,
        claim: &Proposal,
    ) -> Result<Won, String> {
        let without = self.without;
        let claimed = self.by_partition.entry(row.id).or_insert_with(|| Claimed::of(row.rev));
        if claimed.rev != row.rev {
            *claimed = Claimed::of(row.rev);
        }
        let kept = claim.kept.unwrap_or_default();
        claimed.kept.insert(claim.by.name.clone(), (claim.by.incarnation, kept));
        let waited = row.isr.iter().filter(|member| claimed.of_now(map, &member.name).is_none());
        let waited: Vec<&str> = waited.map(|member| member.name.as_str()).collect();
        if !waited.is_empty() && without != Some(ClaimRule::AllSpeak) {
            return Err(format!("what {} kept is waited for", waited.join(" and ")));
        }
        let (best, most) = claimed.best(row);
        if best.name != claim.by.name && without != Some(ClaimRule::LongestLogWins) {
            return Err(format!(
                "{} kept epoch {} to {} and is the one to claim, {} kept epoch {} to {}",
                best.name, most.epoch.0, most.sequence, claim.by, kept.epoch.0, kept.sequence
            ));
        }
        let epoch = self.epoch_after(row);
        if epoch > Epoch::MAX {
            return Err(format!("partition {} has had its last reign", row.id));
        }
        Ok(Won { epoch, is_empty: most == Kept::default() })
    }

    /// What an in-sync replica has said it kept; None: nothing yet.
    pub(super) fn kept(&self, map: &Map, row: &PartitionRow, name: &WorkerName) -> Option<Kept> {
        let claimed = self.by_partition.get(&row.id).filter(|claimed| claimed.rev == row.rev)?;
        claimed.of_now(map, name)
    }

    /// The reign after the row's and after all that somebody has said to have records of.
    pub(super) fn epoch_after(&self, row: &PartitionRow) -> Epoch {
        let claimed = self.by_partition.get(&row.id);
        let kept = claimed.into_iter().flat_map(|claimed| claimed.kept.values());
        let last = kept.map(|(_, kept)| kept.epoch).max().unwrap_or_default();
        Epoch(row.epoch.max(last).0.saturating_add(1))
    }

    /// Forgets what was said of rows that have changed since.
    pub(super) fn tidy(&mut self, map: &Map) {
        let row = |id: &PartitionId| {
            let place = map.partitions.binary_search_by_key(id, |row| row.id).ok()?;
            Some(&map.partitions[place])
        };
        self.by_partition.retain(|id, claimed| row(id).is_some_and(|row| row.rev == claimed.rev));
    }
}

impl Claimed {
    fn of(rev: MapVersion) -> Self {
        Self { rev, kept: BTreeMap::new() }
    }

    /// What the run of a worker that is registered now has said.
    fn of_now(&self, map: &Map, name: &WorkerName) -> Option<Kept> {
        let (incarnation, kept) = self.kept.get(name)?;
        let place = map.workers.binary_search_by(|row| row.name.cmp(name)).ok()?;
        (map.workers[place].incarnation == *incarnation).then_some(*kept)
    }

    /// Who kept most. Of equals the last primary, so that who leads what stays as it was; then the first by name.
    fn best<'r>(&self, row: &'r PartitionRow) -> (&'r WorkerId, Kept) {
        let led = |id: &WorkerId| row.primary.as_ref().is_some_and(|last| last.name == id.name);
        let all = row.isr.iter().filter_map(|id| Some((id, self.kept.get(&id.name)?.1)));
        let best = all.max_by_key(|(id, kept)| (*kept, led(id), Reverse(&id.name)));
        best.expect("who claims was in sync and has spoken")
    }
}
