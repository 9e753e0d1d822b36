//! What to do after an attempt: answer, try again, or say that nobody knows. Pure.

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

/// The decision about one of a call's asks. `repeatable`: whether doing it twice is the same as once; asked only where it
/// matters.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use firn_wire::reply::ReplyBuf;
    use std::sync::Arc;

    #[test]
    fn only_what_cannot_have_been_applied_twice_is_tried_again() {
        let row = Arc::unwrap_or_clone(fixture::map(1, 1).partitions.remove(0));
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
}
