//! What a shard has for its disk: everything that a restart is to find again, in frames.
//!
//! The log on disk is one more copy that is only written to. It has the shard's records in their order and, between them,
//! snapshots of single partitions: [`Item::Begin`], entries, [`Item::End`]. A snapshot replaces what came before of the
//! partition; it is fuzzy as those of copies are, so records go on while it is written. What is older than the begin of
//! the newest snapshot of every partition is of no use any more: so the log is compacted, by writing all partitions anew
//! and dropping what was before.
//!
//! ```text
//!  0         4        8      9
//!  ┌─────────┬────────┬──────┬────────┐
//!  │ length  │ crc    │ kind │ body … │   little-endian; length counts kind and body, crc (CRC-32) is over both
//!  │ u32     │ u32    │ u8   │        │   kind 1: records, see firn_wire::record; 2: an Item, as postcard
//!  └─────────┴────────┴──────┴────────┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use firn_wire::ids::{GroupId, PartitionId, TableId};
use firn_wire::map::{Durability, MapIndex};
use firn_wire::record::{Effect, Record, begin, end};
use firn_wire::replica::{History, encode};
use serde::{Deserialize, Serialize};

use super::chunk;
use super::follower::Place;
use super::log::Position;
use super::once::Remembered;
use super::replica::Replica;
use super::rules::Rule;
use super::shard::Shard;

/// Bytes before a frame's body.
pub const FRAME_HEAD_BYTES: usize = 9;
/// The kind of a frame with records.
pub const RECORDS: u8 = 1;
/// The kind of a frame with an [`Item`].
pub const ITEM: u8 = 2;

/// Entries read at once for a snapshot, in bytes, so that the shard is not locked for long.
const CHUNK_BYTES: usize = 64 * 1024;

/// What is on disk besides records.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item<'a> {
    /// A snapshot begins: what came before of the partition is replaced, once its end is read.
    Begin {
        /// Which.
        partition: PartitionId,
        /// Its reigns.
        history: History,
        /// The last record whose effects are all in it; records from the next on follow.
        sequence: u64,
        /// The partition's time, Unix milliseconds.
        clock: u64,
    },
    /// All entries of a table with hashes in a range: as in [`firn_wire::replica::Item::Chunk`].
    Chunk {
        /// Which.
        partition: PartitionId,
        /// The table.
        table: TableId,
        /// The first hash of the range.
        from: u64,
        /// The last hash of the range.
        to: u64,
        /// Each a version (u64) and a put.
        #[serde(with = "serde_bytes")]
        entries: &'a [u8],
    },
    /// The snapshot is whole.
    End {
        /// Which.
        partition: PartitionId,
        /// Idempotency keys: as in [`firn_wire::replica::Item::Tokens`].
        #[serde(with = "serde_bytes")]
        tokens: &'a [u8],
    },
    /// The partition is not here any more, or is copied anew: what came before of it does not count.
    Gone {
        /// Which.
        partition: PartitionId,
    },
}

/// How far the disk has come: a state of the shard is on disk when both are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    records: Position,
    /// Every snapshot up to this one, of those without which what is on disk is of no use.
    snapshots: u64,
    /// Every renewal of the whole up to this one.
    renewals: u64,
}

impl Mark {
    /// Whether it is as far as another.
    pub fn reaches(self, other: Self) -> bool {
        self.records >= other.records
            && self.snapshots >= other.snapshots
            && self.renewals >= other.renewals
    }
}

/// What is to be written next.
#[derive(Debug)]
pub struct Filled {
    /// Frames, to be sealed.
    pub bytes: Vec<u8>,
    /// What has been handed out with it: on disk when it is.
    pub mark: Mark,
    /// Whether somebody waits for it to be on disk.
    pub hurry: bool,
    /// Bytes that are not of records.
    pub snapshots: usize,
    /// Whether snapshots are left that a copy needs to be in sync.
    pub is_awaited: bool,
}

