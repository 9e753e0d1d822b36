//! MULTI, EXEC, WATCH: requests run together, if nothing they looked at has changed.
//!
//! Key operations of one EXEC are one [`Command::Many`] with a guard for each watched key: one atomic step per
//! partition. Requests that ask whole tables, change the connection or bring a condition of their own stand between two
//! such commands; then the guards are checked with the first, and the rest runs in order, not isolated.

use std::borrow::Cow;

use firn_wire::command::{Command, Guard, KeyOp, Op};
use firn_wire::exchange::Session;
use firn_wire::ids::{TableId, Version};
use firn_wire::limits::BATCH_OPERATIONS_MAX;
use firn_wire::reply::{Failure, Part, Reply};

use super::conversation::Conversation;
use super::form::{Form, write_failure};
use super::lookup;
use super::parse::REQUEST_BYTES_MAX;
use super::plan::{Plan, Refusal, Steps};
use super::words::{Kept, Words};
use super::write;
use crate::connection::Flow;
use crate::execute::run_one;

/// Requests one MULTI may queue.
pub const QUEUED_MAX: usize = 100 * BATCH_OPERATIONS_MAX;
/// Keys one connection may watch.
pub const WATCHED_MAX: usize = 10_000;

/// What MULTI has opened.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    queue: Kept,
    /// A request could not be queued, so EXEC will refuse.
    failed: bool,
    /// What must hold; filled when EXEC is read.
    watched: Vec<Watched>,
}

impl Transaction {
    /// Queues a request.
    pub(super) fn push(&mut self, words: Words<'_, '_>) -> Result<(), Refusal> {
        let bytes: usize = words.from(0).map(<[u8]>::len).sum();
        if self.queue.len() >= QUEUED_MAX || self.queue.byte_count() + bytes > REQUEST_BYTES_MAX {
            self.failed = true;
            let text = format!(
                "ERR MULTI queues at most {QUEUED_MAX} requests of {REQUEST_BYTES_MAX} bytes"
            );
            return Err(Refusal(Cow::Owned(text.into_bytes())));
        }
        self.queue.push(words);
        Ok(())
    }

    /// Makes EXEC refuse.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Requests queued.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// A watched key as it was.
#[derive(Debug)]
pub(super) struct Watched {
    table: TableId,
    key: Vec<u8>,
    version: Option<Version>,
}

impl Watched {
    fn guard(&self) -> Guard<'_> {
        Guard { table: self.table, key: &self.key, version: self.version }
    }

    fn look(&self) -> KeyOp<'_> {
        KeyOp { table: self.table, key: &self.key, op: Op::Inspect }
    }
}

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

/// Operations waiting to be handed over together, and where their replies belong.
#[derive(Default)]
struct Batch<'q> {
    ops: Vec<KeyOp<'q>>,
    pieces: Vec<Piece>,
}

/// One reply of EXEC's.
enum Piece {
    /// Known already.
    Ready(Cow<'static, [u8]>),
    /// Made of the replies of so many operations.
    One(Form),
    /// The same, of a request for many keys.
    Many(Form, usize),
}

/// Why EXEC has stopped with nothing done.
enum Stopped {
    /// A watched key has changed.
    Changed,
    /// The store refused, in these words.
    Refused(Vec<u8>),
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

