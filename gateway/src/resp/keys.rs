//! The commands that any type of value has.

use firn_wire::command::{Command, Condition, ExpireIf, Expiry, Filter, Op, Scan};
use firn_wire::exchange::Session;
use firn_wire::ids::TableId;
use firn_wire::limits::{SCAN_COUNT_MAX, STEP_REPLY_BYTES_MAX};
use firn_wire::reply::{Failure, Reply};

use super::conversation::{Conversation, database_name};
use super::form::{ExpiryForm, Form, write_failure};
use super::number::{cursor, integer_or_refuse};
use super::options::Time;
use super::plan::{Plan, Refusal, Steps};
use super::words::Words;
use super::write;
use crate::execute::run_one;

type Planned<'a> = Result<Plan<'a>, Refusal>;

/// The longest pattern, in bytes: a class of it is looked through once per character.
pub const PATTERN_BYTES_MAX: usize = 16 * 1024;

pub(super) fn del<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let op = Op::Delete { condition: Condition::Always, want_old: false };
    Ok(sum(conversation, words, op))
}

pub(super) fn exists<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(sum(conversation, words, Op::Inspect))
}

fn sum<'a>(conversation: &Conversation, words: Words<'a, '_>, op: Op<'a>) -> Plan<'a> {
    match words.len() {
        2 => conversation.ask(words.at(1), op, Form::Flag),
        _ => conversation.ask_each(words.from(1), op, Form::Sum),
    }
}

pub(super) fn kind<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Inspect, Form::Type))
}

pub(super) fn ttl<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Inspect, Form::Expiry(ExpiryForm::Seconds)))
}

pub(super) fn pttl<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Inspect, Form::Expiry(ExpiryForm::Milliseconds)))
}

pub(super) fn expiretime<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Inspect, Form::Expiry(ExpiryForm::AtSeconds)))
}

pub(super) fn pexpiretime<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Inspect, Form::Expiry(ExpiryForm::AtMilliseconds)))
}

pub(super) fn expire<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    set_expiry(conversation, words, Time { absolute: false, seconds: true }, "expire")
}

pub(super) fn pexpire<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    set_expiry(conversation, words, Time { absolute: false, seconds: false }, "pexpire")
}

pub(super) fn expireat<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    set_expiry(conversation, words, Time { absolute: true, seconds: true }, "expireat")
}

pub(super) fn pexpireat<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    set_expiry(conversation, words, Time { absolute: true, seconds: false }, "pexpireat")
}

fn set_expiry<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
    time: Time,
    command: &str,
) -> Planned<'a> {
    let only = expire_if(words)?;
    let number = integer_or_refuse(words.at(2))?;
    let expiry = time.expiry(number, conversation.execute.now_ms());
    let expiry = expiry.ok_or_else(|| Refusal::expiry(command))?;
    Ok(conversation.ask(words.at(1), Op::Expire { expiry, only }, Form::Flag))
}

/// Which expiries may be replaced. XX says nothing more beside GT, but does beside LT, which also takes a key without
/// an expiry.
fn expire_if(words: Words<'_, '_>) -> Result<ExpireIf, Refusal> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for word in words.from(3) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("NX") => nx = true,
            () if is("XX") => xx = true,
            () if is("GT") => gt = true,
            () if is("LT") => lt = true,
            () => return Err(Refusal::quoting("ERR Unsupported option ", word, "")),
        }
    }
    if nx && (xx || gt || lt) {
        return Err(Refusal::new(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ));
    }
    if gt && lt {
        return Err(Refusal::new("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(match (nx, xx, gt, lt) {
        (true, ..) => ExpireIf::None,
        (_, _, true, _) => ExpireIf::Later,
        (_, true, _, true) => ExpireIf::SomeEarlier,
        (_, _, _, true) => ExpireIf::Earlier,
        (_, true, ..) => ExpireIf::Some,
        _ => ExpireIf::Always,
    })
}

pub(super) fn persist<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let op = Op::Expire { expiry: Expiry::Never, only: ExpireIf::Always };
    Ok(conversation.ask(words.at(1), op, Form::Flag))
}

pub(super) fn rename<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(rename_as(conversation, words, true, Form::Rename))
}

pub(super) fn renamenx<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(rename_as(conversation, words, false, Form::RenameNew))
}

fn rename_as<'a>(
    conversation: &Conversation,
    words: Words<'a, '_>,
    replace: bool,
    form: Form,
) -> Plan<'a> {
    let (from, to) = (words.at(1), words.at(2));
    if from == to {
        return conversation.ask(from, Op::Inspect, form);
    }
    let op = Op::Copy { table: conversation.table, to, replace, remove: true };
    conversation.ask(from, op, form)
}