/// How soon what is new is to be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Urgency {
    /// There is nothing.
    None,
    /// Within the second.
    Soon,
    /// Somebody waits for it.
    Now,
}

impl Filled {
    /// What was handed out after it is to be written with it.
    pub fn append(&mut self, more: &Self) {
        self.bytes.extend_from_slice(&more.bytes);
        self.mark = more.mark;
        self.hurry |= more.hurry;
        self.snapshots += more.snapshots;
        self.is_awaited = more.is_awaited;
    }

    /// Puts the checksums in: not under the shard's lock.
    pub fn seal(&mut self) {
        let mut rest = &mut self.bytes[..];
        while let Some((head, after)) = rest.split_first_chunk_mut::<8>() {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let (content, next) = after.split_at_mut(length);
            head[4..].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
            rest = next;
        }
    }
}

/// A snapshot that is being written.
#[derive(Debug)]
struct Writing {
    partition: PartitionId,
    /// Its number; None: it is part of a renewal.
    number: Option<u64>,
    next: Place,
}

/// A shard's disk.
///
/// Invariants: a partition is in `wanted`, `renewing` or `writing` at most once, it is here, and numbers in `wanted` ascend.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Records before it have been handed out.
    pub(crate) sent: Position,
    /// Partitions of which nothing counts any more that is before a place in the log, by that.
    gone: VecDeque<(Position, PartitionId)>,
    /// Those that were handed out and may not be on disk.
    gone_handed: Vec<PartitionId>,
    /// Partitions that are to be written, since what is on disk does not lead to what they are.
    wanted: VecDeque<(u64, PartitionId)>,
    /// Partitions that are to be written so that what was before can go.
    renewing: VecDeque<PartitionId>,
    renewals: u64,
    writing: Option<Writing>,
    /// The number of the last snapshot asked for.
    asked: u64,
    pub(crate) synced: Mark,
    /// What was handed out last was never written: this far it was, and it is again good from this snapshot on.
    lost: Option<(Mark, u64)>,
    hurry: bool,
    /// Why it cannot be written to.
    pub(crate) trouble: Option<Arc<str>>,
    /// Tables of which nothing is kept, each with its group.
    volatile: Vec<(GroupId, TableId)>,
    /// Groups with a table that is `always` on disk.
    lasting: Vec<GroupId>,
}

impl Disk {
    fn snapshots_done(&self) -> u64 {
        let writing = self.writing.as_ref().and_then(|writing| writing.number);
        let wanted = self.wanted.front().map(|(number, _)| *number);
        writing.into_iter().chain(wanted).min().map_or(self.asked, |number| number - 1)
    }

    /// Nothing is to be written of a partition now.
    pub(crate) fn drop_from_queue(&mut self, id: PartitionId) {
        self.writing.take_if(|writing| writing.partition == id);
        self.wanted.retain(|(_, wanted)| *wanted != id);
        self.renewing.retain(|renewing| *renewing != id);
    }

    fn renewals_done(&self) -> u64 {
        let writes = self.writing.as_ref().is_some_and(|writing| writing.number.is_none());
        self.renewals.saturating_sub(u64::from(writes || !self.renewing.is_empty()))
    }

    /// A partition is to be written anew. One that is to be already keeps its number: who waits for that waits for this.
    /// Returns the number.
    fn want(&mut self, id: PartitionId) -> u64 {
        let begun = self.writing.take_if(|writing| writing.partition == id);
        if let Some(number) = begun.and_then(|writing| writing.number) {
            self.wanted.push_front((number, id));
            return number;
        }
        if let Some((number, _)) = self.wanted.iter().find(|(_, wanted)| *wanted == id) {
            return *number;
        }
        self.renewing.retain(|renewing| *renewing != id);
        self.asked += 1;
        self.wanted.push_back((self.asked, id));
        self.asked
    }

