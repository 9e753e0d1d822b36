//! The table of cases.

use firn_tests::Cluster;
use firn_wire::limits::{KEY_BYTES_MAX, VALUE_BYTES_DEFAULT_MAX};

use firn_tests::doors::Ask::{Delete, Get, Overwrite, Write, WriteNew};
use firn_tests::doors::resp::Resp;
use firn_tests::doors::{Answer, Ask, Door, doors};

/// Steps one after the other in an empty table, and what each must come to.
struct Case {
    name: &'static str,
    table: Table,
    steps: Vec<(Ask<'static>, Expect)>,
    /// Doors whose protocol has no words for it.
    beyond: &'static [&'static str],
}

/// The table a case is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    /// One that is there: made for the case, or `default` behind the doors that have no other.
    There,
    /// One nobody made.
    Missing,
}

enum Expect {
    Done,
    Value(&'static [u8]),
    Nil,
    NoTable,
    /// An error whose text has this in it.
    Refused(&'static str),
}

impl Expect {
    fn holds(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Done, Answer::Done)
            | (Self::Nil, Answer::Nil)
            | (Self::NoTable, Answer::NoTable) => true,
            (Self::Value(wanted), Answer::Value(got)) => wanted == got,
            (Self::Refused(part), Answer::Refused(text)) => text.contains(part),
            _ => false,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Done => "Done".to_owned(),
            Self::Value(value) => format!("Value {:?}", start(value)),
            Self::Nil => "Nil".to_owned(),
            Self::NoTable => "NoTable".to_owned(),
            Self::Refused(part) => format!("Refused(…{part}…)"),
        }
    }
}

/// The start of bytes that may be long.
fn start(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned()
}

/// Bytes that live as long as the test: the cases borrow them.
fn long(count: usize) -> &'static [u8] {
    vec![b'x'; count].leak()
}

fn case(
    name: &'static str,
    beyond: &'static [&'static str],
    steps: impl Into<Vec<(Ask<'static>, Expect)>>,
) -> Case {
    Case { name, table: Table::There, steps: steps.into(), beyond }
}

/// One write and what is read then.
fn written(
    name: &'static str,
    beyond: &'static [&'static str],
    key: &'static [u8],
    value: &'static [u8],
) -> Case {
    case(name, beyond, [(Write(key, value), Expect::Done), (Get(key), Expect::Value(value))])
}

fn changes() -> Vec<Case> {
    use Expect::{Done, Nil, Value};
    vec![
        written("write and read", &[], b"k", b"v"),
        case("missing key", &[], [(Get(b"k"), Nil)]),
        case(
            "overwrite",
            &["winter"],
            [
                (Overwrite(b"k", b"first"), Done),
                (Overwrite(b"k", b"second"), Done),
                (Get(b"k"), Value(b"second")),
            ],
        ),
        case(
            "first write wins",
            &["smache", "boutique"],
            [
                (WriteNew(b"k", b"first"), Done),
                (WriteNew(b"k", b"second"), Done),
                (Get(b"k"), Value(b"first")),
            ],
        ),
        case(
            "delete",
            &["smache"],
            [
                (Write(b"k", b"v"), Done),
                (Delete(b"k"), Done),
                (Get(b"k"), Nil),
                (Delete(b"k"), Done),
                (Write(b"k", b"again"), Done),
                (Get(b"k"), Value(b"again")),
            ],
        ),
        case(
            "keys that start alike",
            &[],
            [
                (Write(b"a", b"1"), Done),
                (Write(b"aa", b"2"), Done),
                (Write(b"24929", b"3"), Done),
                (Get(b"a"), Value(b"1")),
                (Get(b"aa"), Value(b"2")),
                (Get(b"24929"), Value(b"3")),
            ],
        ),
        Case {
            table: Table::Missing,
            ..case(
                "missing table",
                &["smache", "resp"],
                [
                    (Write(b"k", b"v"), Expect::NoTable),
                    (Get(b"k"), Expect::NoTable),
                    (Delete(b"k"), Expect::NoTable),
                ],
            )
        },
    ]
}

