//! `POST /v1/batch`: operations one a line (NDJSON), answers one a line, in the same order.

use std::borrow::Cow;
use std::collections::HashMap;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use firn_wire::command::{Command, Expiry, Op, Set};
use firn_wire::exchange::{Session, Sink, Ticket};
use firn_wire::ids::{TableId, Version};
use firn_wire::limits::{BATCH_OPERATIONS_MAX, STEP_REPLY_BYTES_MAX};
use firn_wire::reply::Reply;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::condition::Preconditions;
use super::door::{find_table, no_such_table, table_name};
use super::key::{At, check_key};
use super::limits::BATCH_BYTES_MAX;
use super::object::{self, NDJSON};
use super::problem::{Kind, Problem};
use super::{base64, lifetime};
use crate::execute::Execute;

/// Tables one batch may have the uplink asked for; beyond, the map in force decides.
const TABLES_ASKED_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Get,
    Put,
    Delete,
    Incr,
    Append,
    Touch,
    GetDel,
}

/// One line as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    op: Verb,
    /// None: `default`.
    #[serde(borrow)]
    table: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
    key_base64: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
    value_base64: Option<Cow<'a, str>>,
    ttl: Option<Cow<'a, str>>,
    by: Option<i64>,
    if_match: Option<Cow<'a, str>>,
    if_none_match: Option<Cow<'a, str>>,
}

/// A line that makes sense, with its table still by name.
#[derive(Debug)]
struct Planned {
    verb: Verb,
    table: Option<String>,
    key: Vec<u8>,
    value: Vec<u8>,
    expiry: Option<Expiry>,
    by: i64,
    conditions: Preconditions,
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Kind::InvalidRequest, detail)
}

/// Bytes given as text or in base64, not both.
fn bytes(
    text: Option<Cow<'_, str>>,
    coded: Option<Cow<'_, str>>,
) -> Result<Option<Vec<u8>>, Problem> {
    match (text, coded) {
        (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
        (None, Some(coded)) => {
            base64::decode(&coded).map(Some).ok_or_else(|| invalid("not base64 with padding"))
        }
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(invalid("give text or base64, not both")),
    }
}

impl Planned {
    fn read(line: &[u8]) -> Result<Self, Problem> {
        let line: Line<'_> = object::read(line)?;
        let verb = line.op;
        let (writes, conditional) = (
            matches!(verb, Verb::Put | Verb::Append),
            matches!(verb, Verb::Put | Verb::Delete | Verb::GetDel),
        );
        let key = bytes(line.key, line.key_base64)?.unwrap_or_default();
        check_key(&key)?;
        let value = bytes(line.value, line.value_base64)?;
        if value.is_some() != writes {
            return Err(invalid("put and append have a value, others have none"));
        }
        if line.ttl.is_some() != (verb == Verb::Touch) && verb != Verb::Put {
            return Err(invalid("touch has a ttl, put may have one, others have none"));
        }
        if line.by.is_some() && verb != Verb::Incr {
            return Err(invalid("only incr has by"));
        }
        let conditions =
            Preconditions::of_texts(line.if_match.as_deref(), line.if_none_match.as_deref())?;
        if conditions.are_given() && !conditional || conditions.as_condition().is_none() {
            let detail = "put, delete and getdel take one strong entity tag or *";
            return Err(Problem::new(Kind::ConditionNotSupported, detail));
        }
        Ok(Self {
            verb,
            table: line.table.map(Cow::into_owned),
            key,
            value: value.unwrap_or_default(),
            expiry: line.ttl.as_deref().map(lifetime::ttl).transpose()?,
            by: line.by.unwrap_or(1),
            conditions,
        })
    }

    fn op(&self) -> Op<'_> {
        let condition = self.conditions.as_condition().expect("checked when it was read");
        match self.verb {
            Verb::Get => Op::Get,
            Verb::Put => Op::Set(Set {
                value: &self.value,
                meta: b"",
                expiry: self.expiry.unwrap_or(Expiry::Default),
                condition,
                want_old: false,
            }),
            Verb::Delete => Op::Delete { condition, want_old: false },
            Verb::GetDel => Op::Delete { condition, want_old: true },
            Verb::Incr => Op::Increment { by: self.by },
            Verb::Append => Op::Append { value: &self.value },
            Verb::Touch => lifetime::touch_op(self.expiry.expect("touch has one")),
        }
    }
}

/// One line of the answer that is no problem.
#[derive(Default, Serialize)]
struct Done<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

impl<'a> Done<'a> {
    fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn value(bytes: &'a [u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok();
        let coded = text.is_none().then(|| base64::encode(bytes));
        Self { value: text, value_base64: coded, ..Self::status(200) }
    }

    fn tagged(self, version: Option<Version>) -> Self {
        Self { etag: version.map(|version| format!("\"{version}\"")), ..self }
    }
}

