//! What a shard lets others see of its part in the protocol: for invariants that are checked from outside, and for
//! messages to people.

use firn_wire::ids::{Epoch, PartitionId, TableId, WorkerId};
use firn_wire::replica::History;

use super::replica::Role;
use super::shard::Shard;
use super::time::Now;

/// What a worker is to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It leads, and whether it would serve a request now.
    Leads {
        /// Whether it would.
        serves: bool,
    },
    /// It follows.
    Follows,
    /// It waits to be asked.
    Waits,
}

/// How one partition stands in one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Which.
    pub partition: PartitionId,
    /// What the worker is to it.
    pub part: Part,
    /// The reign it leads or follows in; else 0.
    pub reign: Epoch,
    /// The reign it has promised itself to.
    pub promised: Epoch,
    /// The number of its last record.
    pub sequence: u64,
    /// Where reigns began.
    pub history: History,
    /// What its entries add up to.
    pub digest: u64,
    /// Whether all entries are there, and none newer than the last record.
    pub is_whole: bool,
    /// Whether a proposal is not settled.
    pub proposes: bool,
    /// The number of the newest record that every counted copy has, where it leads.
    pub committed: Option<u64>,
    /// Whether an earlier primary may still hold a lease of this worker's.
    pub grants: bool,
    /// The partition's time where it leads, Unix milliseconds; else 0.
    pub clock: u64,
    /// Who counts for commits and leases besides itself, where it leads.
    pub counted: Vec<WorkerId>,
}

impl<H> Shard<H> {
    /// How each partition here stands, in no order.
    pub fn views(&self, now: Now) -> Vec<View> {
        (0..self.replicas.len()).map(|at| self.view(at, now)).collect()
    }

    fn view(&self, at: usize, now: Now) -> View {
        let replica = &self.replicas[at];
        let order = &replica.partition.order;
        let (part, reign) = match &replica.role {
            Role::Lead(_) => {
                (Part::Leads { serves: self.is_ready(at, now) }, replica.partition.reign)
            }
            Role::Copy(source) => (Part::Follows, source.epoch),
            Role::Idle => (Part::Waits, Epoch(0)),
        };
        let lead = replica.lead();
        let followers = lead.map_or(&[][..], |lead| &lead.followers);
        let counted = followers.iter().filter(|follower| self.counts(follower));
        View {
            partition: replica.row.id,
            part,
            reign,
            promised: replica.promised(),
            sequence: order.sequence,
            history: order.history.clone(),
            digest: replica.partition.digest(),
            is_whole: replica.incomplete.is_none() && replica.mended.is_empty(),
            proposes: replica.proposal.is_some(),
            committed: lead
                .map(|lead| lead.oldest_pending_sequence().map_or(order.sequence, |s| s - 1)),
            grants: replica.promise.granted_until > now.lease_ms,
            clock: lead.map_or(0, |_| self.clock(at, now)),
            counted: counted.map(|follower| self.peers[follower.peer].id.clone()).collect(),
        }
    }

    /// An entry as it is here, whatever the worker is to its partition: version and value.
    pub fn look(
        &self,
        partition: PartitionId,
        table: TableId,
        key: &[u8],
    ) -> Option<(firn_wire::ids::Version, Vec<u8>)> {
        let at = self.place(partition)?;
        let hash = self.setup.hashes.of(key);
        let (version, content) = self.entry_of(at, table, hash, key)?;
        Some((version, content.value.to_vec()))
    }

    /// Bytes the log holds.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }
}
