//! What a worker must not do even where nothing is lost by it yet: rules that spare clients a wait or an unknown fate, and
//! those that only matter when another has failed.
//!
//! - Handover: who gives a partition away has no uncommitted record, the next primary has all of them, and none is written
//!   until the map has decided.
//! - Support: nobody follows a new primary while a grant of its own to an earlier one may live, unless that one has let
//!   the partition go.
//! - Stall: who has just stood still seeks to lead nothing before it has listened.
//! - Time: a partition's time does not go back, whoever leads it, but where all who had it have ended.

use std::collections::{BTreeMap, BTreeSet};

use firn_store::view::{Part, View};
use firn_wire::ids::{Epoch, MapVersion, PartitionId, WorkerId};
use firn_wire::map::PartitionRow;
use firn_wire::registry::Proposal;

use crate::clock::Moment;
use crate::event::Run;

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Contract {
    /// Last records of what is being given away, by who gives it and the row that was assumed.
    handed: BTreeMap<(PartitionId, Run), (MapVersion, u64)>,
    /// Reigns that are followed.
    followed: BTreeMap<(PartitionId, Run), Epoch>,
    /// The latest time anybody served at, Unix milliseconds.
    times: BTreeMap<PartitionId, u64>,
    /// Since when who stands still does.
    stopped: BTreeMap<Run, Moment>,
    /// When who stood still for longer than a few beacons went on.
    woken: BTreeMap<Run, Moment>,
    /// Proposals that were seen: they may be sent again.
    sought: BTreeSet<(PartitionId, Run, MapVersion)>,
}

impl Contract {
    /// A worker stands still.
    pub(crate) fn stops(&mut self, run: Run, at: Moment) {
        self.stopped.insert(run, at);
    }

    /// All who had a partition have ended: its time is what its next primary finds on disk, or makes of its clock.
    pub(crate) fn restarts(&mut self, partition: PartitionId) {
        self.times.remove(&partition);
    }

    /// Since when a worker stands still; None: it does not.
    pub(crate) fn stopped_since(&self, run: Run) -> Option<Moment> {
        self.stopped.get(&run).copied()
    }

    /// It goes on; `beacon_ms`: how often workers are to hear of each other, in milliseconds.
    pub(crate) fn wakes(&mut self, run: Run, at: Moment, beacon_ms: u64) {
        let since = self.stopped.remove(&run);
        if since.is_some_and(|since| since.plus_ms(2 * beacon_ms) < at) {
            self.woken.insert(run, at);
        }
    }

    /// A worker proposes something for a row that is the newest; `view`: how the partition stands in it, `next`: the last
    /// record of the proposed primary; None: it has just died, or has none.
    pub(crate) fn proposed(
        &mut self,
        (proposal, row): (&Proposal, &PartitionRow),
        view: &View,
        next: Option<u64>,
        now: Moment,
    ) -> Option<String> {
        let (partition, run) = (proposal.partition, proposal.by.incarnation.0);
        let is_first = self.sought.insert((partition, run, proposal.rev));
        let leads = row.primary.as_ref() == Some(&proposal.by);
        // Who claims what only the dead had goes by the map, not by who is silent.
        let succeeds = !leads && row.has_in_sync(&proposal.by);
        if succeeds && is_first && self.woken.get(&run) == Some(&now) {
            return Some(format!("stall: {} seeks {partition} as soon as it wakes", proposal.by));
        }
        // One that did not leave is over again.
        let gives = leads && proposal.primary != proposal.by && view.proposes;
        let next = next.filter(|_| gives && is_first)?;
        self.handed.insert((partition, run), (proposal.rev, view.sequence));
        let has_all = view.committed == Some(view.sequence) && next >= view.sequence;
        (!has_all).then(|| {
            format!("handover: {} gives {partition} away at {next}: {view:?}", proposal.by)
        })
    }

    /// How a partition stands in a worker; `row`: the newest.
    pub(crate) fn seen(
        &mut self,
        who: &WorkerId,
        view: &View,
        row: Option<&PartitionRow>,
    ) -> Option<String> {
        let (partition, run) = (view.partition, who.incarnation.0);
        if let Some((rev, sequence)) = self.handed.get(&(partition, run)).copied() {
            let is_open = view.proposes && row.is_some_and(|row| row.rev == rev);
            if !is_open {
                self.handed.remove(&(partition, run));
            } else if view.sequence > sequence {
                return Some(format!("handover: {who} writes to {partition}, which it gives away"));
            }
        }
        match view.part {
            Part::Follows => {
                let before = self.followed.insert((partition, run), view.reign);
                let is_released = row.is_some_and(|row| row.epoch == view.reign && row.released);
                let is_new = before.is_none_or(|before| before < view.reign);
                if is_new && view.grants && !is_released {
                    let reign = view.reign.0;
                    return Some(format!("support: {who} follows {partition} in reign {reign}"));
                }
            }
            Part::Leads { serves: true } => {
                let latest = self.times.entry(partition).or_default();
                if view.clock < *latest {
                    let what = format!("from {latest} to {}", view.clock);
                    return Some(format!("time: {partition} goes back {what} in {who}"));
                }
                *latest = view.clock;
            }
            Part::Leads { .. } | Part::Waits => {}
        }
        None
    }
}
