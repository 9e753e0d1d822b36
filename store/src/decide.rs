//! What a shard wants changed in the map: members that are silent go, copies that are complete come, partitions are given
//! to whom they should belong, and a primary that is gone is succeeded.

use firn_wire::ids::{Epoch, MapVersion, PartitionId, WorkerId};
use firn_wire::map::{MapIndex, PartitionRow, WorkerRow, WorkerState};
use firn_wire::registry::{Kept, Proposal};

use super::follower::{Follower, OnDisk, Stage};
use super::lead::Handover;
use super::peer::Link;
use super::replica::{Outstanding, Role};
use super::rules::Rule;
use super::shard::Shard;
use super::time::Now;

/// How long after a refusal the next proposal for a partition may come, in milliseconds.
const QUIET_MS: u64 = 200;
/// How long a handover may take until it is proposed, in milliseconds.
const HANDOVER_MS: u64 = 1_000;
/// Handovers of one shard that are on at once: few, so that each is short; and while this worker leaves, which is to be
/// short as a whole.
const HANDOVERS_MAX: usize = 8;
const HANDOVERS_LEAVING_MAX: usize = 256;
/// How long a copy may take beyond G to follow a new primary, in milliseconds.
const FOLLOW_SLACK_MS: u64 = 500;

/// What became of sending a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It never left: nobody will apply it.
    NotSent,
    /// No answer: it may be applied at any time.
    Maybe,
    /// The uplink has answered that it does not apply it.
    Refused,
}

/// What a look at a partition may come to.
#[derive(Debug, Clone, Copy)]
struct Chance {
    /// Whether it may begin to move.
    moves: bool,
    /// See [`Shard::tick`].
    uplink_fresh: bool,
}

impl<H> Shard<H> {
    /// Time has passed: every 20 ms or so. What is to be proposed is added to `proposals`. `uplink_fresh`: it has answered
    /// within the last second, so that a handover can be expected to end soon.
    pub fn tick(
        &mut self,
        now: Now,
        map: &MapIndex,
        uplink_fresh: bool,
        proposals: &mut Vec<Proposal>,
    ) {
        let moves = self.is_time_to_look(now, map);
        self.note_stall(now);
        self.pace();
        self.peers.register(map);
        for at in 0..self.replicas.len() {
            self.nudge(at, now);
            let replica = &self.replicas[at];
            if replica.proposal.is_none() && replica.quiet_until <= now.lease_ms {
                self.consider(at, now, map, Chance { moves, uplink_fresh });
            }
            self.send_due(at, now, proposals);
        }
        self.unpark_ready(now);
        self.end_exports(now);
    }

    /// Whether what moves is to be looked at: by all shards of a worker at the same time, and by the workers one after the
    /// other, as far as their clocks agree. What they propose is a version of the map each, which all of them take at once;
    /// were they all proposed together, requests would wait for all of that work.
    fn is_time_to_look(&self, now: Now, map: &MapIndex) -> bool {
        let every_ms = self.setup.copying.look_every_ms();
        let before = map.workers.partition_point(|row| row.name < self.setup.me.name) as u64;
        let turn_ms = every_ms * before / (map.workers.len() as u64).max(1);
        (now.lease_ms + turn_ms) / every_ms != (self.ticked + turn_ms) / every_ms
    }

    /// A few milliseconds have passed while something is being copied: it goes on, if its pace lets it.
    pub fn pace(&mut self) {
        self.peers.links().for_each(Link::go_on);
    }

    /// After a stall of its own the worker first listens: what the others have said meanwhile may not be read yet.
    fn note_stall(&mut self, now: Now) {
        let beacon_ms = self.terms.beacon_ms();
        let stalled = now.lease_ms.saturating_sub(self.ticked) > beacon_ms;
        if stalled && self.keeps(Rule::StallListens) {
            self.judge_from = now.lease_ms + beacon_ms;
        }
        self.ticked = now.lease_ms;
    }

    /// Has the links of followers that are due look at them.
    fn nudge(&mut self, at: usize, now: Now) {
        let Role::Lead(lead) = &self.replicas[at].role else { return };
        for follower in &lead.followers {
            let is_due = match &follower.stage {
                Stage::Apart { again } => *again <= now.lease_ms,
                Stage::Answered(_) | Stage::Reading { .. } => true,
                Stage::Asked | Stage::Copying { .. } | Stage::Live { .. } => false,
            };
            if let Some(link) = &mut self.peers[follower.peer].link {
                link.restless |= is_due;
            }
        }
    }

