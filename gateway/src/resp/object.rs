//! The subcommands of OBJECT and MEMORY. What redis-server tells of its own structures is told as it would be there for
//! a value that was written whole.

use firn_wire::command::Op;

use super::conversation::Conversation;
use super::form::Form;
use super::number::integer_or_refuse;
use super::plan::Plan;
use super::refusal::Refusal;
use super::words::Words;

type Planned<'a> = Result<Plan<'a>, Refusal>;

pub(super) fn encoding<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(2), Op::Get, Form::Encoding))
}

pub(super) fn refcount<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(2), Op::Get, Form::References))
}

pub(super) fn idletime<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(conversation.ask(words.at(2), Op::Inspect, Form::Idle))
}

pub(super) fn freq<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let text = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
                note that when switching between policies at runtime LRU and LFU data will take \
                some time to adjust.";
    Ok(conversation.ask(words.at(2), Op::Inspect, Form::Unless(text)))
}

pub(super) fn memory_usage<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
) -> Planned<'a> {
    let mut rest = words.from(3);
    while let Some(word) = rest.next() {
        let samples = rest.next().filter(|_| word.eq_ignore_ascii_case(b"SAMPLES"));
        if integer_or_refuse(samples.ok_or(Refusal::SYNTAX)?)? < 0 {
            return Err(Refusal::SYNTAX);
        }
    }
    Ok(conversation.ask(words.at(2), Op::Inspect, Form::Memory))
}
