//! What to do after an attempt: answer, try again, or say that nobody knows. Pure.

use firn_wire::command::{Step, WideOp};
use firn_wire::map::PartitionRow;
use firn_wire::reply::{Failure, Reply};

use crate::call::Outcome;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// The reply is the answer.
    Answer,
    /// Nothing was applied, or doing it again changes nothing: try again, by this row if it is newer.
    Again(Option<PartitionRow>),
    /// It is not done, or nobody knows: say so.
    Fail(Failure<'static>),
}

/// The decision about one of a call's asks. `repeatable`: see [`may_repeat`]; asked only where it matters.
pub(crate) fn judge(outcome: &Outcome, index: usize, repeatable: impl FnOnce() -> bool) -> Next {
    match outcome {
        Outcome::Replies(replies) => match replies[index].view() {
            Reply::Failed(Failure::Moved(row)) => Next::Again(Some(row)),
            Reply::Failed(Failure::NotHereYet(_)) => Next::Again(None),
            _ => Next::Answer,
        },
        Outcome::NotSent => Next::Again(None),
        Outcome::Full => Next::Fail(Failure::TooMuch(LINK_IS_FULL.into())),
        Outcome::Lost if repeatable() => Next::Again(None),
        Outcome::Lost => Next::Fail(Failure::Unknown),
    }
}

const LINK_IS_FULL: &str = "the link to the worker that leads the key holds as many requests without an answer as it \
                            may; send fewer at once";

/// Whether doing a step twice is the same as once: it only reads, or carries a token.
pub(crate) fn may_repeat(step: &Step<'_, '_>) -> bool {
    step.once.is_some() || step.ops.iter().all(|op| op.op.is_read())
}

/// Whether asking twice is the same as once. A second flush would take what was written after the first.
pub(crate) fn may_repeat_wide(op: &WideOp<'_>) -> bool {
    matches!(op, WideOp::Count | WideOp::Scan(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use firn_wire::command::{Expiry, KeyOp, Op, Set};
    use firn_wire::ids::{PartitionId, TableId};
    use firn_wire::reply::ReplyBuf;

    #[test]
    fn only_what_cannot_have_been_applied_twice_is_tried_again() {
        let row = fixture::map(1, 1).partitions.remove(0);
        let replies = [
            Reply::Nil,
            Reply::Failed(Failure::Unknown),
            Reply::Failed(Failure::NotHereYet(row.id)),
            Reply::Failed(Failure::Moved(row.clone())),
        ];
        let answered = Outcome::Replies(replies.iter().map(ReplyBuf::new).collect());
        for repeatable in [true, false] {
            assert_eq!(judge(&answered, 0, || repeatable), Next::Answer);
            assert_eq!(judge(&answered, 1, || repeatable), Next::Answer);
            assert_eq!(judge(&answered, 2, || repeatable), Next::Again(None));
            assert_eq!(judge(&answered, 3, || repeatable), Next::Again(Some(row.clone())));
            assert_eq!(judge(&Outcome::NotSent, 0, || repeatable), Next::Again(None));
            let full = judge(&Outcome::Full, 0, || repeatable);
            assert!(matches!(full, Next::Fail(Failure::TooMuch(_))), "{full:?}");
        }
        assert_eq!(judge(&Outcome::Lost, 0, || true), Next::Again(None));
        assert_eq!(judge(&Outcome::Lost, 0, || false), Next::Fail(Failure::Unknown));
    }

    #[test]
    fn a_step_repeats_when_all_of_it_reads_or_it_has_a_token() {
        let key = |op| KeyOp { table: TableId(0), key: b"k", op };
        let touch = Op::GetExpire { expiry: Expiry::After(1) };
        let ops = [key(Op::Get), key(Op::Inspect), key(Op::Set(Set::plain(b"v"))), key(touch)];
        let step = |ops, once| Step { partition: PartitionId::default(), once, guards: &[], ops };
        assert!(may_repeat(&step(&ops[..2], None)));
        assert!(!may_repeat(&step(&ops[..3], None)));
        assert!(!may_repeat(&step(&ops[3..], None)));
        assert!(may_repeat(&step(&ops, Some(&b"token"[..]))));
    }
}
