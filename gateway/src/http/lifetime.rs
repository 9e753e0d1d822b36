//! How long an entry is to live, as a request says it: `?ttl=30s`, or `Cache-Control` (RFC 9111 §5.2, RFC 5861).

use std::time::Duration;

use firn_wire::command::{ExpireIf, Expiry, Op};
use firn_wire::limits::TTL_MS_MAX;

use super::problem::{Kind, Problem};

/// What `Cache-Control` says of a value's freshness, kept with it and given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freshness {
    /// Seconds it is fresh.
    pub(super) max_age_s: u64,
    /// Seconds it may be served stale after that; the entry lives as long.
    pub(super) stale_s: u64,
}

impl Freshness {
    /// When the entry is to be gone.
    pub(super) fn expiry(self) -> Result<Expiry, Problem> {
        let seconds = self.max_age_s.saturating_add(self.stale_s);
        if self.max_age_s == 0 {
            return Err(refused("max-age=0"));
        }
        after(Duration::from_secs(seconds)).ok_or_else(|| refused("max-age"))
    }
}

fn after(time: Duration) -> Option<Expiry> {
    let ms = u64::try_from(time.as_millis()).ok()?;
    (1..=TTL_MS_MAX).contains(&ms).then_some(Expiry::After(ms))
}

fn refused(what: &str) -> Problem {
    Problem::new(
        Kind::InvalidTtl,
        format!("{what} is no time to live; give 1ms to 100 years, like 30s or 1h 30m, or never"),
    )
}

/// Reads `?ttl=`: a time with its unit, as humantime reads them, or `never`.
pub(super) fn ttl(text: &str) -> Result<Expiry, Problem> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let time = humantime::parse_duration(text).ok();
    time.and_then(after).ok_or_else(|| refused(&format!("ttl {:?}", shorten(text))))
}

fn shorten(text: &str) -> &str {
    text.get(..40).unwrap_or(text)
}

/// Reads `Cache-Control` of a PUT; None where it names no `max-age`. Other directives are not for us.
pub(super) fn cache_control(value: &[u8]) -> Result<Option<Freshness>, Problem> {
    let text = std::str::from_utf8(value).map_err(|_| refused("Cache-Control"))?;
    let (mut max_age, mut stale) = (None, None);
    for directive in text.split(',') {
        let (name, seconds) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim();
        if name.eq_ignore_ascii_case("max-age") {
            max_age = Some(delta_seconds(seconds)?);
        } else if name.eq_ignore_ascii_case("stale-while-revalidate") {
            stale = Some(delta_seconds(seconds)?);
        }
    }
    Ok(max_age.map(|max_age_s| Freshness { max_age_s, stale_s: stale.unwrap_or(0) }))
}

fn delta_seconds(text: &str) -> Result<u64, Problem> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| refused(&format!("Cache-Control {:?}", shorten(text))))
}

/// Gives an entry another expiry. `Never` changes nothing where there is none, so that its `Done` cannot tell an absent
/// key from one that stays: there the value says it.
pub(super) fn touch_op(expiry: Expiry) -> Op<'static> {
    match expiry {
        Expiry::Never => Op::GetExpire { expiry },
        _ => Op::Expire { expiry, only: ExpireIf::Always },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_units_are_read() {
        for (text, want) in
            [("30s", 30_000), ("1ms", 1), ("1h 30m", 5_400_000), ("100years", 3_155_760_000_000)]
        {
            assert_eq!(ttl(text).ok(), Some(Expiry::After(want)), "{text}");
        }
        assert_eq!(ttl("never").ok(), Some(Expiry::Never));
    }

    #[test]
    fn times_out_of_bounds_are_refused() {
        for bad in [
            "",
            "0",
            "0s",
            "-5s",
            "30",
            "1us",
            "101years",
            "99999999999999999999s",
            "NaN",
            "1e3s",
            "s",
        ] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cache_control_gives_freshness() {
        let read = |text: &str| cache_control(text.as_bytes());
        let fresh = Freshness { max_age_s: 30, stale_s: 60 };
        assert_eq!(read("max-age=30, stale-while-revalidate=60").unwrap(), Some(fresh));
        assert_eq!(fresh.expiry().unwrap(), Expiry::After(90_000));
        assert_eq!(read("no-cache, private").unwrap(), None);
        assert_eq!(read("stale-while-revalidate=60").unwrap(), None);
        for bad in
            ["max-age", "max-age=-1", "max-age=+1", "max-age=1.5", "max-age=99999999999999999999"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        let zero = read("max-age=0, stale-while-revalidate=9").unwrap().unwrap();
        assert!(zero.expiry().is_err());
        assert!(Freshness { max_age_s: 1, stale_s: u64::MAX }.expiry().is_err());
    }
}
