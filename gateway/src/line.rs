//! What the line protocols share: lines out of bytes, words to tables, and the way of a request. What the words are and
//! how replies look is a [`Dialect`].
//!
//! A table is looked up in the map in force. One that is not there is asked for once more by name, in a job, so that it
//! holds up only its own connection; what a dialect creates is known to the requests behind it.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use firn_wire::command::{Command, KeyOp, Op, TableCommand};
use firn_wire::exchange::{Role, Session};
use firn_wire::ids::{MapVersion, TableId, TableName};
use firn_wire::limits::VALUE_BYTES_HARD_MAX;
use firn_wire::map::TablePolicy;
use firn_wire::reply::{Failure, Reply};
use tokio::net::TcpListener;

use crate::connection::{self, Flow, Next, Protocol};
use crate::execute::{Execute, run_one};
use crate::listen::{Connections, Taken, accept};
use crate::loops::Lanes;

/// The longest line without its end, in bytes: a value of the largest size with its verb, table and key. A longer one is
/// answered and ends the connection.
pub(crate) const LINE_BYTES_MAX: usize = VALUE_BYTES_HARD_MAX + 64 * 1024;
/// The longest text of an error, in bytes.
pub(crate) const ERROR_BYTES_MAX: usize = 300;
/// Said when a worker of another build answers what was not asked for.
const OTHER_KIND: &str = "a reply of another kind came from another worker";

/// What a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Put,
    Get,
    Delete,
}

/// A line, read.
#[derive(Debug, PartialEq)]
pub(crate) enum Request<'a> {
    /// It says nothing for the store; this is the reply.
    Answer(Cow<'static, [u8]>),
    /// It comes from somebody who speaks another protocol: the reply, then the end.
    Close(Cow<'static, [u8]>),
    /// Make a table.
    Create { table: &'a [u8] },
    /// Do something with one key of a table.
    Key { verb: Verb, table: &'a [u8], key: &'a [u8], op: Op<'a> },
}

/// What came of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome<'a> {
    /// The table is there; whether it was made now.
    Created(bool),
    /// A write or a removal was done, or was not needed.
    Done,
    /// The value.
    Value(&'a [u8]),
    /// The key is not there.
    Nil,
    /// The table is not there.
    NoTable,
    /// It was not done; one line of text says why.
    Failed(String),
}

/// The words of a line protocol.
pub(crate) trait Dialect: Send + 'static {
    /// What a connection beyond the bounds is told, with `{}` for the reason.
    const REFUSAL: &'static str;

    /// Reads a line without its end.
    fn read(line: &[u8]) -> Request<'_>;

    /// The policy of the tables it makes.
    fn policy() -> TablePolicy;

    /// Appends a reply.
    fn write(outcome: Outcome<'_>, out: &mut Vec<u8>);
}

/// Takes connections that speak `D`, for ever.
pub(crate) async fn listen<D: Dialect>(
    listener: TcpListener,
    lanes: Lanes,
    execute: Arc<dyn Execute>,
    connections: Arc<Connections>,
) {
    let serve = |taken: Taken| {
        let Taken { socket, id, lane, .. } = taken;
        let door = Door::<D>::new(Arc::clone(&execute));
        let session = Session { lane, ..Session::new(id, Role::Admin) };
        connection::serve(socket, door, Arc::clone(&execute), session)
    };
    accept(listener, lanes, connections, D::REFUSAL, serve).await;
}

/// One connection of a line protocol.
struct Door<D> {
    execute: Arc<dyn Execute>,
    /// Bytes of the first request known to hold no line end.
    searched: usize,
    last: Option<LastTable>,
    dialect: PhantomData<fn() -> D>,
}

/// The table of the last request, found without reading its name again while the map stays the same.
struct LastTable {
    word: Vec<u8>,
    version: MapVersion,
    id: TableId,
}

/// The first line of some bytes.
enum First<'a> {
    Incomplete,
    TooLong,
    Line(&'a [u8]),
}

impl<D: Dialect> Door<D> {
    fn new(execute: Arc<dyn Execute>) -> Self {
        Self { execute, searched: 0, last: None, dialect: PhantomData }
    }

    /// The first line with its LF. No byte is looked at twice, however small the pieces a long line arrives in.
    fn first_line<'a>(&mut self, input: &'a [u8]) -> First<'a> {
        let end = memchr::memchr(b'\n', &input[self.searched..]).map(|at| self.searched + at);
        self.searched = 0;
        match end {
            Some(end) if end <= LINE_BYTES_MAX => First::Line(&input[..=end]),
            None if input.len() <= LINE_BYTES_MAX => {
                self.searched = input.len();
                First::Incomplete
            }
            _ => First::TooLong,
        }
    }

    /// The id of a word's table, if the map in force has it.
    fn known_table(&mut self, word: &[u8]) -> Option<TableId> {
        let map = self.execute.map();
        if let Some(last) = &self.last
            && last.version == map.version
            && last.word == word
        {
            return Some(last.id);
        }
        let id = map.table(&TableName::from_word(word))?.id;
        self.last = Some(LastTable { word: word.to_vec(), version: map.version, id });
        Some(id)
    }
}

impl<D: Dialect> Protocol for Door<D> {
    type Shape = Verb;
    /// A line without its end.
    type Job = Vec<u8>;

    fn next<'a>(&mut self, input: &'a [u8]) -> Next<'a, Verb, Vec<u8>> {
        let line = match self.first_line(input) {
            First::Incomplete => return Next::More { total: 0 },
            First::TooLong => {
                let mut reply = Vec::new();
                let why = format!("the line is longer than {LINE_BYTES_MAX} bytes");
                D::write(Outcome::Failed(why), &mut reply);
                return Next::Close { reply: reply.into() };
            }
            First::Line(line) => line,
        };
        let taken = line.len();
        let line = without_end(line);
        match D::read(line) {
            Request::Answer(reply) => Next::Answer { taken, reply },
            Request::Close(reply) => Next::Close { reply },
            Request::Create { .. } => Next::Run { taken, job: line.to_vec() },
            Request::Key { verb, table, key, op } => match self.known_table(table) {
                Some(table) => {
                    let command = Command::Key(KeyOp { table, key, op });
                    Next::Ask { taken, command, shape: verb }
                }
                None => Next::Run { taken, job: line.to_vec() },
            },
        }
    }

    fn encode(verb: &Verb, reply: Reply<'_>, out: &mut Vec<u8>) {
        D::write(outcome(*verb, reply), out);
    }

    async fn run(
        &mut self,
        line: Vec<u8>,
        execute: &dyn Execute,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Flow {
        match D::read(&line) {
            Request::Create { table } => {
                D::write(create::<D>(table, execute, session).await, out);
            }
            Request::Key { verb, table, key, op } => {
                match execute.find_table(&TableName::from_word(table)).await {
                    Some(table) => {
                        let command = Command::Key(KeyOp { table, key, op });
                        let reply = run_one(execute, session, command).await;
                        Self::encode(&verb, reply.view(), out);
                    }
                    None => D::write(Outcome::NoTable, out),
                }
            }
            Request::Answer(_) | Request::Close(_) => {
                unreachable!("only what the store is asked for becomes a job")
            }
        }
        Flow::Continue
    }
}

