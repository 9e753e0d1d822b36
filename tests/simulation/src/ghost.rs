//! What must hold after every step, whatever the faults: the invariants of the protocol that can be seen from outside.
//!
//! - I1: the map's version, and each row's rev and epoch, only grow.
//! - I2: a partition has at most one primary in an epoch.
//! - I3: every in-sync copy that lives has every write that a client was shown as done, or could see, of a table that
//!   waits for all copies. (I6 follows: what was shown and is then lost is caught here.)
//! - I4, I10: where two copies of a partition have come to the same record, they add up to the same.
//! - I5: who would serve a partition lacks nothing that was shown.
//! - I9: nobody is proposed as in sync before the reign's start is committed.
//!
//! In a world with disks these hold over restarts, also of all workers at once. Under `always` nothing that was shown may be
//! gone. Under `everysec` what was shown may be gone when all who were in sync have ended, and only if it was shown less than
//! a second before the last of them lost its power, or a tenth of one before it was killed.
//!
//! I7 and I8 are the store's own assertions. I11 is of watchers, which there are none of yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firn_store::view::{Part, View};
use firn_wire::ids::{Epoch, MapVersion, PartitionId, Version, WorkerId};
use firn_wire::map::{Durability, Map, PartitionRow};
use firn_wire::registry::Proposal;
use firn_wire::replica::History;

use crate::clock::Moment;
use crate::contract::Contract;
use crate::drive::Ending;
use crate::event::Run;
use crate::worker::Shown;

/// How long what is acknowledged under `everysec` may not be written, and not be synced, in microseconds: a tenth of a second
/// and a second, by a clock that is a tenth slow.
const WRITTEN_US: u64 = 100_000 * 10 / 9;
const SYNCED_US: u64 = 1_000_000 * 10 / 9;

/// Whether a row was given to one of those who were in sync and have all ended.
fn is_claimed(old: &PartitionRow, new: &PartitionRow) -> bool {
    new.epoch > old.epoch && new.primary.as_ref().is_some_and(|primary| !old.has_in_sync(primary))
}

/// How far a worker has come with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    sequence: u64,
    history: History,
}

impl Standing {
    /// Whether a record is in it. A reign that its history has forgotten is taken on trust.
    fn has(&self, epoch: Epoch, sequence: u64) -> bool {
        let reign = self.history.iter().rev().find(|(_, first)| *first <= sequence);
        sequence <= self.sequence && reign.is_none_or(|(of, _)| *of == epoch)
    }
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Ghost {
    /// Whether copies may all be lost at once, so that I3 and I5 cannot be asked for.
    loses: bool,
    /// What a restart leaves of what was shown, in a world with disks.
    keeps: Option<Durability>,
    /// Until when what was shown is on the disk of a run that has ended.
    kept_until: BTreeMap<Run, Moment>,
    /// When living runs stood still: from, to.
    stood: BTreeMap<Run, Vec<(Moment, Moment)>>,
    /// When what was shown, in order; only where it may be forgotten.
    shown_at: BTreeMap<PartitionId, Vec<(Moment, Version)>>,
    /// When a client was last answered anything.
    answered_at: BTreeMap<PartitionId, Moment>,
    /// Partitions of which something that was shown may be forgotten.
    pub forgotten: BTreeSet<PartitionId>,
    version: MapVersion,
    rows: BTreeMap<PartitionId, Arc<PartitionRow>>,
    leaders: BTreeMap<(PartitionId, Epoch), WorkerId>,
    /// Those of them that have led, and not only been named in a map.
    acted: BTreeSet<(PartitionId, Epoch)>,
    standings: BTreeMap<(PartitionId, Run), Standing>,
    /// The newest record of each reign that a client has seen something of.
    shown: BTreeMap<PartitionId, BTreeMap<Epoch, u64>>,
    /// What the entries added up to at a record, and who said so.
    digests: BTreeMap<(PartitionId, Epoch, u64), (u64, Run)>,
    living: BTreeSet<Run>,
    contract: Contract,
    /// How often workers are to hear of each other by the newest map, in milliseconds.
    beacon_ms: u64,
    /// What is broken; empty as long as all is well.
    pub broken: Vec<String>,
}

impl Ghost {
    /// A ghost that has seen nothing.
    pub fn new(loses: bool, keeps: Option<Durability>) -> Self {
        Self { loses, keeps, ..Self::default() }
    }

    fn breaks(&mut self, invariant: &str, what: String) {
        self.broken.push(format!("{invariant}: {what}"));
    }

    /// A run of a worker begins.
    pub fn begins(&mut self, run: Run) {
        self.living.insert(run);
    }

