//! Bytes → words: requests as arrays of bulk strings, or as lines for people.
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>, "Sending commands to a Redis server".)
//!
//! Invariants:
//! - What was read of a request that is not whole is remembered, so a request is looked at once however many pieces it
//!   comes in. The next call must therefore start at the same byte.
//! - Nothing is allocated from a declared length; a word is noted when its last byte is there.

use std::fmt;

use firn_wire::limits::{MANY_OPERATIONS_MAX, VALUE_BYTES_HARD_MAX};

use super::inline;
use super::number::integer;
use super::words::{Kept, Word};

/// The longest line: a request for people, or the length of an array or string, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest word, in bytes: the longest value, and room so that one just above is refused in words.
pub const BULK_BYTES_MAX: usize = VALUE_BYTES_HARD_MAX + 1024 * 1024;
/// Most words of a request: as many pairs of key and value as one command may name.
pub const WORDS_MAX: usize = 2 * MANY_OPERATIONS_MAX + 16;
/// The longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Places kept for the next request when one had more.
const PLACES_KEEP: usize = 1_024;

/// Bytes that are no request; the connection cannot go on, since nobody knows where the next one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProtocolError {
    ArrayLength,
    ArrayLine,
    BulkLength,
    BulkLine,
    InlineLine,
    NotBulk(u8),
    LineEnd,
    TooLong,
    Quotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::ArrayLength => "invalid multibulk length",
            Self::ArrayLine => "too big mbulk count string",
            Self::BulkLength => "invalid bulk length",
            Self::BulkLine => "too big bulk count string",
            Self::InlineLine => "too big inline request",
            Self::NotBulk(_) => "expected '$', got ",
            Self::LineEnd => "expected CR LF",
            Self::TooLong => "too big request",
            Self::Quotes => "unbalanced quotes in request",
        };
        f.write_str(text)
    }
}

impl ProtocolError {
    /// The last words on the connection.
    pub(super) fn reply(self) -> Vec<u8> {
        let mut reply = format!("-ERR Protocol error: {self}").into_bytes();
        if let Self::NotBulk(byte) = self {
            let shown = if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte };
            reply.extend_from_slice(&[b'\'', shown, b'\'']);
        }
        reply.extend_from_slice(b"\r\n");
        reply
    }
}

/// What the bytes at hand hold.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Not a whole request; it takes `total` bytes at least, 0 where that is not known.
    More { total: usize },
    /// An empty line or array.
    Blank { taken: usize },
    /// A request; [`Parser::lend`] has its words.
    Request { taken: usize },
    /// A line with quotes; its words are no slices of the input.
    Quoted { taken: usize, words: Kept },
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Words that are whole.
    places: Vec<Word>,
    /// First byte not yet read.
    at: usize,
    /// No line end stands before this byte.
    searched: usize,
    /// Words the array still lacks; 0 before its length is read.
    lacking: usize,
    /// Length of the word that begins at `at`, once that is read.
    bulk: Option<usize>,
}

