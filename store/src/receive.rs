//! Being a copy: what arrives from a primary, and what it is answered.

use firn_wire::ids::{Epoch, MapVersion, PartitionId, TableId, Version, WorkerId};
use firn_wire::limits::ONCE_MS;
use firn_wire::map::shard_of;
use firn_wire::record::{Effect, Effects, Put, Record};
use firn_wire::replica::{Ack, History, Item, Notice, Refusal, encode};
use firn_wire::reply::ReplyBuf;

use super::chunk::{Range, Target, Versioned};
use super::entry::{Content, Entry};
use super::follower::Place;
use super::reload::unknown_row;
use super::replica::{Role, Source};
use super::rules::Rule;
use super::shard::Shard;
use super::time::Now;

/// What a copy has to say to a batch, while it is being taken.
#[derive(Debug, Default)]
pub struct Notices(Vec<Said>);

#[derive(Debug)]
enum Said {
    At { partition: PartitionId, epoch: Epoch, found: Found },
    Refuse { partition: PartitionId, epoch: Epoch, sequence: u64, why: Refusal },
    Kept { partition: PartitionId },
}

impl Said {
    fn partition(&self) -> PartitionId {
        match self {
            Self::At { partition, .. }
            | Self::Refuse { partition, .. }
            | Self::Kept { partition } => *partition,
        }
    }
}

/// What a copy has in common with its primary.
#[derive(Debug, Default)]
struct Found {
    sequence: Option<u64>,
    divergent: Vec<u8>,
    resume: Option<Place>,
}

impl Notices {
    /// The acknowledgement of a batch of a primary's shard, encoded.
    pub fn into_ack(self, shard: u16, number: u64) -> Vec<u8> {
        let notices = self.0.iter().map(|said| match said {
            Said::At { partition, epoch, found } => Notice::At {
                partition: *partition,
                epoch: *epoch,
                sequence: found.sequence,
                divergent: &found.divergent,
                resume: found.resume,
            },
            Said::Refuse { partition, epoch, sequence, why } => Notice::Refuse {
                partition: *partition,
                epoch: *epoch,
                sequence: *sequence,
                why: *why,
            },
            Said::Kept { partition } => Notice::Kept { partition: *partition },
        });
        encode(&Ack { shard, number, notices: notices.collect() })
    }

    fn refuse(&mut self, partition: PartitionId, epoch: Epoch, sequence: u64, why: Refusal) {
        self.0.push(Said::Refuse { partition, epoch, sequence, why });
    }

    /// Refuses unless the last that was said of the partition is a refusal: many items of it may follow each other.
    fn refuse_once(&mut self, id: PartitionId, epoch: Epoch, sequence: u64, why: Refusal) {
        let last = self.0.iter().rev().find(|said| said.partition() == id);
        if !matches!(last, Some(Said::Refuse { .. })) {
            self.refuse(id, epoch, sequence, why);
        }
    }
}

/// The shards of a worker with `shards` of them that an item concerns, ascending.
pub fn shards_of(item: &Item<'_>, shards: u16) -> Vec<usize> {
    let partition = match item {
        Item::Records(bytes) => return shards_of_records(bytes, shards),
        Item::Join { partition, .. }
        | Item::Base { partition, .. }
        | Item::Chunk { partition, .. }
        | Item::Tokens { partition, .. }
        | Item::Complete { partition, .. }
        | Item::Keep { partition } => *partition,
    };
    vec![shard_of(partition, shards)]
}

pub(crate) fn shards_of_records(mut bytes: &[u8], shards: u16) -> Vec<usize> {
    let mut concerned = Vec::new();
    while let Ok((record, rest)) = Record::read(bytes) {
        let shard = shard_of(record.head.partition, shards);
        if !concerned.contains(&shard) {
            concerned.push(shard);
        }
        bytes = rest;
    }
    concerned.sort_unstable();
    concerned
}

/// A request to follow.
struct Join<'a> {
    partition: PartitionId,
    rev: MapVersion,
    epoch: Epoch,
    released: bool,
    history: &'a History,
    last: u64,
}

/// Where a copy goes on.
struct Base<'a> {
    epoch: Epoch,
    history: &'a History,
    sequence: u64,
    last: u64,
    clock: u64,
    snapshot: bool,
    resumed: bool,
    mended: &'a [u8],
}

/// Why something is refused.
type Taken = Result<(), Refusal>;

