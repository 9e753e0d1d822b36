//! The commands of strings.

use firn_wire::command::{Command, Condition, Expiry, Guard, KeyOp, Op, Set};

use super::conversation::Conversation;
use super::form::Form;
use super::number::{integer, integer_or_refuse};
use super::options::{Given, Options};
use super::plan::Plan;
use super::refusal::Refusal;
use super::words::Words;

type Planned<'a> = Result<Plan<'a>, Refusal>;

pub(super) fn get<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Get, Form::Value))
}

pub(super) fn set<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let mut set = Set::plain(words.at(2));
    let mut form = Form::Stored;
    if words.len() > 3 {
        let options = Options::read(words, 3, Given::ToSet)?;
        set.condition = options.condition;
        set.want_old = options.want_old;
        set.expiry = options.expiry("set", conversation.execute.now_ms())?;
        if set.want_old {
            form = Form::Value;
        }
    }
    Ok(conversation.ask(words.at(1), Op::Set(set), form))
}

pub(super) fn setnx<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let set = Set { condition: Condition::Absent, ..Set::plain(words.at(2)) };
    Ok(conversation.ask(words.at(1), Op::Set(set), Form::Flag))
}

pub(super) fn setex<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    set_for(conversation, words, "EX", "setex")
}

pub(super) fn psetex<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    set_for(conversation, words, "PX", "psetex")
}

fn set_for<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
    unit: &'static str,
    command: &'static str,
) -> Planned<'a> {
    let options = Options::with_time(unit, words.at(2));
    let expiry = options.expiry(command, conversation.execute.now_ms())?;
    let set = Set { expiry, ..Set::plain(words.at(3)) };
    Ok(conversation.ask(words.at(1), Op::Set(set), Form::Stored))
}

pub(super) fn getset<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let set = Set { want_old: true, ..Set::plain(words.at(2)) };
    Ok(conversation.ask(words.at(1), Op::Set(set), Form::Value))
}

pub(super) fn getdel<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let op = Op::Delete { condition: Condition::Always, want_old: true };
    Ok(conversation.ask(words.at(1), op, Form::Value))
}

pub(super) fn getex<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let options = Options::read(words, 2, Given::ToGetEx)?;
    let expiry = match options.expiry("getex", conversation.execute.now_ms()) {
        // Without an option the expiry stays as it is.
        Ok(Expiry::Default) => Expiry::Keep,
        Ok(expiry) => expiry,
        // redis-server looks for the key before it looks at the time.
        Err(_) => {
            let text = match options.time_is_integer() {
                true => "ERR invalid expire time in 'getex' command",
                false => "ERR value is not an integer or out of range",
            };
            return Ok(conversation.ask(words.at(1), Op::Inspect, Form::Unless(text)));
        }
    };
    Ok(conversation.ask(words.at(1), Op::GetExpire { expiry }, Form::Value))
}

pub(super) fn mget<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask_each(words.from(1), Op::Get, Form::Values))
}

pub(super) fn mset<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let ops = pairs(conversation, words, "mset")?;
    Ok(Plan::Ask(Command::Many { guards: Vec::new(), ops }, Form::AllStored))
}

pub(super) fn msetnx<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let ops = pairs(conversation, words, "msetnx")?;
    let absent = |op: &KeyOp<'a>| Guard { table: op.table, key: op.key, version: None };
    let guards = ops.iter().map(absent).collect();
    Ok(Plan::Ask(Command::Many { guards, ops }, Form::AllOrNone))
}

fn pairs<'a>(
    conversation: &Conversation,
    words: Words<'a, '_>,
    command: &str,
) -> Result<Vec<KeyOp<'a>>, Refusal> {
    if words.len().is_multiple_of(2) {
        return Err(Refusal::arity(command));
    }
    let table = conversation.table;
    let pair = |at| KeyOp { table, key: words.at(at), op: Op::Set(Set::plain(words.at(at + 1))) };
    Ok((1..words.len()).step_by(2).map(pair).collect())
}

pub(super) fn incr<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Increment { by: 1 }, Form::Number))
}

pub(super) fn decr<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Increment { by: -1 }, Form::Number))
}

pub(super) fn incrby<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let by = integer_or_refuse(words.at(2))?;
    Ok(conversation.ask(words.at(1), Op::Increment { by }, Form::Number))
}

pub(super) fn decrby<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let by = integer_or_refuse(words.at(2))?.checked_neg();
    let by = by.ok_or(Refusal::new("ERR decrement would overflow"))?;
    Ok(conversation.ask(words.at(1), Op::Increment { by }, Form::Number))
}

pub(super) fn incrbyfloat<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::IncrementFloat { by: words.at(2) }, Form::Float))
}

pub(super) fn append<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Append { value: words.at(2) }, Form::Number))
}

pub(super) fn strlen<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(1), Op::Inspect, Form::Length))
}

pub(super) fn getrange<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let start = integer_or_refuse(words.at(2))?;
    let end = integer_or_refuse(words.at(3))?;
    Ok(conversation.ask(words.at(1), Op::GetRange { start, end }, Form::Range))
}

pub(super) fn setrange<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let offset = integer(words.at(2)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let offset = u64::try_from(offset).map_err(|_| Refusal::new("ERR offset is out of range"))?;
    Ok(conversation.ask(words.at(1), Op::SetRange { offset, value: words.at(3) }, Form::Number))
}