pub(super) fn copy<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let (from, to) = (words.at(1), words.at(2));
    let (mut table, mut replace) = (conversation.table, false);
    let mut rest = words.from(3);
    while let Some(word) = rest.next() {
        if word.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if word.eq_ignore_ascii_case(b"DB") {
            table = database(conversation, rest.next().ok_or(Refusal::SYNTAX)?)?;
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    if table == conversation.table && from == to {
        return Err(Refusal::new("ERR source and destination objects are the same"));
    }
    Ok(conversation.ask(from, Op::Copy { table, to, replace, remove: false }, Form::Flag))
}

fn database(conversation: &Conversation, number: &[u8]) -> Result<TableId, Refusal> {
    let number = u32::try_from(integer_or_refuse(number)?).map_err(|_| Refusal::DATABASE)?;
    conversation.database(number).ok_or(Refusal::DATABASE)
}

pub(super) fn dbsize<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    Ok(Plan::Ask(Command::Count { table: conversation.table }, Form::Number))
}

pub(super) fn randomkey<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    Ok(Plan::Ask(Command::Random { table: conversation.table }, Form::RandomKey))
}

pub(super) fn flushdb<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    flush(words, vec![conversation.table])
}

/// The databases that are there from the start; a table of another name is no database's.
const DATABASES: u32 = 16;

pub(super) fn flushall<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    flush(words, conversation.databases().map(|(_, table)| table).collect())
}

fn flush<'a>(words: Words<'a, '_>, tables: Vec<TableId>) -> Planned<'a> {
    let how = words.get(1).unwrap_or(b"SYNC");
    let known = how.eq_ignore_ascii_case(b"SYNC") || how.eq_ignore_ascii_case(b"ASYNC");
    if words.len() > 2 || !known {
        return Err(Refusal::SYNTAX);
    }
    Ok(Plan::Ask(Command::Flush { tables }, Form::Done))
}

/// A pattern within its bound; one that takes everything is no filter.
fn filter(pattern: &[u8]) -> Result<Filter<'_>, Refusal> {
    if pattern.len() > PATTERN_BYTES_MAX {
        let text = format!("ERR pattern is longer than {PATTERN_BYTES_MAX} bytes");
        return Err(Refusal(text.into_bytes().into()));
    }
    Ok(if pattern == b"*" { Filter::All } else { Filter::Glob(pattern) })
}

pub(super) fn scan<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let from = cursor(words.at(1)).ok_or(Refusal::new("ERR invalid cursor"))?;
    let from = firn_wire::command::Cursor::from_u64(from);
    let mut scan = Scan { from, count: 10, filter: Filter::All, values: false };
    let mut strings = true;
    let mut rest = words.from(2);
    while let Some(word) = rest.next() {
        let value = rest.next().ok_or(Refusal::SYNTAX)?;
        if word.eq_ignore_ascii_case(b"COUNT") {
            scan.count = count(value)?;
        } else if word.eq_ignore_ascii_case(b"MATCH") {
            scan.filter = filter(value)?;
        } else if word.eq_ignore_ascii_case(b"TYPE") {
            strings = value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    if !strings {
        // There are only strings, so the scan of any other type is through.
        return Ok(Plan::Answer(b"*2\r\n$1\r\n0\r\n*0\r\n".into()));
    }
    Ok(Plan::Ask(Command::Scan { table: conversation.table, scan }, Form::Page))
}

fn count(text: &[u8]) -> Result<u32, Refusal> {
    match integer_or_refuse(text)? {
        ..1 => Err(Refusal::SYNTAX),
        count => Ok(u32::try_from(count).unwrap_or(u32::MAX).min(SCAN_COUNT_MAX as u32)),
    }
}

pub(super) fn keys<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let pattern = words.at(1);
    filter(pattern)?;
    Ok(Plan::Run(Steps::Keys { pattern: pattern.to_vec() }))
}

impl Conversation {
    /// The databases that are there, with their tables.
    pub(super) fn databases(&self) -> impl Iterator<Item = (u32, TableId)> + use<> {
        let map = self.execute.map();
        (0..DATABASES)
            .filter_map(move |number| map.table(&database_name(number)).map(|row| (number, row.id)))
    }

    /// Collects every key that matches, page by page, up to the bytes one step may answer with.
    pub(super) async fn keys(&mut self, pattern: &[u8], session: &mut Session, out: &mut Vec<u8>) {
        let filter = filter(pattern).unwrap_or(Filter::Glob(pattern));
        let mut from = Default::default();
        let (mut found, mut count) = (Vec::new(), 0);
        loop {
            let scan = Scan { from, count: SCAN_COUNT_MAX as u32, filter, values: false };
            let command = Command::Scan { table: self.table, scan };
            let reply = run_one(&*self.execute, session, command).await;
            let next = match reply.view() {
                Reply::Page { next, rows } => {
                    count += rows.len();
                    rows.iter().for_each(|row| write::bulk(&mut found, row.key));
                    next
                }
                Reply::Failed(failure) => return write_failure(&failure, out),
                _ => return write_failure(&Failure::Invalid("a page is none".into()), out),
            };
            if found.len() > STEP_REPLY_BYTES_MAX {
                let text = format!("more than {STEP_REPLY_BYTES_MAX} bytes of keys; use SCAN");
                return write_failure(&Failure::TooMuch(text.into()), out);
            }
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        write::array(out, count);
        out.append(&mut found);
    }
}
