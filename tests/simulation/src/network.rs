//! The network: places with ways between them that can be cut in one direction, and connections between workers, over
//! which frames come in order or not at all.
//!
//! What stands still in a cut is not lost: it arrives when the way is open again, as TCP has it, unless the connection is
//! broken meanwhile. A connection that breaks may still deliver what was on its way, late, while a newer one is in use:
//! the two ends of a broken connection learn of it at different times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::clock::Moment;
use crate::event::{Event, Queue, Run, Slot};
use crate::random::Random;

/// How much later than at once an end learns, at most, that its connection is broken.
const LATE_US_MAX: u64 = 100_000;

/// Where something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A worker's machine.
    Machine(Slot),
    /// The uplink's.
    Uplink,
}

/// A connection; its number is the session's too, so none is used twice.
pub type ConnectionId = u64;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Batches from the one who dialled, acknowledgements back.
    Stream,
    /// Beacons from the one who dialled, grants back.
    Beacons,
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Who dialled.
    Dialler,
    /// Who was dialled.
    Listener,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

/// What arrives at an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of a message.
    Bytes(Vec<u8>),
    /// There will be no more.
    Over,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Way {
    frames: VecDeque<Frame>,
    /// The last frame does not arrive before this.
    last: Moment,
    /// Frames that have come to a cut and stand there.
    standing: usize,
    /// Nothing more can be put in.
    is_closed: bool,
}

/// A connection between two runs of workers.
#[derive(Debug)]
pub struct Connection {
    /// What for.
    pub purpose: Purpose,
    dialler: (Slot, Run),
    listener: (Slot, Run),
    to_dialler: Way,
    to_listener: Way,
}

impl Connection {
    /// Whose an end is.
    pub fn owner(&self, end: End) -> (Slot, Run) {
        match end {
            End::Dialler => self.dialler,
            End::Listener => self.listener,
        }
    }

    fn way(&mut self, to: End) -> &mut Way {
        match to {
            End::Dialler => &mut self.to_dialler,
            End::Listener => &mut self.to_listener,
        }
    }
}

/// How long frames and requests take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The least, in microseconds.
    pub least_us: u64,
    /// The most, in microseconds.
    pub most_us: u64,
    /// How often in a thousand one takes far longer.
    pub slow_permille: u64,
    /// How long that is at most, in microseconds.
    pub slow_us: u64,
}

/// See the module's page.
pub struct Network {
    pace: Pace,
    random: Random,
    cuts: BTreeSet<(Place, Place)>,
    connections: BTreeMap<ConnectionId, Connection>,
    next: ConnectionId,
}

impl Network {
    /// A network without connections.
    pub fn new(pace: Pace, random: Random) -> Self {
        let (cuts, connections) = (BTreeSet::new(), BTreeMap::new());
        Self { pace, random, cuts, connections, next: 1 }
    }

    /// Things take no longer than usual from now on.
    pub fn calm(&mut self) {
        self.pace.slow_permille = 0;
    }

    /// How long the next thing takes, in microseconds.
    pub fn delay_us(&mut self) -> u64 {
        let Pace { least_us, most_us, slow_permille, slow_us } = self.pace;
        if self.random.permille(slow_permille) {
            return self.random.between(most_us, slow_us.max(most_us));
        }
        self.random.between(least_us, most_us)
    }

    /// Cuts a way.
    pub fn cut(&mut self, from: Place, to: Place) {
        self.cuts.insert((from, to));
    }

    /// Whether something sent now would arrive.
    pub fn is_open(&self, from: Place, to: Place) -> bool {
        from == to || !self.cuts.contains(&(from, to))
    }

    /// Opens a way: what stood there goes on.
    pub fn open(&mut self, queue: &mut Queue, now: Moment, from: Place, to: Place) {
        self.cuts.remove(&(from, to));
        for (id, connection) in &mut self.connections {
            for end in [End::Dialler, End::Listener] {
                let ends = (connection.owner(end.other()).0, connection.owner(end).0);
                if (Place::Machine(ends.0), Place::Machine(ends.1)) != (from, to) {
                    continue;
                }
                let way = connection.way(end);
                for _ in 0..std::mem::take(&mut way.standing) {
                    queue.put(now, Event::Frame(*id, end));
                }
                way.last = way.last.max(now);
            }
        }
    }

