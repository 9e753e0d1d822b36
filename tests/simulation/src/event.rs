//! What can happen in a world, and the order in which it does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use firn_wire::ids::WorkerId;
use firn_wire::registry::Proposal;

use crate::clock::Moment;
use crate::network::{ConnectionId, End, Purpose};
use crate::question::{Answer, Ask};
use crate::uplink::{Asked, Told};

/// A machine on which one worker at a time runs, by number; its worker's name stays over restarts.
pub type Slot = usize;

/// One run of a worker on its machine, counted up over all machines; it is the incarnation too.
pub type Run = u64;

/// A process' own alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The shards' time moves on.
    Tick,
    /// Some upkeep.
    Tidy,
    /// A beacon to each peer is due.
    Beacon,
    /// A sign of life to the uplink is due, or another try to register.
    Beat,
    /// A peer is dialled again.
    Redial(WorkerId, Purpose),
    /// The uplink has had long enough to answer the request of this number.
    GiveUp(u64),
    /// A shard's disk has come to the end of what it was doing; the last such alarm counts, by its number.
    Disk(usize, u64),
}

/// What a client does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impulse {
    /// It thinks of something to ask.
    Think,
    /// It asks again, or elsewhere: operation and try.
    Retry(u64, u32),
    /// It waits no longer for this operation.
    Despair(u64),
}

/// Something that happens at a moment.
#[derive(Debug, Clone)]
pub enum Event {
    /// The next frame of a connection reaches an end of it.
    Frame(ConnectionId, End),
    /// A dialled connection is made, or is not.
    Dialled {
        /// Who dialled.
        from: (Slot, Run),
        /// Whom.
        to: WorkerId,
        /// For what.
        purpose: Purpose,
    },
    /// A worker's alarm goes off.
    Alarm(Slot, Run, Alarm),
    /// A request reaches the uplink.
    Asked(Asked),
    /// An answer of the uplink reaches a worker.
    Told(Slot, Run, Told),
    /// The uplink looks at the time.
    UplinkTick(u64),
    /// An operation reaches a worker.
    Ask(Ask),
    /// An answer reaches a client.
    Answer(Answer),
    /// A client does something.
    Client(u32, Impulse),
    /// A fault begins.
    Fault,
    /// A fault ends.
    Mend(Mend),
    /// The faults are over.
    Calm,
    /// The world is looked at again after the faults.
    Look,
    /// An operator looks whether something waits for a run that is gone.
    Operator,
}

/// The end of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// A worker starts on a machine.
    Start(Slot),
    /// A stopped process goes on.
    Resume(Slot, Run),
    /// The way from one place to another is open again.
    Open(crate::network::Place, crate::network::Place),
    /// The uplink starts.
    Uplink,
}

/// A proposal on its way to the uplink, which may be applied whatever becomes of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flying {
    /// It.
    pub proposal: Proposal,
    /// The request it is in.
    pub request: u64,
}

struct Due {
    at: Moment,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What is to happen: by time, and at one time in the order it was put in.
#[derive(Default)]
pub struct Queue {
    due: BinaryHeap<Reverse<Due>>,
    order: u64,
}

impl Queue {
    /// Has something happen at a moment.
    pub fn put(&mut self, at: Moment, event: Event) {
        self.order += 1;
        self.due.push(Reverse(Due { at, order: self.order, event }));
    }

    /// Takes what happens next.
    pub fn pop(&mut self) -> Option<(Moment, Event)> {
        self.due.pop().map(|Reverse(due)| (due.at, due.event))
    }
}
