//! Proposals: workers change who leads a partition and who has all of it, by compare-and-set on the row's `rev`.
//!
//! So far a partition lives on one worker, so there is one proposal that can be right: after a restart the worker claims
//! what its last run led. The rule is that of a partition whose last in-sync replicas are all gone: once every one of
//! them has registered anew, no lease of theirs lives, and one of them may lead on.

use firn_wire::ids::{Epoch, MapVersion};
use firn_wire::map::{PartitionRow, WorkerState};
use firn_wire::registry::{Proposal, Verdict};

use super::{Answer, Refusal, Registry};

impl Registry {
    /// Judges proposals in order; those that apply are one change together.
    pub(super) fn propose(&mut self, proposals: &[Proposal]) -> Result<Answer, Refusal> {
        self.expect_map()?;
        let mut claimed = vec![false; self.map().partitions.len()];
        let mut judge = |proposal: &Proposal| {
            let place = self.partition_place(proposal)?;
            if std::mem::replace(&mut claimed[place], true) {
                return Err(format!("partition {} is in the list twice", proposal.partition));
            }
            let row = &self.map().partitions[place];
            self.check_basis(proposal, row)?;
            self.check_claim(proposal, row)?;
            Ok(place)
        };
        let judged: Vec<Result<usize, String>> = proposals.iter().map(&mut judge).collect();
        if judged.iter().all(Result::is_err) {
            return Ok(Answer::Verdicts(judged.into_iter().map(refused).collect()));
        }
        let (map, version) = self.change();
        let mut apply = |(judged, proposal): (Result<usize, String>, &Proposal)| {
            if let Ok(place) = judged {
                apply(&mut map.partitions[place], proposal, version);
                return Verdict::Applied(version);
            }
            refused(judged)
        };
        let verdicts = judged.into_iter().zip(proposals).map(&mut apply).collect();
        Ok(Answer::Verdicts(verdicts))
    }

    fn partition_place(&self, proposal: &Proposal) -> Result<usize, String> {
        let id = proposal.partition;
        let found = self.map().partitions.binary_search_by_key(&id, |row| row.id);
        found.map_err(|_| format!("there is no partition {id}"))
    }

    /// What holds for every proposal: it comes from a living run of a worker and knows the row it changes.
    fn check_basis(&self, proposal: &Proposal, row: &PartitionRow) -> Result<(), String> {
        let by = &proposal.by;
        match self.worker(&by.name) {
            None => return Err(format!("{by} is not registered")),
            Some(worker) if worker.incarnation != by.incarnation => {
                return Err(format!("{} is registered, not {by}", worker.id()));
            }
            Some(worker) if worker.state == WorkerState::Down => {
                return Err(format!("{by} is down; it must beat first"));
            }
            Some(_) => {}
        }
        if proposal.rev != row.rev {
            return Err(format!("the row is at {} and not at {}", row.rev, proposal.rev));
        }
        if !proposal.isr.contains(&proposal.primary) {
            return Err(format!("the primary {} is not in the isr", proposal.primary));
        }
        Ok(())
    }

    /// A worker takes up what it led before its restart.
    fn check_claim(&self, proposal: &Proposal, row: &PartitionRow) -> Result<(), String> {
        let by = &proposal.by;
        if proposal.primary != *by || proposal.isr != [by.clone()] {
            return Err(format!("a claim makes {by} the primary and the whole isr"));
        }
        if proposal.epoch.0 != row.epoch.0 + 1 || proposal.epoch > Epoch::MAX {
            return Err(format!(
                "a claim of a row in epoch {} is for the next, not for {}",
                row.epoch.0, proposal.epoch.0
            ));
        }
        if !row.isr.iter().any(|member| member.name == by.name) {
            return Err(format!("{} was not in sync with this partition", by.name));
        }
        let may_live = row.isr.iter().find(|member| {
            self.worker(&member.name).is_none_or(|now| now.incarnation == member.incarnation)
        });
        match may_live {
            Some(member) => Err(format!("{member} has not restarted and may still lead")),
            None => Ok(()),
        }
    }
}

fn refused(judged: Result<usize, String>) -> Verdict {
    Verdict::Refused(judged.expect_err("the caller looked"))
}

fn apply(row: &mut PartitionRow, proposal: &Proposal, version: MapVersion) {
    assert!(proposal.epoch >= row.epoch, "epoch {} after {}", proposal.epoch.0, row.epoch.0);
    row.epoch = proposal.epoch;
    row.primary = Some(proposal.primary.clone());
    row.isr = proposal.isr.clone();
    row.rev = version;
}
