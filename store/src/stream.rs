//! What a shard sends to the workers that have copies of what it leads, and what they answer.

use firn_wire::ids::{PartitionId, TableId, WorkerId};
use firn_wire::record::{Effect, Effects, Put};
use firn_wire::replica::{Ack, Batch, Item, Notice, Refusal, encode};

use super::chunk;
use super::disk::tokens_of;
use super::entry::Content;
use super::follower::{At, Follower, OnDisk, Place, Stage};
use super::log::Position;
use super::peer::Link;
use super::replica::Role;
use super::rules::Rule;
use super::shard::Shard;
use super::time::Now;

/// How long a copy that has refused is left alone, in milliseconds.
const AGAIN_MS: u64 = 50;
/// Who has nothing is sent as many records at most; beyond that all entries, which are fewer, at the pace of copying.
const RECORDS_FEW: u64 = 64;
/// Bytes of entries read at once and sent in one batch, so that neither shard is locked for long.
const CHUNK_BYTES: usize = 16 * 1024;
/// Entries are sent while fewer batches are unacknowledged: records, which requests wait for, come behind what is under way.
const COPYING_BATCHES_MAX: usize = 2;

/// An item of a batch that is being put together.
enum Part {
    Whole(Item<'static>),
    Base { partition: PartitionId, sequence: u64, clock: u64, snapshot: Snapshot, mended: Vec<u8> },
    Records(Vec<u8>),
    Chunk { partition: PartitionId, table: TableId, from: u64, to: u64, entries: Vec<u8> },
    Tokens { partition: PartitionId, tokens: Vec<u8> },
}

/// Whether a copy is sent entries besides records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Snapshot {
    None,
    Resumed,
    All,
}

/// A batch that is being put together.
struct Draft {
    parts: Vec<Part>,
    bytes: usize,
    bytes_max: usize,
}

impl Draft {
    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    fn push(&mut self, part: Part, bytes: usize) {
        self.bytes += bytes + 32;
        self.parts.push(part);
    }

    fn record(&mut self, record: &[u8]) {
        self.bytes += record.len();
        match self.parts.last_mut() {
            Some(Part::Records(records)) => records.extend_from_slice(record),
            _ => self.parts.push(Part::Records(record.to_vec())),
        }
    }
}

impl<H> Shard<H> {
    /// A connection to a worker is there, over which what it copies is sent. `session` is a number no connection to it had
    /// before.
    pub fn link_up(&mut self, now: Now, peer: &WorkerId, session: u64) {
        let at = self.peers.place(peer);
        self.peers[at].link = Some(Link::new(session, self.log.end()));
        self.part_from(at, now);
    }

    /// A connection is gone.
    pub fn link_down(&mut self, now: Now, peer: &WorkerId, session: u64) {
        let Some(at) = self.peers.find(peer) else { return };
        if self.peers.link(at, session).is_some() {
            self.peers[at].link = None;
            self.part_from(at, now);
        }
    }

    /// Every partition that a worker copies begins anew with it.
    fn part_from(&mut self, peer: usize, now: Now) {
        for replica in &mut self.replicas {
            let Role::Lead(lead) = &mut replica.role else { continue };
            if let Some(follower) = lead.follower(peer) {
                follower.enter(Stage::Apart { again: now.lease_ms }, now.lease_ms);
            }
        }
    }

    /// Whether [`Shard::fill`] has something to look for.
    pub fn has_news(&self, peer: &WorkerId) -> bool {
        let link = self.peers.find(peer).and_then(|at| self.peers[at].link.as_ref());
        link.is_some_and(|link| link.restless || link.goes_on || link.sent < self.log.end())
    }

