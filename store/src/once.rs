//! Idempotency keys: the replies of requests that carried one, for a minute.

use std::collections::{HashMap, VecDeque};

use firn_wire::limits::{ONCE_KEYS_MAX, ONCE_MS};
use firn_wire::reply::ReplyBuf;

/// What one partition remembers: at most [`ONCE_KEYS_MAX`] keys, each for [`ONCE_MS`].
///
/// Invariants: `order` names each token of `answers` once, at the time it goes, and rises by that time.
#[derive(Debug, Default)]
pub(crate) struct Once {
    answers: HashMap<Box<[u8]>, Answer>,
    /// When each goes, Unix milliseconds, soonest first.
    order: VecDeque<(u64, Box<[u8]>)>,
    /// How many went from the front of `order` so far.
    gone: u64,
}

#[derive(Debug)]
struct Answer {
    until: u64,
    replies: Vec<ReplyBuf>,
}

/// A token with the replies to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remembered<'a> {
    /// When it goes, Unix milliseconds.
    pub(crate) until: u64,
    /// The token.
    pub(crate) token: &'a [u8],
    /// The replies.
    pub(crate) replies: &'a [ReplyBuf],
}

impl Once {
    /// The replies given before to this token.
    pub(crate) fn find(&mut self, now: u64, token: &[u8]) -> Option<&[ReplyBuf]> {
        self.age(now);
        self.answers.get(token).map(|answer| answer.replies.as_slice())
    }

    /// Whether one more can be remembered.
    pub(crate) fn has_room(&self) -> bool {
        self.order.len() < ONCE_KEYS_MAX
    }

    /// Remembers replies to a token that [`Once::find`] did not know.
    pub(crate) fn remember(&mut self, now: u64, token: &[u8], replies: Vec<ReplyBuf>) {
        assert!(self.has_room(), "{} idempotency keys", self.order.len());
        self.replay(now + ONCE_MS, token, replies);
    }

    /// Remembers what a primary remembered, from a record or a snapshot, until the same time, which for a record is
    /// [`ONCE_MS`] after its clock. Records may tell again what
    /// a snapshot told: the last counts. Beyond the bound the one that would go first goes: a snapshot may be newer than
    /// the records after it, which name tokens the primary no longer had.
    pub(crate) fn replay(&mut self, until: u64, token: &[u8], replies: Vec<ReplyBuf>) {
        if let Some(before) = self.answers.insert(token.into(), Answer { until, replies }) {
            self.take_from_order(before.until, token);
        }
        let at = self.order.partition_point(|(other, _)| *other <= until);
        self.order.insert(at, (until, token.into()));
        if self.order.len() > ONCE_KEYS_MAX {
            self.pop();
        }
    }

    fn take_from_order(&mut self, until: u64, token: &[u8]) {
        let first = self.order.partition_point(|(other, _)| *other < until);
        let same = self.order.range(first..).position(|(_, other)| **other == *token);
        self.order.remove(first + same.expect("every token is in the order"));
    }

    /// What it remembers, soonest to go first, from a place on: 0 for all. Each comes with the place after it, at which
    /// another call goes on, whatever has gone or come at the end since: so it is at a primary, which is told nothing again.
    pub(crate) fn iter(&self, from: u64) -> impl Iterator<Item = (u64, Remembered<'_>)> {
        let first = from.saturating_sub(self.gone).min(self.order.len() as u64);
        self.order.range(first as usize..).zip(self.gone + first + 1..).map(
            |((until, token), next)| {
                let answer = self.answers.get(token).expect("the order names what is remembered");
                (next, Remembered { until: *until, token, replies: &answer.replies })
            },
        )
    }

    /// Forgets what is a minute old.
    pub(crate) fn age(&mut self, now: u64) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, token)) = self.order.pop_front() {
            self.answers.remove(&token);
            self.gone += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::reply::Reply;
    use proptest::prelude::*;

    fn replies(done: bool) -> Vec<ReplyBuf> {
        vec![ReplyBuf::new(&Reply::Done(done))]
    }

    fn tokens(once: &Once) -> Vec<(u64, Vec<u8>)> {
        once.iter(0).map(|(_, kept)| (kept.until, kept.token.to_vec())).collect()
    }

    #[test]
    fn a_token_is_known_for_a_minute() {
        let mut once = Once::default();
        assert!(once.find(0, b"t").is_none());
        once.remember(0, b"t", replies(true));
        assert_eq!(once.find(ONCE_MS - 1, b"t").unwrap()[0].view(), Reply::Done(true));
        assert!(once.find(ONCE_MS, b"t").is_none());
    }

    #[test]
    fn a_token_told_again_counts_once_and_as_told_last() {
        let mut once = Once::default();
        once.replay(20, b"b", replies(false));
        once.replay(20, b"c", replies(false));
        once.replay(10, b"a", replies(false));
        once.replay(15, b"b", replies(true));
        let kept = [(10, b"a".to_vec()), (15, b"b".to_vec()), (20, b"c".to_vec())];
        assert_eq!(tokens(&once), kept);
        assert_eq!(once.find(14, b"b").unwrap()[0].view(), Reply::Done(true));
        assert!(once.find(15, b"b").is_none(), "it goes when it was told last");
    }

    #[test]
    fn beyond_the_bound_the_soonest_to_go_goes() {
        let mut once = Once::default();
        for n in 0..=ONCE_KEYS_MAX as u64 {
            once.replay(1_000_000 - n, &n.to_le_bytes(), replies(true));
        }
        assert!(!once.has_room());
        assert_eq!((once.order.len(), once.answers.len()), (ONCE_KEYS_MAX, ONCE_KEYS_MAX));
        assert!(once.find(0, &(ONCE_KEYS_MAX as u64).to_le_bytes()).is_none());
        assert!(once.find(0, &0u64.to_le_bytes()).is_some());
    }

    #[test]
    fn a_reader_goes_on_where_it_was_though_tokens_come_and_go() {
        let mut once = Once::default();
        let mut read = Vec::new();
        let mut place = 0;
        for now in 0..100u64 {
            once.remember(now * ONCE_MS / 10, &[now as u8], replies(true));
            if now % 3 == 0 {
                for (next, kept) in once.iter(place).take(4) {
                    read.push(kept.token[0]);
                    place = next;
                }
            }
            once.age(now * ONCE_MS / 10);
        }
        assert_eq!(read, (0..100).collect::<Vec<u8>>());
    }

    proptest! {
        /// Against a list that is sorted anew each time.
        #[test]
        fn it_keeps_the_last_that_was_told_until_its_time(
            steps in proptest::collection::vec((0u8..20, 0u64..100, any::<bool>()), 1..200),
        ) {
            let mut once = Once::default();
            let mut model: Vec<(u64, Vec<u8>)> = Vec::new();
            for (token, time, age) in steps {
                if age {
                    once.age(time / 2);
                    model.retain(|(until, _)| *until > time / 2);
                } else {
                    once.replay(time, &[token], replies(true));
                    model.retain(|(_, other)| other[..] != [token]);
                    model.push((time, vec![token]));
                    model.sort_by_key(|(until, _)| *until);
                }
                prop_assert_eq!(tokens(&once), model.clone());
                prop_assert_eq!(once.answers.len(), model.len());
            }
        }
    }
}
