//! A reign: what a primary keeps of a partition it leads.
//!
//! Invariants:
//! - `pending` ascends in position and number; everything in it is not yet in every counted copy.
//! - A key is in `marks` exactly while a pending record of a table that waits for all copies changes it.
//! - While a handover is on, nothing is applied.

use std::collections::{HashMap, VecDeque};

use firn_wire::exchange::Fate;
use firn_wire::ids::TableId;

use super::disk::Mark;
use super::few::Few;
use super::follower::Follower;
use super::log::Position;

/// Requests of one partition that may wait at once; further ones are sent away to ask again.
const PARKED_MAX: usize = 16_384;

/// A record that is not yet in every counted copy.
#[derive(Debug)]
struct Pending<H> {
    start: Position,
    end: Position,
    /// What must be on disk here before it is committed.
    disk: Option<Mark>,
    sequence: u64,
    /// Keys it changes.
    marks: Few<u64>,
    /// Replies that wait for it.
    holds: Few<H>,
}

/// A partition that is being given to another worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The next primary, by its place among the peers.
    pub(crate) to: usize,
    /// Since when requests wait, lease clock.
    pub(crate) since: u64,
    /// Whether it was proposed: then only the map ends it.
    pub(crate) proposed: bool,
}

/// A record's place and what it changes, as a reign keeps it until it is committed.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) start: Position,
    pub(crate) end: Position,
    pub(crate) disk: Option<Mark>,
    pub(crate) sequence: u64,
    pub(crate) marks: Few<u64>,
    pub(crate) flushed: Option<TableId>,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Lead<H> {
    /// Since when, lease clock.
    pub(crate) since: u64,
    /// Whether the start of the reign is committed, and all before it that has to be on disk.
    pub(crate) started: bool,
    /// The end of the record that starts the reign; None: there is no log.
    pub(crate) start: Option<Position>,
    /// Its time does not begin before this, Unix milliseconds.
    pub(crate) clock_floor: u64,
    pub(crate) followers: Vec<Follower>,
    pub(crate) handover: Option<Handover>,
    /// Whether the shard's list of partitions with uncommitted records names it.
    pub(crate) is_dirty: bool,
    pending: VecDeque<Pending<H>>,
    marks: HashMap<u64, u64, foldhash::fast::FixedState>,
    flushed: Vec<(TableId, u64)>,
    parked: Vec<H>,
}

impl<H> Lead<H> {
    pub(crate) fn new(since: u64, clock_floor: u64) -> Self {
        Self {
            since,
            started: false,
            start: None,
            clock_floor,
            followers: Vec::new(),
            handover: None,
            is_dirty: false,
            pending: VecDeque::new(),
            marks: HashMap::default(),
            flushed: Vec::new(),
            parked: Vec::new(),
        }
    }

    pub(crate) fn follower(&mut self, peer: usize) -> Option<&mut Follower> {
        self.followers.iter_mut().find(|follower| follower.peer == peer)
    }

    /// Whether anything is not committed.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Where the oldest record that is not committed starts.
    pub(crate) fn oldest_pending(&self) -> Option<Position> {
        self.pending.front().map(|pending| pending.start)
    }

    /// The number of the oldest record that is not committed.
    pub(crate) fn oldest_pending_sequence(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.sequence)
    }

    /// The number of the newest record that is not committed.
    pub(crate) fn newest_pending(&self) -> Option<u64> {
        self.pending.back().map(|pending| pending.sequence)
    }

    /// The newest record, not yet committed, that concerns a key.
    pub(crate) fn awaited(&self, table: TableId, mark: u64) -> Option<u64> {
        if self.marks.is_empty() && self.flushed.is_empty() {
            return None;
        }
        let flushed = self.flushed.iter().filter(|(flushed, _)| *flushed == table);
        let flushed = flushed.map(|(_, sequence)| *sequence).max();
        flushed.max(self.marks.get(&mark).copied())
    }

    /// Takes a record that is to be committed.
    pub(crate) fn push(&mut self, written: Written) {
        let Written { start, end, disk, sequence, marks, flushed } = written;
        for mark in marks.as_slice() {
            self.marks.insert(*mark, sequence);
        }
        self.flushed.extend(flushed.map(|table| (table, sequence)));
        self.pending.push_back(Pending { start, end, disk, sequence, marks, holds: Few::None });
    }

    /// Has a reply wait for the commit of a number; gives it back when that is committed.
    pub(crate) fn hold(&mut self, sequence: u64, token: H) -> Result<(), H> {
        let at = self.pending.partition_point(|pending| pending.sequence < sequence);
        match self.pending.get_mut(at) {
            Some(pending) => {
                pending.holds.push(token);
                Ok(())
            }
            None => Err(token),
        }
    }

    /// Everything before a position is committed, but for what must be on disk and is not.
    pub(crate) fn commit(&mut self, position: Position, synced: Mark, fates: &mut Vec<(H, Fate)>) {
        let is_committed = |pending: &Pending<H>| {
            pending.end <= position && pending.disk.is_none_or(|mark| synced.reaches(mark))
        };
        while self.pending.front().is_some_and(is_committed) {
            let Some(pending) = self.pending.pop_front() else { return };
            for mark in pending.marks.as_slice() {
                if self.marks.get(mark) == Some(&pending.sequence) {
                    self.marks.remove(mark);
                }
            }
            if !self.flushed.is_empty() {
                self.flushed.retain(|(_, sequence)| *sequence != pending.sequence);
            }
            pending.holds.drain(|token| fates.push((token, Fate::Committed)));
        }
        let is_pending = |start| self.pending.front().is_some_and(|oldest| oldest.start < start);
        if self.start.is_none_or(|start| start <= position && !is_pending(start)) {
            self.started = true;
        }
    }

    /// Has a request wait until it can be served; gives it back when too many do.
    pub(crate) fn park(&mut self, token: H) -> Result<(), H> {
        if self.parked.len() == PARKED_MAX {
            return Err(token);
        }
        self.parked.push(token);
        Ok(())
    }

    /// Whether requests wait.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Sends the waiting requests on.
    pub(crate) fn unpark(&mut self, fates: &mut Vec<(H, Fate)>) {
        fates.extend(self.parked.drain(..).map(|token| (token, Fate::Again)));
    }

    /// The reign is over.
    pub(crate) fn abandon(mut self, fates: &mut Vec<(H, Fate)>) {
        self.unpark(fates);
        for pending in self.pending {
            pending.holds.drain(|token| fates.push((token, Fate::Lost)));
        }
    }
}