    /// What is next for a worker: an encoded [`Batch`]; None: nothing now.
    pub fn fill(
        &mut self,
        now: Now,
        peer: &WorkerId,
        session: u64,
        bytes_max: usize,
    ) -> Option<Vec<u8>> {
        let peer = self.peers.find(peer)?;
        self.peers.link(peer, session)?;
        let talkers = self.talkers(peer);
        let link = self.peers.link(peer, session)?;
        // Whoever is told of old records too may be told of any.
        let has_durable = self.durable_end > Position::default();
        let durable = has_durable && (!talkers.is_empty() || link.sent < self.durable_end);
        let durable = durable && self.keeps(Rule::CopyDisksAwaited);
        let mut draft = Draft { parts: Vec::new(), bytes: 0, bytes_max };
        for at in &talkers {
            if draft.is_full() {
                self.wake(peer);
                break;
            }
            self.talk(*at, peer, now, &mut draft);
        }
        self.stream(peer, &mut draft);
        talkers.iter().for_each(|at| self.complete(*at, peer, now, &mut draft));
        talkers.iter().for_each(|at| self.ask_kept(*at, peer, &mut draft));
        let shard = self.setup.number;
        let link = self.peers.link(peer, session)?;
        if draft.parts.is_empty() {
            return None;
        }
        let number = link.send(now.lease_ms);
        Some(self.encode_batch((shard, number, durable), &draft.parts))
    }

    /// The partitions that may have something to say to a worker besides new records, by place.
    fn talkers(&mut self, peer: usize) -> Vec<usize> {
        let Some(link) = &mut self.peers[peer].link else { return Vec::new() };
        let (restless, goes_on) =
            (std::mem::take(&mut link.restless), std::mem::take(&mut link.goes_on));
        let mut copying = std::mem::take(&mut link.copying);
        copying.retain(|id| self.place(*id).is_some_and(|at| self.next_place(at, peer).is_some()));
        let talkers = match (restless, goes_on) {
            (true, _) => (0..self.replicas.len()).collect(),
            (false, true) => copying.iter().filter_map(|id| self.place(*id)).collect(),
            (false, false) => Vec::new(),
        };
        if let Some(link) = &mut self.peers[peer].link {
            link.copying = copying;
        }
        talkers
    }

    fn encode_batch(&self, (shard, number, durable): (u16, u64, bool), parts: &[Part]) -> Vec<u8> {
        let items = parts.iter().map(|part| match part {
            Part::Whole(item) => item.clone(),
            Part::Base { partition, sequence, clock, snapshot, mended } => {
                let (partition, sequence, clock, snapshot) =
                    (*partition, *sequence, *clock, *snapshot);
                let replica = &self.replicas[self.places[&partition]].partition;
                let (epoch, history) = (replica.reign, replica.order.history.clone());
                let last = replica.order.sequence;
                let resumed = snapshot == Snapshot::Resumed;
                let snapshot = snapshot != Snapshot::None;
                Item::Base {
                    partition,
                    epoch,
                    history,
                    sequence,
                    last,
                    clock,
                    snapshot,
                    resumed,
                    mended,
                }
            }
            Part::Records(records) => Item::Records(records),
            Part::Chunk { partition, table, from, to, entries } => {
                let (partition, table, from, to) = (*partition, *table, *from, *to);
                Item::Chunk { partition, table, from, to, entries }
            }
            Part::Tokens { partition, tokens } => Item::Tokens { partition: *partition, tokens },
        });
        encode(&Batch { shard, number, durable, items: items.collect() })
    }

    fn wake(&mut self, peer: usize) {
        if let Some(link) = &mut self.peers[peer].link {
            link.restless = true;
        }
    }

    /// New records, from where the last batch ended.
    fn stream(&mut self, peer: usize, draft: &mut Draft) {
        let Some(link) = &self.peers[peer].link else { return };
        if link.sent < self.log.start() {
            return self.lose(peer);
        }
        let mut sent = link.sent;
        for (position, held) in self.log.walk(link.sent) {
            if draft.is_full() {
                break;
            }
            sent = held.next;
            let id = partition_of(held.record);
            let lead = self.places.get(&id).and_then(|at| self.replicas[*at].lead());
            let follower = lead.and_then(|lead| lead.followers.iter().find(|f| f.peer == peer));
            let from = follower.and_then(Follower::takes_from);
            if from.is_some_and(|from| position >= from) {
                draft.record(held.record);
            }
        }
        if let Some(link) = &mut self.peers[peer].link {
            link.sent = sent;
        }
    }

