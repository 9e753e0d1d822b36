//! Proposals: workers change who leads a partition and who has all of it, by compare-and-set on the row's `rev`. What may
//! be proposed is in `rules`.

use std::sync::Arc;

use firn_wire::ids::{Epoch, MapVersion, WorkerName};
use firn_wire::map::PartitionRow;
use firn_wire::registry::{Proposal, Verdict};

use super::rebuild::is_sure;
use super::rules::{Deed, judge};
use super::{Answer, Refusal, Registry};

/// A proposal that applies, or why it does not.
type Judged = Result<Good, String>;

struct Good {
    /// The place of its row.
    place: usize,
    deed: Deed,
    /// The reign it is in from then on.
    epoch: Epoch,
}

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
            Ok(good) => {
                apply(map.row_mut(good.place), &good, proposal, version);
                Verdict::Applied(version)
            }
            Err(_) => refused(judged),
        };
        let verdicts = judged.into_iter().zip(proposals).map(&mut apply).collect();
        Ok(Answer::Verdicts(verdicts))
    }

    fn judge_all(&mut self, proposals: &[Proposal]) -> Vec<Judged> {
        let mut proposed = vec![false; self.map().partitions.len()];
        let mut one = |proposal: &Proposal| {
            let place = self.partition_place(proposal)?;
            if std::mem::replace(&mut proposed[place], true) {
                return Err(format!("partition {} is in the list twice", proposal.partition));
            }
            self.judge_one(place, proposal)
        };
        proposals.iter().map(&mut one).collect()
    }

    fn judge_one(&mut self, place: usize, proposal: &Proposal) -> Judged {
        let map = Arc::clone(self.map());
        let row = &map.partitions[place];
        if !is_sure(&map, row) {
            let missed = self.missed_in(row);
            let missed: Vec<&str> = missed.into_iter().map(WorkerName::as_str).collect();
            return Err(format!(
                "the uplink was rebuilt and {} has not told what it knows of this partition: start it, or do without \
                 it with `firn recover --accept-data-loss`",
                missed.join(", ")
            ));
        }
        let deed = judge(&map, row, proposal)?;
        let mut epoch = proposal.epoch;
        if deed == Deed::Claim {
            let won = self.claims.judge(&map, row, proposal)?;
            epoch = won.epoch;
            self.emptied += u64::from(won.is_empty);
        }
        Ok(Good { place, deed, epoch })
    }

    fn partition_place(&self, proposal: &Proposal) -> Result<usize, String> {
        let id = proposal.partition;
        let found = self.map().partitions.binary_search_by_key(&id, |row| row.id);
        found.map_err(|_| format!("there is no partition {id}"))
    }
}

fn refused(judged: Judged) -> Verdict {
    Verdict::Refused(judged.err().expect("the caller looked"))
}

fn apply(row: &mut PartitionRow, good: &Good, proposal: &Proposal, version: MapVersion) {
    let (before, now) = (row.epoch, good.epoch);
    assert!(now >= proposal.epoch.max(before), "epoch {} after {}", now.0, before.0);
    let new_reign = row.primary.as_ref() != Some(&proposal.primary);
    assert_eq!(new_reign, now > before, "a primary without an epoch of its own");
    row.epoch = now;
    row.primary = Some(proposal.primary.clone());
    row.isr = proposal.isr.clone();
    row.rev = version;
    match good.deed {
        Deed::Members | Deed::Nothing => {}
        Deed::Handover => row.released = true,
        Deed::Failover | Deed::Claim => row.released = false,
    }
}
