//! What is to be done for one request: what a command's handler decides, and the texts it refuses with.

use std::borrow::Cow;

use firn_wire::command::Command;

use super::form::Form;
use super::transaction::Transaction;
use super::words::Kept;

/// Why a request is refused: the text of its error, its code first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) Cow<'static, [u8]>);

impl Refusal {
    pub(super) const SYNTAX: Self = Self::new("ERR syntax error");
    pub(super) const NOT_AN_INTEGER: Self =
        Self::new("ERR value is not an integer or out of range");
    pub(super) const DATABASE: Self = Self::new("ERR DB index is out of range");

    /// A text that quotes nothing.
    pub(super) const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// A text with something of the request's in it; [`super::write::error`] makes it harmless.
    pub(super) fn quoting(before: &str, quoted: &[u8], after: &str) -> Self {
        Self(Cow::Owned([before.as_bytes(), quoted, after.as_bytes()].concat()))
    }

    /// A wrong number of words.
    pub(super) fn arity(command: &str) -> Self {
        let text = format!("ERR wrong number of arguments for '{command}' command");
        Self(Cow::Owned(text.into_bytes()))
    }

    /// A time to live that is none, or too long.
    pub(super) fn expiry(command: &str) -> Self {
        let text = format!("ERR invalid expire time in '{command}' command");
        Self(Cow::Owned(text.into_bytes()))
    }
}

/// What a handler has decided.
#[derive(Debug)]
pub(super) enum Plan<'a> {
    /// Ask the store, and write its reply in this form.
    Ask(Command<'a>, Form),
    /// Answer with these bytes.
    Answer(Cow<'static, [u8]>),
    /// Take steps that wait for one another.
    Run(Steps),
    /// Answer, then close the connection.
    Close(Cow<'static, [u8]>),
}

impl Plan<'_> {
    /// `+OK`.
    pub(super) const OK: Self = Plan::Answer(Cow::Borrowed(b"+OK\r\n"));

    /// An answer that was written just now.
    pub(super) fn written(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut reply = Vec::new();
        write(&mut reply);
        Plan::Answer(Cow::Owned(reply))
    }
}

/// Steps that wait for one another, run with everything before them answered.
#[derive(Debug)]
pub(super) enum Steps {
    /// Note the versions of keys.
    Watch { keys: Kept },
    /// Collect every key that matches.
    Keys { pattern: Vec<u8> },
    /// Count what `INFO` shows, and show it.
    Info { sections: super::info::Sections },
    /// Find out whether a database that the map lacks is there, and change to it.
    Select { number: u32 },
    /// Run what was queued.
    Exec(Transaction),
}

/// What the connection is handed to run.
#[derive(Debug)]
pub(super) enum Job {
    /// A request whose words are no slices of the input.
    Quoted(Kept),
    /// Steps, and whether their reply is to be sent.
    Steps { steps: Steps, silent: bool },
}
