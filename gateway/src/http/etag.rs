//! Entity tags (RFC 9110 §8.8.3). A tag is the version of a record in quotes: it only grows, so a value that changed and
//! changed back does not match.

use std::io::Write as _;

use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use firn_wire::ids::Version;

/// The tag of a version as a header's value.
pub(super) fn header(version: Version) -> HeaderValue {
    let mut text = Vec::with_capacity(2 + u64::BITS as usize / 4);
    write!(text, "\"{version}\"").expect("written to memory");
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("hex digits in quotes")
}

/// One tag a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// Whether it is marked `W/`.
    pub(super) weak: bool,
    /// None: not one of ours, so nothing matches it.
    pub(super) version: Option<Version>,
}

/// Reads `1#entity-tag`, empty elements allowed; None where it is not one.
pub(super) fn read_list(mut rest: &[u8], list: &mut Vec<Tag>) -> Option<()> {
    loop {
        rest = rest.trim_ascii_start();
        while let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() {
            return Some(());
        }
        let (tag, after) = read_tag(rest)?;
        list.push(tag);
        rest = after.trim_ascii_start();
        if !rest.is_empty() && rest[0] != b',' {
            return None;
        }
    }
}

fn read_tag(text: &[u8]) -> Option<(Tag, &[u8])> {
    let (weak, text) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|b| *b == b'"')?;
    let (opaque, rest) = (&text[..end], &text[end + 1..]);
    if opaque.iter().any(|b| *b <= b' ' || *b == 0x7f) {
        return None;
    }
    Some((Tag { weak, version: read_version(opaque) }, rest))
}

/// Only the one text we write counts: `"0A"` is not `"a"`.
fn read_version(opaque: &[u8]) -> Option<Version> {
    let text = std::str::from_utf8(opaque).ok()?;
    let version: Version = text.parse().ok()?;
    (version.to_string() == text).then_some(version)
}

/// Whether a single tag, as in `If-Range`, strongly matches (RFC 9110 §13.1.5). A date never does: we give none.
pub(super) fn strongly_matches(value: &[u8], current: Version) -> bool {
    let tag = read_tag(value.trim_ascii()).filter(|(_, rest)| rest.is_empty());
    tag.is_some_and(|(tag, _)| !tag.weak && tag.version == Some(current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_strong_tag_strongly_matches() {
        assert!(strongly_matches(b"\"a\"", Version(10)));
        for other in [&b"W/\"a\""[..], b"\"b\"", b"\"a\", \"a\"", b"Sun, 06 Nov 1994 08:49:37 GMT"]
        {
            assert!(!strongly_matches(other, Version(10)));
        }
    }
}
