//! Partitions written as ranges: `0/3`, `0/5-9`.

use std::fmt;

use firn_wire::ids::PartitionId;

/// Ranges written out in a sentence; more are counted.
const SHOWN_MAX: usize = 8;

/// Ranges of neighbours, first and last, in the order of the partitions they were made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(PartitionId, PartitionId)>);

impl Ranges {
    /// Puts neighbours together; the ids ascend.
    pub(super) fn of(ids: &[PartitionId]) -> Self {
        let mut ranges: Vec<(PartitionId, PartitionId)> = Vec::new();
        for id in ids {
            match ranges.last_mut() {
                Some((_, last)) if last.group == id.group && last.number + 1 == id.number => {
                    *last = *id;
                }
                _ => ranges.push((*id, *id)),
            }
        }
        Self(ranges)
    }

    /// Each as text.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{}", last.number),
        })
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.texts().take(SHOWN_MAX).collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more ranges"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::GroupId;

    fn ranges(numbers: &[(u16, u16)]) -> Ranges {
        let id =
            |(group, number): &(u16, u16)| PartitionId { group: GroupId(*group), number: *number };
        Ranges::of(&numbers.iter().map(id).collect::<Vec<_>>())
    }

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(ranges(&[]).to_string(), "");
        assert_eq!(ranges(&[(0, 3)]).to_string(), "0/3");
        let some = ranges(&[(0, 0), (0, 1), (0, 2), (0, 4), (1, 5), (1, 6)]);
        assert_eq!(some.to_string(), "0/0-2, 0/4, 1/5-6");
        assert_eq!(some.texts().count(), 3);
        let many: Vec<_> = (0..10).map(|n| (0, 2 * n)).collect();
        assert!(ranges(&many).to_string().ends_with("0/14 and 2 more ranges"));
    }
}
