//! Leases between workers (Gray & Cheriton 1989; PacificA, Lin et al. 2008).

use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::replica::{Beacon, Grant};

use super::replica::Role;
use super::rules::Rule;
use super::shard::Shard;
use super::time::Now;

impl<H> Shard<H> {
    /// A beacon has arrived: from now on for G the sender has our word for what it leads, but for the partitions that are
    /// added to `except`. Both happen at once, so that no promise comes between.
    pub fn heard(
        &mut self,
        now: Now,
        peer: &WorkerId,
        beacon: &Beacon,
        except: &mut Vec<PartitionId>,
    ) {
        let at = self.peers.place(peer);
        self.peers[at].heard = Some(now.lease_ms);
        self.peers[at].clock = self.peers[at].clock.max(beacon.clock);
        let excepts = self.keeps(Rule::PromisesExcepted);
        self.left.retain_mut(|left| {
            if beacon.map >= left.rev {
                left.deposed.retain(|place| *place != at);
            }
            if excepts && left.deposed.contains(&at) {
                except.push(left.partition);
            }
            !left.deposed.is_empty()
        });
        for replica in &mut self.replicas {
            let (row, deposed) = (&replica.row, &mut replica.promise.deposed);
            if row.epoch >= replica.promise.epoch && beacon.map >= row.rev {
                deposed.retain(|place| *place != at);
            }
            let is_deposed = deposed.contains(&at);
            let seeks = replica.proposal.as_ref().is_some_and(|p| p.epoch > row.epoch)
                && !matches!(replica.role, Role::Lead(_));
            let rivals = seeks && row.primary.as_ref() == Some(peer);
            if excepts && (is_deposed || rivals) {
                except.push(row.id);
            }
        }
    }

    /// A grant has arrived, in answer to the beacon that was sent at `sent_lease_ms`.
    pub fn granted(&mut self, now: Now, peer: &WorkerId, sent_lease_ms: u64, grant: &Grant) {
        let at = self.peers.place(peer);
        for replica in &mut self.replicas {
            let id = replica.row.id;
            let Role::Lead(lead) = &mut replica.role else { continue };
            if let Some(follower) = lead.follower(at) {
                follower.excepted = grant.except.contains(&id);
            }
        }
        let sending = self.keeps(Rule::LeaseFromSending);
        let from = if sending { sent_lease_ms } else { now.lease_ms };
        let until = from + self.terms.lease_of(grant.grant_ms);
        self.peers[at].lease_until = self.peers[at].lease_until.max(until);
        self.unpark_ready(now);
    }

    /// The uplink has answered a beat that was sent at `sent_lease_ms`: where partitions may be given away without us, we
    /// serve until that is so.
    pub fn vouched(&mut self, now: Now, sent_lease_ms: u64) {
        let Some(after_ms) = self.terms.rehome_after_ms else { return };
        let until = sent_lease_ms + firn_wire::map::Replication::sure_of(after_ms);
        self.vouched_until = self.vouched_until.max(until);
        self.unpark_ready(now);
    }

    /// Sends requests on that wait for partitions that can be served now.
    pub(crate) fn unpark_ready(&mut self, now: Now) {
        for at in 0..self.replicas.len() {
            let waits = self.replicas[at].lead().is_some_and(|lead| lead.has_parked());
            if !waits || !self.is_ready(at, now) {
                continue;
            }
            if let Role::Lead(lead) = &mut self.replicas[at].role {
                lead.unpark(&mut self.fates);
            }
        }
    }
}
