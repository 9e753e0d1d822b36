//! Idempotency keys: the replies of requests that carried one, for a minute.

use std::collections::{HashMap, VecDeque};

use firn_wire::limits::{ONCE_KEYS_MAX, ONCE_MS};
use firn_wire::reply::ReplyBuf;

/// What one partition remembers. At most [`ONCE_KEYS_MAX`] keys, each for [`ONCE_MS`].
#[derive(Debug, Default)]
pub(crate) struct Once {
    replies: HashMap<Box<[u8]>, Vec<ReplyBuf>>,
    /// When each goes, oldest first.
    order: VecDeque<(u64, Box<[u8]>)>,
}

impl Once {
    /// The replies given before to this token.
    pub(crate) fn find(&mut self, now: u64, token: &[u8]) -> Option<&[ReplyBuf]> {
        self.age(now);
        self.replies.get(token).map(Vec::as_slice)
    }

    /// Whether one more can be remembered.
    pub(crate) fn has_room(&self) -> bool {
        self.order.len() < ONCE_KEYS_MAX
    }

    /// Remembers replies.
    pub(crate) fn remember(&mut self, now: u64, token: &[u8], replies: Vec<ReplyBuf>) {
        assert!(self.has_room(), "{} idempotency keys", self.order.len());
        self.replies.insert(token.into(), replies);
        self.order.push_back((now + ONCE_MS, token.into()));
    }

    fn age(&mut self, now: u64) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, token)) = self.order.pop_front() {
                self.replies.remove(&token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::reply::Reply;

    #[test]
    fn a_token_is_known_for_a_minute() {
        let mut once = Once::default();
        assert!(once.find(0, b"t").is_none());
        once.remember(0, b"t", vec![ReplyBuf::new(&Reply::Done(true))]);
        assert_eq!(once.find(ONCE_MS - 1, b"t").unwrap()[0].view(), Reply::Done(true));
        assert!(once.find(ONCE_MS, b"t").is_none());
    }
}