fn odd_bytes() -> Vec<Case> {
    const NO_WORDS: &[&str] = &["boutique", "winter"];
    let odd: Vec<u8> = (0..=255).filter(|b| !b" \t\n\x0b\x0c\r".contains(b)).collect();
    vec![
        written("odd bytes", &["smache"], b"\0\x01\xff\xfe%2e{}/../%00;", odd.leak()),
        written("odd text", &[], "é☃\u{1f600}\"\\%2F&=+\0".as_bytes(), "\0\u{7f}é\"\\".as_bytes()),
        written("blanks in the value", &["boutique"], b"k", b"  two  words "),
        written("a blank in the key", NO_WORDS, b"a key", b"v"),
        written("line ends in the value", NO_WORDS, b"k", b"a\r\nb\n"),
        written("empty value", &["boutique"], b"k", b""),
        written("a value that looks like a time", &["boutique"], b"k", b"EXPIRE 5"),
    ]
}

fn limits() -> Vec<Case> {
    use Expect::{Done, Nil, Refused, Value};
    let (key_limit, value_limit) = ("4096", "1048576");
    let (long_key, long_value) = (long(KEY_BYTES_MAX + 1), long(VALUE_BYTES_DEFAULT_MAX + 1));
    vec![
        written("value over 64 KiB", &[], b"k", long(64 * 1024 + 1)),
        written("longest value", &[], b"k", long(VALUE_BYTES_DEFAULT_MAX)),
        written("longest key", &[], long(KEY_BYTES_MAX), b"v"),
        case(
            "value over the limit",
            &[],
            [
                (Write(b"k", long_value), Refused(value_limit)),
                (Get(b"k"), Nil),
                (Write(b"k", b"v"), Done),
                (Get(b"k"), Value(b"v")),
            ],
        ),
        case(
            "key over the limit",
            &[],
            [
                (Write(long_key, b"v"), Refused(key_limit)),
                (Get(long_key), Refused(key_limit)),
                (Get(b"k"), Nil),
            ],
        ),
        case(
            "empty key",
            &["boutique"],
            [(Write(b"", b"v"), Refused("empty")), (Get(b""), Refused("empty")), (Get(b"k"), Nil)],
        ),
    ]
}

/// Runs a case through a door; whether the protocol had words for all of it.
fn run(case: &Case, door: &mut dyn Door, table: &str) -> bool {
    for (number, (ask, wanted)) in case.steps.iter().enumerate() {
        let Some(answer) = door.ask(table, *ask) else { return false };
        let shown = match &answer {
            Answer::Value(value) => format!("Value {:?}, {} bytes", start(value), value.len()),
            other => format!("{other:?}"),
        };
        assert!(
            wanted.holds(&answer),
            "{} through {}, step {}: {shown} instead of {}",
            case.name,
            door.name(),
            number + 1,
            wanted.shown()
        );
    }
    true
}

#[test]
fn every_case_through_every_door() {
    let cluster = Cluster::start(3);
    let mut cleaner = Resp::connect(cluster.worker(0).resp());
    let cases: Vec<Case> = [changes(), odd_bytes(), limits()].into_iter().flatten().collect();
    for (number, case) in cases.iter().enumerate() {
        let worker = cluster.worker(number % cluster.workers().len());
        for mut door in doors(worker) {
            assert_eq!(cleaner.command(&[b"FLUSHALL"]), Answer::Done);
            let own = format!("case{number}_{}", door.name());
            let table = match case.table {
                Table::Missing => "nobody_made_this",
                Table::There if door.create(&own) => &own,
                Table::There => "default",
            };
            let said = run(case, &mut *door, table);
            let beyond = case.beyond.contains(&door.name());
            assert_ne!(said, beyond, "{} through {}", case.name, door.name());
        }
    }
}
