//! The shards as other workers and the uplink have to do with them.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use firn_gateway::execute::Acked;
use firn_store::decide::Sent;
use firn_store::receive::{Notices, shards_of};
use firn_wire::ids::{MapVersion, PartitionId, WorkerId};
use firn_wire::map::MapIndex;
use firn_wire::registry::Proposal;
use firn_wire::replica::{Ack, BadReplica, Batch, Beacon, Grant, decode};

use crate::shards::Shards;

/// As a primary.
impl Shards {
    /// The connection `session` to a peer is there.
    pub(crate) fn link_up(&self, peer: &WorkerId, session: u64) {
        self.each(|shard, now| shard.link_up(now, peer, session));
    }

    /// It is gone.
    pub(crate) fn link_down(&self, peer: &WorkerId, session: u64) {
        self.each(|shard, now| shard.link_down(now, peer, session));
    }

    /// What a shard has for a peer now, an encoded batch of about `bytes_max` at most, unless one record is longer.
    pub(crate) fn fill(
        &self,
        number: usize,
        peer: &WorkerId,
        session: u64,
        bytes_max: usize,
    ) -> Option<Vec<u8>> {
        self.turn(number, |shard, now| shard.fill(now, peer, session, bytes_max))
    }

    /// A peer has acknowledged a batch.
    pub(crate) fn acked(&self, peer: &WorkerId, session: u64, ack: &Ack<'_>) {
        self.turn(usize::from(ack.shard), |shard, now| shard.acked(now, peer, session, ack));
    }
}

/// As a copy.
impl Shards {
    /// Applies a batch that came over the incoming connection `session`, and gives what answers it.
    pub(crate) fn receive(
        &self,
        from: &WorkerId,
        session: u64,
        bytes: &[u8],
    ) -> Result<Acked, BadReplica> {
        let batch: Batch<'_> = decode(bytes)?;
        let (mut notices, mut concerned) = (Notices::default(), BTreeSet::new());
        for item in &batch.items {
            for number in shards_of(item, self.count()) {
                concerned.insert(number);
                self.turn(number, |shard, now| {
                    shard.receive(now, from, session, item, &mut notices);
                });
            }
        }
        let after = if batch.durable { self.durable(&concerned) } else { None };
        Ok(Acked { ack: notices.into_ack(batch.shard, batch.number), after })
    }

    /// Waits until all that these shards have is on disk; None: there is no disk.
    fn durable(
        &self,
        shards: &BTreeSet<usize>,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let mark = |number: &usize| {
            let mark = self.turn(*number, |shard, _| {
                shard.hurry_disk();
                shard.disk_mark()
            });
            Some((self.synced().watch(*number), mark?))
        };
        let marks = shards.iter().map(mark).collect::<Option<Vec<_>>>()?;
        Some(Box::pin(async move {
            for (mut synced, mark) in marks {
                // An error says that the process ends: nobody is to be told anything then.
                if synced.wait_for(|synced| synced.reaches(mark)).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }))
    }
}

/// Leases, time and the uplink.
impl Shards {
    /// A beacon has arrived. Returns the partitions that a grant does not cover.
    pub(crate) fn heard(&self, peer: &WorkerId, beacon: &Beacon) -> Vec<PartitionId> {
        let mut except = Vec::new();
        self.each(|shard, now| shard.heard(now, peer, beacon, &mut except));
        except
    }

    /// The answer to the beacon sent at `sent_lease_ms` has arrived.
    pub(crate) fn granted(&self, peer: &WorkerId, sent_lease_ms: u64, grant: &Grant) {
        self.each(|shard, now| shard.granted(now, peer, sent_lease_ms, grant));
    }

    /// The uplink has answered a beat sent at `sent_lease_ms`.
    pub(crate) fn vouched(&self, sent_lease_ms: u64) {
        self.each(|shard, now| shard.vouched(now, sent_lease_ms));
    }

    /// Time has passed. Returns what is to be proposed.
    pub(crate) fn tick(&self, map: &MapIndex, uplink_fresh: bool) -> Vec<Proposal> {
        let mut proposals = Vec::new();
        self.each(|shard, now| shard.tick(now, map, uplink_fresh, &mut proposals));
        proposals
    }

    /// Whether something is being copied.
    pub(crate) fn is_copying(&self) -> bool {
        self.copying.is_busy()
    }

    /// What is being copied goes on, if its pace lets it.
    pub(crate) fn pace(&self) {
        self.each(|shard, _| shard.pace());
    }

    /// A copy has acknowledged records so long after they were sent.
    pub(crate) fn acknowledged_after(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.copying.acknowledged(self.clock().now().lease_ms, micros);
    }

    /// What is known of a proposal that assumed `rev`.
    pub(crate) fn proposed(&self, partition: PartitionId, rev: MapVersion, sent: Sent) {
        self.turn_of(partition, |shard, now| shard.proposed(now, partition, rev, sent));
    }
}
