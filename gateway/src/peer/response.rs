//! A response that grows with the replies to its request's asks.

use std::future::Future;

use firn_wire::exchange::{Sink, Ticket};
use firn_wire::ids::PartitionId;
use firn_wire::limits::{MESSAGE_BYTES_MAX, RESPONSE_BYTES_SOFT};
use firn_wire::message::push_reply;
use firn_wire::reply::{Failure, Reply};

/// Room for as many lengths and failures as a request can have asks.
const FAILURES_BYTES: usize = 1024 * 1024;

/// Takes the replies to a request, one ask after the other.
#[derive(Default)]
pub(super) struct Response {
    /// The replies before the first ticket.
    head: Vec<u8>,
    /// What comes after.
    rest: Vec<Piece>,
    /// Bytes of all of it that is in memory.
    length: usize,
    /// Replies and tickets so far.
    count: usize,
    /// What the next ask is for.
    partition: PartitionId,
    /// Whether the last ask was refused.
    is_refused: bool,
}

enum Piece {
    Bytes(Vec<u8>),
    /// Its reply, for a partition, and how much of it is counted already.
    Ticket(PartitionId, usize, Ticket),
}

/// A response with all its replies, or one that waits.
pub(super) enum Ended<Rest> {
    Ready(Vec<u8>),
    Waits(Rest),
}

/// A response that had to wait.
#[derive(Debug, Default)]
pub(super) struct Late {
    pub(super) bytes: Vec<u8>,
    /// Partitions of asks that were refused in the end.
    pub(super) refused: Vec<PartitionId>,
}

impl Response {
    /// Whether it should take no more.
    pub(super) fn is_long(&self) -> bool {
        self.length >= RESPONSE_BYTES_SOFT
    }

    /// Bytes of it that are in memory.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Names the partition of the next ask.
    pub(super) fn begin(&mut self, partition: PartitionId) {
        self.partition = partition;
    }

    /// Whether the last ask was refused as not to be answered here now.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Takes the reply to the next ask.
    pub(super) fn push(&mut self, reply: &Reply<'_>) {
        self.count += 1;
        self.is_refused = refuses(reply);
        if let Some(Piece::Ticket(..)) = self.rest.last() {
            self.rest.push(Piece::Bytes(Vec::new()));
        }
        let out = match self.rest.last_mut() {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => &mut self.head,
        };
        let before = out.len();
        push_reply(out, reply);
        self.length += out.len() - before;
    }

    /// The response once each of `asks` has its reply or ticket.
    pub(super) fn end(self, asks: usize) -> Ended<impl Future<Output = Late> + Send + 'static> {
        assert_eq!(self.count, asks, "every ask has a reply or a ticket");
        if self.rest.is_empty() {
            return Ended::Ready(self.head);
        }
        let late = Late { bytes: self.head, refused: Vec::new() };
        Ended::Waits(late.fill(self.rest, self.length))
    }
}

impl Late {
    /// Waits for what is still to come. `length`: bytes that are in memory.
    async fn fill(mut self, rest: Vec<Piece>, mut length: usize) -> Self {
        for piece in rest {
            match piece {
                Piece::Bytes(bytes) => self.bytes.extend_from_slice(&bytes),
                Piece::Ticket(partition, counted, ticket) => {
                    let reply = ticket.await;
                    length += reply.as_bytes().len().saturating_sub(counted);
                    if length > MESSAGE_BYTES_MAX - FAILURES_BYTES {
                        length -= reply.as_bytes().len().max(counted);
                        // It came late and is long: there is no room for what came of it.
                        push_reply(&mut self.bytes, &Failure::Unknown.into());
                    } else {
                        self.push(partition, &reply.view());
                    }
                }
            }
        }
        self
    }

    fn push(&mut self, partition: PartitionId, reply: &Reply<'_>) {
        if refuses(reply) {
            self.refused.push(partition);
        }
        push_reply(&mut self.bytes, reply);
    }
}

/// Whether an ask was refused as not to be answered here now.
fn refuses(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Failed(Failure::Moved(_) | Failure::NotHereYet(_)))
}

/// For one ask at a time: its slot is always 0.
impl Sink for Response {
    fn put(&mut self, slot: usize, reply: Reply<'_>) {
        assert_eq!(slot, 0, "one ask at a time");
        self.push(&reply);
    }

    fn wait(&mut self, slot: usize, ticket: Ticket) {
        self.hold(slot, 0, ticket);
    }

    fn hold(&mut self, slot: usize, bytes: usize, ticket: Ticket) {
        assert_eq!(slot, 0, "one ask at a time");
        self.count += 1;
        self.length += bytes;
        self.is_refused = false;
        self.rest.push(Piece::Ticket(self.partition, bytes, ticket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::message::read_response;
    use firn_wire::reply::ReplyBuf;

    #[tokio::test]
    async fn replies_keep_their_order_around_tickets() {
        let mut response = Response::default();
        response.put(0, Reply::Count(0));
        response.wait(0, Box::pin(async { ReplyBuf::new(&Reply::Count(1)) }));
        response.put(0, Reply::Count(2));
        response.put(0, Reply::Count(3));
        let Ended::Waits(rest) = response.end(4) else { panic!("there is a ticket") };
        let got = read_response(&rest.await.bytes.into()).unwrap();
        let want = [0, 1, 2, 3].map(Reply::Count);
        assert!(got.iter().map(ReplyBuf::view).eq(want), "{got:?}");
    }

    /// A reply that was held comes to a refusal in the end: what its stream asks next must not overtake it.
    #[tokio::test]
    async fn what_is_refused_late_is_named() {
        let mut response = Response::default();
        let [kept, lost] = [1, 2].map(|number| PartitionId { number, ..Default::default() });
        for (partition, reply) in
            [(kept, Reply::Nil), (lost, Failure::NotHereYet(lost).into()), (kept, Reply::Nil)]
        {
            response.begin(partition);
            let reply = ReplyBuf::new(&reply);
            response.hold(0, 1, Box::pin(async { reply }));
            assert!(!response.is_refused(), "nobody knows yet");
        }
        let Ended::Waits(rest) = response.end(3) else { panic!("there are tickets") };
        assert_eq!(rest.await.refused, [lost]);
    }

    #[tokio::test]
    async fn what_is_held_counts() {
        let mut response = Response::default();
        response.hold(0, RESPONSE_BYTES_SOFT, Box::pin(std::future::pending()));
        assert!(response.is_long());
    }

    #[test]
    fn a_long_response_takes_no_more() {
        let value = vec![0; RESPONSE_BYTES_SOFT / 2];
        let mut response = Response::default();
        for is_long in [false, true] {
            response.push(&Reply::Text { value: &value, version: Default::default() });
            assert_eq!(response.is_long(), is_long);
        }
    }
}
