//! How a door hands commands over and takes replies, without knowing who answers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::PartitionId;
use crate::reply::{Reply, ReplyBuf};

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Everything.
    Admin,
}

/// A reply that is still to come. It makes progress only while it is polled, so polling the tickets of one connection in
/// the order of their requests keeps the order of what is still to be sent.
pub type Ticket = Pin<Box<dyn Future<Output = ReplyBuf> + Send + 'static>>;

/// What came of a wait for a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// What was waited for is in every in-sync copy.
    Committed,
    /// This worker leads the partition no more; what was not committed may or may not live on.
    Lost,
    /// Nothing was applied: ask again, perhaps elsewhere.
    Again,
}

/// Takes the replies of a submission: each slot exactly once, in ascending order.
pub trait Sink {
    /// The reply to the slot's command; it is gone when this returns (a shard is locked meanwhile: encode, never wait).
    fn put(&mut self, slot: usize, reply: Reply<'_>);
    /// The slot's reply will come.
    fn wait(&mut self, slot: usize, ticket: Ticket);
    /// The slot's reply is in memory already, so many bytes of it, and will be shown: for sinks that bound what they hold.
    fn hold(&mut self, slot: usize, bytes: usize, ticket: Ticket) {
        let _ = bytes;
        self.wait(slot, ticket);
    }
}

/// Who asks, and for how long the answer is of use. One per connection, or per HTTP request.
#[derive(Debug)]
pub struct Session {
    /// Unique in this process; for logs and `CLIENT ID`.
    pub id: u64,
    /// The event loop that serves it, by its number: its requests go to peers over the links of that loop. A session that
    /// no loop serves has any number.
    pub lane: usize,
    /// What it may do.
    pub role: Role,
    /// How long a request may take.
    pub timeout: Duration,
    /// Partitions with a request of this session still on its way.
    pub open: Open,
}

impl Session {
    /// Default time a request may take.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// A session of a client.
    pub fn new(id: u64, role: Role) -> Self {
        Self { id, lane: id as usize, role, timeout: Self::TIMEOUT, open: Open::default() }
    }
}

/// The partitions a session waits for, with the route each request took, so that a later request for the same partition
/// cannot overtake it on another.
///
/// Invariant: while a partition has open requests on more than one route, every later one waits for all of them.
#[derive(Debug, Default)]
pub struct Open {
    partitions: HashMap<PartitionId, (u64, Arc<AtomicU32>)>,
    everywhere: Arc<AtomicU32>,
}

/// Held by a ticket until its reply is there.
#[derive(Debug)]
pub struct OpenGuard(Arc<AtomicU32>);

/// The bit of a count that says that one of those counted was refused.
const REFUSED: u32 = 1 << 31;

impl OpenGuard {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }

    /// The request was refused and is tried again: whatever follows waits until all that is on its way has been answered.
    pub fn refused(&self) {
        self.0.fetch_or(REFUSED, Ordering::AcqRel);
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn some(count: &AtomicU32) -> bool {
    count.load(Ordering::Acquire) & !REFUSED > 0
}

fn is_refused(count: &AtomicU32) -> bool {
    count.load(Ordering::Acquire) & REFUSED > 0
}

impl Open {
    /// The route of a request that is sent only when its ticket is polled: whatever follows on its partition waits.
    pub const WHEN_POLLED: u64 = u64::MAX;

    /// Whether a request for `partition` that would take `route` must wait for earlier ones.
    pub fn must_wait(&self, partition: PartitionId, route: u64) -> bool {
        let elsewhere = |(taken, count): &(u64, Arc<AtomicU32>)| {
            let mixed = *taken != route || *taken == Self::WHEN_POLLED || is_refused(count);
            mixed && some(count)
        };
        some(&self.everywhere) || self.partitions.get(&partition).is_some_and(elsewhere)
    }

    /// Notes a request on its way.
    pub fn note(&mut self, partition: PartitionId, route: u64) -> OpenGuard {
        if self.partitions.len() > 4_096 {
            self.partitions.retain(|_, (_, count)| some(count));
        }
        let entry = self.partitions.entry(partition).or_insert_with(|| (route, Arc::default()));
        if !some(&entry.1) {
            *entry = (route, Arc::default());
        } else if entry.0 != route || is_refused(&entry.1) {
            entry.0 = Self::WHEN_POLLED;
        }
        OpenGuard::new(&entry.1)
    }

    /// Notes a request for many partitions that is sent only when its ticket is polled: everything that follows waits.
    pub fn note_everywhere(&mut self) -> OpenGuard {
        OpenGuard::new(&self.everywhere)
    }

    /// Whether nothing is on its way for certain: the check before the quick path.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty() && !some(&self.everywhere)
    }

    /// Whether anything is on its way.
    pub fn any(&self) -> bool {
        some(&self.everywhere) || self.partitions.values().any(|(_, count)| some(count))
    }
}

/// A sink that keeps every reply or ticket, for callers that wait for all of them.
#[derive(Default)]
pub struct Collect(Vec<Slot>);

/// What a [`Collect`] holds for one command.
pub enum Slot {
    /// Its reply.
    Ready(ReplyBuf),
    /// Its ticket.
    Waiting(Ticket),
}

impl Sink for Collect {
    fn put(&mut self, slot: usize, reply: Reply<'_>) {
        self.push(slot, Slot::Ready(ReplyBuf::new(&reply)));
    }
    fn wait(&mut self, slot: usize, ticket: Ticket) {
        self.push(slot, Slot::Waiting(ticket));
    }
}

impl Collect {
    fn push(&mut self, slot: usize, what: Slot) {
        assert_eq!(self.0.len(), slot, "slots are filled once and in order");
        self.0.push(what);
    }

    /// Waits for every reply, in order.
    pub async fn all(self) -> Vec<ReplyBuf> {
        let mut replies = Vec::with_capacity(self.0.len());
        for slot in self.0 {
            replies.push(match slot {
                Slot::Ready(reply) => reply,
                Slot::Waiting(ticket) => ticket.await,
            });
        }
        replies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupId;

    #[test]
    fn what_follows_on_another_route_waits() {
        let [p, q] = [0, 1].map(|number| PartitionId { group: GroupId(0), number });
        let mut open = Open::default();
        let first = open.note(p, 1);
        assert!(!open.must_wait(p, 1) && open.must_wait(p, 2) && !open.must_wait(q, 2));
        let second = open.note(p, Open::WHEN_POLLED);
        assert!(
            open.must_wait(p, 1),
            "the second has not been sent: the third must not overtake it"
        );
        drop(first);
        assert!(open.must_wait(p, 1) && open.must_wait(p, Open::WHEN_POLLED));
        drop(second);
        assert!(!open.must_wait(p, 2) && !open.any());
        let (third, fourth) = (open.note(p, 3), open.note(p, 3));
        assert!(!open.must_wait(p, 3));
        third.refused();
        drop(third);
        assert!(open.must_wait(p, 3), "the fourth may have been refused too");
        drop(fourth);
        let fifth = open.note(p, 3);
        assert!(!open.must_wait(p, 3));
        drop(fifth);
        let all = open.note_everywhere();
        assert!(open.must_wait(q, 1) && open.any());
        drop(all);
        assert!(!open.must_wait(q, 1));
    }
}
