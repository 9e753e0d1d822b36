//! Reading back what was on disk: see [`super::disk`].
//!
//! A log is read twice. First all of it is checked and the snapshots that are whole are noted ([`Plan`]); then it is
//! applied ([`Shard::reload_records`], [`Shard::reload_item`]), without those that are not. Records that do not follow on
//! what is there end what is read of a partition: it was undone in some way then, and a snapshot follows, or was to.

use std::collections::{HashMap, HashSet};

use firn_wire::ids::{Epoch, MapVersion, PartitionId};
use firn_wire::map::{PartitionRow, shard_of};
use firn_wire::record::Record;
use firn_wire::replica::decode;

use super::chunk::Range;
use super::disk::{FRAME_HEAD_BYTES, ITEM, Item, RECORDS};
use super::rules::{Rule, Rules};
use super::shard::Shard;
use super::time::Now;

/// The longest frame: a record of as many of the longest values as a step may have is far below it.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// Why bytes are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// They end within a frame, or are no frame.
    #[error("it is cut off or its checksum is wrong")]
    Frame,
    /// What is in a frame with a right checksum does not read: another version has written it.
    #[error("what is in it does not read: {0}")]
    Content(&'static str),
    /// There is not enough memory.
    #[error("there is no memory for all of it")]
    Memory,
}

/// A frame: its kind, its body, and the bytes it takes.
pub type Frame<'a> = (u8, &'a [u8], usize);

/// The first frame of some bytes; None when there are none.
pub fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, Damage> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let head = bytes.first_chunk::<FRAME_HEAD_BYTES>().ok_or(Damage::Frame)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, crc) = (number(0) as usize, number(4));
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(Damage::Frame);
    }
    let content = bytes.get(8..8 + length).ok_or(Damage::Frame)?;
    if crc32fast::hash(content) != crc {
        return Err(Damage::Frame);
    }
    Ok(Some((content[0], &content[1..], 8 + length)))
}

/// An item of a frame.
fn item(body: &[u8]) -> Result<Item<'_>, Damage> {
    decode(body).map_err(|_| Damage::Content("an item"))
}

/// Which snapshots of a log are whole.
#[derive(Debug, Default)]
pub struct Plan {
    frames: u64,
    /// The frame with the newest begin of each partition.
    begun: HashMap<PartitionId, u64>,
    whole: HashSet<u64>,
    records: u64,
}

impl Plan {
    /// Takes the next frame.
    pub fn note(&mut self, kind: u8, body: &[u8]) -> Result<(), Damage> {
        self.frames += 1;
        match kind {
            RECORDS => self.check_records(body),
            ITEM => {
                match item(body)? {
                    Item::Begin { partition, .. } => {
                        self.begun.insert(partition, self.frames);
                    }
                    Item::End { partition, .. } => {
                        self.whole.extend(self.begun.remove(&partition));
                    }
                    Item::Gone { partition } => {
                        self.begun.remove(&partition);
                    }
                    Item::Chunk { .. } => {}
                }
                Ok(())
            }
            _ => Err(Damage::Content("a frame of a kind that this version does not know")),
        }
    }

    fn check_records(&mut self, mut bytes: &[u8]) -> Result<(), Damage> {
        while !bytes.is_empty() {
            let (_, rest) = Record::read(bytes).map_err(|_| Damage::Content("a record"))?;
            (bytes, self.records) = (rest, self.records + 1);
        }
        Ok(())
    }

    /// Records seen so far.
    pub fn records(&self) -> u64 {
        self.records
    }
}

/// How far a log has been applied.
#[derive(Debug)]
pub struct Reload {
    plan: Plan,
    rules: Rules,
    frames: u64,
    /// Partitions of which a snapshot is being applied.
    open: HashSet<PartitionId>,
    /// Those that came to an end: only a snapshot goes on.
    ended: HashSet<PartitionId>,
}

impl Reload {
    /// Begins to apply the log that was planned.
    pub fn new(plan: Plan, rules: Rules) -> Self {
        Self { plan, rules, frames: 0, open: HashSet::new(), ended: HashSet::new() }
    }