    /// The log no longer has what a worker was to be sent: it is asked anew what it has.
    fn lose(&mut self, peer: usize) {
        let end = self.log.end();
        self.part_from(peer, Now::default());
        if let Some(link) = &mut self.peers[peer].link {
            link.sent = end;
            link.restless = true;
        }
    }

    /// What one partition has to say to a worker besides new records.
    fn talk(&mut self, at: usize, peer: usize, now: Now, draft: &mut Draft) {
        let Some(lead) = self.replicas[at].lead_mut() else { return };
        let Some(follower) = lead.follower(peer) else { return };
        match &follower.stage {
            Stage::Apart { again } if *again <= now.lease_ms => self.ask(at, peer, now, draft),
            Stage::Answered(_) => self.base(at, peer, now, draft),
            Stage::Reading { .. } => self.read(at, peer, now, draft),
            Stage::Copying { .. } => self.copy(at, peer, now, draft),
            _ => {}
        }
    }

    fn enter(&mut self, at: usize, peer: usize, now: Now, stage: Stage) {
        let lead = self.replicas[at].lead_mut();
        if let Some(follower) = lead.and_then(|lead| lead.follower(peer)) {
            follower.enter(stage, now.lease_ms);
        }
    }

    fn ask(&mut self, at: usize, peer: usize, now: Now, draft: &mut Draft) {
        let replica = &self.replicas[at];
        let order = &replica.partition.order;
        let join = Item::Join {
            partition: replica.row.id,
            rev: replica.row.rev,
            epoch: replica.row.epoch,
            released: replica.row.released,
            history: order.history.clone(),
            last: order.sequence,
        };
        let bytes = 64 + 12 * order.history.len();
        let rev = replica.row.rev;
        let batch = self.peers[peer].link.as_ref().map_or(0, |link| link.batches + 1);
        draft.push(Part::Whole(join), bytes);
        let lead = self.replicas[at].lead_mut();
        if let Some(follower) = lead.and_then(|lead| lead.follower(peer)) {
            (follower.asked_by, follower.asked_in) = (rev, batch);
            follower.enter(Stage::Asked, now.lease_ms);
        }
    }

    /// A copy has said what it has: it is told where to go on.
    fn base(&mut self, at: usize, peer: usize, now: Now, draft: &mut Draft) {
        let Some(answer) = self.answer_of(at, peer) else { return };
        let partition = self.replicas[at].row.id;
        let end = self.log.end();
        let order = &self.replicas[at].partition.order;
        let has_nothing = answer.sequence == Some(0) && order.sequence > RECORDS_FEW;
        let common = answer.sequence.filter(|_| !has_nothing);
        let missed = common.and_then(|sequence| self.missed(at, sequence));
        let (Some(left), Some(sequence)) = (missed, common) else {
            // It may have to wait for a place: what the log no longer has is not looked for again.
            let needs_all = At { sequence: None, divergent: Vec::new(), resume: None };
            self.enter(at, peer, now, Stage::Answered(needs_all));
            return self.copy_anew(at, peer, now, draft);
        };
        let snapshot = answer.resume.map_or(Snapshot::None, |_| Snapshot::Resumed);
        let (clock, mended) = (self.clock(at, now), self.mended(at, &answer.divergent));
        let bytes = mended.len();
        draft.push(Part::Base { partition, sequence, clock, snapshot, mended }, bytes);
        let stage = Stage::Reading { left, from: end, then: answer.resume };
        self.enter(at, peer, now, stage);
        self.read(at, peer, now, draft);
    }