/// Makes a table. One that is there with another placement is there all the same; with the uplink down the map decides.
async fn create<D: Dialect>(
    word: &[u8],
    execute: &dyn Execute,
    session: &mut Session,
) -> Outcome<'static> {
    let name = TableName::from_word(word);
    let first_byte = *word.first().expect("a dialect reads no empty table name");
    let command = TableCommand::Create { name: &name, first_byte, policy: D::policy() };
    let reply = run_one(execute, session, Command::Table(command)).await;
    match reply.view() {
        Reply::Table { created, .. } => Outcome::Created(created),
        Reply::Failed(Failure::TableExists) => Outcome::Created(false),
        Reply::Failed(Failure::NoUplink(_)) if execute.map().table(&name).is_some() => {
            Outcome::Created(false)
        }
        Reply::Failed(failure) => Outcome::Failed(one_line(&failure.to_string())),
        _ => Outcome::Failed(OTHER_KIND.to_owned()),
    }
}

/// What a reply means to whoever sent a line with this verb.
fn outcome(verb: Verb, reply: Reply<'_>) -> Outcome<'_> {
    match (verb, reply) {
        (Verb::Get, Reply::Value(value)) => Outcome::Value(value.bytes),
        (Verb::Get, Reply::Nil) => Outcome::Nil,
        (Verb::Put, Reply::Written { .. } | Reply::NotMet { .. }) => Outcome::Done,
        (Verb::Delete, Reply::Deleted { .. } | Reply::Nil) => Outcome::Done,
        (_, Reply::Failed(Failure::NoSuchTable)) => Outcome::NoTable,
        (_, Reply::Failed(failure)) => Outcome::Failed(one_line(&failure.to_string())),
        _ => Outcome::Failed(OTHER_KIND.to_owned()),
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Text that cannot end a line early nor grow without bound: what users or peers wrote may be in it.
pub(crate) fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(ERROR_BYTES_MAX);
    text[..end].chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Whether a first word is a header that every HTTP request has: a browser was made to send a form here, and its body
/// may hold lines that read as requests.
pub(crate) fn is_http_header(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"host:")
}
