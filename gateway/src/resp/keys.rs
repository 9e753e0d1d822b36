//! The commands that any type of value has.

use firn_wire::command::{Command, Condition, Op};
use firn_wire::ids::TableId;

use super::conversation::{Conversation, database_name, database_number};
use super::form::Form;
use super::plan::Plan;
use super::refusal::Refusal;
use super::words::Words;

type Planned<'a> = Result<Plan<'a>, Refusal>;

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
    conversation.database(database_number(number)?).ok_or(Refusal::DATABASE)
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

impl Conversation {
    /// The databases that are there, with their tables.
    pub(super) fn databases(&self) -> impl Iterator<Item = (u32, TableId)> + use<> {
        let map = self.execute.map();
        (0..DATABASES)
            .filter_map(move |number| map.table(&database_name(number)).map(|row| (number, row.id)))
    }
}