    fn answer_of(&self, at: usize, peer: usize) -> Option<At> {
        let lead = self.replicas[at].lead()?;
        let follower = lead.followers.iter().find(|follower| follower.peer == peer)?;
        match &follower.stage {
            Stage::Answered(answer) => Some(answer.clone()),
            _ => None,
        }
    }

    /// The records after a number, the first one last; None: the log has not all of them.
    pub(crate) fn missed(&self, at: usize, sequence: u64) -> Option<Vec<Position>> {
        let order = &self.replicas[at].partition.order;
        let mut left = Vec::with_capacity((order.sequence - sequence).min(1_024) as usize);
        let (mut next, mut wanted) = (order.tail, order.sequence);
        while wanted > sequence {
            let position = next?;
            next = self.log.record(position)?.prev;
            left.push(position);
            wanted -= 1;
        }
        Some(left)
    }

    /// Keys' entries as they are now.
    fn mended(&self, at: usize, keys: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for effect in Effects::of(keys) {
            let Ok(Effect::Delete { table, key }) = effect else { continue };
            let hash = self.setup.hashes.of(key);
            match self.entry_of(at, table, hash, key) {
                Some((version, Content { value, meta, expires_at })) => {
                    out.extend_from_slice(&version.0.to_le_bytes());
                    Put { table, key, meta, value, expires_at }.write(&mut out);
                }
                None => {
                    let version = self.replicas[at].partition.order.version();
                    out.extend_from_slice(&version.0.to_le_bytes());
                    Effect::Delete { table, key }.write(&mut out);
                }
            }
        }
        out
    }

    /// Sends records a copy has missed; when there are no more it is live, or goes on copying.
    fn read(&mut self, at: usize, peer: usize, now: Now, draft: &mut Draft) {
        let end = self.log.end();
        let tail = self.replicas[at].partition.order.tail;
        let Role::Lead(lead) = &mut self.replicas[at].role else { return };
        let Some(follower) = lead.follower(peer) else { return };
        let Stage::Reading { left, from, then } = &mut follower.stage else { return };
        loop {
            while let Some(position) = left.pop() {
                let Some(held) = self.log.record(position) else {
                    let again = now.lease_ms;
                    return self.enter(at, peer, now, Stage::Apart { again });
                };
                draft.record(held.record);
                if draft.is_full() {
                    return self.wake(peer);
                }
            }
            // What was written meanwhile.
            let mut newer = tail;
            while let Some(position) = newer.filter(|position| *position >= *from) {
                left.push(position);
                newer = self.log.record(position).and_then(|held| held.prev);
            }
            *from = end;
            if left.is_empty() {
                break;
            }
        }
        let then = *then;
        self.go_on(at, peer, now, then, draft);
    }

    /// A copy has all records: it is live, unless it lacks entries.
    fn go_on(&mut self, at: usize, peer: usize, now: Now, then: Option<Place>, draft: &mut Draft) {
        let from = self.log.end();
        let Some(next) = then else {
            let batch = self.batch_of(peer, draft);
            return self.enter(at, peer, now, Stage::Live { from, batch });
        };
        match self.setup.copying.begin() {
            Some(slot) => {
                self.enter_copying(at, peer, now, Stage::Copying { next, from, _slot: slot });
                self.copy(at, peer, now, draft);
            }
            None => self.enter(at, peer, now, Stage::Apart { again: now.lease_ms + AGAIN_MS }),
        }
    }

    /// Sends all entries, from the first.
    fn copy_anew(&mut self, at: usize, peer: usize, now: Now, draft: &mut Draft) {
        let Some(slot) = self.setup.copying.begin() else { return };
        let partition = self.replicas[at].row.id;
        let sequence = self.replicas[at].partition.order.sequence;
        let (clock, mended) = (self.clock(at, now), Vec::new());
        let snapshot = Snapshot::All;
        draft.push(Part::Base { partition, sequence, clock, snapshot, mended }, 0);
        let (next, from) = ((TableId(0), 0), self.log.end());
        self.enter_copying(at, peer, now, Stage::Copying { next, from, _slot: slot });
        self.copy(at, peer, now, draft);
    }

