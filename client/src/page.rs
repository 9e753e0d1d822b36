//! One page of a scan from what several workers found. Pure.
//!
//! Invariant: a page holds everything found before its end, and its end is before everything that was not looked at.

use firn_wire::command::Cursor;
use firn_wire::limits::SCAN_COUNT_MAX;
use firn_wire::reply::{Reply, Row};

/// What one worker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// Up to where it looked; None: to the end of its partitions.
    pub(crate) reached: Option<Cursor>,
    /// What is there, ascending.
    pub(crate) rows: Vec<Row<'a>>,
}

impl<'a> Found<'a> {
    /// A worker that did not look: its partitions, ascending, are still to come.
    pub(crate) fn nothing(from: Cursor, partitions: &[u16]) -> Self {
        let reached = partitions.first().map(|number| start_of(*number).max(from));
        Self { reached, rows: Vec::new() }
    }

    /// From a worker's reply; None when it is not one to a scan.
    pub(crate) fn of(from: Cursor, refused: &[u16], reply: Reply<'a>) -> Option<Self> {
        let Reply::Page { next, rows } = reply else { return None };
        let refused = Self::nothing(from, refused).reached;
        let reached = [next, refused].into_iter().flatten().min();
        Some(Self { reached, rows })
    }
}

fn start_of(partition: u16) -> Cursor {
    Cursor { partition, position: 0 }
}

/// Where to go on, None when all is through, and the rows before that, ascending.
pub(crate) fn merge(found: Vec<Found<'_>>) -> (Option<Cursor>, Vec<Row<'_>>) {
    let mut end = found.iter().filter_map(|found| found.reached).min();
    let mut rows: Vec<Row<'_>> = found.into_iter().flat_map(|found| found.rows).collect();
    rows.sort_by_key(|row| row.at);
    if let Some(first_over) = rows.get(SCAN_COUNT_MAX).map(|row| row.at)
        && first_over > rows[0].at
    {
        end = Some(end.map_or(first_over, |end| end.min(first_over)));
    }
    if let Some(end) = end {
        rows.truncate(rows.partition_point(|row| row.at < end));
    }
    (end, rows)
}

/// How many rows to ask each of `workers` for, so that `count` are likely to come before the end of the page.
pub(crate) fn share(count: u32, workers: usize) -> u32 {
    let count = count.clamp(1, SCAN_COUNT_MAX as u32);
    if workers <= 1 {
        return count;
    }
    let even = count.div_ceil(workers as u32);
    (even + even / 4 + 4).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::Version;
    use proptest::prelude::*;

    fn row(at: Cursor) -> Row<'static> {
        Row {
            at,
            key: b"k",
            version: Version(1),
            expires_at: None,
            length: 0,
            value: None,
            meta: b"",
        }
    }

    fn at(partition: u16, position: u64) -> Cursor {
        Cursor { partition, position }
    }

    #[test]
    fn a_page_ends_where_the_first_worker_stopped() {
        let found = vec![
            Found { reached: Some(at(2, 5)), rows: vec![row(at(0, 1)), row(at(2, 4))] },
            Found { reached: None, rows: vec![row(at(1, 9)), row(at(3, 0))] },
        ];
        let (end, rows) = merge(found);
        assert_eq!(end, Some(at(2, 5)));
        let places: Vec<Cursor> = rows.iter().map(|row| row.at).collect();
        assert_eq!(places, [at(0, 1), at(1, 9), at(2, 4)]);
    }

    #[test]
    fn who_did_not_look_bounds_the_page() {
        assert_eq!(Found::nothing(at(3, 7), &[3, 5]).reached, Some(at(3, 7)));
        assert_eq!(Found::nothing(at(3, 7), &[5]).reached, Some(at(5, 0)));
        let page = |next| Reply::Page { next, rows: vec![] };
        let found =
            |next, refused: &[u16]| Found::of(at(0, 0), refused, page(next)).unwrap().reached;
        assert_eq!(found(None, &[]), None);
        assert_eq!(found(None, &[4]), Some(at(4, 0)));
        assert_eq!(found(Some(at(3, 1)), &[4]), Some(at(3, 1)));
        assert_eq!(Found::of(at(0, 0), &[], Reply::Nil), None);
    }

    #[test]
    fn a_page_is_no_longer_than_a_page() {
        let rows = (0..SCAN_COUNT_MAX as u64 + 5).map(|n| row(at(0, n))).collect();
        let (end, rows) = merge(vec![Found { reached: None, rows }]);
        assert_eq!((end, rows.len()), (Some(at(0, SCAN_COUNT_MAX as u64)), SCAN_COUNT_MAX));
    }

    proptest! {
        /// Three workers with partitions in turn, each stopping after some rows: the pages hold each row once.
        #[test]
        fn pages_hold_every_row_once(
            places in proptest::collection::btree_set((0u16..6, 0u64..50), 0..120),
            steps in 1usize..20,
        ) {
            let all: Vec<Cursor> = places.into_iter().map(|(p, position)| at(p, position)).collect();
            let (mut from, mut seen) = (at(0, 0), Vec::new());
            loop {
                let found = (0..3).map(|worker| {
                    let mut own = all.iter().filter(|c| c.partition % 3 == worker && **c >= from);
                    let rows: Vec<_> = own.by_ref().take(steps).map(|c| row(*c)).collect();
                    Found { reached: own.next().copied(), rows }
                });
                let (end, rows) = merge(found.collect());
                seen.extend(rows.iter().map(|row| row.at));
                match end {
                    Some(end) => { prop_assert!(end > from); from = end; }
                    None => break,
                }
            }
            prop_assert_eq!(seen, all);
        }
    }
}