    /// A partition that is to be written cannot be yet. What was before stays until it is.
    fn defer(&mut self, id: PartitionId) {
        let begun = self.writing.take_if(|writing| writing.partition == id).is_some();
        let queued = self.wanted.len();
        self.wanted.retain(|(_, wanted)| *wanted != id);
        if begun || self.wanted.len() < queued {
            self.renewing.push_back(id);
        }
    }

    /// A partition is to be written so that what was before can go. One that is wanted anyway goes with that.
    fn renew(&mut self, id: PartitionId) {
        self.writing.take_if(|writing| writing.partition == id && writing.number.is_none());
        let begun = self.writing.take_if(|writing| writing.partition == id);
        match begun.and_then(|writing| writing.number) {
            Some(number) => self.wanted.push_front((number, id)),
            None if self.wanted.iter().any(|(_, wanted)| *wanted == id) => {}
            None => self.renewing.push_back(id),
        }
    }

    /// The next partition to be written, of those that can be.
    fn take_next(&mut self, is_whole: impl Fn(PartitionId) -> bool) -> Option<Writing> {
        let next = (TableId(0), 0);
        // One that is being copied is written when it is whole; those behind it do not wait.
        if let Some(at) = self.wanted.iter().position(|(_, id)| is_whole(*id)) {
            let (number, partition) = self.wanted.remove(at)?;
            return Some(Writing { partition, number: Some(number), next });
        }
        let at = self.renewing.iter().position(|id| is_whole(*id))?;
        let partition = self.renewing.remove(at)?;
        Some(Writing { partition, number: None, next })
    }

    /// What is on disk when everything that was handed out is.
    fn mark(&mut self) -> Mark {
        let snapshots = self.snapshots_done();
        self.lost = self.lost.filter(|(_, until)| snapshots < *until);
        match self.lost {
            Some((synced, _)) => synced,
            None => Mark { records: self.sent, snapshots, renewals: self.renewals_done() },
        }
    }

    fn is_volatile(&self, table: TableId) -> bool {
        self.volatile.iter().any(|(_, id)| *id == table)
    }

    pub(crate) fn hurry(&mut self) {
        self.hurry = true;
    }
}

/// Appends a frame around what `write` adds, without its checksum.
fn frame(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES - 1]);
    out.push(kind);
    write(out);
    let length = (out.len() - start - 8) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn item(out: &mut Vec<u8>, item: &Item<'_>) {
    frame(out, ITEM, |out| out.extend_from_slice(&encode(item)));
}

impl<H> Shard<H> {
    /// A partition is to be written anew: what the disk has of it does not lead to what it is now. One of which entries are
    /// mended waits until they are: what waits for the disk must not wait for that, since records that mend may come last.
    pub(crate) fn want_snapshot(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let Some(disk) = &mut self.disk else { return };
        replica.is_unwritten = !replica.mended.is_empty();
        if replica.is_unwritten {
            disk.defer(replica.row.id);
        } else {
            replica.snapshot = disk.want(replica.row.id);
        }
    }

    /// A partition's entries are those of its last record again.
    pub(crate) fn end_mending(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        replica.mended.clear();
        if std::mem::take(&mut replica.is_unwritten) {
            self.want_snapshot(at);
        }
    }

    /// Whether all of a copy is on disk, but for what was written last; without a disk nothing is to be.
    pub(crate) fn is_kept(&self, at: usize) -> bool {
        let replica = &self.replicas[at];
        let is_written = |disk: &Disk| disk.synced.snapshots >= replica.snapshot;
        let is_whole = replica.incomplete.is_none() && !replica.is_unwritten;
        is_whole && self.disk.as_ref().is_none_or(is_written)
    }

    /// What the disk has of a partition is nothing to go on from any more.
    pub(crate) fn note_gone(&mut self, id: PartitionId) {
        if let Some(disk) = &mut self.disk {
            disk.drop_from_queue(id);
            disk.gone.push_back((self.log.end(), id));
        }
    }