    fn enter_copying(&mut self, at: usize, peer: usize, now: Now, stage: Stage) {
        self.enter(at, peer, now, stage);
        let id = self.replicas[at].row.id;
        if let Some(link) = &mut self.peers[peer].link {
            link.copying.push(id);
        }
    }

    /// Sends entries, as many as the batch and the pace allow.
    fn copy(&mut self, at: usize, peer: usize, now: Now, draft: &mut Draft) {
        let open = self.peers[peer].link.as_ref().map_or(0, |link| link.open.len());
        if open >= COPYING_BATCHES_MAX {
            return; // an acknowledgement wakes it
        }
        while draft.bytes < CHUNK_BYTES && self.setup.copying.may_copy(now.lease_ms) {
            let Some(next) = self.next_place(at, peer) else { return };
            let table = self.replicas[at].partition.table_ids().find(|table| *table >= next.0);
            let Some(table) = table else {
                return self.go_on_soon(peer); // what is left to be said comes behind the records
            };
            let from = if table == next.0 { next.1 } else { 0 };
            let next = self.copy_chunk(at, (table, from), now, draft);
            let lead = self.replicas[at].lead_mut();
            if let Some(follower) = lead.and_then(|lead| lead.follower(peer))
                && let Stage::Copying { next: place, .. } = &mut follower.stage
            {
                *place = next;
            }
        }
        if draft.bytes >= CHUNK_BYTES {
            self.go_on_soon(peer);
        }
    }

    fn go_on_soon(&mut self, peer: usize) {
        if let Some(link) = &mut self.peers[peer].link {
            link.go_on();
        }
    }

    fn next_place(&self, at: usize, peer: usize) -> Option<Place> {
        let lead = self.replicas[at].lead()?;
        let follower = lead.followers.iter().find(|follower| follower.peer == peer)?;
        match &follower.stage {
            Stage::Copying { next, .. } => Some(*next),
            _ => None,
        }
    }

    /// Sends some entries of a table; gives the place after them.
    fn copy_chunk(&self, at: usize, (id, from): Place, now: Now, draft: &mut Draft) -> Place {
        let replica = &self.replicas[at];
        let (partition, mut entries) = (replica.row.id, Vec::new());
        let Some(table) = replica.partition.table(id) else { return (TableId(id.0 + 1), 0) };
        let (arena, hashes) = (&self.arena, &*self.setup.hashes);
        let source = chunk::Source { arena, hashes, id, table };
        let to = source.read(from, CHUNK_BYTES, &mut entries);
        let bytes = entries.len();
        self.setup.copying.copied(now.lease_ms, bytes);
        draft.push(Part::Chunk { partition, table: id, from, to, entries }, bytes);
        if to == u64::MAX { (TableId(id.0 + 1), 0) } else { (id, to + 1) }
    }

    /// Ends a copying whose last entries were sent, once all records were: so that the sums can be compared.
    fn complete(&mut self, at: usize, peer: usize, now: Now, draft: &mut Draft) {
        let Some(next) = self.next_place(at, peer) else { return };
        let replica = &self.replicas[at].partition;
        let more = replica.table_ids().next_back().is_some_and(|last| last >= next.0);
        let sent = self.peers[peer].link.as_ref().map(|link| link.sent);
        if more || sent != Some(self.log.end()) {
            return;
        }
        let partition = replica.id;
        let tokens = tokens_of(&replica.once);
        let (tables, digest) = (replica.table_ids().collect(), replica.digest());
        let bytes = tokens.len();
        draft.push(Part::Tokens { partition, tokens }, bytes);
        draft.push(Part::Whole(Item::Complete { partition, tables, digest }), 16);
        let from = self.log.end();
        let batch = self.batch_of(peer, draft);
        self.enter(at, peer, now, Stage::Live { from, batch });
        self.wake(peer); // there is a place for the next
    }

