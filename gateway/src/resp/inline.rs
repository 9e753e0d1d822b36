//! Requests as people type them: words between blanks, with quotes.

use super::words::{Kept, Word};

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Whether the words of a line may be other than slices of it.
pub(super) fn has_quotes(line: &[u8]) -> bool {
    memchr::memchr2(b'"', b'\'', line).is_some()
}

/// Splits a line without quotes.
pub(super) fn split_plain(line: &[u8], places: &mut Vec<Word>) {
    let mut at = 0;
    while at < line.len() {
        let length = line[at..].iter().position(|b| is_blank(*b)).unwrap_or(line.len() - at);
        if length > 0 {
            places.push(Word::new(at, at + length));
        }
        at += length + 1;
    }
}

/// Splits a line with quotes: within `"` the escapes `\n \r \t \b \a \xHH` and a backslash before any other byte, within
/// `'` only `\'`. None where a quote is not closed, or is closed in the middle of a word.
pub(super) fn split_quoted(line: &[u8]) -> Option<Kept> {
    let mut words = Kept::default();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|b| !is_blank(*b));
        let Some(start) = start else { break };
        let (word, after) = take_word(&rest[start..])?;
        words.push_word(&word);
        rest = after;
    }
    words.finish();
    Some(words)
}

/// The word at the start of a line, and what follows it.
fn take_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    while let [byte, after @ ..] = rest {
        match byte {
            b'"' | b'\'' => {
                rest = take_quoted(*byte, after, &mut word)?;
                let closed = rest.first().is_none_or(|byte| is_blank(*byte));
                return closed.then_some((word, rest));
            }
            byte if is_blank(*byte) => break,
            byte => word.push(*byte),
        }
        rest = after;
    }
    Some((word, rest))
}

/// What stands up to the closing quote, appended to `word`; returns what follows the quote.
fn take_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [byte, after @ ..] if *byte == quote => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if quote == b'"' => match hex(*high, *low) {
                Some(byte) => (byte, after),
                None => (b'x', &rest[2..]),
            },
            [b'\\', byte, after @ ..] if quote == b'"' => (escaped(*byte), after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn escaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}
