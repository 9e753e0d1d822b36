//! A response that grows with the replies to its request's asks.

use std::future::Future;

use firn_wire::exchange::{Sink, Ticket};
use firn_wire::ids::PartitionId;
use firn_wire::limits::MESSAGE_BYTES_MAX;
use firn_wire::message::{Ask, push_reply};
use firn_wire::reply::{Failure, Reply};

/// A response that has grown to this takes no more long replies that can be had again: those asks are refused as not
/// applied, and their router asks again one by one.
pub(super) const RESPONSE_BYTES_SOFT: usize = 16 * 1024 * 1024;
/// A reply up to this is not long.
const SHORT_BYTES: usize = 64;
/// Left free for the short replies to a request of many asks: one that is full of the shortest has fewer bytes of them.
const SHORT_REPLIES_BYTES: usize = 8 * 1024 * 1024;

/// Takes the replies to a request.
pub(super) struct Response<'r, 'a> {
    asks: &'r [Ask<'a>],
    next: usize,
    /// The replies before the first ticket.
    head: Vec<u8>,
    /// What comes after.
    rest: Vec<Piece>,
    /// Bytes of all of it.
    length: Length,
}

enum Piece {
    Bytes(Vec<u8>),
    Ticket(Ticket, Fallback),
}

/// How long a response is, and may get by long replies.
#[derive(Debug, Clone, Copy)]
struct Length {
    bytes: usize,
    bytes_max: usize,
}

/// What to answer when there is no room for a reply.
#[derive(Debug, Clone, Copy)]
enum Fallback {
    /// It can be had again.
    AskAgain(PartitionId),
    /// It cannot; only a reply that would break the message's bound is left out.
    Unknown,
}

/// A response with all its replies, or one that waits.
pub(super) enum Ended<Rest> {
    Ready(Vec<u8>),
    Waits(Rest),
}

impl<'r, 'a> Response<'r, 'a> {
    pub(super) fn new(asks: &'r [Ask<'a>]) -> Self {
        let reserved = if asks.len() == 1 { 0 } else { SHORT_REPLIES_BYTES };
        let length = Length { bytes: 0, bytes_max: MESSAGE_BYTES_MAX - reserved };
        Self { asks, next: 0, head: Vec::new(), rest: Vec::new(), length }
    }

    fn ask(&mut self, slot: usize) -> &'r Ask<'a> {
        assert_eq!(slot, self.next, "slots are filled once and in order");
        self.next += 1;
        &self.asks[slot]
    }

    /// The response once every ask has its reply or ticket.
    pub(super) fn end(self) -> Ended<impl Future<Output = Vec<u8>> + Send + 'static> {
        assert_eq!(self.next, self.asks.len(), "every slot is filled");
        let Self { mut head, rest, mut length, .. } = self;
        if rest.is_empty() {
            return Ended::Ready(head);
        }
        Ended::Waits(async move {
            for piece in rest {
                match piece {
                    Piece::Bytes(bytes) => head.extend_from_slice(&bytes),
                    Piece::Ticket(ticket, fallback) => {
                        length.push(&mut head, &ticket.await.view(), fallback);
                    }
                }
            }
            head
        })
    }
}

impl Sink for Response<'_, '_> {
    fn put(&mut self, slot: usize, reply: Reply<'_>) {
        let fallback = Fallback::of(self.ask(slot));
        let out = match self.rest.last_mut() {
            None => &mut self.head,
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::Ticket(..)) => {
                self.rest.push(Piece::Bytes(Vec::new()));
                match self.rest.last_mut() {
                    Some(Piece::Bytes(bytes)) => bytes,
                    _ => unreachable!("bytes were pushed above"),
                }
            }
        };
        self.length.push(out, &reply, fallback);
    }

    fn wait(&mut self, slot: usize, ticket: Ticket) {
        let fallback = Fallback::of(self.ask(slot));
        self.rest.push(Piece::Ticket(ticket, fallback));
    }
}

impl Fallback {
    fn of(ask: &Ask<'_>) -> Self {
        match ask {
            Ask::Step(step) if step.as_step().is_repeatable() => Self::AskAgain(step.partition),
            Ask::Wide(wide) if wide.op.is_repeatable() => Self::AskAgain(PartitionId {
                group: wide.group,
                number: wide.partitions.first().copied().unwrap_or_default(),
            }),
            Ask::Step(_) | Ask::Wide(_) => Self::Unknown,
        }
    }

    fn failure(self) -> Failure<'static> {
        match self {
            Self::AskAgain(partition) => Failure::NotHereYet(partition),
            Self::Unknown => Failure::Unknown,
        }
    }
}

impl Length {
    /// Appends a reply to a part of the response, or its fallback when there is no room for it.
    fn push(&mut self, out: &mut Vec<u8>, reply: &Reply<'_>, fallback: Fallback) {
        let start = out.len();
        push_reply(out, reply);
        let bytes_max = match fallback {
            // The first of a response always has room, or asking again would not help.
            Fallback::AskAgain(_) if self.bytes > 0 => RESPONSE_BYTES_SOFT,
            _ => self.bytes_max,
        };
        let added = out.len() - start;
        if self.bytes + added > bytes_max && added > SHORT_BYTES {
            out.truncate(start);
            push_reply(out, &fallback.failure().into());
        }
        self.bytes += out.len() - start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::command::{KeyOp, Op, Set, StepBuf};
    use firn_wire::ids::TableId;
    use firn_wire::message::read_response;
    use firn_wire::reply::ReplyBuf;

    fn ask(op: Op<'_>) -> Ask<'_> {
        let ops = vec![KeyOp { table: TableId::DEFAULT, key: b"k", op }];
        Ask::Step(StepBuf { partition: PartitionId::default(), once: None, guards: vec![], ops })
    }

    fn replies(bytes: Vec<u8>) -> Vec<ReplyBuf> {
        read_response(&bytes.into()).unwrap()
    }

    #[tokio::test]
    async fn replies_keep_their_order_around_tickets() {
        let asks = [Op::Get, Op::Get, Op::Get, Op::Get].map(ask);
        let mut response = Response::new(&asks);
        response.put(0, Reply::Count(0));
        response.wait(1, Box::pin(async { ReplyBuf::new(&Reply::Count(1)) }));
        response.put(2, Reply::Count(2));
        response.put(3, Reply::Count(3));
        let Ended::Waits(rest) = response.end() else { panic!("there is a ticket") };
        let got = replies(rest.await);
        let want = [0, 1, 2, 3].map(Reply::Count);
        assert!(got.iter().map(ReplyBuf::view).eq(want), "{got:?}");
    }

    #[test]
    fn long_replies_that_do_not_fit_are_left_to_be_asked_for_again() {
        let value = vec![0; RESPONSE_BYTES_SOFT - 100];
        let long = Reply::Text { value: &value, version: Default::default() };
        let asks = [Op::Get, Op::Get, Op::Get, Op::Set(Set::plain(b"v"))].map(ask);
        let mut response = Response::new(&asks);
        for slot in [0, 1] {
            response.put(slot, long.clone());
        }
        response.put(2, Reply::Nil);
        response.put(3, long.clone());
        let Ended::Ready(bytes) = response.end() else { panic!("there is no ticket") };
        let got = replies(bytes);
        let again = Reply::Failed(Failure::NotHereYet(PartitionId::default()));
        let want = [long.clone(), again, Reply::Nil, long];
        assert!(got.iter().map(ReplyBuf::view).eq(want), "a write's reply cannot be had again");
    }
}