/// Appends the line of a reply.
fn write(verb: Verb, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let mut number = itoa::Buffer::new();
    let done = match reply {
        Reply::Value(_) if verb == Verb::Touch => Done::status(204),
        Reply::Value(value) => Done {
            expires_at_ms: value.expires_at,
            ..Done::value(value.bytes).tagged(value.version)
        },
        Reply::Written { version, created, .. } => {
            Done::status(if *created { 201 } else { 204 }).tagged(Some(*version))
        }
        Reply::Deleted { old: Some(old) } => Done::value(old),
        Reply::Deleted { old: None } | Reply::Done(true) => Done::status(204),
        Reply::Number { value, version } => {
            Done::value(number.format(*value).as_bytes()).tagged(Some(*version))
        }
        Reply::Length { length, version } => {
            Done { length: Some(*length), ..Done::status(200) }.tagged(*version)
        }
        refused => return write_problem(&problem_of(verb, refused), out),
    };
    serde_json::to_writer(&mut *out, &done).expect("written to memory");
    out.push(b'\n');
}

fn problem_of(verb: Verb, reply: &Reply<'_>) -> Problem {
    match reply {
        Reply::NotMet { version: None, .. } if verb != Verb::Put => Problem::plain(Kind::NoSuchKey),
        Reply::NotMet { version, .. } => Problem::condition_failed(*version),
        Reply::Nil | Reply::Done(false) => Problem::plain(Kind::NoSuchKey),
        Reply::Failed(failure) => Problem::from_failure(failure),
        _ => Problem::odd_reply(),
    }
}

fn write_problem(problem: &Problem, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, &problem.body()).expect("written to memory");
    out.push(b'\n');
}

/// What is known of a line's answer.
enum Slot {
    Line(Vec<u8>),
    Waiting(Ticket),
}

/// The answers of the operations that were submitted.
struct Answers<'a> {
    planned: Vec<&'a Planned>,
    slots: Vec<Slot>,
    /// Bytes of the lines so far.
    bytes: usize,
}

impl Answers<'_> {
    /// The line of a slot's reply. Values beyond a bound are left out: a thousand reads of the longest values must not
    /// fill the memory.
    fn line(&mut self, slot: usize, reply: &Reply<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        let verb = self.planned[slot].verb;
        if verb == Verb::Get && self.bytes > STEP_REPLY_BYTES_MAX {
            let detail = "the answers of this batch are too long together; read the rest again";
            let problem = Problem::new(Kind::TooMany, detail).limit(STEP_REPLY_BYTES_MAX);
            write_problem(&problem, &mut line);
        } else {
            write(verb, reply, &mut line);
        }
        self.bytes += line.len();
        line
    }

    /// Waits for those that are still to come.
    async fn finish(mut self) -> Vec<Vec<u8>> {
        let mut lines = Vec::with_capacity(self.slots.len());
        for (at, slot) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            lines.push(match slot {
                Slot::Line(line) => line,
                Slot::Waiting(ticket) => {
                    let reply = ticket.await;
                    self.line(at, &reply.view())
                }
            });
        }
        lines
    }
}

impl Sink for Answers<'_> {
    fn put(&mut self, slot: usize, reply: Reply<'_>) {
        assert_eq!(self.slots.len(), slot, "slots are filled once and in order");
        let line = self.line(slot, &reply);
        self.slots.push(Slot::Line(line));
    }
    fn wait(&mut self, slot: usize, ticket: Ticket) {
        assert_eq!(self.slots.len(), slot, "slots are filled once and in order");
        self.slots.push(Slot::Waiting(ticket));
    }
}

/// Finds the tables of a batch, each once.
#[derive(Default)]
struct Tables {
    found: HashMap<String, Result<TableId, Problem>>,
    asked: usize,
}

impl Tables {
    async fn find(&mut self, execute: &dyn Execute, name: &str) -> Result<TableId, Problem> {
        if let Some(found) = self.found.get(name) {
            return found.clone();
        }
        let known = table_name(name).map(|name| execute.map().table(&name).is_some());
        let found = match known {
            Ok(false) if self.asked >= TABLES_ASKED_MAX => Err(no_such_table(name)),
            Err(problem) => Err(problem),
            Ok(known) => {
                self.asked += usize::from(!known);
                find_table(execute, name).await
            }
        };
        self.found.insert(name.to_owned(), found.clone());
        found
    }
}

/// The lines of a body, empty ones left out.
fn lines(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let lines = body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty());
    let lines: Vec<_> = lines.take(BATCH_OPERATIONS_MAX + 1).collect();
    if lines.len() > BATCH_OPERATIONS_MAX {
        let detail = format!("a batch has at most {BATCH_OPERATIONS_MAX} operations");
        return Err(Problem::new(Kind::BatchTooLong, detail).limit(BATCH_OPERATIONS_MAX));
    }
    Ok(lines)
}