    /// A run of a worker has ended: its memory is gone.
    pub fn ends(&mut self, run: Run, now: Moment, ending: Ending) {
        // What stood still wrote nothing more, and showed nothing more.
        let last = self.contract.stopped_since(run).unwrap_or(now);
        let promise_us = match ending {
            Ending::Kill => WRITTEN_US,
            Ending::PowerCut => SYNCED_US,
        };
        let stood = self.stood.remove(&run).unwrap_or_default();
        self.kept_until.insert(run, before(last, promise_us, &stood));
        self.living.remove(&run);
        self.standings.retain(|(_, of), _| *of != run);
    }

    /// A run stands still from now on.
    pub fn stops(&mut self, run: Run, now: Moment) {
        self.contract.stops(run, now);
    }

    /// It goes on.
    pub fn wakes(&mut self, run: Run, now: Moment) {
        if let Some(since) = self.contract.stopped_since(run) {
            self.stood.entry(run).or_default().push((since, now));
        }
        self.contract.wakes(run, now, self.beacon_ms);
    }

    /// The runs that are in sync with a partition by its row.
    pub fn row(&self, partition: PartitionId) -> Option<&PartitionRow> {
        self.rows.get(&partition).map(Arc::as_ref)
    }

    /// The uplink has a map; how many partitions have another primary in it.
    pub fn published(&mut self, map: &Map) -> u64 {
        if map.version < self.version {
            let what = format!("map {} after {}", map.version, self.version);
            self.breaks("I1", what);
        }
        self.version = map.version;
        self.beacon_ms = map.settings.replication.beacon_ms();
        let mut reigns = 0;
        // A row of an older generation may not be the newest: nobody goes by it.
        let is_sure = |row: &&Arc<PartitionRow>| row.rev.generation == map.version.generation;
        for row in map.partitions.iter().filter(is_sure) {
            let old = self.rows.insert(row.id, row.clone());
            if let Some(old) = &old
                && (row.rev < old.rev || row.epoch < old.epoch)
            {
                self.breaks("I1", format!("the row went back from {old:?} to {row:?}"));
            }
            if let Some(primary) = &row.primary {
                self.leads(row.id, row.epoch, primary.clone());
            }
            if let Some(old) = old.as_ref().filter(|old| is_claimed(old, row)) {
                self.contract.restarts(row.id);
                self.forget(row.id, &old.isr);
            }
            if old.is_none_or(|old| old.rev < row.rev) {
                reigns += 1;
                self.check_members(row.id);
            }
        }
        reigns
    }

    /// All who were in sync have ended: under `everysec`, what was shown later than any of them had it on disk may be gone.
    fn forget(&mut self, partition: PartitionId, isr: &[WorkerId]) {
        if self.keeps != Some(Durability::Everysec) {
            return;
        }
        let until = |id: &WorkerId| self.kept_until.get(&id.incarnation.0).copied();
        let all: Option<Vec<Moment>> = isr.iter().map(until).collect();
        let Some(until) = all.and_then(|all| all.into_iter().max()) else { return };
        if self.answered_at.get(&partition).is_none_or(|at| *at <= until) {
            return;
        }
        self.forgotten.insert(partition);
        let shown = self.shown_at.entry(partition).or_default();
        shown.retain(|(at, _)| *at <= until);
        let mut newest = BTreeMap::new();
        for (_, version) in shown {
            let newest: &mut u64 = newest.entry(version.epoch()).or_default();
            *newest = version.sequence().max(*newest);
        }
        self.shown.insert(partition, newest);
    }

    /// The uplink has lost its map. What it did last may be undone, where nobody has acted on it.
    pub fn uplink_lost(&mut self) {
        self.rows.clear();
        self.leaders.retain(|reign, _| self.acted.contains(reign));
    }

    fn leads(&mut self, partition: PartitionId, epoch: Epoch, who: WorkerId) {
        let known = self.leaders.entry((partition, epoch)).or_insert_with(|| who.clone());
        if *known != who {
            let what = format!("{partition} has {known} and {who} in epoch {}", epoch.0);
            self.breaks("I2", what);
        }
    }

    /// How partitions stand in a worker.
    pub fn seen(&mut self, who: &WorkerId, views: Vec<View>) {
        let run = who.incarnation.0;
        for view in views {
            self.check_digest(run, &view);
            let odd =
                self.contract.seen(who, &view, self.rows.get(&view.partition).map(Arc::as_ref));
            // Where all copies may go at once time begins anew with the data.
            self.broken.extend(odd.filter(|odd| !(self.loses && odd.starts_with("time"))));
            let serves = view.part == Part::Leads { serves: true };
            if matches!(view.part, Part::Leads { .. }) {
                self.acted.insert((view.partition, view.reign));
                self.leads(view.partition, view.reign, who.clone());
            }
            let View { partition, sequence, history, .. } = view;
            let standing = Standing { sequence, history };
            let lacks = self.lacks(partition, &standing).filter(|_| serves);
            if let Some((epoch, number)) = lacks {
                let epoch = epoch.0;
                self.breaks("I5", format!("{who} serves {partition} without {epoch}.{number}"));
            }
            let old = self.standings.get(&(partition, run));
            let went_back = old.is_some_and(|old| old.sequence > sequence);
            if old != Some(&standing) {
                self.standings.insert((partition, run), standing);
            }
            if went_back {
                self.check_members(partition);
            }
        }
    }

