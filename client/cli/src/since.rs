//! When something began, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix milliseconds now, by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// `2026-11-03T14:03:11Z (2m 3s ago)`.
pub(crate) fn since(since_ms: u64, now_ms: u64) -> String {
    format!("{} ({} ago)", time(since_ms), age(since_ms, now_ms))
}

/// `2026-11-03T14:03:11Z`.
pub(crate) fn time(unix_ms: u64) -> String {
    // RFC 3339 ends with the year 9999.
    if unix_ms >= 253_402_300_800_000 {
        return format!("{unix_ms} ms");
    }
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// `2m 3s`, in whole seconds.
pub(crate) fn age(since_ms: u64, now_ms: u64) -> String {
    let age = Duration::from_secs(now_ms.saturating_sub(since_ms) / 1_000);
    humantime::format_duration(age).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_no_clock_has_are_shown_all_the_same() {
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
        assert_eq!(age(5_000, 1_000), "0s");
        assert_eq!(since(1_762_178_591_000, 1_762_178_714_000), "2025-11-03T14:03:11Z (2m 3s ago)");
    }
}
