//! Numbers as Redis reads them from words.

use super::refusal::Refusal;

/// A 64-bit integer in its one spelling: no `+`, no leading zero, no `-0`, no blanks.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Downwards, since the lowest integer has no positive counterpart.
    let below = digits.iter().try_fold(0i64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_sub(digit)
    })?;
    if negative { Some(below) } else { below.checked_neg() }
}

/// As [`integer`], with the answer to what is none.
pub(super) fn integer_or_refuse(text: &[u8]) -> Result<i64, Refusal> {
    integer(text).ok_or(Refusal::NOT_AN_INTEGER)
}

/// A cursor, as C's `strtoul` reads it: a sign, leading zeros and no digits at all are fine, blanks and 2^64 are not.
pub(super) fn cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_spelling_is_an_integer() {
        let good = [0, 1, -1, i64::MAX, i64::MIN, 10, -907];
        for number in good {
            assert_eq!(integer(number.to_string().as_bytes()), Some(number));
        }
        let bad = ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "0x1", "9223372036854775808"];
        for text in bad.iter().chain(&["-9223372036854775809", "99999999999999999999"]) {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn cursors_are_read_as_c_reads_them() {
        let good =
            [("", 0), ("007", 7), ("+5", 5), ("-1", u64::MAX), ("18446744073709551615", u64::MAX)];
        for (text, want) in good {
            assert_eq!(cursor(text.as_bytes()), Some(want), "{text:?}");
        }
        for text in ["-", "+", " 1", "1 ", "0x1", "18446744073709551616", "a"] {
            assert_eq!(cursor(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_integer_reads_back(number: i64) {
            prop_assert_eq!(integer(number.to_string().as_bytes()), Some(number));
        }
    }
}
