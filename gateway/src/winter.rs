//! Winter's door: tables whose keys keep their first value, lines of arguments between single blanks, replies that end
//! with LF. docs/PROTOCOL.md has every reply.

use std::sync::Arc;

use firn_wire::command::{Condition, Expiry, Op, Set};
use firn_wire::limits::TTL_MS_MAX;
use firn_wire::map::TablePolicy;
use tokio::net::TcpListener;

use crate::execute::Execute;
use crate::line::{self, Dialect, Outcome, Request, Verb};
use crate::listen::Connections;
use crate::loops::Lanes;

/// Stands between data and the time after which they are gone.
const EXPIRE: &[u8] = b" EXPIRE ";

/// Takes connections that speak Winter's lines, for ever.
pub async fn listen(
    listener: TcpListener,
    lanes: Lanes,
    execute: Arc<dyn Execute>,
    connections: Arc<Connections>,
) {
    line::listen::<Winter>(listener, lanes, execute, connections).await;
}

struct Winter;

impl Dialect for Winter {
    const REFUSAL: &'static str = "error {}\n";

    fn read(line: &[u8]) -> Request<'_> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Request::Answer(b"\n".into());
        }
        let (word, rest) = split_word(line);
        let arguments = rest.unwrap_or_default();
        let delete = Op::Delete { condition: Condition::Always, want_old: false };
        match word {
            b"CREATE" if arguments.is_empty() => missing(Verb::Create),
            b"CREATE" => Request::Create { table: arguments },
            b"PUTNEW" => put_new(arguments),
            b"GET" => of_key(arguments, Verb::Get, Op::Get),
            b"DELETE" => of_key(arguments, Verb::Delete, delete),
            word => unrecognized(word),
        }
    }

    fn policy() -> TablePolicy {
        TablePolicy::default()
    }

    fn write(outcome: Outcome<'_>, out: &mut Vec<u8>) {
        let text: &[u8] = match &outcome {
            Outcome::Created(true) => b"created",
            Outcome::Created(false) => b"already created",
            Outcome::Done => b"ok",
            Outcome::Value(value) => value,
            Outcome::Nil => b"nil",
            Outcome::NoTable => b"missing table",
            Outcome::Failed(why) => {
                out.extend_from_slice(b"error ");
                why.as_bytes()
            }
        };
        out.extend_from_slice(text);
        out.push(b'\n');
    }
}

/// A first argument and, after a single blank, the rest of the line; None where there is no blank.
fn split_word(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b' ', line) {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}

fn of_key<'a>(arguments: &'a [u8], verb: Verb, op: Op<'a>) -> Request<'a> {
    match split_word(arguments) {
        (table @ [_, ..], Some(key)) => Request::Key { verb, table, key, op },
        _ => missing(verb),
    }
}

fn put_new(arguments: &[u8]) -> Request<'_> {
    let (table, rest) = split_word(arguments);
    let (key, data) = split_word(rest.unwrap_or_default());
    let (false, Some(data)) = (table.is_empty(), data) else { return missing(Verb::Put) };
    match split_expiry(data) {
        Ok((value, expiry)) => {
            let condition = Condition::Absent;
            let op = Op::Set(Set { expiry, condition, ..Set::plain(value) });
            Request::Key { verb: Verb::Put, table, key, op }
        }
        Err(number) => failed(&format!(
            "{number} is no time to live: write EXPIRE and 1 to {TTL_MS_MAX} milliseconds"
        )),
    }
}

/// Data that end in a blank, `EXPIRE`, a blank and an integer carry a time to live; all others are a value as they are.
/// An integer that is no time to live is the error.
fn split_expiry(data: &[u8]) -> Result<(&[u8], Expiry), &str> {
    let as_they_are = Ok((data, Expiry::Default));
    let Some(at) = memchr::memrchr(b' ', data) else { return as_they_are };
    let (number, before) = (&data[at + 1..], &data[..=at]);
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let is_integer = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let (true, Some(value)) = (is_integer, before.strip_suffix(EXPIRE)) else { return as_they_are };
    let number = std::str::from_utf8(number).expect("digits are UTF-8");
    match number.parse() {
        Ok(ms @ 1..=TTL_MS_MAX) => Ok((value, Expiry::After(ms))),
        _ => Err(number),
    }
}

fn missing(verb: Verb) -> Request<'static> {
    failed(match verb {
        Verb::Create => "missing arguments: CREATE table",
        Verb::Put => "missing arguments: PUTNEW table key data",
        Verb::Get => "missing arguments: GET table key",
        Verb::Delete => "missing arguments: DELETE table key",
    })
}

fn failed(why: &str) -> Request<'static> {
    let mut reply = Vec::new();
    Winter::write(Outcome::Failed(line::one_line(why)), &mut reply);
    Request::Answer(reply.into())
}