    fn check_digest(&mut self, run: Run, view: &View) {
        let Some((epoch, _)) = view.history.last().filter(|_| view.is_whole) else { return };
        let place = (view.partition, *epoch, view.sequence);
        let said = self.digests.entry(place).or_insert((view.digest, run));
        if said.1 == run {
            // A partition without copies changes without a record.
            said.0 = view.digest;
        } else if said.0 != view.digest {
            let (epoch, sequence) = (epoch.0, view.sequence);
            let what = format!(
                "{} at {epoch}.{sequence} adds up to {:#x} in {:#x} and to {:#x} in {run:#x}",
                view.partition, said.0, said.1, view.digest
            );
            self.breaks("I10", what);
        }
    }

    /// Clients are shown versions.
    pub fn shown(&mut self, shown: Vec<Shown>, now: Moment) {
        for Shown { partition, version } in shown {
            self.answered_at.insert(partition, now);
            let Some(version) = version else { continue };
            let newest = self.shown.entry(partition).or_default();
            let newest = newest.entry(version.epoch()).or_default();
            if *newest < version.sequence() {
                *newest = version.sequence();
                if self.keeps == Some(Durability::Everysec) {
                    self.shown_at.entry(partition).or_default().push((now, version));
                }
                self.check_members(partition);
            }
        }
    }

    /// A record that was shown and is not there.
    fn lacks(&self, partition: PartitionId, standing: &Standing) -> Option<(Epoch, u64)> {
        let shown = self.shown.get(&partition).filter(|_| !self.loses)?;
        let mut all = shown.iter().map(|(epoch, sequence)| (*epoch, *sequence));
        all.find(|(epoch, sequence)| !standing.has(*epoch, *sequence))
    }

    fn check_members(&mut self, partition: PartitionId) {
        let Some(row) = self.rows.get(&partition) else { return };
        let nothing = Standing { sequence: 0, history: History::new() };
        let living = row.isr.iter().filter(|id| self.living.contains(&id.incarnation.0));
        let mut lacking = living.filter_map(|id| {
            let standing = self.standings.get(&(partition, id.incarnation.0));
            let lacks = self.lacks(partition, standing.unwrap_or(&nothing));
            lacks.map(|(epoch, sequence)| (id.clone(), epoch, sequence))
        });
        if let Some((id, epoch, sequence)) = lacking.next_back() {
            let epoch = epoch.0;
            self.breaks(
                "I3",
                format!("{id} is in sync with {partition} without {epoch}.{sequence}"),
            );
        }
    }

    /// A worker proposes something, with how its partitions stand.
    pub fn proposed(&mut self, proposal: &Proposal, views: &[View], now: Moment) {
        let Some(row) = self.rows.get(&proposal.partition).filter(|row| row.rev == proposal.rev)
        else {
            return;
        };
        let adds = proposal.isr.iter().any(|id| !row.isr.contains(id));
        let is_own = row.primary.as_ref() == Some(&proposal.by) && proposal.epoch == row.epoch;
        let view = views.iter().find(|view| view.partition == proposal.partition);
        let has_started = view.is_some_and(|view| {
            let start = view.history.last().filter(|(epoch, _)| *epoch == proposal.epoch);
            start.is_some_and(|(_, first)| view.committed >= Some(*first))
        });
        if let Some(view) = view {
            let next = (proposal.partition, proposal.primary.incarnation.0);
            let next = self.standings.get(&next).map(|standing| standing.sequence);
            let odd = self.contract.proposed((proposal, row), view, next, now);
            self.broken.extend(odd);
        }
        if adds && is_own && !has_started {
            let (by, partition) = (&proposal.by, proposal.partition);
            let what = format!("{by} adds to {partition} before its reign has started: {view:?}");
            self.breaks("I9", what);
        }
    }
}
/// The moment so long before another, of the time in which a run that `stood` still then did not.
fn before(last: Moment, mut micros: u64, stood: &[(Moment, Moment)]) -> Moment {
    let mut at = last;
    for (from, to) in stood.iter().rev() {
        let went = at.0.saturating_sub(to.0);
        if went >= micros {
            break;
        }
        (at, micros) = (*from, micros - went);
    }
    Moment(at.0.saturating_sub(micros))
}
