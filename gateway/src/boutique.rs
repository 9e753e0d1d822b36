//! D-Boutique's door: named buckets, lines of words, replies that end with CRLF. docs/PROTOCOL.md has every reply.

use std::borrow::Cow;
use std::sync::Arc;

use firn_wire::command::{Condition, Op, Set};
use firn_wire::map::{GroupRule, TablePolicy};
use tokio::net::TcpListener;

use crate::execute::Execute;
use crate::line::{self, Dialect, Outcome, Request, Verb};
use crate::listen::Connections;
use crate::loops::Lanes;

const NOT_IMPLEMENTED: &[u8] = b"COMMAND NOT IMPLEMENTED\r\n";
/// Words of the longest request, and one more that shows it is none.
const WORDS_MAX: usize = 5;

/// Takes connections that speak D-Boutique's lines, for ever.
pub async fn listen(
    listener: TcpListener,
    lanes: Lanes,
    execute: Arc<dyn Execute>,
    connections: Arc<Connections>,
) {
    line::listen::<Boutique>(listener, lanes, execute, connections).await;
}

struct Boutique;

impl Dialect for Boutique {
    const REFUSAL: &'static str = "ERROR {}\r\n";

    fn read(line: &[u8]) -> Request<'_> {
        let (words, count) = first_words(line);
        let key = |verb, op| Request::Key { verb, table: words[1], key: words[2], op };
        let delete = Op::Delete { condition: Condition::Always, want_old: false };
        match (words[0], count) {
            (b"CREATE", 2) => Request::Create { table: words[1] },
            (b"PUT", 4) => key(Verb::Put, Op::Set(Set::plain(words[3]))),
            (b"GET", 3) => key(Verb::Get, Op::Get),
            (b"DELETE", 3) => key(Verb::Delete, delete),
            (word, _) if line::is_http_header(word) => Request::Close(NOT_IMPLEMENTED.into()),
            _ => Request::Answer(Cow::Borrowed(NOT_IMPLEMENTED)),
        }
    }

    /// A bucket lies whole on the worker its first letter belongs to.
    fn policy() -> TablePolicy {
        TablePolicy { placement: Some(GroupRule::NameRanges), ..TablePolicy::default() }
    }

    fn write(outcome: Outcome<'_>, out: &mut Vec<u8>) {
        match outcome {
            Outcome::Created(_) | Outcome::Done => out.extend_from_slice(b"OK\r\n"),
            Outcome::Value(value) => {
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\nOK\r\n");
            }
            Outcome::Nil => out.extend_from_slice(b"\r\nOK\r\n"),
            Outcome::NoTable => out.extend_from_slice(b"NOT FOUND\r\n"),
            Outcome::Failed(why) => {
                out.extend_from_slice(b"ERROR ");
                out.extend_from_slice(why.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// The first words of a line and how many there are, up to one more than any request has. Words that are not there are
/// empty.
fn first_words(line: &[u8]) -> ([&[u8]; WORDS_MAX], usize) {
    let mut words: [&[u8]; WORDS_MAX] = [b""; WORDS_MAX];
    let found = line.split(|byte| is_white(*byte)).filter(|word| !word.is_empty());
    let count = words.iter_mut().zip(found).map(|(place, word)| *place = word).count();
    (words, count)
}

/// White space of ASCII: blank, tab, LF, vertical tab, form feed, CR.
fn is_white(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_on_any_white_space() {
        let Request::Key { verb, table, key, op } = Boutique::read(b" PUT\tshoes \x0b red\x0c  7 ")
        else {
            panic!("a PUT of four words");
        };
        assert_eq!((verb, table, key), (Verb::Put, &b"shoes"[..], &b"red"[..]));
        assert_eq!(op, Op::Set(Set::plain(b"7")));
        assert_eq!(Boutique::read(b"CREATE \xff\0"), Request::Create { table: b"\xff\0" });
    }

    #[test]
    fn anything_else_is_not_implemented() {
        for line in [
            "",
            "   ",
            "create b",
            "CREATE",
            "CREATE a b",
            "PUT b k",
            "PUT b k v w",
            "GET b",
            "GET b k v",
            "DELETE b",
            "DELETE b k v",
            "PUTT b k v",
            "HELP",
        ] {
            let refused = Request::Answer(NOT_IMPLEMENTED.into());
            assert_eq!(Boutique::read(line.as_bytes()), refused, "{line:?}");
        }
        assert_eq!(Boutique::read(b"Host: x"), Request::Close(NOT_IMPLEMENTED.into()));
    }
}