    fn consider(&mut self, at: usize, now: Now, map: &MapIndex, chance: Chance) {
        let replica = &self.replicas[at];
        let me = &self.setup.me;
        match &replica.role {
            Role::Lead(_) => self.consider_reign(at, now, map, chance),
            _ if replica.row.has_in_sync(me) => self.consider_failover(at, now),
            _ => self.consider_claim(at, now, map),
        }
    }

    // --- as the primary -------------------------------------------------------------------------------------------

    fn consider_reign(&mut self, at: usize, now: Now, map: &MapIndex, chance: Chance) {
        if self.drop_lost(at, now) {
            return;
        }
        let Some(lead) = self.replicas[at].lead() else { return };
        if !lead.started && self.keeps(Rule::AddAfterStart) {
            return;
        }
        let waits = !chance.moves && lead.handover.is_none();
        if waits || self.add_complete(at, now, map) {
            return;
        }
        if self.hand_over(at, now, map, chance.uplink_fresh) {
            return;
        }
        if !self.drop_leaving(at, now, map) {
            self.drop_unwanted(at, now, map);
        }
    }

    /// Members that are gone, or that cannot be in sync any more, are taken out.
    fn drop_lost(&mut self, at: usize, now: Now) -> bool {
        let Some(lead) = self.replicas[at].lead() else { return false };
        let members = lead.followers.iter().filter(|follower| follower.in_sync);
        let lost: Vec<usize> = members
            .filter(|follower| self.is_lost(follower, lead.since, now))
            .map(|follower| follower.peer)
            .collect();
        if lost.is_empty() {
            return false;
        }
        let mut isr = self.replicas[at].row.isr.clone();
        isr.retain(|id| !lost.iter().any(|peer| self.peers[*peer].id == *id));
        self.propose_members(at, now, isr);
        true
    }

    fn is_lost(&self, follower: &Follower, since: u64, now: Now) -> bool {
        let peer = &self.peers[follower.peer];
        if follower.broken || !peer.is_registered {
            return true;
        }
        let (lease_ms, grant_ms) = (self.terms.lease_ms, self.terms.grant_ms);
        let long_ago = |moment: u64, ms: u64| moment + ms <= now.lease_ms;
        let silent = long_ago(peer.lease_until.max(since + lease_ms), 0);
        let stands_still = peer
            .link
            .as_ref()
            .and_then(|link| link.owes_since)
            .is_some_and(|owes_since| long_ago(owes_since, lease_ms));
        let behind = follower
            .behind_since
            .is_some_and(|behind_since| long_ago(behind_since, grant_ms + FOLLOW_SLACK_MS));
        self.judge_from <= now.lease_ms && (silent || stands_still || behind)
    }

    /// Copies that have everything, and on their disks, are added. From a moment before the proposal on commits and leases
    /// need them, so what they lack then is not committed without them.
    fn add_complete(&mut self, at: usize, now: Now, map: &MapIndex) -> bool {
        let learner_complete = self.keeps(Rule::LearnerComplete);
        let replica = &self.replicas[at];
        let Some(lead) = replica.lead() else { return false };
        let tail = replica.partition.order.tail;
        let are_kept = self.keeps(Rule::AddedAreKept);
        let (mut joining, mut ready, mut ask) = (Vec::new(), Vec::new(), Vec::new());
        for follower in lead.followers.iter().filter(|follower| !follower.in_sync) {
            let peer = &self.peers[follower.peer];
            let fits = !follower.broken
                && replica.row.wants(&peer.id.name)
                && map.worker(&peer.id.name).is_some_and(|row| is_there(row, &peer.id))
                && !leaves(&peer.id, map)
                && peer.lease_until > now.lease_ms
                && matches!(follower.stage, Stage::Live { .. });
            let acked = self.acked_by(follower);
            match follower.joining {
                _ if !fits => joining.push((follower.peer, None)),
                _ if !learner_complete => ready.push(peer.id.clone()),
                None if follower.on_disk != OnDisk::Yes && are_kept => ask.push(follower.peer),
                None => joining.push((follower.peer, acked.map(|_| tail.unwrap_or_default()))),
                Some(last) if acked.is_some_and(|acked| acked > last || tail.is_none()) => {
                    ready.push(peer.id.clone());
                }
                Some(_) => {}
            }
        }
        self.set_joining(at, &joining);
        self.ask_again(at, &ask);
        if ready.is_empty() {
            return false;
        }
        let mut isr = self.replicas[at].row.isr.clone();
        isr.extend(ready);
        self.propose_members(at, now, isr);
        true
    }