impl<H> Shard<H> {
    /// Takes an item that arrived from `peer` over the connection `session`, a number no other connection to this worker
    /// has had. Of records it takes those of its own partitions.
    pub fn receive(
        &mut self,
        now: Now,
        peer: &WorkerId,
        session: u64,
        item: &Item<'_>,
        out: &mut Notices,
    ) {
        let from = (self.peers.place(peer), session);
        match item {
            Item::Records(bytes) => self.take_records(from, bytes, out),
            Item::Join { partition, rev, epoch, released, history, last } => {
                let (partition, rev, epoch) = (*partition, *rev, *epoch);
                let (released, last) = (*released, *last);
                let join = Join { partition, rev, epoch, released, history, last };
                self.join(now, from, &join, out);
            }
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
            } => {
                let (epoch, sequence, last, clock) = (*epoch, *sequence, *last, *clock);
                let (snapshot, resumed) = (*snapshot, *resumed);
                let base =
                    Base { epoch, history, sequence, last, clock, snapshot, resumed, mended };
                self.with(*partition, from, out, |shard, at| shard.take_base(at, &base));
            }
            Item::Chunk { partition, table, from: first, to, entries } => {
                let range = Range { from: *first, to: *to };
                self.with(*partition, from, out, |shard, at| {
                    shard.take_chunk(at, *table, range, entries)
                });
            }
            Item::Tokens { partition, tokens } => {
                self.with(*partition, from, out, |shard, at| shard.take_tokens(at, tokens));
            }
            Item::Complete { partition, tables, digest } => {
                self.with(*partition, from, out, |shard, at| {
                    shard.take_complete(at, tables, *digest)
                });
            }
            Item::Keep { partition } => {
                let mut is_kept = false;
                self.with(*partition, from, out, |shard, at| {
                    is_kept = shard.is_kept(at);
                    Ok(())
                });
                out.0.extend(is_kept.then_some(Said::Kept { partition: *partition }));
            }
        }
    }

    /// Does something to a copy that follows over this connection; what is refused ends the following.
    fn with(
        &mut self,
        id: PartitionId,
        from: (usize, u64),
        out: &mut Notices,
        take: impl FnOnce(&mut Self, usize) -> Taken,
    ) {
        let Some(at) = self.place(id) else {
            return out.refuse_once(id, Epoch(0), 0, Refusal::Unknown);
        };
        let Some(source) = self.source(at, from) else {
            // The sender may still count on us: what we do not take must be refused before we acknowledge past it.
            let replica = &self.replicas[at];
            let (epoch, sequence) = (replica.promised(), replica.partition.order.sequence);
            return out.refuse_once(id, epoch, sequence, Refusal::Gap);
        };
        let taken =
            if self.replicas[at].promised() > source.epoch && self.keeps(Rule::OldReignRefused) {
                Err(Refusal::Promised)
            } else {
                take(self, at)
            };
        if let Err(why) = taken {
            self.leave(at, why, out);
        }
    }

    /// What the copy follows, if it is this connection.
    fn source(&self, at: usize, (peer, session): (usize, u64)) -> Option<Source> {
        match self.replicas[at].role {
            Role::Copy(source) if source.peer == peer && source.session == session => Some(source),
            _ => None,
        }
    }

    /// Follows no longer, and says why.
    fn leave(&mut self, at: usize, why: Refusal, out: &mut Notices) {
        let replica = &mut self.replicas[at];
        replica.role = Role::Idle;
        if matches!(why, Refusal::Digest | Refusal::Memory) {
            log::error!(
                "partition {} differs from its primary ({why:?}): copied anew",
                replica.row.id
            );
            replica.incomplete = Some((TableId(0), 0));
            replica.partition.order = Default::default();
            self.forgo_snapshot(at);
        }
        let replica = &self.replicas[at];
        let (epoch, sequence) = (replica.promised(), replica.partition.order.sequence);
        out.refuse(replica.row.id, epoch, sequence, why);
    }

    // --- join -----------------------------------------------------------------------------------------------------

    fn join(&mut self, now: Now, from: (usize, u64), join: &Join<'_>, out: &mut Notices) {
        let Some(at) = self.place_for(now, join) else {
            return out.refuse(join.partition, Epoch(0), 0, Refusal::Unknown);
        };
        if let Err(why) = self.support(at, now, from, join) {
            let replica = &self.replicas[at];
            let (epoch, sequence) = (replica.promised(), replica.partition.order.sequence);
            return out.refuse(join.partition, epoch, sequence, why);
        }
        self.end_reign(at);
        let (peer, session) = from;
        let source = Source { peer, session, epoch: join.epoch, is_based: false };
        let replica = &mut self.replicas[at];
        replica.role = Role::Copy(source);
        replica.promise.rev = replica.promise.rev.max(join.rev);
        let found = self.find_common(at, join);
        out.0.push(Said::At { partition: join.partition, epoch: join.epoch, found });
    }

    /// The place of a partition that it is asked to follow; None when a newer row says that it is not to have it.
    fn place_for(&mut self, now: Now, join: &Join<'_>) -> Option<usize> {
        if let Some(at) = self.place(join.partition) {
            return Some(at);
        }
        let row = unknown_row(join.partition);
        // The map that names us may come after the primary's message. One that does not drops the partition again.
        (join.rev > self.adopted.version()).then(|| {
            let at = self.add(&row, now);
            self.want_snapshot(at);
            at
        })
    }

    /// Promises itself to a reign, and says whether it may follow it now.
    fn support(&mut self, at: usize, now: Now, (peer, _): (usize, u64), join: &Join<'_>) -> Taken {
        let replica = &self.replicas[at];
        let leads = replica.lead().is_some() && replica.partition.reign >= join.epoch;
        if leads || join.epoch < replica.promised() && self.keeps(Rule::OldReignRefused) {
            return Err(Refusal::Promised);
        }
        if join.epoch > replica.row.epoch {
            let supported = match &replica.role {
                Role::Copy(source) if source.epoch < join.epoch => Some(source.peer),
                _ => None,
            };
            let primary = replica.row.primary.as_ref().filter(|id| **id != self.setup.me).cloned();
            let primary = primary.map(|primary| self.peers.place(&primary));
            for earlier in [supported, primary].into_iter().flatten().filter(|other| *other != peer)
            {
                self.except(at, earlier, join.released);
            }
        }
        let promise = &mut self.replicas[at].promise;
        promise.epoch = promise.epoch.max(join.epoch);
        let waits = promise.granted_until > now.lease_ms && !join.released;
        if waits && self.keeps(Rule::SupportWaits) { Err(Refusal::Granted) } else { Ok(()) }
    }

    fn find_common(&self, at: usize, join: &Join<'_>) -> Found {
        let replica = &self.replicas[at];
        let order = &replica.partition.order;
        let sequence = order.common(join.history, join.last);
        let resume = replica.incomplete;
        let Some(common) = sequence else { return Found::default() };
        if replica.is_reloaded && self.lacks_tables(replica.row.id) {
            return Found::default(); // which of its entries are missing cannot be told
        }
        if resume.is_some() && common != order.sequence {
            return Found::default(); // what was copied before cannot be told from what is to be undone
        }
        if !self.keeps(Rule::DivergenceUndone) {
            return Found { sequence, divergent: Vec::new(), resume };
        }
        match self.keys_after(at, common) {
            Some(divergent) => Found { sequence, divergent, resume },
            None => Found::default(),
        }
    }

    /// The keys that records after a number change, and those that are mended already; None: they are not all known.
    fn keys_after(&self, at: usize, sequence: u64) -> Option<Vec<u8>> {
        let replica = &self.replicas[at];
        let mut keys = Vec::new();
        for (table, key) in &replica.mended {
            Effect::Delete { table: *table, key }.write(&mut keys);
        }
        let mut next = replica.partition.order.tail;
        for _ in sequence..replica.partition.order.sequence {
            let held = self.log.record(next?)?;
            let (record, _) = Record::read(held.record).ok()?;
            for effect in record.effects() {
                match effect.ok()? {
                    Effect::Put(put) => {
                        Effect::Delete { table: put.table, key: put.key }.write(&mut keys);
                    }
                    Effect::Delete { table, key } => {
                        Effect::Delete { table, key }.write(&mut keys);
                    }
                    Effect::Flush { .. } | Effect::Once { .. } => return None,
                    Effect::Start | Effect::Digest { .. } => {}
                }
            }
            next = held.prev;
        }
        Some(keys)
    }

    // --- what follows ---------------------------------------------------------------------------------------------

    fn take_base(&mut self, at: usize, base: &Base<'_>) -> Taken {
        let Role::Copy(source) = &mut self.replicas[at].role else { return Err(Refusal::Gap) };
        if source.epoch != base.epoch {
            return Err(Refusal::Promised);
        }
        source.is_based = true;
        let partition = &mut self.replicas[at].partition;
        partition.clock = partition.clock.max(base.clock);
        let own = partition.order.sequence;
        if base.snapshot && !base.resumed {
            self.begin_copying(at, base);
        } else if base.sequence > own || base.resumed && base.sequence != own {
            return Err(Refusal::Gap);
        }
        let undoes = self.replicas[at].partition.order.sequence > base.sequence;
        self.cut(at, base.sequence);
        let mended = self.mend(at, base);
        if undoes && self.keeps(Rule::UndoneWrittenAnew) {
            self.want_snapshot(at);
        }
        mended
    }

    fn begin_copying(&mut self, at: usize, base: &Base<'_>) {
        let replica = &mut self.replicas[at];
        replica.partition.order.take(base.sequence, base.history);
        replica.incomplete = Some((TableId(0), 0));
        replica.is_reloaded = false;
        replica.mended.clear();
        replica.is_unwritten = false;
        // Steps that are undone may be done again; the primary's tokens come with the last entries.
        replica.partition.once = Default::default();
        let id = replica.row.id;
        // Records that follow on the primary's would be read as if they followed on what was here.
        self.note_gone(id);
    }

    /// Forgets the records after a number; the entries they changed are mended.
    fn cut(&mut self, at: usize, sequence: u64) {
        let order = &mut self.replicas[at].partition.order;
        while order.sequence > sequence {
            let held = order.tail.and_then(|tail| self.log.record(tail));
            order.tail = held.and_then(|held| held.prev);
            order.cut(order.sequence - 1);
        }
    }

    fn mend(&mut self, at: usize, base: &Base<'_>) -> Taken {
        for versioned in Versioned::of(base.mended) {
            let (version, effect) = versioned.map_err(|_| Refusal::Gap)?;
            let (table, key) = match &effect {
                Effect::Put(put) => (put.table, put.key),
                Effect::Delete { table, key } => (*table, *key),
                _ => continue,
            };
            self.remove_entry(at, table, key);
            if let Effect::Put(put) = &effect
                && !self.apply_put(at, version, put)
            {
                return Err(Refusal::Memory);
            }
            self.replicas[at].mended.push((table, key.into()));
        }
        let replica = &mut self.replicas[at];
        replica.mended_until = base.last;
        if replica.partition.order.sequence >= base.last {
            self.end_mending(at);
        }
        Ok(())
    }

    fn take_records(&mut self, from: (usize, u64), mut bytes: &[u8], out: &mut Notices) {
        while !bytes.is_empty() {
            let Ok((record, rest)) = Record::read(bytes) else { return };
            bytes = rest;
            let id = record.head.partition;
            if shard_of(id, self.setup.shards) == usize::from(self.setup.number) {
                self.with(id, from, out, |shard, at| shard.take_record(at, &record));
            }
        }
    }

    fn take_record(&mut self, at: usize, record: &Record<'_>) -> Taken {
        let replica = &self.replicas[at];
        let order = &replica.partition.order;
        let Role::Copy(source) = &replica.role else { return Err(Refusal::Gap) };
        let head = &record.head;
        let fits = head.sequence == order.sequence + 1
            && head.epoch >= order.epoch()
            && head.epoch <= source.epoch;
        if !fits || !source.is_based {
            return Err(Refusal::Gap);
        }
        self.apply(at, record, true)?;
        let replica = &mut self.replicas[at];
        let partition = &mut replica.partition;
        let sequence = partition.order.advance(head.epoch);
        partition.clock = partition.clock.max(head.clock);
        let tail = partition.order.tail;
        let (start, _) = self.log.append(tail, |out| out.extend_from_slice(record.bytes));
        partition.order.tail = Some(start);
        if sequence >= replica.mended_until && !replica.mended.is_empty() {
            self.end_mending(at);
        }
        if self.log.is_full() {
            self.trim_log_of_copy();
        }
        Ok(())
    }

    /// Applies a record's effects; `checks`: what all entries add up to is compared too.
    pub(crate) fn apply(&mut self, at: usize, record: &Record<'_>, checks: bool) -> Taken {
        let version = record.head.version();
        for effect in record.effects() {
            match effect.map_err(|_| Refusal::Gap)? {
                Effect::Put(put) if self.apply_put(at, version, &put) => {}
                Effect::Put(_) => return Err(Refusal::Memory),
                Effect::Delete { table, key } => self.apply_delete(at, version, table, key),
                Effect::Flush { table } => self.apply_flush(at, table),
                Effect::Start => {}
                Effect::Digest { sum } if checks => self.check_digest(at, sum)?,
                Effect::Digest { .. } => {}
                Effect::Once { token, replies } => {
                    let until = record.head.clock.saturating_add(ONCE_MS);
                    self.replay(at, until, token, &replies);
                }
            }
        }
        Ok(())
    }

    fn check_digest(&self, at: usize, sum: u64) -> Taken {
        let replica = &self.replicas[at];
        let whole = replica.incomplete.is_none() && replica.mended.is_empty();
        if whole && replica.partition.digest() != sum { Err(Refusal::Digest) } else { Ok(()) }
    }

    fn replay(&mut self, at: usize, until: u64, token: &[u8], replies: &[&[u8]]) {
        let replies: Option<Vec<ReplyBuf>> =
            replies.iter().map(|bytes| ReplyBuf::from_bytes(bytes.to_vec().into()).ok()).collect();
        let once = &mut self.replicas[at].partition.once;
        match replies {
            Some(replies) => once.replay(until, token, replies),
            None => log::error!("the replies kept with an idempotency key do not read"),
        }
    }

    pub(crate) fn take_chunk(
        &mut self,
        at: usize,
        id: TableId,
        range: Range,
        entries: &[u8],
    ) -> Taken {
        if self.replicas[at].incomplete.is_none() {
            return Err(Refusal::Gap);
        }
        let usages = &self.setup.usages;
        let table = self.replicas[at].partition.table_or_new(id, || usages.of(id));
        let (arena, hashes) = (&mut self.arena, &*self.setup.hashes);
        let replaced = Target { arena, hashes, id, table }.replace(range, entries);
        replaced.map_err(|unfit| match unfit {
            super::chunk::Unfit::Memory => Refusal::Memory,
            super::chunk::Unfit::Malformed(_) => Refusal::Gap,
        })?;
        let next = match range.to.checked_add(1) {
            Some(next) => (id, next),
            None => (TableId(id.0 + 1), 0),
        };
        self.replicas[at].incomplete = Some(next);
        Ok(())
    }

    pub(crate) fn take_tokens(&mut self, at: usize, tokens: &[u8]) -> Taken {
        let mut rest = tokens;
        while let Some((until, after)) = rest.split_first_chunk() {
            let mut effects = Effects::of(after);
            let effect = effects.next().ok_or(Refusal::Gap)?.map_err(|_| Refusal::Gap)?;
            if let Effect::Once { token, replies } = effect {
                self.replay(at, u64::from_le_bytes(*until), token, &replies);
            }
            rest = effects.rest();
        }
        Ok(())
    }

    fn take_complete(&mut self, at: usize, tables: &[TableId], digest: u64) -> Taken {
        let partition = &mut self.replicas[at].partition;
        let gone = partition.take_tables(|id| !tables.contains(&id));
        self.discard(gone);
        self.replicas[at].incomplete = None;
        self.want_snapshot(at);
        self.check_digest(at, digest)
    }
}

