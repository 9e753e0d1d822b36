//! What clients ask of workers, and what they are answered.

use std::rc::Rc;

use firn_wire::command::{Condition, Expiry, KeyOp, Op, Set};
use firn_wire::ids::{PartitionId, TableId};
use firn_wire::reply::ReplyBuf;

use crate::event::{Run, Slot};

/// An operation on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// GET.
    Get,
    /// The whole value by GETRANGE.
    GetRange,
    /// The value by GETEX that keeps the expiry.
    GetExpire,
    /// SET.
    Set {
        /// The value.
        new: Vec<u8>,
        /// When it is gone, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// SET NX.
    SetAbsent {
        /// The value.
        new: Vec<u8>,
    },
    /// SET where the value is one.
    SetEqual {
        /// That one.
        expect: Vec<u8>,
        /// The value.
        new: Vec<u8>,
    },
    /// SET GET.
    Swap {
        /// The value.
        new: Vec<u8>,
    },
    /// DEL.
    Delete,
    /// INCR.
    Increment,
}

impl Action {
    /// Whether it can change something.
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get | Self::GetRange | Self::GetExpire)
    }

    /// As the store is asked.
    pub fn op(&self) -> Op<'_> {
        let set = |new| Set { expiry: Expiry::Never, ..Set::plain(new) };
        match self {
            Self::Get => Op::Get,
            Self::GetRange => Op::GetRange { start: 0, end: -1 },
            Self::GetExpire => Op::GetExpire { expiry: Expiry::Keep },
            Self::Set { new, ttl_ms } => {
                let expiry = ttl_ms.map_or(Expiry::Never, Expiry::After);
                Op::Set(Set { expiry, ..set(new) })
            }
            Self::SetAbsent { new } => Op::Set(Set { condition: Condition::Absent, ..set(new) }),
            Self::SetEqual { expect, new } => {
                Op::Set(Set { condition: Condition::Equal(expect), ..set(new) })
            }
            Self::Swap { new } => Op::Set(Set { want_old: true, ..set(new) }),
            Self::Delete => Op::Delete { condition: Condition::Always, want_old: false },
            Self::Increment => Op::Increment { by: 1 },
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: Vec<u8>,
    /// Where it is.
    pub partition: PartitionId,
    /// An idempotency key.
    pub once: Option<Vec<u8>>,
    /// What to do.
    pub action: Action,
}

impl Question {
    /// As the store is asked.
    pub fn op(&self) -> KeyOp<'_> {
        KeyOp { table: self.table, key: &self.key, op: self.action.op() }
    }
}

/// A question on its way.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The operation, by number.
    pub operation: u64,
    /// Which try of it.
    pub attempt: u32,
    /// The machine whose worker the client talks to, and which sends it on.
    pub through: Slot,
    /// Who is to answer.
    pub to: (Slot, Run),
    /// Whether the asker has nothing else to send on that way, so that this may wait there.
    pub alone: bool,
    /// What is asked.
    pub question: Rc<Question>,
}

/// What a try came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was done, or refused for good.
    Replied(ReplyBuf),
    /// Nothing was applied: the same may be asked again, perhaps elsewhere.
    NotHere,
    /// The reign ended before it was known to be kept.
    Lost,
}

/// An answer on its way.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The operation, by number.
    pub operation: u64,
    /// Which try of it.
    pub attempt: u32,
    /// What it came to.
    pub outcome: Outcome,
}