    /// A copy that is live and not in sync is asked whether it has everything on its disk.
    fn ask_kept(&mut self, at: usize, peer: usize, draft: &mut Draft) {
        let replica = &mut self.replicas[at];
        let partition = replica.row.id;
        let Some(follower) = replica.lead_mut().and_then(|lead| lead.follower(peer)) else {
            return;
        };
        let is_live = matches!(follower.stage, Stage::Live { .. });
        if is_live && !follower.in_sync && follower.on_disk == OnDisk::Unknown {
            follower.on_disk = OnDisk::Asked;
            draft.push(Part::Whole(Item::Keep { partition }), 0);
        }
    }

    /// The number of the batch with which a worker has everything up to now.
    fn batch_of(&self, peer: usize, draft: &Draft) -> u64 {
        let sent = self.peers[peer].link.as_ref().map_or(0, |link| link.batches);
        sent + u64::from(!draft.parts.is_empty())
    }

    // --- what copies answer ---------------------------------------------------------------------------------------

    /// A worker has answered a batch of this connection.
    pub fn acked(&mut self, now: Now, peer: &WorkerId, session: u64, ack: &Ack<'_>) {
        let Some(at) = self.peers.find(peer) else { return };
        let checks = self.keeps(Rule::SessionsCount);
        let Some(link) = &mut self.peers[at].link else { return };
        if checks && link.session != session {
            return;
        }
        link.answer(ack.number, now.lease_ms);
        link.go_on();
        for notice in &ack.notices {
            self.notice(at, now, ack.number, notice);
        }
        self.advance_all();
    }

    fn notice(&mut self, peer: usize, now: Now, batch: u64, notice: &Notice<'_>) {
        let Some(at) = self.place(notice.partition()) else { return };
        let refusals_count = self.keeps(Rule::RefusalsCount);
        let reign = self.replicas[at].partition.reign;
        let last = self.replicas[at].partition.order.sequence;
        let rev = self.replicas[at].row.rev;
        let lead = self.replicas[at].lead_mut();
        let Some(follower) = lead.and_then(|lead| lead.follower(peer)) else { return };
        match notice {
            Notice::At { epoch, sequence, divergent, resume, .. } => {
                let is_late = batch < follower.asked_in;
                if *epoch != reign || is_late || !matches!(follower.stage, Stage::Asked) {
                    return;
                }
                if !follower.in_sync && follower.asked_by != rev {
                    return follower.enter(Stage::Apart { again: now.lease_ms }, now.lease_ms);
                }
                let sequence = sequence.filter(|sequence| *sequence <= last);
                let divergent = divergent.to_vec();
                follower.broken |= follower.in_sync && (sequence.is_none() || resume.is_some());
                let answer = At { sequence, divergent, resume: *resume };
                follower.enter(Stage::Answered(answer), now.lease_ms);
                self.wake(peer);
            }
            Notice::Refuse { why, .. } if refusals_count => {
                let anew = matches!(why, Refusal::Digest | Refusal::Diverged | Refusal::Memory);
                follower.broken |= anew;
                let again = now.lease_ms + AGAIN_MS;
                follower.enter(Stage::Apart { again }, now.lease_ms);
            }
            Notice::Refuse { .. } => {}
            Notice::Kept { .. } => {
                if matches!(follower.stage, Stage::Live { batch: live, .. } if live <= batch) {
                    follower.on_disk = OnDisk::Yes;
                }
            }
        }
    }
}

/// The partition of a record.
fn partition_of(record: &[u8]) -> PartitionId {
    let number = |at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
    PartitionId { group: firn_wire::ids::GroupId(number(4)), number: number(6) }
}