/// Entries of a copy, as records and snapshots change them.
impl<H> Shard<H> {
    /// An entry: its version and content.
    pub(crate) fn entry_of(
        &self,
        at: usize,
        table: TableId,
        hash: u64,
        key: &[u8],
    ) -> Option<(Version, Content<'_>)> {
        let table = self.replicas[at].partition.table(table)?;
        let handle = table.find(&self.arena, hash, key)?;
        let entry = Entry::new(self.arena.get(handle));
        Some((entry.version(), entry.content()))
    }

    /// Writes an entry unless a newer one is there; false when there is no memory for it.
    pub(crate) fn apply_put(&mut self, at: usize, version: Version, put: &Put<'_>) -> bool {
        let usages = &self.setup.usages;
        let table = self.replicas[at].partition.table_or_new(put.table, || usages.of(put.table));
        let content = Content { value: put.value, meta: put.meta, expires_at: put.expires_at };
        let (arena, hashes) = (&mut self.arena, &*self.setup.hashes);
        table.apply_put(arena, hashes, put.key, version, &content).is_ok()
    }

    fn apply_delete(&mut self, at: usize, version: Version, table: TableId, key: &[u8]) {
        let (arena, hashes) = (&mut self.arena, &*self.setup.hashes);
        if let Some(table) = self.replicas[at].partition.table_mut(table) {
            table.apply_delete(arena, hashes, key, version);
        }
    }

    /// Discards a table. What a snapshot has brought of later records comes again with them.
    fn apply_flush(&mut self, at: usize, id: TableId) {
        let gone = self.replicas[at].partition.take_tables(|other| other == id);
        self.discard(gone);
    }

    fn remove_entry(&mut self, at: usize, table: TableId, key: &[u8]) {
        self.apply_delete(at, Version(u64::MAX), table, key);
    }
}
