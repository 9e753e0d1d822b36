//! MULTI, EXEC, WATCH: requests run together, if nothing they looked at has changed. How they run is `exec`'s.

use std::borrow::Cow;

use firn_wire::command::Command;
use firn_wire::exchange::Session;
use firn_wire::ids::Version;
use firn_wire::reply::{Failure, Part, Reply};

use super::conversation::Conversation;
use super::form::write_failure;
use super::plan::{Plan, Steps};
use super::queue::{Transaction, Watched};
use super::refusal::Refusal;
use super::words::{Kept, Words};
use super::write;
use crate::execute::run_one;

/// Keys one connection may watch.
pub const WATCHED_MAX: usize = 10_000;

pub(super) fn multi<'a>(
    conversation: &mut Conversation,
    _: Words<'a, '_>,
) -> Result<Plan<'a>, Refusal> {
    if conversation.transaction.is_some() {
        return Err(Refusal::new("ERR MULTI calls can not be nested"));
    }
    conversation.transaction = Some(Transaction::default());
    conversation.client.note_queued(Some(0));
    Ok(Plan::OK)
}

pub(super) fn discard<'a>(
    conversation: &mut Conversation,
    _: Words<'a, '_>,
) -> Result<Plan<'a>, Refusal> {
    if conversation.transaction.is_none() {
        return Err(Refusal::new("ERR DISCARD without MULTI"));
    }
    conversation.end_transaction();
    Ok(Plan::OK)
}

pub(super) fn exec<'a>(
    conversation: &mut Conversation,
    _: Words<'a, '_>,
) -> Result<Plan<'a>, Refusal> {
    let watched = std::mem::take(&mut conversation.watched);
    let transaction = conversation.end_transaction();
    let mut transaction = transaction.ok_or(Refusal::new("ERR EXEC without MULTI"))?;
    if transaction.failed {
        return Err(Refusal::new("EXECABORT Transaction discarded because of previous errors."));
    }
    transaction.watched = watched;
    Ok(Plan::Run(Steps::Exec(transaction)))
}

pub(super) fn watch<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
) -> Result<Plan<'a>, Refusal> {
    if conversation.transaction.is_some() {
        return Err(Refusal::new("ERR WATCH inside MULTI is not allowed"));
    }
    if conversation.watched.len() + words.len() - 1 > WATCHED_MAX {
        let text = format!("ERR a connection watches at most {WATCHED_MAX} keys");
        return Err(Refusal(Cow::Owned(text.into_bytes())));
    }
    let mut keys = Kept::default();
    keys.push(words.tail(1).expect("the arity says that there is a key"));
    Ok(Plan::Run(Steps::Watch { keys }))
}

pub(super) fn unwatch<'a>(
    conversation: &mut Conversation,
    _: Words<'a, '_>,
) -> Result<Plan<'a>, Refusal> {
    conversation.watched.clear();
    Ok(Plan::OK)
}

impl Conversation {
    /// Forgets what MULTI and WATCH have begun.
    pub(super) fn end_transaction(&mut self) -> Option<Transaction> {
        let transaction = self.transaction.take()?;
        self.watched.clear();
        self.client.note_queued(None);
        Some(transaction)
    }

    /// Notes the versions of keys that are not watched yet.
    pub(super) async fn watch(&mut self, keys: &Kept, session: &mut Session, out: &mut Vec<u8>) {
        let words = keys.requests().next().expect("the keys were kept as one request");
        let mut found: Vec<Watched> = Vec::new();
        for key in words.from(0) {
            let same = |one: &Watched| one.table == self.table && one.key == key;
            if !self.watched.iter().chain(&found).any(same) {
                found.push(Watched { table: self.table, key: key.to_vec(), version: None });
            }
        }
        if found.is_empty() {
            return write::simple(out, "OK");
        }
        let ops = found.iter().map(Watched::look).collect();
        let reply =
            run_one(&*self.execute, session, Command::Many { guards: Vec::new(), ops }).await;
        match versions(reply.view()) {
            Ok(versions) => {
                found.iter_mut().zip(versions).for_each(|(one, now)| one.version = now);
                self.watched.append(&mut found);
                write::simple(out, "OK");
            }
            Err(failure) => out.extend_from_slice(&failure),
        }
    }
}

pub(super) fn failure_line(failure: &Failure<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    write_failure(failure, &mut line);
    line
}

/// The versions in a reply to looks, or its failure.
fn versions(reply: Reply<'_>) -> Result<Vec<Option<Version>>, Vec<u8>> {
    let Reply::Many(parts) = reply else {
        let failure = Failure::Invalid("a reply of several is none".into());
        let Reply::Failed(failure) = reply else { return Err(failure_line(&failure)) };
        return Err(failure_line(&failure));
    };
    let version = |part: &Part<'_>| match part.reply() {
        Reply::Found(found) => Ok(Some(found.version)),
        Reply::Failed(failure) => Err(failure_line(&failure)),
        _ => Ok(None),
    };
    parts.iter().map(version).collect()
}
