//! How copies are kept: leases, grants, and what is done about workers that are away. Changed online, and at each start.

use std::time::Duration;

use firn_wire::map::Replication;

use super::{milliseconds, within};

const LEASE_MIN_MS: u64 = 100;
/// The longest lease, and the longest grant: a partition whose primary is gone pauses for as long.
const GRANT_MAX_MS: u64 = 600_000;
/// The longest of the times after which something is done about workers that are away: a year.
const AWAY_MAX_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// What an operator says of it. None: what the cluster has, or the default at its first start.
#[derive(Debug, Clone, Default)]
pub struct ReplicationWishes {
    /// How long a primary serves on an answered beacon.
    pub lease: Option<Duration>,
    /// How long who answers a beacon seeks no other primary.
    pub grant: Option<Duration>,
    /// When the copies of a worker that is down are made elsewhere.
    pub replace_after: Option<Duration>,
    /// When a worker that is down loses its seat.
    pub forget_after: Option<Duration>,
    /// When a partition that has no copy left starts again empty.
    pub rehome_after: Option<Rehoming>,
    /// The most bytes a worker copies to others in a second; 0: as fast as it goes.
    pub copy_rate: Option<u64>,
}

/// Whether partitions without a copy start again by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rehoming {
    /// They wait for their workers, or for an operator.
    Never,
    /// Once all who had a copy have been away for this long.
    After(Duration),
}

impl ReplicationWishes {
    /// What they make of what there is.
    pub(super) fn over(&self, kept: Replication) -> Replication {
        let wish = |wish: Option<Duration>, kept: u64| wish.map_or(kept, milliseconds);
        Replication {
            lease_ms: wish(self.lease, kept.lease_ms),
            grant_ms: wish(self.grant, kept.grant_ms),
            replace_after_ms: wish(self.replace_after, kept.replace_after_ms),
            forget_after_ms: wish(self.forget_after, kept.forget_after_ms),
            rehome_after_ms: match self.rehome_after {
                None => kept.rehome_after_ms,
                Some(Rehoming::Never) => None,
                Some(Rehoming::After(time)) => Some(milliseconds(time)),
            },
            copy_bytes_per_second: self.copy_rate.unwrap_or(kept.copy_bytes_per_second),
        }
    }
}

/// Whether it makes sense; an error says what does not, and what would.
pub(super) fn check(replication: &Replication) -> Result<(), String> {
    let Replication { lease_ms, grant_ms, replace_after_ms, forget_after_ms, .. } = *replication;
    within("LEASE in milliseconds", lease_ms, LEASE_MIN_MS, GRANT_MAX_MS)?;
    within("GRANT in milliseconds", grant_ms, LEASE_MIN_MS, GRANT_MAX_MS)?;
    within("REPLACE_AFTER in milliseconds", replace_after_ms, 0, AWAY_MAX_MS)?;
    within("FORGET_AFTER in milliseconds", forget_after_ms, 0, AWAY_MAX_MS)?;
    check_grant(replication)?;
    if forget_after_ms < replace_after_ms {
        return Err(format!(
            "FORGET_AFTER is {forget_after_ms} ms and REPLACE_AFTER {replace_after_ms} ms: what a worker had is made \
             elsewhere before its seat is given up, so FORGET_AFTER must not be the shorter one"
        ));
    }
    let Some(rehome_after_ms) = replication.rehome_after_ms else { return Ok(()) };
    // A worker's lease from the uplink must be shorter than this by as much as two clocks may differ, and longer than
    // what workers lend each other, or it would be the uplink that decides how long a failover takes.
    within("REHOME_AFTER in milliseconds", rehome_after_ms, 2 * grant_ms + 1, AWAY_MAX_MS)
}

/// A lease much shorter than the one set would mean that primaries stop serving between two beacons.
fn check_grant(replication: &Replication) -> Result<(), String> {
    let Replication { lease_ms, grant_ms, .. } = *replication;
    let worth_ms = replication.lease_of(grant_ms);
    if 10 * worth_ms >= 9 * lease_ms {
        return Ok(());
    }
    let enough = |grant: &u64| replication.lease_of(*grant) == lease_ms;
    let needed_ms = (grant_ms..=2 * GRANT_MAX_MS).find(enough).unwrap_or(2 * GRANT_MAX_MS);
    Err(format!(
        "GRANT is {grant_ms} ms, which with clocks that differ in rate is worth a lease of {worth_ms} ms and not the LEASE \
         of {lease_ms} ms: set GRANT to {needed_ms} ms, or a shorter LEASE"
    ))
}

/// Reads `never` or a duration.
pub fn rehoming(text: &str) -> Result<Rehoming, String> {
    if text == "never" {
        return Ok(Rehoming::Never);
    }
    firn_config::duration(text).map(Rehoming::After).map_err(|why| format!("{why}, or never"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(change: impl FnOnce(&mut Replication)) -> String {
        let mut replication = Replication::default();
        change(&mut replication);
        check(&replication).unwrap_err()
    }

    #[test]
    fn the_default_and_the_fast_profile_make_sense() {
        assert_eq!(check(&Replication::default()), Ok(()));
        let fast = Replication { lease_ms: 800, grant_ms: 1_000, ..Replication::default() };
        assert_eq!(check(&fast), Ok(()));
        assert_eq!(fast.lease_of(fast.grant_ms), 800);
        let cache = Replication { rehome_after_ms: Some(60_000), ..fast };
        assert_eq!(check(&cache), Ok(()));
    }

    #[test]
    fn a_grant_that_does_not_cover_the_lease_is_refused_with_the_one_that_does() {
        let text = why(|r| r.grant_ms = 2_000);
        assert!(text.contains("worth a lease of 1620 ms"), "{text}");
        let needed = text.split("set GRANT to ").nth(1).and_then(|text| text.split(' ').next());
        let needed = needed.unwrap().parse().unwrap();
        let enough = Replication { grant_ms: needed, ..Replication::default() };
        assert_eq!((check(&enough), enough.lease_of(needed)), (Ok(()), 2_000));
        assert!(enough.lease_of(needed - 1) < 2_000, "{needed}");
    }

    #[test]
    fn times_that_cannot_be_are_named() {
        assert!(why(|r| r.lease_ms = 0).starts_with("LEASE in milliseconds is 0"));
        assert!(why(|r| r.lease_ms = u64::MAX).starts_with("LEASE in milliseconds is 1844"));
        assert!(why(|r| r.grant_ms = u64::MAX).starts_with("GRANT in milliseconds is 1844"));
        assert!(why(|r| r.forget_after_ms = u64::MAX).starts_with("FORGET_AFTER"));
        assert!(why(|r| r.replace_after_ms = r.forget_after_ms + 1).contains("the shorter one"));
        let text = why(|r| r.rehome_after_ms = Some(5_000));
        assert!(
            text.starts_with("REHOME_AFTER in milliseconds is 5000 and must be 5001 to"),
            "{text}"
        );
        assert_eq!(rehoming("never"), Ok(Rehoming::Never));
        assert_eq!(rehoming("1m"), Ok(Rehoming::After(Duration::from_secs(60))));
        assert!(rehoming("soon").unwrap_err().ends_with("or never"));
    }
}
