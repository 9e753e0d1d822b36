//! What is to be done for one request: what a command's handler decides.

use std::borrow::Cow;

use firn_wire::command::Command;

use super::form::Form;
use super::queue::Transaction;
use super::sections::Sections;
use super::words::Kept;

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
    Info { sections: Sections },
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
