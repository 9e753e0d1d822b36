//! What was refused, so that nothing overtakes it.
//!
//! A sender pipelines: when it learns that a request was refused, later ones of the same session for the same partition
//! are on their way already, and by then the partition may be here. They are refused too, until one comes that says that
//! it is alone ([`Head::alone`]).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use firn_wire::ids::PartitionId;
use firn_wire::limits::REFUSED_MAX;
use firn_wire::message::Head;

/// Streams and partitions with a refused request, and until when its sender may ask again.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<(u64, PartitionId), Instant>);

impl Refused {
    /// Whether a request must be refused because an earlier one was.
    pub(super) fn concerns(&mut self, head: &Head, partition: PartitionId) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let name = (head.stream, partition);
        if head.alone {
            self.0.remove(&name);
        }
        self.0.get(&name).is_some_and(|until| *until > Instant::now())
    }

    /// Notes a refused request; false when there are too many.
    pub(super) fn note(&mut self, head: &Head, partition: PartitionId) -> bool {
        let now = Instant::now();
        if self.0.len() >= REFUSED_MAX {
            self.0.retain(|_, until| *until > now);
        }
        let until = now + Duration::from_millis(u64::from(head.remaining_ms));
        self.0.insert((head.stream, partition), until);
        self.0.len() <= REFUSED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::exchange::Role;

    fn head(stream: u64, alone: bool) -> Head {
        let remaining_ms = 60_000;
        Head { role: Role::Admin, remaining_ms, stream, alone, map: Default::default() }
    }

    #[test]
    fn what_follows_a_refusal_is_refused_until_one_comes_alone() {
        let [p, q] = [0, 1].map(|number| PartitionId { number, ..Default::default() });
        let mut refused = Refused::default();
        assert!(!refused.concerns(&head(1, false), p));
        assert!(refused.note(&head(1, false), p));
        assert!(refused.concerns(&head(1, false), p));
        assert!(!refused.concerns(&head(1, false), q) && !refused.concerns(&head(2, false), p));
        assert!(!refused.concerns(&head(1, true), p));
        assert!(!refused.concerns(&head(1, false), p));
    }

    #[test]
    fn refusals_nobody_waits_for_make_room() {
        let mut refused = Refused::default();
        let gone = Head { remaining_ms: 0, ..head(0, false) };
        for stream in 0..REFUSED_MAX as u64 + 10 {
            assert!(refused.note(&Head { stream, ..gone }, PartitionId::default()));
        }
        assert!(refused.0.len() <= REFUSED_MAX);
    }
}
