//! Times to live: how a number is one, and the commands that ask for and set them.

use firn_wire::command::{ExpireIf, Expiry, Op};
use firn_wire::limits::TTL_MS_MAX;

use super::conversation::Conversation;
use super::form::{ExpiryForm, Form};
use super::number::integer_or_refuse;
use super::plan::Plan;
use super::refusal::Refusal;
use super::words::Words;

type Planned<'a> = Result<Plan<'a>, Refusal>;

/// What a time counts from, and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    /// Whether it is a Unix time; else it counts from now.
    pub(super) absolute: bool,
    /// Whether it is in seconds; else in milliseconds.
    pub(super) seconds: bool,
}

impl Time {
    /// The option that introduces it, in any case.
    pub(super) fn of(word: &[u8]) -> Option<Self> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let (absolute, seconds) = match () {
            () if is("EX") => (false, true),
            () if is("PX") => (false, false),
            () if is("EXAT") => (true, true),
            () if is("PXAT") => (true, false),
            () => return None,
        };
        Some(Self { absolute, seconds })
    }

    /// The expiry `number` stands for; None where it is out of range, or more than [`TTL_MS_MAX`] from `now`, in Unix
    /// milliseconds. A time that has passed is gone at once.
    pub(super) fn expiry(self, number: i64, now: u64) -> Option<Expiry> {
        let ms = if self.seconds { number.checked_mul(1_000)? } else { number };
        let latest = if self.absolute { now.saturating_add(TTL_MS_MAX) } else { TTL_MS_MAX };
        match u64::try_from(ms) {
            Err(_) => Some(Expiry::At(0)),
            Ok(ms) if ms > latest => None,
            Ok(ms) if self.absolute => Some(Expiry::At(ms)),
            Ok(ms) => Some(Expiry::After(ms)),
        }
    }
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
