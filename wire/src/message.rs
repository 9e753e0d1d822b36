//! What frames carry between workers: a request is a few asks that one submission has for one peer, a response their
//! replies in the same order.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Step, StepBuf, Wide};
use crate::exchange::Role;
use crate::ids::MapVersion;
use crate::reply::{self, Reply, ReplyBuf};

/// Bytes that are no message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message from a peer does not read: {0}")]
pub struct BadMessage(String);

impl From<postcard::Error> for BadMessage {
    fn from(error: postcard::Error) -> Self {
        Self(error.to_string())
    }
}

/// What stands before the asks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The checked role of who asks.
    pub role: Role,
    /// How much of the deadline is left, in milliseconds.
    pub remaining_ms: u32,
    /// The session that asks, by a number of the sender's: its requests for one partition are applied in their order.
    pub stream: u64,
    /// Whether every earlier request of the stream for these partitions has been answered. After a refusal one that says
    /// so is taken, and no other: what was sent before its sender knew of the refusal must not overtake what was refused.
    pub alone: bool,
    /// The map the router went by. A receiver with an older one gets a newer before it says that it does not know a table.
    pub map: MapVersion,
}

/// One ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Ask<'a> {
    /// A step; its reply is that of its operation when it has one, else `Many`, `Aborted` or `Failed`.
    Step(#[serde(borrow)] StepBuf<'a>),
    /// A wide request; its reply is `Wide` or `Failed`.
    Wide(#[serde(borrow)] Wide<'a>),
}

/// An ask as it is written, from borrowed parts. The same variants in the same order as [`Ask`].
#[derive(Debug, Clone, Copy, Serialize)]
pub enum AskRef<'r, 'a> {
    /// As [`Ask::Step`].
    Step(Step<'r, 'a>),
    /// As [`Ask::Wide`].
    Wide(&'r Wide<'a>),
}

impl AskRef<'_, '_> {
    /// Appends the ask.
    pub fn write(&self, out: &mut Vec<u8>) {
        let written = postcard::to_extend(self, std::mem::take(out));
        *out = written.expect("an ask has no unserialisable part");
    }
}

/// Writes a request: its head; the asks are appended after it.
pub fn request(head: &Head) -> Vec<u8> {
    postcard::to_stdvec(head).expect("a head has no unserialisable part")
}

/// Reads a request.
pub fn read_request(bytes: &[u8]) -> Result<(Head, Vec<Ask<'_>>), BadMessage> {
    let (head, mut rest) = postcard::take_from_bytes::<Head>(bytes)?;
    let mut asks = Vec::new();
    while !rest.is_empty() {
        let (ask, after) = postcard::take_from_bytes::<Ask<'_>>(rest)?;
        asks.push(ask);
        rest = after;
    }
    Ok((head, asks))
}

/// Appends a reply to a response: its length (u32, little-endian) and its bytes.
pub fn push_reply(out: &mut Vec<u8>, reply: &Reply<'_>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    reply::encode(reply, out);
    let length = u32::try_from(out.len() - at - 4).expect("a message is below 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Reads a response: one reply per ask, none of them copied.
pub fn read_response(bytes: &Bytes) -> Result<Vec<ReplyBuf>, BadMessage> {
    let cut = || BadMessage("a response is cut short".to_owned());
    let (mut replies, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let head = bytes.get(at..at + 4).ok_or_else(cut)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at + 4 + length;
        if end > bytes.len() {
            return Err(cut());
        }
        replies.push(ReplyBuf::from_bytes(bytes.slice(at + 4..end))?);
        at = end;
    }
    Ok(replies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{KeyOp, Op, Set};
    use crate::ids::{GroupId, PartitionId, TableId};

    #[test]
    fn asks_and_replies_survive_the_way() {
        let head = Head {
            role: Role::Admin,
            remaining_ms: 900,
            stream: 7,
            alone: false,
            map: MapVersion { generation: 1, counter: 4 },
        };
        let partition = PartitionId { group: GroupId(0), number: 17 };
        let ops = [KeyOp { table: TableId(3), key: b"k", op: Op::Set(Set::plain(b"v")) }];
        let step = Step { partition, once: Some(b"token"), guards: &[], ops: &ops };
        let wide = Wide {
            table: TableId(3),
            group: GroupId(0),
            partitions: vec![1, 2],
            op: crate::command::WideOp::Count,
        };
        let mut bytes = request(&head);
        AskRef::Step(step).write(&mut bytes);
        AskRef::Wide(&wide).write(&mut bytes);
        let (got, asks) = read_request(&bytes).unwrap();
        assert_eq!(got, head);
        match &asks[..] {
            [Ask::Step(first), Ask::Wide(second)] => {
                assert_eq!(first.as_step(), step);
                assert_eq!(*second, wide);
            }
            other => panic!("{other:?}"),
        }

        let mut out = Vec::new();
        push_reply(&mut out, &Reply::Nil);
        push_reply(&mut out, &Reply::Done(true));
        let replies = read_response(&out.clone().into()).unwrap();
        assert_eq!(
            replies.iter().map(ReplyBuf::view).collect::<Vec<_>>(),
            [Reply::Nil, Reply::Done(true)]
        );
        for end in 1..out.len() {
            let cut = Bytes::copy_from_slice(&out[..end]);
            assert!(read_response(&cut).map_or(true, |replies| replies.len() < 2), "cut at {end}");
        }
    }
}
