//! `Range: bytes=…` (RFC 9110 §14). One range is served; a header that is malformed, in another unit or lists several is
//! ignored, as the RFC allows, and the whole value sent.

use std::ops::Range;

/// One range as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// `first-last`
    Between(u64, u64),
    /// `first-`
    From(u64),
    /// `-length`
    Last(u64),
}

impl ByteRange {
    /// Reads the header's value; None where it is to be ignored.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (unit, set) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
        Some(match (first, last) {
            ("", last) => Self::Last(digits(last)?),
            (first, "") => Self::From(digits(first)?),
            (first, last) => {
                let (first, last) = (digits(first)?, digits(last)?);
                if last < first {
                    return None;
                }
                Self::Between(first, last)
            }
        })
    }

    /// The bytes of a value of this length; None where there are none (416).
    pub(super) fn within(self, length: usize) -> Option<Range<usize>> {
        let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(length);
        let range = match self {
            Self::Between(first, last) => clamp(first)..clamp(last.saturating_add(1)),
            Self::From(first) => clamp(first)..length,
            Self::Last(count) => length - clamp(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// A number of any size; beyond 64 bits it is the largest.
fn digits(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_value() {
        let cases = [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-4", Some(2..5)),
            ("Bytes = 2-99", Some(2..10)),
            ("bytes=9-", Some(9..10)),
            ("bytes=10-", None),
            ("bytes=-3", Some(7..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=-0", None),
            ("bytes=0-99999999999999999999999", Some(0..10)),
            ("bytes=99999999999999999999999-", None),
        ];
        for (header, want) in cases {
            let range = ByteRange::read(header.as_bytes()).unwrap_or_else(|| panic!("{header}"));
            assert_eq!(range.within(10), want, "{header}");
        }
        assert_eq!(ByteRange::From(0).within(0), None);
    }

    #[test]
    fn what_is_not_one_range_is_ignored() {
        for header in [
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=+1-2",
        ] {
            assert_eq!(ByteRange::read(header.as_bytes()), None, "{header}");
        }
    }
}