impl Parser {
    /// Reads the first request of `input`, which is not empty.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        if input[0] != b'*' {
            return self.read_line_request(input);
        }
        if self.lacking == 0 {
            self.places.clear();
            let Some(count) = self.array_length(input)? else {
                return Ok(Parsed::More { total: 0 });
            };
            if count == 0 {
                return Ok(Parsed::Blank { taken: self.finish() });
            }
            self.lacking = count;
        }
        while self.lacking > 0 {
            if let Some(total) = self.read_bulk(input)? {
                return Ok(Parsed::More { total });
            }
            self.lacking -= 1;
        }
        Ok(Parsed::Request { taken: self.finish() })
    }

    /// Where the words of the request just read stand: lent, so that the connection may be changed meanwhile.
    pub(super) fn lend(&mut self) -> Vec<Word> {
        std::mem::take(&mut self.places)
    }

    /// Puts the places back, for their memory.
    pub(super) fn give_back(&mut self, mut places: Vec<Word>) {
        if places.capacity() <= PLACES_KEEP {
            places.clear();
            self.places = places;
        }
    }

    /// Makes ready for the next request. Returns the bytes this one took.
    fn finish(&mut self) -> usize {
        self.searched = 0;
        self.lacking = 0;
        self.bulk = None;
        std::mem::take(&mut self.at)
    }

    /// The array's length; None: not yet there. A negative one is as good as none.
    fn array_length(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(length) = self.length(input, ProtocolError::ArrayLine)? else { return Ok(None) };
        match length.ok_or(ProtocolError::ArrayLength)? {
            ..=0 => Ok(Some(0)),
            count => usize::try_from(count)
                .ok()
                .filter(|count| *count <= WORDS_MAX)
                .map(Some)
                .ok_or(ProtocolError::ArrayLength),
        }
    }

    /// Reads one bulk string into a place. Returns how many bytes the request takes at least, if it is not whole.
    fn read_bulk(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => match self.bulk_length(input)? {
                Some(length) => length,
                None => return Ok(Some(0)),
            },
        };
        let end = self.at + length;
        if end + 2 > REQUEST_BYTES_MAX {
            return Err(ProtocolError::TooLong);
        }
        match input.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(ProtocolError::LineEnd),
            None => {
                self.bulk = Some(length);
                return Ok(Some(end + 2));
            }
        }
        self.places.push(Word::new(self.at, end));
        self.bulk = None;
        self.at = end + 2;
        self.searched = self.at;
        Ok(None)
    }

    /// The length of the bulk string at hand; None: not yet there.
    fn bulk_length(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match input.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(byte) => return Err(ProtocolError::NotBulk(*byte)),
        }
        let Some(length) = self.length(input, ProtocolError::BulkLine)? else { return Ok(None) };
        length
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= BULK_BYTES_MAX)
            .map(Some)
            .ok_or(ProtocolError::BulkLength)
    }

    /// The number behind the type byte at hand, and its line end; the outer None: not yet there, the inner: no number.
    fn length(
        &mut self,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let from = self.at + 1;
        if let Some((length, taken)) = short_length(input.get(from..).unwrap_or_default()) {
            self.at = from + taken;
            return Ok(Some(Some(length)));
        }
        let Some(end) = self.line_end(input, b'\r', too_long)? else { return Ok(None) };
        match input.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.at = end + 2;
                Ok(Some(integer(&input[from..end])))
            }
            Some(_) => Err(ProtocolError::LineEnd),
        }
    }

    /// Where the line at hand ends; None: not yet there.
    fn line_end(
        &mut self,
        input: &[u8],
        end: u8,
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = self.searched.max(self.at);
        let found = memchr::memchr(end, &input[from..]).map(|found| from + found);
        if found.unwrap_or(input.len()) - self.at > LINE_BYTES_MAX {
            return Err(too_long);
        }
        self.searched = found.unwrap_or(input.len());
        Ok(found)
    }

    fn read_line_request(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        let Some(end) = self.line_end(input, b'\n', ProtocolError::InlineLine)? else {
            return Ok(Parsed::More { total: 0 });
        };
        self.finish();
        let taken = end + 1;
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        if inline::has_quotes(line) {
            let words = inline::split_quoted(line).ok_or(ProtocolError::Quotes)?;
            let blank = words.len() == 0;
            return Ok(if blank {
                Parsed::Blank { taken }
            } else {
                Parsed::Quoted { taken, words }
            });
        }
        self.places.clear();
        inline::split_plain(line, &mut self.places);
        let blank = self.places.is_empty();
        Ok(if blank { Parsed::Blank { taken } } else { Parsed::Request { taken } })
    }
}