    fn set_joining(&mut self, at: usize, joining: &[(usize, Option<super::log::Position>)]) {
        let Some(lead) = self.replicas[at].lead_mut() else { return };
        for (peer, from) in joining {
            if let Some(follower) = lead.follower(*peer) {
                (follower.joining, follower.adding) = (*from, from.is_some());
            }
        }
        self.advance(at);
    }

    /// Who had not everything on disk when it was asked is asked again.
    fn ask_again(&mut self, at: usize, peers: &[usize]) {
        let Some(lead) = self.replicas[at].lead_mut() else { return };
        for peer in peers {
            if let Some(follower) = lead.follower(*peer) {
                follower.on_disk = OnDisk::Unknown;
            }
            if let Some(link) = &mut self.peers[*peer].link {
                link.restless = true;
            }
        }
    }

    /// Gives the partition to whom it should belong, if that worker has everything. Returns whether it is on.
    fn hand_over(&mut self, at: usize, now: Now, map: &MapIndex, uplink_fresh: bool) -> bool {
        let target = self.successor(at, map);
        let Some(lead) = self.replicas[at].lead() else { return false };
        match (lead.handover, target) {
            (None, Some(to)) if uplink_fresh && self.handovers < self.handovers_max(map) => {
                self.handovers += 1;
                let handover = Handover { to, since: now.lease_ms, proposed: false };
                self.set_handover(at, Some(handover));
                self.finish_handover(at, now, to);
                true
            }
            (None, _) => false,
            (Some(handover), target) => {
                let late = now.lease_ms > handover.since + HANDOVER_MS;
                if target != Some(handover.to) || late {
                    self.cancel_handover(at, now);
                    return false;
                }
                self.finish_handover(at, now, handover.to);
                true
            }
        }
    }

    fn handovers_max(&self, map: &MapIndex) -> usize {
        if leaves(&self.setup.me, map) { HANDOVERS_LEAVING_MAX } else { HANDOVERS_MAX }
    }

    /// Who should lead instead of us and can: in sync, up to date and not about to stop.
    fn successor(&self, at: usize, map: &MapIndex) -> Option<usize> {
        let replica = &self.replicas[at];
        let first = replica.row.wanted.first().filter(|name| **name != self.setup.me.name)?;
        let worker = map.worker(first).filter(|row| row.state == WorkerState::Up)?;
        let to = self.peers.find(&worker.id())?;
        let follower = replica.lead()?.followers.iter().find(|follower| follower.peer == to)?;
        let is_there = follower.in_sync && !follower.broken && self.acked_by(follower).is_some();
        is_there.then_some(to)
    }

    fn set_handover(&mut self, at: usize, handover: Option<Handover>) {
        if let Some(lead) = self.replicas[at].lead_mut() {
            lead.handover = handover;
        }
    }

    fn finish_handover(&mut self, at: usize, now: Now, to: usize) {
        let replica = &self.replicas[at];
        let Some(lead) = replica.lead() else { return };
        let follower = lead.followers.iter().find(|follower| follower.peer == to);
        let acked = follower.and_then(|follower| self.acked_by(follower));
        let tail = replica.partition.order.tail;
        let has_all = !lead.has_pending() && acked > tail;
        if !has_all && self.keeps(Rule::HandoverComplete) {
            return;
        }
        let (row, primary) = (&replica.row, self.peers[to].id.clone());
        let (epoch, isr) = (Epoch(row.epoch.0 + 1), row.isr.clone());
        if let Some(lead) = self.replicas[at].lead_mut()
            && let Some(handover) = &mut lead.handover
        {
            handover.proposed = true;
        }
        self.propose(at, now, epoch, primary, isr);
    }

