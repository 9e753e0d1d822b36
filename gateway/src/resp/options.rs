//! The options of SET and GETEX.

use firn_wire::command::{Condition, Expiry};

use super::expiry::Time;
use super::number::{integer, integer_or_refuse};
use super::refusal::Refusal;
use super::words::Words;

/// Which command options are given to; some belong to one of the two only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    ToSet,
    ToGetEx,
}

/// What a key's expiry is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expires<'a> {
    Default,
    Keep,
    Never,
    In(Time, &'a [u8]),
}

/// The options of one command.
#[derive(Debug)]
pub(super) struct Options<'a> {
    pub(super) condition: Condition<'a>,
    /// Whether the value that was there is asked for.
    pub(super) want_old: bool,
    expires: Expires<'a>,
}

impl<'a> Options<'a> {
    /// Reads the words from `at` on. An option may be repeated, two that exclude each other are an error.
    pub(super) fn read(words: Words<'a, '_>, at: usize, given: Given) -> Result<Self, Refusal> {
        let mut options =
            Self { condition: Condition::Always, want_old: false, expires: Expires::Default };
        let mut rest = words.from(at);
        while let Some(word) = rest.next() {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            match given {
                _ if Time::of(word).is_some() => {
                    let time = Time::of(word).expect("it is one");
                    options.expire(Expires::In(time, rest.next().ok_or(Refusal::SYNTAX)?))?;
                }
                Given::ToGetEx if is("PERSIST") => options.expire(Expires::Never)?,
                Given::ToSet if is("KEEPTTL") => options.expire(Expires::Keep)?,
                Given::ToSet if is("NX") => options.only(Condition::Absent)?,
                Given::ToSet if is("XX") => options.only(Condition::Present)?,
                Given::ToSet if is("IFEQ") => {
                    options.only(Condition::Equal(rest.next().ok_or(Refusal::SYNTAX)?))?;
                }
                Given::ToSet if is("GET") => options.want_old = true,
                _ => return Err(Refusal::SYNTAX),
            }
        }
        Ok(options)
    }

    /// Only a time, introduced by `option`.
    pub(super) fn with_time(option: &str, number: &'a [u8]) -> Self {
        let time = Time::of(option.as_bytes()).expect("one of ours");
        let expires = Expires::In(time, number);
        Self { condition: Condition::Always, want_old: false, expires }
    }

    fn expire(&mut self, expires: Expires<'a>) -> Result<(), Refusal> {
        let agrees = match (self.expires, expires) {
            (Expires::Default, _) => true,
            (Expires::In(one, _), Expires::In(other, _)) => one == other,
            (one, other) => one == other,
        };
        self.expires = expires;
        if agrees { Ok(()) } else { Err(Refusal::SYNTAX) }
    }

    fn only(&mut self, condition: Condition<'a>) -> Result<(), Refusal> {
        let agrees = match (self.condition, condition) {
            (Condition::Always, _) => true,
            (Condition::Equal(_), _) => false,
            (one, other) => one == other,
        };
        self.condition = condition;
        if agrees { Ok(()) } else { Err(Refusal::SYNTAX) }
    }

    /// The expiry they ask for; `command` is named where it is none. `now` in Unix milliseconds.
    pub(super) fn expiry(&self, command: &str, now: u64) -> Result<Expiry, Refusal> {
        match self.expires {
            Expires::Default => Ok(Expiry::Default),
            Expires::Keep => Ok(Expiry::Keep),
            Expires::Never => Ok(Expiry::Never),
            Expires::In(time, text) => {
                let number = integer_or_refuse(text)?;
                let expiry = if number > 0 { time.expiry(number, now) } else { None };
                expiry.ok_or_else(|| Refusal::expiry(command))
            }
        }
    }

    /// Whether the time, if there is one, is an integer at all.
    pub(super) fn time_is_integer(&self) -> bool {
        !matches!(self.expires, Expires::In(_, text) if integer(text).is_none())
    }
}