    /// Applies the next frame to whichever shard it concerns; `with` gives one by its number.
    pub fn apply<H>(
        &mut self,
        kind: u8,
        body: &[u8],
        shards: u16,
        mut with: impl FnMut(
            usize,
            &mut dyn FnMut(&mut Shard<H>) -> Result<(), Damage>,
        ) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        self.frames += 1;
        if kind == RECORDS {
            for number in super::receive::shards_of_records(body, shards) {
                with(number, &mut |shard| shard.reload_records(body, &mut self.ended))?;
            }
            return Ok(());
        }
        let item = item(body)?;
        let (partition, is_wanted) = match &item {
            Item::Begin { partition, .. } => {
                let is_whole = self.plan.whole.contains(&self.frames)
                    || !self.rules.keep(Rule::WholeSnapshotsRead);
                if is_whole {
                    self.open.insert(*partition);
                    self.ended.remove(partition);
                } else {
                    self.open.remove(partition);
                }
                (*partition, is_whole)
            }
            Item::Chunk { partition, .. } => (*partition, self.open.contains(partition)),
            Item::End { partition, .. } => (*partition, self.open.remove(partition)),
            Item::Gone { partition } => {
                self.open.remove(partition);
                (*partition, true)
            }
        };
        if !is_wanted {
            return Ok(());
        }
        with(shard_of(partition, shards), &mut |shard| shard.reload_item(&item))
    }

    /// The partitions of which the disk has no more than a beginning: they are to be written anew.
    pub fn ended(&self) -> impl Iterator<Item = PartitionId> {
        self.ended.iter().copied()
    }
}

impl<H> Shard<H> {
    /// Applies records to those of its partitions that they follow on.
    fn reload_records(
        &mut self,
        mut bytes: &[u8],
        ended: &mut HashSet<PartitionId>,
    ) -> Result<(), Damage> {
        while !bytes.is_empty() {
            let (record, rest) = Record::read(bytes).map_err(|_| Damage::Content("a record"))?;
            bytes = rest;
            let id = record.head.partition;
            // The first record of all follows on nothing: a partition that began here needs no snapshot before it.
            let begins = record.head.sequence == 1;
            if shard_of(id, self.setup.shards) == usize::from(self.setup.number)
                && !ended.contains(&id)
                && let Some(at) = self.place(id).or_else(|| begins.then(|| self.reload_place(id)))
                && !self.reload_record(at, &record)?
                && self.keeps(Rule::GapsEndReading)
            {
                ended.insert(id);
            }
        }
        Ok(())
    }

    /// Applies a record if it is the next of its partition.
    fn reload_record(&mut self, at: usize, record: &Record<'_>) -> Result<bool, Damage> {
        let order = &self.replicas[at].partition.order;
        let head = &record.head;
        if head.sequence != order.sequence + 1 || head.epoch < order.epoch() {
            return Ok(false);
        }
        self.apply(at, record, false).map_err(|_| Damage::Memory)?;
        let partition = &mut self.replicas[at].partition;
        partition.order.advance(head.epoch);
        partition.clock = partition.clock.max(head.clock);
        self.free_discarded();
        Ok(true)
    }

    fn reload_item(&mut self, item: &Item<'_>) -> Result<(), Damage> {
        let refused = |why| match why {
            firn_wire::replica::Refusal::Memory => Damage::Memory,
            _ => Damage::Content("a snapshot"),
        };
        match item {
            Item::Begin { partition, history, sequence, clock } => {
                let at = self.reload_place(*partition);
                let replica = &mut self.replicas[at];
                let old = replica.partition.take_tables(|_| true);
                replica.partition.order.take(*sequence, history);
                replica.partition.once = Default::default();
                replica.partition.clock = *clock;
                replica.incomplete = Some((firn_wire::ids::TableId(0), 0));
                self.discard(old);
                self.free_discarded();
            }
            Item::Chunk { partition, table, from, to, entries } => {
                let at = self.reload_place(*partition);
                let range = Range { from: *from, to: *to };
                self.take_chunk(at, *table, range, entries).map_err(refused)?;
            }
            Item::End { partition, tokens } => {
                let at = self.reload_place(*partition);
                self.take_tokens(at, tokens).map_err(refused)?;
                self.replicas[at].incomplete = None;
            }
            Item::Gone { partition } => {
                if let Some(at) = self.place(*partition) {
                    self.take_out(at);
                    self.free_discarded();
                }
            }
        }
        Ok(())
    }

    fn reload_place(&mut self, id: PartitionId) -> usize {
        if let Some(at) = self.place(id) {
            return at;
        }
        let at = self.add(&unknown_row(id), Now::default());
        self.replicas[at].is_reloaded = true;
        at
    }

    fn free_discarded(&mut self) {
        while let Some(mut table) = self.discarded.pop() {
            while table.dissolve(&mut self.arena) {}
        }
    }

    /// Everything has been read back; these partitions are to be written anew.
    pub fn reloaded(&mut self, ended: &mut dyn Iterator<Item = PartitionId>) {
        for id in ended {
            if let Some(at) = self.place(id) {
                self.want_snapshot(at);
            }
        }
    }
}

/// A row that says nothing, until a map does.
pub(crate) fn unknown_row(id: PartitionId) -> PartitionRow {
    PartitionRow {
        id,
        rev: MapVersion::default(),
        epoch: Epoch(0),
        primary: None,
        isr: Vec::new(),
        wanted: Vec::new(),
        released: false,
    }
}