    /// Learns which tables are not to be kept. Where that has changed partitions are written anew: the disk has what is not
    /// to be kept any more, or lacks what now is.
    pub(crate) fn read_durability(&mut self, map: &MapIndex) {
        let Some(disk) = &mut self.disk else { return };
        let of = |durability| {
            let rows = map.tables.iter();
            rows.filter(move |row| row.policy.durability_or_default() == durability)
        };
        disk.lasting = of(Durability::Always).map(|row| row.group).collect();
        disk.lasting.dedup();
        let now: Vec<_> = of(Durability::None).map(|row| (row.group, row.id)).collect();
        let before = std::mem::replace(&mut disk.volatile, now.clone());
        let came = now.iter().filter(|table| !before.contains(table));
        let changed = came.chain(before.iter().filter(|table| !now.contains(table)));
        let groups: Vec<GroupId> = changed.map(|(group, _)| *group).collect();
        if groups.is_empty() {
            return;
        }
        for id in self.whole_partitions().into_iter().filter(|id| groups.contains(&id.group)) {
            self.want_snapshot(self.places[&id]);
        }
    }

    /// Whether a reign in a group starts on the disks.
    pub(crate) fn is_lasting(&self, group: GroupId) -> bool {
        let disk = self.disk.as_ref().filter(|_| self.keeps(Rule::StartOnDisks));
        disk.is_some_and(|disk| disk.lasting.contains(&group))
    }

