//! From a request's words to its plan, by the table of commands, and a plan's steps to those who take them.

use std::borrow::Cow;

use firn_wire::exchange::Session;

use super::conversation::{Conversation, Replies};
use super::lookup;
use super::plan::{Plan, Steps};
use super::refusal::Refusal;
use super::words::Words;
use super::write;

impl Conversation {
    /// Decides what to do for a request.
    pub(super) fn plan<'a>(&mut self, words: Words<'a, '_>) -> Plan<'a> {
        self.silent = self.replies != Replies::On;
        if self.replies == Replies::SkipNext {
            self.replies = Replies::On;
        }
        let plan = self.read(words);
        plan.unwrap_or_else(|Refusal(text)| Plan::written(|out| write::error(out, &text)))
    }

    fn read<'a>(&mut self, words: Words<'a, '_>) -> Result<Plan<'a>, Refusal> {
        if lookup::is_http(words.at(0)) {
            return Ok(Plan::Close(Cow::Borrowed(b"")));
        }
        let place = self.commands.find(words).inspect_err(|_| {
            if let Some(transaction) = &mut self.transaction {
                transaction.fail();
            }
        })?;
        self.client.note_command(place);
        let command = self.commands.at(place);
        match &mut self.transaction {
            Some(transaction) if !command.runs_in_multi() => {
                transaction.push(words)?;
                self.client.note_queued(Some(transaction.len()));
                Ok(Plan::Answer(Cow::Borrowed(b"+QUEUED\r\n")))
            }
            _ => (command.handler)(self, words),
        }
    }

    /// Takes steps other than EXEC's.
    pub(super) async fn take(&mut self, steps: Steps, session: &mut Session, out: &mut Vec<u8>) {
        match steps {
            Steps::Watch { keys } => self.watch(&keys, session, out).await,
            Steps::Keys { pattern } => self.keys(&pattern, session, out).await,
            Steps::Info { sections } => self.info(&sections, session, out).await,
            Steps::Select { number } => self.select_new(number, out).await,
            Steps::Exec(_) => unreachable!("EXEC is not queued, so it is not among its own steps"),
        }
    }
}