    pub(crate) fn cancel_handover(&mut self, at: usize, now: Now) {
        self.handovers = self.handovers.saturating_sub(1);
        self.replicas[at].quiet_until = now.lease_ms + QUIET_MS;
        let Role::Lead(lead) = &mut self.replicas[at].role else { return };
        lead.handover = None;
        lead.unpark(&mut self.fates);
    }

    /// Members that were told to stop are taken out before they are gone, so that no write waits for them. Not before
    /// enough others are in sync.
    fn drop_leaving(&mut self, at: usize, now: Now, map: &MapIndex) -> bool {
        let row = &self.replicas[at].row;
        if !row.isr.iter().any(|id| leaves(id, map)) {
            return false;
        }
        let stay: Vec<WorkerId> = row.isr.iter().filter(|id| !leaves(id, map)).cloned().collect();
        let copies = map.group(row.id.group).map_or(1, |group| usize::from(group.copies));
        let enough = stay.len() >= copies.saturating_sub(1).max(1);
        if !enough || !stay.contains(&self.setup.me) {
            return false;
        }
        self.propose_members(at, now, stay);
        true
    }

    /// Copies that should not be there go last: when every wanted one is in sync and leads or follows as it should.
    fn drop_unwanted(&mut self, at: usize, now: Now, map: &MapIndex) {
        let row = &self.replicas[at].row;
        if row.isr.len() <= row.wanted.len() {
            return;
        }
        let wanted = wanted_runs(row, map);
        let all_there = wanted.len() == row.wanted.len()
            && wanted.iter().all(|id| row.has_in_sync(id))
            && wanted.first() == Some(&self.setup.me);
        if all_there {
            self.propose_members(at, now, wanted);
        }
    }

    fn propose_members(&mut self, at: usize, now: Now, isr: Vec<WorkerId>) {
        let (epoch, me) = (self.replicas[at].row.epoch, self.setup.me.clone());
        self.propose(at, now, epoch, me, isr);
    }

    // --- as a copy ------------------------------------------------------------------------------------------------

    /// Succeeds a primary that has been silent for as long as our grants to it may live.
    fn consider_failover(&mut self, at: usize, now: Now) {
        let replica = &self.replicas[at];
        let Some(primary) = &replica.row.primary else { return };
        if *primary == self.setup.me {
            return; // it leads already, and waits for a newer row
        }
        let heard = self.peers.find(primary).and_then(|peer| self.peers[peer].heard);
        let heard = heard.unwrap_or(0).max(replica.since);
        let grant_ms = self.terms.grant_ms;
        let expired = heard + grant_ms <= now.lease_ms && self.judge_from <= now.lease_ms;
        let half = heard + grant_ms / 2 <= now.lease_ms;
        if !expired && (self.keeps(Rule::GrantKept) || !half) {
            return;
        }
        let (me, primary) = (self.setup.me.clone(), primary.clone());
        let is_near = |id: &&WorkerId| {
            let heard = self.peers.find(id).and_then(|peer| self.peers[peer].heard);
            **id == me || heard.is_some_and(|heard| heard + grant_ms > now.lease_ms)
        };
        let others = replica.row.isr.iter().filter(|id| **id != primary);
        let isr: Vec<WorkerId> = others.filter(is_near).cloned().collect();
        let epoch = Epoch(replica.row.epoch.0 + 1).max(replica.promise.epoch);
        log::info!("partition {}: {primary} is silent, taking over", replica.row.id);
        self.propose(at, now, epoch, me, isr);
    }

    /// Takes up a partition whose members are all gone, and one of which was an earlier run of ours.
    fn consider_claim(&mut self, at: usize, now: Now, map: &MapIndex) {
        let (row, me) = (&self.replicas[at].row, &self.setup.me);
        let is_gone = |id: &WorkerId| {
            map.worker(&id.name).is_some_and(|worker| worker.incarnation != id.incarnation)
        };
        let was_ours = row.isr.iter().any(|id| id.name == me.name);
        if was_ours && row.isr.iter().all(is_gone) {
            let (epoch, me) = (Epoch(row.epoch.0 + 1), me.clone());
            self.propose(at, now, epoch, me.clone(), vec![me]);
        }
    }

    // --- proposals ------------------------------------------------------------------------------------------------