    /// Opens every way.
    pub fn open_all(&mut self, queue: &mut Queue, now: Moment) {
        let cuts: Vec<_> = self.cuts.iter().copied().collect();
        cuts.into_iter().for_each(|(from, to)| self.open(queue, now, from, to));
    }

    /// A new connection.
    pub fn connect(
        &mut self,
        purpose: Purpose,
        dialler: (Slot, Run),
        listener: (Slot, Run),
    ) -> ConnectionId {
        let id = self.next;
        self.next += 1;
        let (to_dialler, to_listener) = (Way::default(), Way::default());
        let connection = Connection { purpose, dialler, listener, to_dialler, to_listener };
        self.connections.insert(id, connection);
        id
    }

    /// Sends a frame to an end; what is sent over a connection that is no more is lost.
    pub fn send(
        &mut self,
        queue: &mut Queue,
        now: Moment,
        id: ConnectionId,
        to: End,
        bytes: Vec<u8>,
    ) {
        let delay = self.delay_us();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let way = connection.way(to);
        if way.is_closed {
            return;
        }
        way.frames.push_back(Frame::Bytes(bytes));
        way.last = way.last.max(now.plus_us(delay)).plus_us(1);
        queue.put(way.last, Event::Frame(id, to));
    }

    /// The frame that arrives now; None: it stands in a cut, or the connection is no more.
    pub fn arrives(&mut self, id: ConnectionId, to: End) -> Option<Frame> {
        let connection = self.connections.get_mut(&id)?;
        let (from, at) = (connection.owner(to.other()).0, connection.owner(to).0);
        let is_cut = self.cuts.contains(&(Place::Machine(from), Place::Machine(at)));
        let way = connection.way(to);
        let is_bytes = matches!(way.frames.front(), Some(Frame::Bytes(_)));
        if is_cut && is_bytes {
            way.standing += 1;
            return None;
        }
        let frame = way.frames.pop_front();
        let is_done = |way: &Way| way.is_closed && way.frames.is_empty();
        if is_done(&connection.to_dialler) && is_done(&connection.to_listener) {
            self.connections.remove(&id);
        }
        frame
    }

    /// Whose a connection's end is, and what it is for.
    pub fn end(&self, id: ConnectionId, end: End) -> Option<(Slot, Run, Purpose)> {
        let connection = self.connections.get(&id)?;
        let (slot, run) = connection.owner(end);
        Some((slot, run, connection.purpose))
    }

    /// Connections that can still be sent over.
    pub fn alive(&self) -> Vec<ConnectionId> {
        let alive = self.connections.iter().filter(|(_, connection)| {
            !connection.to_dialler.is_closed && !connection.to_listener.is_closed
        });
        alive.map(|(id, _)| *id).collect()
    }

    /// Breaks a connection: each end learns of it after what is on its way to it, of which the newest part is lost.
    pub fn break_off(&mut self, queue: &mut Queue, now: Moment, id: ConnectionId) {
        let late_us = [(); 2].map(|()| self.random.between(0, LATE_US_MAX));
        let cuts = [self.random.draw(), self.random.draw()];
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for (at, end) in [End::Dialler, End::Listener].into_iter().enumerate() {
            let (from, to) = (connection.owner(end.other()).0, connection.owner(end).0);
            let is_cut = self.cuts.contains(&(Place::Machine(from), Place::Machine(to)));
            let way = connection.way(end);
            if way.is_closed {
                continue;
            }
            way.is_closed = true;
            // What stands in a cut is given up with the connection.
            let some = (cuts[at] % (way.frames.len() as u64 + 1)) as usize;
            let kept = if is_cut { 0 } else { some };
            let lost = way.frames.len() - kept;
            // Their events find other frames, or none: those that stood do not stand any more.
            way.frames.truncate(kept);
            way.standing = 0;
            way.frames.push_back(Frame::Over);
            way.last = way.last.max(now.plus_us(late_us[at])).plus_us(1);
            for _ in 0..=kept + lost {
                queue.put(way.last, Event::Frame(id, end));
            }
        }
    }

    /// Breaks all connections of a run of a worker.
    pub fn break_all(&mut self, queue: &mut Queue, now: Moment, of: (Slot, Run)) {
        let its = |connection: &Connection| connection.dialler == of || connection.listener == of;
        let ids = self.connections.iter().filter(|(_, c)| its(c)).map(|(id, _)| *id);
        ids.collect::<Vec<_>>().into_iter().for_each(|id| self.break_off(queue, now, id));
    }
}
