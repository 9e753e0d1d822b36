//! How far what is has come to what is wanted.

use firn_wire::map::Map;
use firn_wire::registry::Movement;
use firn_wire::status::Roll;

/// Partitions on their way. Kept in memory only: an uplink that starts again begins to count anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    left: usize,
    /// The most there were since there were none.
    total: usize,
    /// When the first were counted; 0 while there are none.
    since_ms: u64,
    /// When their number last changed; 0 while there are none.
    unchanged_since_ms: u64,
}

impl Progress {
    /// Counts what is left in a map at `now_ms`.
    pub(super) fn measure(&mut self, now_ms: u64, map: &Map) {
        let roll = Roll::of(map);
        let left = map.partitions.iter().filter(|row| roll.is_moving(row)).count();
        *self = match (self.left, left) {
            (_, 0) => Self::default(),
            (0, left) => Self { left, total: left, since_ms: now_ms, unchanged_since_ms: now_ms },
            (before, left) if before == left => *self,
            (_, left) => {
                let total = self.total.max(left);
                Self { left, total, unchanged_since_ms: now_ms, ..*self }
            }
        };
    }

    /// As it is told, with a guess at the end.
    pub fn at(&self, now_ms: u64) -> Movement {
        if self.left == 0 {
            return Movement {
                left: 0,
                total: 0,
                since_ms: None,
                unchanged_since_ms: None,
                rate_per_second: 0.0,
                ends_in_ms: None,
            };
        }
        let (done, for_ms) = (self.total - self.left, now_ms.saturating_sub(self.since_ms));
        let per_ms = if for_ms == 0 { 0.0 } else { done as f64 / for_ms as f64 };
        let ends_in_ms = (per_ms > 0.0).then(|| (self.left as f64 / per_ms).ceil() as u64);
        Movement {
            left: self.left,
            total: self.total,
            since_ms: Some(self.since_ms),
            unchanged_since_ms: Some(self.unchanged_since_ms),
            rate_per_second: per_ms * 1_000.0,
            ends_in_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_guessed_from_what_has_arrived() {
        let none = Progress::default().at(6_000);
        assert_eq!((none.since_ms, none.ends_in_ms, none.rate_per_second), (None, None, 0.0));
        let begun = Progress { left: 8, total: 8, since_ms: 5_000, unchanged_since_ms: 5_000 };
        assert_eq!(begun.at(5_000).ends_in_ms, None);
        assert_eq!(begun.at(6_000).ends_in_ms, None);
        let half = Progress { left: 4, unchanged_since_ms: 6_500, ..begun }.at(7_000);
        assert_eq!(half.unchanged_since_ms, Some(6_500));
        assert_eq!((half.left, half.total, half.since_ms), (4, 8, Some(5_000)));
        assert_eq!((half.rate_per_second, half.ends_in_ms), (2.0, Some(2_000)));
    }
}
