//! The replies of a batch, put together in the order of its operations.

use std::ops::Range;

use firn_wire::exchange::Ticket;
use firn_wire::limits::STEP_REPLY_BYTES_MAX;
use firn_wire::reply::{Failure, Part, Reply, ReplyBuf, encode};

/// A reply longer than this counts against the bound of a batch.
const SHORT_BYTES: usize = 64;

/// Replies of operations, each at its place.
#[derive(Debug)]
pub(crate) struct Parts {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    /// Whether all of it is one step, so that what befalls the step befalls the batch.
    is_one_step: bool,
    /// What befell it.
    whole: Option<ReplyBuf>,
}

impl Parts {
    pub(crate) fn new(count: usize, is_one_step: bool) -> Self {
        Self { bytes: Vec::new(), ranges: vec![0..0; count], is_one_step, whole: None }
    }

    /// The reply of the operation at a place.
    pub(crate) fn put(&mut self, place: usize, reply: &Reply<'_>) {
        if *reply == Reply::Aborted {
            self.whole = Some(ReplyBuf::new(reply));
            return;
        }
        let start = self.bytes.len();
        encode(reply, &mut self.bytes);
        if self.bytes.len() > STEP_REPLY_BYTES_MAX && self.bytes.len() - start > SHORT_BYTES {
            self.bytes.truncate(start);
            let text =
                format!("the replies before this one have {STEP_REPLY_BYTES_MAX} bytes already");
            encode(&Failure::TooMuch(text.into()).into(), &mut self.bytes);
        }
        self.ranges[place] = start..self.bytes.len();
    }

    /// The reply of a step of the operations at `places`.
    pub(crate) fn put_step(&mut self, places: &[usize], reply: &Reply<'_>) {
        match (reply, places) {
            (Reply::Many(parts), _) if parts.len() == places.len() => {
                for (place, part) in places.iter().zip(parts) {
                    self.put(*place, &part.reply());
                }
            }
            // The reply of a step of one operation is the operation's: a step that was run may carry its failure.
            (Reply::Failed(failure), [place]) if self.is_one_step && was_run(failure) => {
                self.put(*place, reply);
            }
            (Reply::Failed(_), _) if self.is_one_step => self.whole = Some(ReplyBuf::new(reply)),
            (Reply::Failed(_) | Reply::Aborted, _) => {
                places.iter().for_each(|place| self.put(*place, reply));
            }
            (_, [place]) => self.put(*place, reply),
            _ => {
                let failure =
                    Failure::Invalid("a worker answered another number of replies".into());
                places.iter().for_each(|place| self.put(*place, &failure.clone().into()));
            }
        }
    }

    /// Hands the first `count` over as one reply.
    pub(crate) fn give(&self, count: usize, answer: &mut dyn FnMut(Reply<'_>)) {
        match &self.whole {
            Some(whole) => answer(whole.view()),
            None => {
                let part = |range: &Range<usize>| Part::new(&self.bytes[range.clone()]);
                answer(Reply::Many(self.ranges[..count].iter().map(part).collect()));
            }
        }
    }

    /// Waits for the steps still to come, in order, and gives the first `count` as one reply.
    pub(crate) async fn gather(
        mut self,
        steps: Vec<(Ticket, Vec<usize>)>,
        count: usize,
    ) -> ReplyBuf {
        for (ticket, places) in steps {
            self.put_step(&places, &ticket.await.view());
        }
        self.reply(count)
    }

    /// The first `count` as one reply.
    pub(crate) fn reply(&self, count: usize) -> ReplyBuf {
        let mut reply = None;
        self.give(count, &mut |whole| reply = Some(ReplyBuf::new(&whole)));
        reply.expect("it gives one reply")
    }
}

/// The reply of a step from those of its operations, in order: that of its operation when it has one, else `Many` or
/// `Aborted`.
pub fn whole_reply(mut replies: Vec<ReplyBuf>) -> ReplyBuf {
    if replies.len() == 1 {
        return replies.pop().expect("there is one");
    }
    let mut parts = Parts::new(replies.len(), true);
    for (place, reply) in replies.iter().enumerate() {
        parts.put(place, &reply.view());
    }
    parts.reply(replies.len())
}

/// Whether a failure is that of an operation of a step that was run; any other befell the step.
fn was_run(failure: &Failure<'_>) -> bool {
    matches!(
        failure,
        Failure::KeyEmpty
            | Failure::KeyTooLong { .. }
            | Failure::ValueTooLong { .. }
            | Failure::TooMuch(_)
            | Failure::NotInteger
            | Failure::NotFloat
            | Failure::Overflow
            | Failure::NotFinite
            | Failure::MemoryFull { .. }
            | Failure::TooFewCopies { .. }
            | Failure::LogFull(_)
            | Failure::DiskFailed(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(reply: Reply<'_>) -> Ticket {
        Box::pin(std::future::ready(ReplyBuf::new(&reply)))
    }

    fn replies(reply: &ReplyBuf) -> Vec<Reply<'_>> {
        let Reply::Many(parts) = reply.view() else { panic!("{reply:?}") };
        parts.iter().map(|part| part.reply()).collect()
    }

    #[tokio::test]
    async fn replies_come_in_the_order_of_the_operations() {
        let mut parts = Parts::new(5, false);
        parts.put(3, &Reply::Count(3));
        let inner = [Reply::Count(0), Reply::Count(4)].map(|reply| ReplyBuf::new(&reply));
        let many = Reply::Many(inner.iter().map(|buf| Part::new(buf.as_bytes())).collect());
        let steps = vec![
            (ticket(many), vec![0, 4]),
            (ticket(Reply::Count(1)), vec![1]),
            (ticket(Reply::Failed(Failure::Unknown)), vec![2]),
        ];
        let reply = parts.gather(steps, 5).await;
        let lost = Reply::Failed(Failure::Unknown);
        let want = [Reply::Count(0), Reply::Count(1), lost, Reply::Count(3), Reply::Count(4)];
        assert_eq!(replies(&reply), want);
    }

    #[tokio::test]
    async fn what_befalls_the_only_step_befalls_the_batch() {
        for reply in [Reply::Aborted, Reply::Failed(Failure::Unknown)] {
            let steps = vec![(ticket(reply.clone()), vec![0, 1])];
            assert_eq!(Parts::new(2, true).gather(steps, 2).await.view(), reply);
        }
    }

    /// EXEC of one INCR of a text, behind WATCH, answered with an error for the whole of it.
    #[tokio::test]
    async fn the_failure_of_the_only_operation_is_its_own() {
        let steps = vec![(ticket(Reply::Failed(Failure::NotInteger)), vec![0])];
        let reply = Parts::new(1, true).gather(steps, 1).await;
        assert_eq!(replies(&reply), [Reply::Failed(Failure::NotInteger)]);
    }

    #[test]
    fn long_replies_have_a_bound_and_short_ones_go_on() {
        let value = vec![0; STEP_REPLY_BYTES_MAX / 2];
        let long = Reply::Text { value: &value, version: Default::default() };
        let mut parts = Parts::new(4, false);
        for place in 0..3 {
            parts.put(place, &long);
        }
        parts.put(3, &Reply::Nil);
        let mut seen = Vec::new();
        parts.give(4, &mut |reply| {
            let Reply::Many(list) = reply else { panic!() };
            seen = list.iter().map(|part| matches!(part.reply(), Reply::Failed(_))).collect();
        });
        assert_eq!(seen, [false, true, true, false]);
    }
}
