//! A response that grows with the replies to its request's asks.

use std::future::Future;

use firn_wire::exchange::{Sink, Ticket};
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
    /// Bytes of all of it that is here.
    length: usize,
    /// Replies and tickets so far.
    count: usize,
    /// Whether the last ask was refused.
    is_refused: bool,
}

enum Piece {
    Bytes(Vec<u8>),
    Ticket(Ticket),
}

/// A response with all its replies, or one that waits.
pub(super) enum Ended<Rest> {
    Ready(Vec<u8>),
    Waits(Rest),
}

impl Response {
    /// Whether it should take no more.
    pub(super) fn is_long(&self) -> bool {
        self.length >= RESPONSE_BYTES_SOFT
    }

    /// Whether the last ask was refused as not to be answered here now.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Takes the reply to the next ask.
    pub(super) fn push(&mut self, reply: &Reply<'_>) {
        self.count += 1;
        self.is_refused =
            matches!(reply, Reply::Failed(Failure::Moved(_) | Failure::NotHereYet(_)));
        if let Some(Piece::Ticket(_)) = self.rest.last() {
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
    pub(super) fn end(self, asks: usize) -> Ended<impl Future<Output = Vec<u8>> + Send + 'static> {
        assert_eq!(self.count, asks, "every ask has a reply or a ticket");
        let Self { mut head, rest, mut length, .. } = self;
        if rest.is_empty() {
            return Ended::Ready(head);
        }
        Ended::Waits(async move {
            for piece in rest {
                match piece {
                    Piece::Bytes(bytes) => head.extend_from_slice(&bytes),
                    Piece::Ticket(ticket) => {
                        let reply = ticket.await;
                        let bytes = reply.as_bytes().len();
                        if length + bytes > MESSAGE_BYTES_MAX - FAILURES_BYTES {
                            // It came late and is long: there is no room for what came of it.
                            push_reply(&mut head, &Failure::Unknown.into());
                        } else {
                            push_reply(&mut head, &reply.view());
                            length += bytes;
                        }
                    }
                }
            }
            head
        })
    }
}

/// For one ask at a time: its slot is always 0.
impl Sink for Response {
    fn put(&mut self, slot: usize, reply: Reply<'_>) {
        assert_eq!(slot, 0, "one ask at a time");
        self.push(&reply);
    }

    fn wait(&mut self, slot: usize, ticket: Ticket) {
        assert_eq!(slot, 0, "one ask at a time");
        self.count += 1;
        self.is_refused = false;
        self.rest.push(Piece::Ticket(ticket));
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
        let got = read_response(&rest.await.into()).unwrap();
        let want = [0, 1, 2, 3].map(Reply::Count);
        assert!(got.iter().map(ReplyBuf::view).eq(want), "{got:?}");
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