    /// Whether the disk lacks some tables of a partition.
    pub(crate) fn lacks_tables(&self, id: PartitionId) -> bool {
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| disk.volatile.iter().any(|(group, _)| *group == id.group))
    }

    /// Nothing is to be written of a partition until it is whole again.
    pub(crate) fn forgo_snapshot(&mut self, at: usize) {
        let id = self.replicas[at].row.id;
        if let Some(disk) = &mut self.disk {
            disk.drop_from_queue(id);
        }
    }

    /// Why writes that must survive cannot be taken now.
    pub fn disk_trouble(&self) -> Option<&Arc<str>> {
        self.disk.as_ref()?.trouble.as_ref()
    }

    /// The disk fails, for this reason; None: it works again.
    pub fn set_disk_trouble(&mut self, why: Option<Arc<str>>) {
        if let Some(disk) = &mut self.disk {
            disk.trouble = why;
        }
    }

    /// Whether [`Shard::fill_disk`] has something to look for.
    pub fn disk_urgency(&self) -> Urgency {
        let Some(disk) = &self.disk else { return Urgency::None };
        let queued = !disk.wanted.is_empty() || !disk.renewing.is_empty();
        let snapshots = disk.writing.is_some() || queued;
        match disk.hurry {
            true => Urgency::Now,
            false if disk.sent < self.log.end() || !disk.gone.is_empty() || snapshots => {
                Urgency::Soon
            }
            false => Urgency::None,
        }
    }

    /// What must be on disk for all that is here now.
    pub fn disk_mark(&self) -> Option<Mark> {
        let asked = self.disk.as_ref()?.asked;
        let snapshots = if self.keeps(Rule::SnapshotsAwaited) { asked } else { 0 };
        Some(Mark { records: self.log.end(), snapshots, renewals: 0 })
    }

    /// Somebody waits until everything is on disk.
    pub fn hurry_disk(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.hurry();
        }
    }

    /// Everything up to a mark is on disk, and stays there when the power goes.
    pub fn disk_synced(&mut self, mark: Mark) {
        if let Some(disk) = &mut self.disk {
            disk.synced = mark;
            disk.gone_handed.clear();
            self.advance_all();
        }
    }

    /// All partitions are to be written anew, so that what was written before can go. Returns the mark at which it can.
    pub fn renew_disk(&mut self) -> Option<Mark> {
        let ids = self.whole_partitions();
        let disk = self.disk.as_mut()?;
        disk.renewing.clear();
        ids.into_iter().for_each(|id| disk.renew(id));
        disk.renewals += 1;
        let (snapshots, renewals) = (disk.asked, disk.renewals);
        let renewals = if self.keeps(Rule::RenewalsWhole) { renewals } else { 0 };
        Some(Mark { records: Position::default(), snapshots, renewals })
    }

    /// One that is being copied is written when it is whole.
    fn whole_partitions(&self) -> Vec<PartitionId> {
        let whole = self.replicas.iter().filter(|replica| replica.incomplete.is_none());
        whole.map(|replica| replica.row.id).collect()
    }

    /// What was handed out and is not on disk will never be: all partitions are written anew.
    pub fn lose_disk(&mut self) {
        let (end, ids) = (self.log.end(), self.whole_partitions());
        ids.into_iter().for_each(|id| self.want_snapshot(self.places[&id]));
        if let Some(disk) = &mut self.disk {
            let handed = std::mem::take(&mut disk.gone_handed);
            handed.into_iter().rev().for_each(|id| disk.gone.push_front((Position::default(), id)));
            disk.sent = end;
            disk.lost = Some((disk.synced, disk.asked));
        }
    }

    /// What is to be written next: about so many bytes of records, and of entries of snapshots. None: nothing now. It is put
    /// into `memory`, which comes back with it: fresh memory would cost as much as the copy.
    pub fn fill_disk(
        &mut self,
        memory: &mut Vec<u8>,
        records_max: usize,
        entries_max: usize,
    ) -> Option<Filled> {
        let mut out = std::mem::take(memory);
        out.clear();
        self.fill_records(records_max, &mut out);
        self.fill_gone(&mut out);
        let records = out.len();
        let entries_max = out.len() + entries_max;
        while out.len() < entries_max && self.fill_snapshot(&mut out) {}
        let disk = self.disk.as_mut()?;
        let hurry = std::mem::take(&mut disk.hurry);
        if out.is_empty() && !hurry {
            *memory = out;
            return None;
        }
        let mark = disk.mark();
        let is_all = disk.sent == self.log.end() && disk.gone.is_empty();
        let is_all = is_all && mark.snapshots == disk.asked;
        // Where nothing can be written now, the next sync is soon enough.
        disk.hurry = hurry && !is_all && !out.is_empty();
        let (snapshots, is_awaited) = (out.len() - records, disk.asked > disk.snapshots_done());
        Some(Filled { bytes: out, mark, hurry, snapshots, is_awaited })
    }

    fn fill_records(&mut self, bytes_max: usize, out: &mut Vec<u8>) {
        let Some(disk) = &mut self.disk else { return };
        if disk.sent < self.log.start() {
            return self.lose_disk();
        }
        let until = disk.gone.front().map_or(self.log.end(), |(from, _)| *from);
        if disk.sent >= until {
            return;
        }
        let log = &self.log;
        let kept = |table| !disk.is_volatile(table);
        let mut sent = disk.sent;
        frame(out, RECORDS, |out| {
            let bytes_max = out.len() + bytes_max;
            for (position, held) in log.walk(sent) {
                if out.len() >= bytes_max || position >= until {
                    break;
                }
                sent = held.next;
                match disk.volatile.is_empty() {
                    true => out.extend_from_slice(held.record),
                    false => write_kept(held.record, kept, out),
                }
            }
        });
        disk.sent = sent;
        if !self.replicas.iter().any(Replica::is_logged) {
            // Nobody will ask for them again, and memory that is used again soon is still in the cache.
            let keep = self.log_needed();
            self.log.release(keep);
        }
    }

    /// What is of no use any more is named behind its records and before those of a later life.
    fn fill_gone(&mut self, out: &mut Vec<u8>) {
        let Some(disk) = &mut self.disk else { return };
        while let Some((_, partition)) = disk.gone.pop_front_if(|(from, _)| *from <= disk.sent) {
            item(out, &Item::Gone { partition });
            disk.gone_handed.push(partition);
        }
    }

    /// Writes some of a snapshot; false when there is none to be written now.
    fn fill_snapshot(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((at, next)) = self.snapshot_place(out) else { return false };
        let Some(disk) = &self.disk else { return false };
        let partition = &self.replicas[at].partition;
        let kept = |id: &TableId| *id >= next.0 && !disk.is_volatile(*id);
        let next = match partition.table_ids().find(kept) {
            Some(id) => {
                let from = if id == next.0 { next.1 } else { 0 };
                Some(self.fill_chunk(at, (id, from), out))
            }
            // With entries newer than the records it would be nothing that ever was.
            None if disk.sent != self.log.end() => return false,
            None => {
                self.fill_end(at, out);
                None
            }
        };
        let Some(disk) = &mut self.disk else { return false };
        match (next, &mut disk.writing) {
            (Some(next), Some(writing)) => writing.next = next,
            _ => disk.writing = None,
        }
        true
    }

    /// Where the snapshot at hand goes on; the next is begun when there is none.
    fn snapshot_place(&mut self, out: &mut Vec<u8>) -> Option<(usize, Place)> {
        let disk = self.disk.as_mut()?;
        if let Some(writing) = &disk.writing {
            return Some((self.places[&writing.partition], writing.next));
        }
        // What was before must not come after the begin: some records may be undone.
        if disk.sent != self.log.end() || !disk.gone.is_empty() {
            return None;
        }
        let (replicas, places) = (&self.replicas, &self.places);
        let writing = disk.take_next(|id| {
            let replica = &replicas[places[&id]];
            replica.incomplete.is_none() && replica.mended.is_empty()
        })?;
        let (id, next) = (writing.partition, writing.next);
        disk.writing = Some(writing);
        let at = self.places[&id];
        let partition = &self.replicas[at].partition;
        let (history, sequence) = (partition.order.history.clone(), partition.order.sequence);
        item(out, &Item::Begin { partition: id, history, sequence, clock: partition.clock });
        Some((at, next))
    }

    fn fill_chunk(&self, at: usize, (id, from): Place, out: &mut Vec<u8>) -> Place {
        let partition = &self.replicas[at].partition;
        let Some(table) = partition.table(id) else { return (TableId(id.0 + 1), 0) };
        let (arena, hashes) = (&self.arena, &*self.setup.hashes);
        let mut entries = Vec::new();
        let source = chunk::Source { arena, hashes, id, table };
        let to = source.read(from, CHUNK_BYTES, &mut entries);
        let partition = partition.id;
        item(out, &Item::Chunk { partition, table: id, from, to, entries: &entries });
        if to == u64::MAX { (TableId(id.0 + 1), 0) } else { (id, to + 1) }
    }

    fn fill_end(&self, at: usize, out: &mut Vec<u8>) {
        let partition = &self.replicas[at].partition;
        let tokens = tokens_of(&partition.once);
        item(out, &Item::End { partition: partition.id, tokens: &tokens });
    }
}

/// Idempotency keys: each the time it goes and a `once` effect.
pub(crate) fn tokens_of(once: &super::once::Once) -> Vec<u8> {
    let mut tokens = Vec::new();
    for (_, Remembered { until, token, replies }) in once.iter(0) {
        tokens.extend_from_slice(&u64::to_le_bytes(until));
        let replies = replies.iter().map(|reply| &reply.as_bytes()[..]).collect();
        Effect::Once { token, replies }.write(&mut tokens);
    }
    tokens
}

/// Appends a record without what it does to tables that are not kept: its number is still counted.
fn write_kept(record: &[u8], kept: impl Fn(TableId) -> bool, out: &mut Vec<u8>) {
    let Ok((read, _)) = Record::read(record) else { return };
    let start = begin(&read.head, out);
    for effect in read.effects().flatten() {
        let table = match &effect {
            Effect::Put(put) => Some(put.table),
            Effect::Delete { table, .. } | Effect::Flush { table } => Some(*table),
            Effect::Start | Effect::Digest { .. } | Effect::Once { .. } => None,
        };
        if table.is_none_or(&kept) {
            effect.write(out);
        }
    }
    end(start, out);
}