    fn propose(
        &mut self,
        at: usize,
        now: Now,
        epoch: Epoch,
        primary: WorkerId,
        isr: Vec<WorkerId>,
    ) {
        if epoch > Epoch::MAX {
            return;
        }
        let replica = &mut self.replicas[at];
        assert!(replica.proposal.is_none(), "a second proposal for {}", replica.row.id);
        let (rev, again) = (replica.row.rev, now.lease_ms);
        let proposal = Outstanding {
            rev,
            epoch,
            primary,
            isr,
            may_arrive: false,
            is_sent: false,
            is_given_up: false,
            again,
        };
        replica.proposal = Some(proposal);
        self.mark_members(at);
    }

    /// Has the followers' marks say what is proposed.
    pub(crate) fn mark_members(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let proposed = replica.proposal.as_ref().map(|proposal| &proposal.isr);
        let Role::Lead(lead) = &mut replica.role else { return };
        for follower in &mut lead.followers {
            let id = &self.peers[follower.peer].id;
            let is_proposed = proposed.map_or(follower.in_sync, |isr| isr.contains(id));
            follower.adding = !follower.in_sync && (is_proposed || follower.joining.is_some());
            follower.removing = follower.in_sync && !is_proposed;
        }
        self.advance(at);
    }

    fn send_due(&mut self, at: usize, now: Now, proposals: &mut Vec<Proposal>) {
        let replica = &mut self.replicas[at];
        let Some(proposal) = &mut replica.proposal else { return };
        if proposal.is_sent || proposal.again > now.lease_ms {
            return;
        }
        proposal.is_sent = true;
        let row = &replica.row;
        let (epoch, primary, isr) = match (&row.primary, proposal.is_given_up) {
            (Some(primary), true) => (row.epoch, primary.clone(), row.isr.clone()),
            _ => (proposal.epoch, proposal.primary.clone(), proposal.isr.clone()),
        };
        let (by, partition, rev) = (self.setup.me.clone(), row.id, proposal.rev);
        // Who was in sync under an earlier run claims, and says what is left of it.
        let order = &replica.partition.order;
        let kept = match replica.incomplete {
            None => Kept { epoch: order.epoch(), sequence: order.sequence },
            Some(_) => Kept { epoch: Epoch(0), sequence: 0 },
        };
        let kept = (epoch > row.epoch && !row.has_in_sync(&by)).then_some(kept);
        proposals.push(Proposal { by, partition, rev, epoch, primary, isr, kept });
    }

    /// What became of sending a proposal. What was applied is learnt from the map.
    pub fn proposed(&mut self, now: Now, partition: PartitionId, rev: MapVersion, sent: Sent) {
        let Some(at) = self.place(partition) else { return };
        let rows_settle = self.keeps(Rule::RowsSettle);
        let replica = &mut self.replicas[at];
        let Some(proposal) = replica.proposal.as_mut().filter(|known| known.rev == rev) else {
            return;
        };
        proposal.is_sent = false;
        proposal.again = now.lease_ms + QUIET_MS;
        proposal.may_arrive |= sent == Sent::Maybe && rows_settle;
        // What was refused while an earlier sending may still arrive ends only with the row: one that changes nothing.
        proposal.is_given_up |= sent == Sent::Refused;
        let is_over = !proposal.may_arrive && (sent != Sent::Maybe || !rows_settle);
        if is_over {
            replica.proposal = None;
            replica.quiet_until = now.lease_ms + QUIET_MS;
            self.mark_members(at);
            if self.replicas[at].lead().is_some_and(|lead| lead.handover.is_some()) {
                self.cancel_handover(at, now);
            }
        }
    }
}

/// Whether a run of a worker was told to stop.
fn leaves(id: &WorkerId, map: &MapIndex) -> bool {
    let row = map.worker(&id.name).filter(|row| row.incarnation == id.incarnation);
    row.is_some_and(|row| row.state == WorkerState::Leaving)
}

/// Whether a registered worker is in that run, and not down.
fn is_there(worker: &WorkerRow, id: &WorkerId) -> bool {
    worker.incarnation == id.incarnation && worker.state != WorkerState::Down
}

/// The registered runs of the workers that should have a partition and are not down.
fn wanted_runs(row: &PartitionRow, map: &MapIndex) -> Vec<WorkerId> {
    let registered = row.wanted.iter().filter_map(|name| map.worker(name));
    registered
        .filter(|worker| worker.state != WorkerState::Down)
        .map(|worker| worker.id())
        .collect()
}
