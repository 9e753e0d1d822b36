//! The order of a partition's records: how far it has come, through which reigns, and where the newest lies in the log.

use firn_wire::ids::{Epoch, Version};
use firn_wire::replica::History;

use super::log::Position;

/// Reigns remembered; a copy that is behind the oldest is copied anew.
const REIGNS_MAX: usize = 64;

/// How far a partition has come.
///
/// Invariants: `history` ascends in both numbers; its newest epoch is that of the last record, and it is empty before the
/// first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// The last record's number; 0: none yet.
    pub(crate) sequence: u64,
    /// Where each reign began.
    pub(crate) history: History,
    /// The last record in the log; None: the log has none of it.
    pub(crate) tail: Option<Position>,
}

impl Order {
    /// The reign of the last record; 0 before the first.
    pub(crate) fn epoch(&self) -> Epoch {
        self.history.last().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// The version of the last record.
    pub(crate) fn version(&self) -> Version {
        Version::new(self.epoch(), self.sequence)
    }

    /// The next record is of `epoch`: counts it.
    pub(crate) fn advance(&mut self, epoch: Epoch) -> u64 {
        assert!(epoch >= self.epoch(), "epoch {} after {}", epoch.0, self.epoch().0);
        self.sequence += 1;
        if epoch > self.epoch() || self.history.is_empty() {
            self.history.push((epoch, self.sequence));
            if self.history.len() > REIGNS_MAX {
                self.history.remove(0);
            }
        }
        self.sequence
    }

    /// Forgets what comes after a number.
    pub(crate) fn cut(&mut self, sequence: u64) {
        assert!(sequence <= self.sequence, "cut at {sequence} of {}", self.sequence);
        self.sequence = sequence;
        self.history.retain(|(_, first)| *first <= sequence);
    }

    /// Takes another's order from a number on backwards: it has everything up to there in another way.
    pub(crate) fn take(&mut self, sequence: u64, history: &History) {
        self.sequence = sequence;
        self.history = history.iter().filter(|(_, first)| *first <= sequence).copied().collect();
        self.tail = None;
    }

    /// The last number up to which this order and another are the same; None: not known, or nothing. Records of one epoch
    /// and number are the same wherever they are, and so is all before them (Raft's log matching; Ongaro 2014, 3.5).
    pub(crate) fn common(&self, history: &History, last: u64) -> Option<u64> {
        let mut at = self.sequence.min(last);
        loop {
            if at == 0 {
                return Some(0);
            }
            let (mine, first) = reign_of(&self.history, at)?;
            let (theirs, their_first) = reign_of(history, at)?;
            match mine.cmp(&theirs) {
                std::cmp::Ordering::Equal => return Some(at),
                std::cmp::Ordering::Greater => at = first - 1,
                std::cmp::Ordering::Less => at = their_first - 1,
            }
        }
    }
}

/// The reign in which a number was written; None: before the oldest remembered.
fn reign_of(history: &History, sequence: u64) -> Option<(Epoch, u64)> {
    history.iter().rev().find(|(_, first)| *first <= sequence).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(history: &[(u32, u64)], sequence: u64) -> Order {
        let history = history.iter().map(|(epoch, first)| (Epoch(*epoch), *first)).collect();
        Order { sequence, history, tail: None }
    }

    fn common(mine: &Order, theirs: &Order) -> Option<u64> {
        let there = mine.common(&theirs.history, theirs.sequence);
        assert_eq!(there, theirs.common(&mine.history, mine.sequence), "it is the same both ways");
        there
    }

    #[test]
    fn the_common_point_is_where_reigns_part() {
        let old = order(&[(1, 1)], 40);
        let short = order(&[(1, 1)], 30);
        assert_eq!(common(&old, &short), Some(30));
        let other = order(&[(1, 1), (2, 31)], 50);
        assert_eq!(common(&old, &other), Some(30), "31 to 40 were of a reign that ended at 30");
        let third = order(&[(1, 1), (3, 36)], 37);
        assert_eq!(common(&other, &third), Some(30));
        assert_eq!(common(&order(&[], 0), &old), Some(0));
        assert_eq!(common(&order(&[(9, 1)], 3), &old), Some(0));
        assert_eq!(common(&order(&[(7, 100)], 120), &order(&[(7, 100), (8, 121)], 130)), Some(120));
        assert_eq!(
            common(&order(&[(7, 100)], 120), &old),
            None,
            "what was before 100 is forgotten"
        );
    }

    #[test]
    fn a_cut_forgets_reigns_that_began_later() {
        let mut order = order(&[(1, 1), (2, 31)], 50);
        order.cut(30);
        assert_eq!((order.epoch(), order.sequence), (Epoch(1), 30));
        assert_eq!(order.advance(Epoch(5)), 31);
        assert_eq!(order.version(), Version::new(Epoch(5), 31));
    }
}
