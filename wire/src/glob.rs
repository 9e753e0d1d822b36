//! Patterns of keys, as Redis matches them: `*`, `?`, `[a-c]`, `[^a]`, and `\` before a character taken as it is.

/// Whether `text` matches `pattern`, with the results of redis-server 7.0 also where a pattern is odd: a class that is
/// not closed ends with the pattern, a range may be given from its end, a lone `\` at the end is itself.
///
/// Only the last `*` is ever tried again, so the time is at most |pattern| × |text| and not exponential in the number of
/// stars (CVE-2022-36021, CVE-2024-31228).
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut left) = (pattern, text);
    // What follows the last star, and the first byte of the text that the star has not taken.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            // redis-server does not look into a pattern when the text is empty from the start.
            if text.is_empty() {
                return false;
            }
            if after.is_empty() {
                return true;
            }
            rest = after;
            retry = Some((rest, left));
            continue;
        }
        if rest.is_empty() && left.is_empty() {
            return true;
        }
        let stepped =
            left.split_first().and_then(|(byte, after)| Some((step(rest, *byte)?, after)));
        if let Some((after_rest, after_left)) = stepped {
            (rest, left) = (after_rest, after_left);
            continue;
        }
        let Some((after_star, from)) = retry else { return false };
        let Some((_, from)) = from.split_first() else { return false };
        (rest, left) = (after_star, from);
        retry = Some((after_star, from));
    }
}

/// Matches one byte with what stands first in a pattern, which is no star; returns the pattern after it.
fn step(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (taken, after) = match pattern {
        [] => return None,
        [b'?', after @ ..] => (true, after),
        [b'[', class @ ..] => class_takes(class, byte),
        [b'\\', own, after @ ..] | [own, after @ ..] => (*own == byte, after),
    };
    taken.then_some(after)
}

/// Whether a class, given from behind its `[`, takes a byte; and the pattern after its `]`.
fn class_takes(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        let (hit, after) = match rest {
            [] => break,
            [b'\\', own, after @ ..] => (*own == byte, after),
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [low, b'-', high, after @ ..] => {
                ((*low.min(high)..=*low.max(high)).contains(&byte), after)
            }
            [own, after @ ..] => (*own == byte, after),
        };
        found |= hit;
        rest = after;
    }
    (found != negated, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by trying every length for every star: plain, and exponential.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', after @ ..], text) => {
                (0..=text.len()).any(|taken| plainly(after, &text[taken..]))
            }
            (_, []) => false,
            (pattern, [byte, left @ ..]) => {
                step(pattern, *byte).is_some_and(|after| plainly(after, left))
            }
        }
    }

    /// Answers of redis-server 7.0's KEYS.
    #[test]
    fn odd_patterns_match_as_in_redis() {
        let vectors = [
            ("*", "a", true),
            ("a*", "a", true),
            ("**a**", "xax", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("[a-]", "-", false),
            ("[a", "a", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[]a]", "a", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*b", "", false),
        ];
        for (pattern, text, want) in vectors {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), want, "{pattern} {text}");
        }
    }

    /// CVE-2022-36021: this pattern took redis-server time exponential in its stars.
    #[test]
    fn many_stars_end_soon() {
        let pattern = b"a*".repeat(1_000);
        let text = b"a".repeat(4_096);
        assert!(matches(&pattern, &text));
        assert!(!matches(&[&pattern, b"b".as_slice()].concat(), &text));
    }

    proptest! {
        #[test]
        fn the_last_star_is_enough(pattern in "[ab*?\\[\\]^\\-\\\\]{0,10}", text in "[ab\\-\\]]{1,8}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), plainly(pattern, text));
        }

        #[test]
        fn any_bytes_are_answered(pattern: Vec<u8>, text: Vec<u8>) {
            prop_assert!(!matches(&pattern, &text) || plainly(&pattern, &text));
        }
    }
}