/// The common case of a length, all there: up to nine digits in their one spelling, CR, LF. Returns the bytes it took.
fn short_length(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
            b'\r' => {
                let one_spelling = at == 1 || (at > 1 && bytes[0] != b'0');
                return (one_spelling && bytes.get(at + 1) == Some(&b'\n'))
                    .then_some((value, at + 2));
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp2::decode::decode;
    use redis_protocol::resp2::types::OwnedFrame;

    use super::*;
    use crate::resp::words::Words;

    /// What a parser says of bytes that come in pieces: requests, and how they end.
    #[derive(Debug, PartialEq)]
    struct Said {
        requests: Vec<Vec<Vec<u8>>>,
        end: Result<usize, ProtocolError>,
    }

    fn say(pieces: &[&[u8]]) -> Said {
        let mut parser = Parser::default();
        let (mut input, mut requests) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while !input.is_empty() {
                match parser.read(&input) {
                    Ok(Parsed::More { total }) => {
                        assert!(total == 0 || total > input.len(), "{total} bytes are there");
                        break;
                    }
                    Ok(Parsed::Blank { taken }) => drop(input.drain(..taken)),
                    Ok(Parsed::Request { taken }) => {
                        let places = parser.lend();
                        let words = Words::new(&input, &places);
                        requests.push(words.from(0).map(<[u8]>::to_vec).collect());
                        parser.give_back(places);
                        input.drain(..taken);
                    }
                    Ok(Parsed::Quoted { taken, words }) => {
                        let one =
                            |words: Words<'_, '_>| words.from(0).map(<[u8]>::to_vec).collect();
                        requests.extend(words.requests().map(one));
                        input.drain(..taken);
                    }
                    Err(error) => return Said { requests, end: Err(error) },
                }
            }
        }
        Said { requests, end: Ok(input.len()) }
    }

    fn error(bytes: &[u8]) -> ProtocolError {
        say(&[bytes]).end.expect_err("no request")
    }

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn write(request: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        super::super::write::array(&mut out, request.len());
        request.iter().for_each(|word| super::super::write::bulk(&mut out, word));
        out
    }

    #[test]
    fn bad_requests_end_with_redis_errors() {
        let vectors: [(&[u8], ProtocolError); 14] = [
            (b"*2147483647\r\n", ProtocolError::ArrayLength),
            (b"*abc\r\n", ProtocolError::ArrayLength),
            (b"*+1\r\n", ProtocolError::ArrayLength),
            (b"*01\r\n", ProtocolError::ArrayLength),
            (b"*\r\n", ProtocolError::ArrayLength),
            (b"*1\r\n$-2\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$9223372036854775807\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$\r\n", ProtocolError::BulkLength),
            (b"*1\r\nPING\r\n", ProtocolError::NotBulk(b'P')),
            (b"*1\r\n\r\n", ProtocolError::NotBulk(b'\r')),
            (b"*1\rX", ProtocolError::LineEnd),
            (b"*1\r\n$4\r\nPINGxx", ProtocolError::LineEnd),
            (b"PING \"a\r\n", ProtocolError::Quotes),
            (b"PING 'a'b\r\n", ProtocolError::Quotes),
        ];
        for (bytes, want) in vectors {
            assert_eq!(error(bytes), want, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(
            ProtocolError::NotBulk(b'\n').reply(),
            b"-ERR Protocol error: expected '$', got ' '\r\n"
        );
    }

    #[test]
    fn lines_without_an_end_are_bounded() {
        let long = vec![b'1'; LINE_BYTES_MAX + 10];
        assert_eq!(error(&long), ProtocolError::InlineLine);
        assert_eq!(error(&[b"*", &long[..]].concat()), ProtocolError::ArrayLine);
        assert_eq!(error(&[b"*1\r\n$", &long[..]].concat()), ProtocolError::BulkLine);
    }

    #[test]
    fn empty_arrays_and_lines_are_passed_over() {
        let said = say(&[b"*0\r\n*-2\r\n\r\n \t \r\n*1\r\n$4\r\nPING\r\n"]);
        assert_eq!(said, Said { requests: vec![words("PING")], end: Ok(0) });
    }

    #[test]
    fn people_may_quote() {
        let said =
            say(&[b"SET  k \"a\\x41\\n\\q b\"\r\nECHO 'it\\'s'\nPING a\"b c\"\r\nPING \"\"\n"]);
        let bytes = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        let want = vec![
            bytes(&[b"SET", b"k", b"aA\nq b"]),
            bytes(&[b"ECHO", b"it's"]),
            bytes(&[b"PING", b"ab c"]),
            bytes(&[b"PING", b""]),
        ];
        assert_eq!(said, Said { requests: want, end: Ok(0) });
    }

    #[test]
    fn a_long_word_is_awaited_as_a_whole() {
        let mut parser = Parser::default();
        let head = b"*2\r\n$4\r\nECHO\r\n$1000000\r\n";
        let read = parser.read(head).expect("a good start");
        assert!(
            matches!(read, Parsed::More { total } if total == head.len() + 1_000_002),
            "{read:?}"
        );
    }

    #[test]
    fn a_request_of_a_million_words_is_looked_at_once() {
        let request = write(&vec![b"k".to_vec(); 1_000_000]);
        let pieces: Vec<&[u8]> = request.chunks(4_096).collect();
        let said = say(&pieces);
        assert_eq!((said.requests.len(), said.requests[0].len(), said.end), (1, 1_000_000, Ok(0)));
    }

    fn any_request() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6)
    }

    /// Bytes that look like requests more often than chance would have it.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"*".to_vec()),
            Just(b"$".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"*1\r\n".to_vec()),
            Just(b"$1\r\n".to_vec()),
            Just(b"$1\r\na\r\n".to_vec()),
            "[-+0-9]{1,3}".prop_map(String::into_bytes),
            "[ \"'\\\\x]{1,3}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn requests_are_read_as_the_oracle_reads_them(request in any_request()) {
            let bytes = write(&request);
            let (frame, taken) = decode(&bytes).expect("a frame").expect("a whole one");
            let OwnedFrame::Array(frames) = frame else { panic!("{frame:?}") };
            let oracle: Vec<Vec<u8>> = frames
                .into_iter()
                .map(|frame| match frame {
                    OwnedFrame::BulkString(word) => word,
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(taken, bytes.len());
            prop_assert_eq!(say(&[&bytes]), Said { requests: vec![oracle], end: Ok(0) });
        }

        #[test]
        fn it_does_not_matter_where_bytes_are_split(bytes in any_bytes()) {
            let whole = say(&[&bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&say(&single), &whole);
            for at in 0..bytes.len() {
                let (one, other) = bytes.split_at(at);
                prop_assert_eq!(&say(&[one, other]), &whole, "split at {}", at);
            }
        }
    }
}
