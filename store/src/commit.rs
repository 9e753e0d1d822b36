//! Records are written, and committed once every counted copy has them.

use firn_wire::record::{self, Effect, Head};

use super::disk::Mark;
use super::follower::Follower;
use super::lead::Written;
use super::log::Position;
use super::replica::Role;
use super::rules::Rule;
use super::shard::Shard;

/// How often a record says what all entries add up to.
const DIGEST_EVERY: u64 = 4_096;

impl<H> Shard<H> {
    /// Whether commits and leases need a follower.
    pub(crate) fn counts(&self, follower: &Follower) -> bool {
        let is_out = follower.removing && !self.keeps(Rule::RemovedMembersCount);
        follower.in_sync && !is_out || follower.adding && self.keeps(Rule::AddedMembersCount)
    }

    /// Writes what the journal holds as the record of the partition's newest number. Returns that number if a reply has to
    /// wait for its commit.
    pub(crate) fn write_record(&mut self, at: usize, clock: u64) -> Option<u64> {
        if !self.journal.is_on() {
            self.replicas[at].partition.order.tail = None;
            return None;
        }
        let waits = self.journal.waits().any() && self.keeps(Rule::WritesWait);
        let sequence = self.append(at, clock);
        let waits = waits && self.replicas[at].lead().is_some_and(|lead| lead.has_pending());
        if sequence.is_multiple_of(DIGEST_EVERY) {
            self.write_digest(at, clock);
        }
        waits.then_some(sequence)
    }

    /// Writes what the partition's entries add up to now.
    fn write_digest(&mut self, at: usize, clock: u64) {
        self.journal.begin(true);
        let partition = &mut self.replicas[at].partition;
        partition.next_version();
        self.journal.effect(&Effect::Digest { sum: partition.digest() });
        self.append(at, clock);
    }

    fn append(&mut self, at: usize, clock: u64) -> u64 {
        let replica = &mut self.replicas[at];
        let (id, order) = (replica.partition.id, &mut replica.partition.order);
        let (epoch, sequence) = (order.epoch(), order.sequence);
        let head = Head { partition: id, epoch, sequence, clock };
        let effects = self.journal.effects();
        let (start, end) = self.log.append(order.tail, |out| {
            let start = record::begin(&head, out);
            out.extend_from_slice(effects);
            record::end(start, out);
        });
        order.tail = Some(start);
        let waits = self.journal.waits();
        let (marks, flushed) = self.journal.take_marks();
        replica.partition.clock = replica.partition.clock.max(clock);
        let awaits = waits.disk && self.keeps(Rule::DiskAwaited);
        let disk = if awaits { self.hurried_mark() } else { None };
        if waits.disk {
            self.durable_end = end;
        }
        if let Some(lead) = self.replicas[at].lead_mut() {
            if disk.is_some() || lead.has_pending() || !lead.followers.is_empty() {
                lead.push(Written { start, end, disk, sequence, marks, flushed });
            }
            self.advance(at);
            self.note_dirty(at);
        }
        sequence
    }

    /// What must be on disk for what was written last, which somebody waits for.
    fn hurried_mark(&mut self) -> Option<Mark> {
        self.disk.as_mut()?.hurry();
        self.disk_mark()
    }

    fn note_dirty(&mut self, at: usize) {
        let id = self.replicas[at].partition.id;
        let Some(lead) = self.replicas[at].lead_mut() else { return };
        if lead.has_pending() && !lead.is_dirty {
            lead.is_dirty = true;
            self.dirty.push(id);
        }
    }

    /// Commits what every counted copy has, and the disk where it must.
    pub(crate) fn advance(&mut self, at: usize) {
        let position = self.commit_position(at);
        let synced = self.disk.as_ref().map_or(Mark::default(), |disk| disk.synced);
        let fates = &mut self.fates;
        let Some(lead) = self.replicas[at].lead_mut() else { return };
        let was_started = lead.started;
        lead.commit(position, synced, fates);
        if lead.started && !was_started && lead.handover.is_none() {
            lead.unpark(fates);
        }
    }

    /// The position up to which every counted copy of a led partition has everything.
    fn commit_position(&self, at: usize) -> Position {
        let Some(lead) = self.replicas[at].lead() else { return Position::default() };
        let counted = lead.followers.iter().filter(|follower| self.counts(follower));
        let acked = counted.map(|follower| self.acked_by(follower).unwrap_or_default());
        acked.min().unwrap_or(self.log.end())
    }

    /// The position up to which a follower has all records of its partition; None: it is not known in this session.
    pub(crate) fn acked_by(&self, follower: &Follower) -> Option<Position> {
        if self.keeps(Rule::SessionsCount) {
            return follower.acked(&self.peers);
        }
        self.peers[follower.peer].link.as_ref().map(|link| link.acked)
    }

    /// Commits what can be, in every partition with something that is not.
    pub(crate) fn advance_all(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(at) = self.places.get(&id).copied() else { continue };
            self.advance(at);
            if let Some(lead) = self.replicas[at].lead_mut() {
                lead.is_dirty = false;
            }
            self.note_dirty(at);
        }
    }

    /// Makes room in the log without losing what is not committed; false when there is none to be had.
    pub(crate) fn trim_log(&mut self) -> bool {
        let keep = self.log_needed();
        self.log.trim(keep)
    }

    /// The position up to which nothing of the log is needed any more but for copies that come back.
    pub(crate) fn log_needed(&self) -> Position {
        let leads = self.dirty.iter().filter_map(|id| self.replicas[self.places[id]].lead());
        let oldest = leads.filter_map(|lead| lead.oldest_pending());
        let written = self.disk.as_ref().map(|disk| disk.sent);
        oldest.chain(written).min().unwrap_or(self.log.end())
    }

    /// Makes room for records of others, which do not wait: a disk that does not keep up gets everything anew.
    pub(crate) fn trim_log_of_copy(&mut self) {
        if !self.trim_log() && self.log.is_twice_full() {
            self.lose_disk();
            self.trim_log();
        }
    }

    /// Ends a reign: what waits for it is told.
    pub(crate) fn end_reign(&mut self, at: usize) {
        if let Role::Lead(lead) = std::mem::replace(&mut self.replicas[at].role, Role::Idle) {
            if lead.handover.is_some() {
                self.handovers = self.handovers.saturating_sub(1);
            }
            lead.abandon(&mut self.fates);
        }
        let id = self.replicas[at].partition.id;
        self.dirty.retain(|dirty| *dirty != id);
    }
}