    /// Runs what was queued.
    pub(super) async fn exec(
        &mut self,
        transaction: Transaction,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Flow {
        let mut body = Vec::new();
        match self.exec_queue(&transaction, session, &mut body).await {
            Ok(flow) => {
                write::array(out, transaction.len());
                out.append(&mut body);
                return flow;
            }
            Err(Stopped::Changed) => write::null_array(out, self.dialect),
            Err(Stopped::Refused(text)) => out.extend_from_slice(&text),
        }
        Flow::Continue
    }

    async fn exec_queue(
        &mut self,
        transaction: &Transaction,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Result<Flow, Stopped> {
        let mut guards: &[Watched] = &transaction.watched;
        let mut batch = Batch::default();
        let mut flow = Flow::Continue;
        for words in transaction.queue.requests() {
            if lookup::find(words).is_ok_and(|place| lookup::at(place).changes_connection()) {
                self.hand_over(&mut batch, &mut guards, session, out).await?;
            }
            let plan = self.plan(words);
            if matches!(plan, Plan::Close(_)) {
                flow = Flow::Close;
            }
            if let Some(alone) = self.put(plan, &mut batch) {
                self.hand_over(&mut batch, &mut guards, session, out).await?;
                self.run_alone(alone, session, out).await;
            }
        }
        self.hand_over(&mut batch, &mut guards, session, out).await?;
        Ok(flow)
    }

    /// Puts a plan into a batch; gives it back where it must run alone.
    fn put<'q>(&self, plan: Plan<'q>, batch: &mut Batch<'q>) -> Option<Plan<'q>> {
        let piece = match plan {
            Plan::Ask(Command::Key(op), form) if self.goes_together(&op) => {
                batch.ops.push(op);
                Piece::One(form)
            }
            Plan::Ask(Command::Many { guards, ops }, form) if guards.is_empty() => {
                let count = ops.len();
                batch.ops.extend(ops);
                Piece::Many(form, count)
            }
            Plan::Answer(reply) | Plan::Close(reply) => Piece::Ready(reply),
            alone => return Some(alone),
        };
        batch.pieces.push(piece);
        None
    }

    async fn run_alone(&mut self, plan: Plan<'_>, session: &mut Session, out: &mut Vec<u8>) {
        match plan {
            Plan::Ask(command, form) => {
                let reply = run_one(&*self.execute, session, command).await;
                form.encode(self.dialect, reply.view(), out);
            }
            Plan::Run(steps) => self.take(steps, session, out).await,
            Plan::Answer(_) | Plan::Close(_) => unreachable!("they are put into the batch"),
        }
    }

    /// Whether an operation stays within one partition, as those of one step must.
    fn goes_together(&self, op: &KeyOp<'_>) -> bool {
        let Op::Copy { table, to, .. } = op.op else { return true };
        let map = self.execute.map();
        map.locate(op.table, op.key) == map.locate(table, to)
    }

    /// Runs a batch and appends its replies; the guards are checked with the first.
    async fn hand_over(
        &self,
        batch: &mut Batch<'_>,
        guards: &mut &[Watched],
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Result<(), Stopped> {
        let Batch { mut ops, pieces } = std::mem::take(batch);
        let guarded = std::mem::take(guards);
        if ops.is_empty() {
            ops.extend(guarded.iter().map(Watched::look));
        }
        if ops.is_empty() {
            self.write_pieces(&pieces, &[], out);
            return Ok(());
        }
        let command = Command::Many { guards: guarded.iter().map(Watched::guard).collect(), ops };
        let reply = run_one(&*self.execute, session, command).await;
        match reply.view() {
            Reply::Many(parts) => self.write_pieces(&pieces, &parts, out),
            Reply::Aborted => return Err(Stopped::Changed),
            Reply::Failed(failure) if !guarded.is_empty() => {
                return Err(Stopped::Refused(failure_line(&failure)));
            }
            whole => self.write_same(&pieces, &whole, out),
        }
        Ok(())
    }

    fn write_pieces(&self, pieces: &[Piece], mut parts: &[Part<'_>], out: &mut Vec<u8>) {
        for piece in pieces {
            match piece {
                Piece::Ready(reply) => out.extend_from_slice(reply),
                Piece::One(form) => {
                    let reply = parts.first().map_or_else(lacking, |part| part.reply());
                    form.encode(self.dialect, reply, out);
                    parts = parts.get(1..).unwrap_or_default();
                }
                Piece::Many(form, count) => {
                    let (own, rest) = parts.split_at(parts.len().min(*count));
                    form.encode_parts(self.dialect, own, out);
                    parts = rest;
                }
            }
        }
    }

    /// Writes one reply, a failure, for each request that had something to ask.
    fn write_same(&self, pieces: &[Piece], whole: &Reply<'_>, out: &mut Vec<u8>) {
        for piece in pieces {
            match piece {
                Piece::Ready(reply) => out.extend_from_slice(reply),
                Piece::One(form) | Piece::Many(form, _) => {
                    form.encode(self.dialect, whole.clone(), out);
                }
            }
        }
    }
}

fn lacking<'a>() -> Reply<'a> {
    Reply::Failed(Failure::Invalid("a reply of several lacks some".into()))
}

fn failure_line(failure: &Failure<'_>) -> Vec<u8> {
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