/// Answers a batch: 200, whatever became of its lines; each has its own status.
pub(super) async fn run(call: &mut Call<'_>) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let body = call.body.read(BATCH_BYTES_MAX, Kind::BodyTooLong).await?;
    let execute = &*call.door.execute;
    let out = answer(execute, &mut call.session, "default", &lines(&body)?).await;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, NDJSON)).body(out))
}

/// Runs the lines of a batch and gives its answer, a line for each. `table` is that of lines which name none.
///
/// # Panics
/// With more than [`BATCH_OPERATIONS_MAX`] lines.
pub async fn answer(
    execute: &dyn Execute,
    session: &mut Session,
    table: &str,
    lines: &[&[u8]],
) -> Vec<u8> {
    assert!(lines.len() <= BATCH_OPERATIONS_MAX, "{} lines", lines.len());
    let lines: Vec<_> = lines.iter().map(|line| Planned::read(line)).collect();
    let mut tables = Tables::default();
    let mut answers = Answers { planned: Vec::new(), slots: Vec::new(), bytes: 0 };
    let mut commands = Vec::new();
    let mut refused = Vec::new();
    for line in &lines {
        let ready = match line {
            Ok(planned) => {
                let table = planned.table.as_deref().unwrap_or(table);
                tables.find(execute, table).await.map(|table| (planned, table))
            }
            Err(problem) => Err(problem.clone()),
        };
        match ready {
            Ok((planned, table)) => {
                commands.push(Command::Key(At { table, key: &planned.key }.op(planned.op())));
                answers.planned.push(planned);
                refused.push(None);
            }
            Err(problem) => refused.push(Some(problem)),
        }
    }
    execute.submit(session, &commands, &mut answers);
    let mut done = answers.finish().await.into_iter();
    let mut out = Vec::new();
    for problem in refused {
        match problem {
            Some(problem) => write_problem(&problem, &mut out),
            None => out.append(&mut done.next().expect("a line for each command")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::command::Condition;

    fn kind(line: &str) -> Option<Kind> {
        Planned::read(line.as_bytes()).err().map(|problem| problem.kind())
    }

    #[test]
    fn lines_that_make_no_sense_are_refused() {
        let bad = [
            (r#"{"op":"get"}"#, Kind::KeyEmpty),
            (r#"{"op":"get","key":"k","tlt":"1s"}"#, Kind::InvalidJson),
            (r#"{"op":"get","key":"k","key":"l"}"#, Kind::InvalidJson),
            (r#"{"op":"nop","key":"k"}"#, Kind::InvalidJson),
            (r#"{"op":"get","key":1}"#, Kind::InvalidJson),
            (r#"{"op":"get","key":"k","value":"v"}"#, Kind::InvalidRequest),
            (r#"{"op":"put","key":"k"}"#, Kind::InvalidRequest),
            (r#"{"op":"put","key":"k","value":"v","value_base64":"dg=="}"#, Kind::InvalidRequest),
            (r#"{"op":"put","key":"k","value_base64":"dg"}"#, Kind::InvalidRequest),
            (r#"{"op":"put","key":"k","value":"v","ttl":"0s"}"#, Kind::InvalidTtl),
            (r#"{"op":"delete","key":"k","ttl":"1s"}"#, Kind::InvalidRequest),
            (r#"{"op":"touch","key":"k"}"#, Kind::InvalidRequest),
            (r#"{"op":"get","key":"k","by":1}"#, Kind::InvalidRequest),
            (r#"{"op":"incr","key":"k","by":9223372036854775808}"#, Kind::InvalidJson),
            (r#"{"op":"incr","key":"k","if_match":"*"}"#, Kind::ConditionNotSupported),
            (
                r#"{"op":"put","key":"k","value":"","if_match":"\"1\",\"2\""}"#,
                Kind::ConditionNotSupported,
            ),
            ("[]", Kind::InvalidJson),
            ("{} {}", Kind::InvalidJson),
        ];
        for (line, want) in bad {
            assert_eq!(kind(line), Some(want), "{line}");
        }
    }

    #[test]
    fn lines_that_make_sense_are_read() {
        let line = br#"{"op":"put","table":"t","key_base64":"/w==","value":"\u00e9","ttl":"1s","if_match":"\"1f\""}"#;
        let planned = Planned::read(line).unwrap();
        assert_eq!(planned.table.as_deref(), Some("t"));
        assert_eq!(planned.key, b"\xff");
        let Op::Set(set) = planned.op() else { panic!("{planned:?}") };
        assert_eq!((set.value, set.expiry), ("é".as_bytes(), Expiry::After(1_000)));
        assert_eq!(set.condition, Condition::Version(Version(0x1f)));
    }

    #[test]
    fn a_batch_has_a_most_of_operations() {
        let line = "{\"op\":\"get\",\"key\":\"k\"}\r\n\n";
        assert_eq!(lines(line.repeat(BATCH_OPERATIONS_MAX).as_bytes()).unwrap().len(), 1_000);
        let problem = lines(line.repeat(BATCH_OPERATIONS_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(problem.kind(), Kind::BatchTooLong);
    }
}