fn unrecognized(word: &[u8]) -> Request<'static> {
    let start = &word[..word.len().min(line::ERROR_BYTES_MAX)];
    let shown = line::one_line(&String::from_utf8_lossy(start));
    let reply = format!("unrecognized command {shown}\n").into_bytes().into();
    if line::is_http_header(word) { Request::Close(reply) } else { Request::Answer(reply) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_and_expiry(line: &str) -> Option<(&[u8], Expiry)> {
        match Winter::read(line.as_bytes()) {
            Request::Key { op: Op::Set(set), .. } => Some((set.value, set.expiry)),
            _ => None,
        }
    }

    fn answer(line: &[u8]) -> String {
        match Winter::read(line) {
            Request::Answer(reply) => String::from_utf8(reply.into_owned()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_argument_is_the_rest_of_the_line() {
        assert_eq!(
            value_and_expiry("PUTNEW t k  two  words "),
            Some((&b" two  words "[..], Expiry::Default))
        );
        assert_eq!(value_and_expiry("PUTNEW t k "), Some((&b""[..], Expiry::Default)));
        let Request::Key { table, key, op: Op::Get, .. } = Winter::read(b"GET t a key ") else {
            panic!("a GET of two arguments");
        };
        assert_eq!((table, key), (&b"t"[..], &b"a key "[..]));
        assert_eq!(Winter::read(b"CREATE a b"), Request::Create { table: b"a b" });
    }

    #[test]
    fn a_time_to_live_is_an_integer_at_the_end() {
        for (line, value, expiry) in [
            ("PUTNEW t k v EXPIRE 5", "v", Expiry::After(5)),
            ("PUTNEW t k  EXPIRE 5", "", Expiry::After(5)),
            ("PUTNEW t k v EXPIRE 5 EXPIRE 6", "v EXPIRE 5", Expiry::After(6)),
            ("PUTNEW t k EXPIRE 5", "EXPIRE 5", Expiry::Default),
            ("PUTNEW t k v EXPIRE", "v EXPIRE", Expiry::Default),
            ("PUTNEW t k v EXPIRE ", "v EXPIRE ", Expiry::Default),
            ("PUTNEW t k v EXPIRE 5 ", "v EXPIRE 5 ", Expiry::Default),
            ("PUTNEW t k v EXPIRE soon", "v EXPIRE soon", Expiry::Default),
            ("PUTNEW t k v EXPIRE 1.5", "v EXPIRE 1.5", Expiry::Default),
            ("PUTNEW t k v EXPIRE +5", "v EXPIRE +5", Expiry::Default),
            ("PUTNEW t k v EXPIRE -", "v EXPIRE -", Expiry::Default),
            ("PUTNEW t k vEXPIRE 5", "vEXPIRE 5", Expiry::Default),
            ("PUTNEW t k v expire 5", "v expire 5", Expiry::Default),
        ] {
            assert_eq!(value_and_expiry(line), Some((value.as_bytes(), expiry)), "{line}");
        }
        let longest = format!("PUTNEW t k v EXPIRE {TTL_MS_MAX}");
        assert_eq!(value_and_expiry(&longest), Some((&b"v"[..], Expiry::After(TTL_MS_MAX))));
    }

    #[test]
    fn an_integer_that_is_no_time_to_live_is_refused() {
        let beyond = (TTL_MS_MAX + 1).to_string();
        for number in ["0", "-1", "-0", "18446744073709551616", &beyond, &"9".repeat(1_000)] {
            let reply = answer(format!("PUTNEW t k v EXPIRE {number}").as_bytes());
            assert!(reply.starts_with("error ") && reply.len() < 400, "{reply}");
            assert_eq!(reply.find('\n'), Some(reply.len() - 1));
        }
    }

    #[test]
    fn missing_arguments_get_one_line() {
        for line in [
            "CREATE",
            "CREATE ",
            "PUTNEW",
            "PUTNEW t",
            "PUTNEW t k",
            "PUTNEW  k v",
            "GET",
            "GET t",
            "GET  k",
            "DELETE",
            "DELETE t",
        ] {
            let reply = answer(line.as_bytes());
            let verb = line.split(' ').next().unwrap();
            assert!(
                reply.starts_with(&format!("error missing arguments: {verb} table")),
                "{reply}"
            );
        }
    }

    proptest::proptest! {
        /// Whatever is sent, an answer is one line of printable text.
        #[test]
        fn an_answer_is_one_line(
            start in "((CREATE|PUTNEW|GET|DELETE|[A-Z]*) ?)?(t ?)?(k ?)?",
            rest in proptest::collection::vec(0u8.., 0..40),
            end in "( EXPIRE -?[0-9]*)?",
        ) {
            let line = [start.as_bytes(), &rest, end.as_bytes()].concat();
            if let Request::Answer(reply) = Winter::read(&line) {
                let text = reply.strip_suffix(b"\n").expect("an answer ends its line");
                assert!(!text.iter().any(u8::is_ascii_control), "{line:?}: {reply:?}");
            }
        }
    }

    #[test]
    fn what_is_no_command_is_named() {
        assert_eq!(answer(b""), "\n");
        assert_eq!(answer(b" \t "), "\n");
        assert_eq!(answer(b"SING a song"), "unrecognized command SING\n");
        assert_eq!(answer(b"get t k"), "unrecognized command get\n");
        assert_eq!(answer(b" GET t k"), "unrecognized command \n");
        assert_eq!(answer(b"a\rb\0c"), "unrecognized command a?b?c\n");
        assert!(answer(&[0xff; 5_000]).len() < 400);
        assert!(matches!(Winter::read(b"hOST: x"), Request::Close(_)));
    }
}
