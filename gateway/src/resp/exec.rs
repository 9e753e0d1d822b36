//! EXEC: what MULTI has queued, run.
//!
//! Key operations of one EXEC are one [`Command::Many`] with a guard for each watched key: one atomic step per
//! partition. Requests that ask whole tables, change the connection or bring a condition of their own stand between two
//! such commands; then the guards are checked with the first, and the rest runs in order, not isolated.

use std::borrow::Cow;

use firn_wire::command::{Command, KeyOp, Op};
use firn_wire::exchange::Session;
use firn_wire::reply::{Failure, Part, Reply};

use super::conversation::Conversation;
use super::form::Form;
use super::plan::Plan;
use super::queue::{Transaction, Watched};
use super::transaction::failure_line;
use super::write;
use crate::connection::Flow;
use crate::execute::run_one;

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
            if self
                .commands
                .find(words)
                .is_ok_and(|place| self.commands.at(place).changes_connection())
            {
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
