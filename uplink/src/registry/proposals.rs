//! Proposals: workers change who leads a partition and who has all of it, by compare-and-set on the row's `rev`. What may
//! be proposed is in `rules`.

use firn_wire::ids::MapVersion;
use firn_wire::map::PartitionRow;
use firn_wire::registry::{Proposal, Verdict};

use super::rules::{Deed, judge};
use super::{Answer, Refusal, Registry};

/// A proposal that applies: the place of its row, and what is done to it.
type Judged = Result<(usize, Deed), String>;

impl Registry {
    /// Judges proposals in order, each alone; those that apply are one change together.
    pub(super) fn propose(&mut self, proposals: &[Proposal]) -> Result<Answer, Refusal> {
        self.expect_map()?;
        let judged = self.judge_all(proposals);
        if judged.iter().all(Result::is_err) {
            return Ok(Answer::Verdicts(judged.into_iter().map(refused).collect()));
        }
        let (map, version) = self.change();
        let mut apply = |(judged, proposal): (Judged, &Proposal)| match judged {
            Ok((place, deed)) => {
                apply(map.row_mut(place), deed, proposal, version);
                Verdict::Applied(version)
            }
            Err(_) => refused(judged),
        };
        let verdicts = judged.into_iter().zip(proposals).map(&mut apply).collect();
        Ok(Answer::Verdicts(verdicts))
    }

    fn judge_all(&self, proposals: &[Proposal]) -> Vec<Judged> {
        let mut proposed = vec![false; self.map().partitions.len()];
        let mut one = |proposal: &Proposal| {
            let place = self.partition_place(proposal)?;
            if std::mem::replace(&mut proposed[place], true) {
                return Err(format!("partition {} is in the list twice", proposal.partition));
            }
            let deed = judge(self.map(), &self.map().partitions[place], proposal)?;
            Ok((place, deed))
        };
        proposals.iter().map(&mut one).collect()
    }

    fn partition_place(&self, proposal: &Proposal) -> Result<usize, String> {
        let id = proposal.partition;
        let found = self.map().partitions.binary_search_by_key(&id, |row| row.id);
        found.map_err(|_| format!("there is no partition {id}"))
    }
}

fn refused(judged: Judged) -> Verdict {
    Verdict::Refused(judged.expect_err("the caller looked"))
}

fn apply(row: &mut PartitionRow, deed: Deed, proposal: &Proposal, version: MapVersion) {
    assert!(proposal.epoch >= row.epoch, "epoch {} after {}", proposal.epoch.0, row.epoch.0);
    let new_reign = row.primary.as_ref() != Some(&proposal.primary);
    assert_eq!(new_reign, proposal.epoch > row.epoch, "a primary without an epoch of its own");
    row.epoch = proposal.epoch;
    row.primary = Some(proposal.primary.clone());
    row.isr = proposal.isr.clone();
    row.rev = version;
    match deed {
        Deed::Members | Deed::Nothing => {}
        Deed::Handover => row.released = true,
        Deed::Failover | Deed::Claim => row.released = false,
    }
}
