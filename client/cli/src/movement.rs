//! How far partitions are from where they should be, in words.

use firn_wire::registry::Movement;

/// A movement of which nothing has come for so long stands still, in milliseconds.
const STANDS_AFTER_MS: u64 = 10_000;

/// `moving: 120 of 768 partitions left, about 12 s to go`; None: nothing is left.
pub(crate) fn line(movement: &Movement, now_ms: u64) -> Option<String> {
    let Movement { left, total, .. } = movement;
    if *left == 0 {
        return None;
    }
    let to_go = to_go(movement, now_ms).map_or_else(String::new, |to_go| format!(", {to_go}"));
    Some(format!("moving: {left} of {total} partitions left{to_go}"))
}

/// `about 12 s to go`; None: nothing arrives, so nobody knows.
pub(crate) fn to_go(movement: &Movement, now_ms: u64) -> Option<String> {
    if stands_since(movement, now_ms).is_some() {
        return None;
    }
    let seconds = movement.ends_in_ms?.div_ceil(1_000);
    Some(match seconds {
        0..120 => format!("about {seconds} s to go"),
        _ => format!("about {} min to go", seconds.div_ceil(60)),
    })
}

/// Unix milliseconds since when nothing has come of a movement; None: it goes on, or there is none.
pub(crate) fn stands_since(movement: &Movement, now_ms: u64) -> Option<u64> {
    movement
        .unchanged_since_ms
        .filter(|since_ms| since_ms.saturating_add(STANDS_AFTER_MS) <= now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_762_178_591_000;

    fn moving(left: usize, ends_in_ms: Option<u64>, unchanged_ms: u64) -> Movement {
        Movement {
            left,
            total: 768,
            since_ms: Some(NOW_MS - 60_000),
            unchanged_since_ms: Some(NOW_MS - unchanged_ms),
            rate_per_second: 10.0,
            ends_in_ms,
        }
    }

    #[test]
    fn what_is_left_and_when_it_may_end() {
        let said = |left, ends_in_ms| line(&moving(left, ends_in_ms, 100), NOW_MS);
        assert_eq!(said(0, None), None);
        assert_eq!(said(120, None).unwrap(), "moving: 120 of 768 partitions left");
        let line = said(120, Some(11_100)).unwrap();
        assert_eq!(line, "moving: 120 of 768 partitions left, about 12 s to go");
        assert!(said(120, Some(121_000)).unwrap().ends_with("about 3 min to go"));
    }

    #[test]
    fn what_stands_still_has_no_end() {
        let stands = moving(120, Some(11_100), 10_000);
        assert_eq!(stands_since(&stands, NOW_MS), Some(NOW_MS - 10_000));
        assert_eq!(line(&stands, NOW_MS).unwrap(), "moving: 120 of 768 partitions left");
        assert_eq!(stands_since(&moving(120, None, 9_999), NOW_MS), None);
    }
}
