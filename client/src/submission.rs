//! One submission: commands are answered at hand, put into a message per peer, or left to a ticket.

use std::sync::Arc;

use firn_wire::command::{Command, Guard, KeyOp, Op, Step};
use firn_wire::exchange::{Open, Session, Sink, Ticket};
use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_SOFT, ONCE_BYTES_MAX};
use firn_wire::message::{AskRef, request};
use firn_wire::reply::{Failure, Reply};
use tokio::time::Instant;

use crate::call::Call;
use crate::core::{Asker, Core, Way};
use crate::gate::Held;
use crate::links::Peer;
use crate::local::{Local, NotNow, Stepped};
use crate::maps::View;
use crate::parts::Parts;
use crate::pending::Pending;
use crate::plan::{check, crosses, plan};
use crate::settle::{Before, Forwarded, settle, to_ask};

/// The route of what is answered at hand; links count from 1.
const AT_HAND: u64 = 0;

/// See the module's page. [`Self::finish`] sends what was put into messages.
pub(crate) struct Submission<'s, L> {
    pub(crate) core: &'s Arc<Core<L>>,
    pub(crate) view: &'s View,
    pub(crate) session: &'s mut Session,
    /// Made when the first command needs one: most never look at the clock.
    asker: Option<Asker>,
    messages: Vec<Outgoing<'s>>,
}

/// A message that still grows.
struct Outgoing<'s> {
    worker: &'s WorkerId,
    peer: Arc<Peer>,
    route: u64,
    call: Arc<Call>,
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl<'s> Outgoing<'s> {
    fn send(self, lane: usize) {
        if self.starts.is_empty() {
            return; // what was meant for it became tickets
        }
        self.call.close(self.bytes, self.starts);
        self.peer.link(lane).send(self.route, self.call);
    }
}

impl<'s, L: Local> Submission<'s, L> {
    pub(crate) fn new(core: &'s Arc<Core<L>>, view: &'s View, session: &'s mut Session) -> Self {
        Self { core, view, session, asker: None, messages: Vec::new() }
    }

    pub(crate) fn asker(&mut self) -> Asker {
        let session = &*self.session;
        *self.asker.get_or_insert_with(|| Asker {
            stream: session.id,
            lane: session.lane,
            role: session.role,
            deadline: Instant::now() + session.timeout,
        })
    }

    /// Takes the command of a slot.
    pub(crate) fn take(&mut self, slot: usize, command: &Command<'_>, sink: &mut dyn Sink) {
        match command {
            Command::Key(op) => self.key(slot, None, op, sink),
            Command::Once { token, op } => match check_token(token, self.crosses(op)) {
                Ok(()) => self.key(slot, Some(token), op, sink),
                Err(failure) => sink.put(slot, failure.into()),
            },
            Command::Many { guards, ops } => self.many(slot, guards, ops, sink),
            Command::Count { table } => self.count(slot, *table, sink),
            Command::Flush { tables } => self.flush(slot, tables, sink),
            Command::Scan { table, scan } => self.scan(slot, *table, scan, sink),
            Command::Random { table } => self.random(slot, *table, sink),
            Command::Table(change) => self.change_table(slot, change, sink),
        }
    }

    /// Sends the messages.
    pub(crate) fn finish(self) {
        for message in self.messages {
            message.send(self.session.lane);
        }
    }

    fn crosses(&self, op: &KeyOp<'_>) -> bool {
        crosses(&self.view.map, op)
    }

    /// A ticket for what touches many partitions and starts when it is polled; all that follows waits for it.
    pub(crate) fn everywhere(
        &mut self,
        work: impl Future<Output = firn_wire::reply::ReplyBuf> + Send + 'static,
    ) -> Ticket {
        let open = self.session.open.note_everywhere();
        Box::pin(async move {
            let reply = work.await;
            drop(open);
            reply
        })
    }

    fn key(&mut self, slot: usize, once: Option<&[u8]>, op: &KeyOp<'_>, sink: &mut dyn Sink) {
        if let Err(failure) = check(op) {
            return sink.put(slot, failure.into());
        }
        let Some(partition) = self.view.map.locate(op.table, op.key) else {
            return sink.put(slot, Failure::NoSuchTable.into());
        };
        if matches!(op.op, Op::Copy { .. }) && self.crosses(op) {
            let ticket = self.copy_across(op);
            return sink.wait(slot, ticket);
        }
        let step = Step { partition, once, guards: &[], ops: std::slice::from_ref(op) };
        if let Some((ticket, bytes)) = self.place(&step, &mut |reply| sink.put(slot, reply)) {
            sink.hold(slot, bytes, ticket);
        }
    }

    fn many(&mut self, slot: usize, guards: &[Guard<'_>], ops: &[KeyOp<'_>], sink: &mut dyn Sink) {
        let count = ops.len();
        // Guards without operations: one that shows nothing, so that there is a reply to tell whether they hold.
        let probe = guards.first().map(|guard| [probe_of(guard)]);
        let ops = match &probe {
            Some(probe) if ops.is_empty() => probe,
            _ => ops,
        };
        if ops.iter().any(|op| check(op).is_ok() && self.crosses(op)) {
            if !guards.is_empty() {
                return sink.put(slot, Failure::CrossPartition.into());
            }
            let ticket = self.in_turn(ops);
            return sink.wait(slot, ticket);
        }
        let plan = match plan(&self.view.map, guards, ops) {
            Ok(plan) => plan,
            Err(failure) => return sink.put(slot, failure.into()),
        };
        let mut parts = Parts::new(ops.len(), !guards.is_empty());
        for (place, failure) in plan.refused {
            parts.put(place, &failure.into());
        }
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        for share in plan.shares {
            let own: Vec<KeyOp<'_>> = share.places.iter().map(|place| ops[*place]).collect();
            let step = Step { partition: share.partition, once: None, guards, ops: &own };
            let mut places = share.places.iter();
            let placed = self.place(&step, &mut |reply| {
                parts.put(*places.next().expect("a reply per operation"), &reply);
            });
            if let Some((ticket, held)) = placed {
                bytes += held;
                waiting.push((ticket, share.places));
            }
        }
        if waiting.is_empty() {
            parts.give(count, &mut |reply| sink.put(slot, reply));
        } else {
            sink.hold(slot, bytes, Box::pin(parts.gather(waiting, count)));
        }
    }

    /// Answers a step, a reply per operation, or gives a ticket for the reply of the whole, and how many bytes of it are
    /// in memory.
    fn place(
        &mut self,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<(Ticket, usize)> {
        let view = self.view;
        match view.row(step.partition).map_or(Way::Nowhere, |row| self.core.way(row)) {
            Way::Here if self.must_wait(step.partition, AT_HAND) => Some((self.later(step), 0)),
            Way::Here => match self.core.local.step(&view.map, step, answer) {
                Ok(Stepped::Answered) => None,
                Ok(Stepped::Held(held)) => Some(self.held(step, held)),
                Err(NotNow::NotLed) => Some((self.later(step), 0)),
                Err(NotNow::Wait(gate)) => Some((self.after(step, Before::Parked(gate)), 0)),
            },
            Way::To(worker) => self.forward(worker, step, answer).map(|ticket| (ticket, 0)),
            Way::Nowhere => Some((self.later(step), 0)),
        }
    }

    fn must_wait(&self, partition: PartitionId, route: u64) -> bool {
        !self.session.open.is_empty() && self.session.open.must_wait(partition, route)
    }

    /// A ticket for a step that is tried when it is polled, so after everything before it.
    fn later(&mut self, step: &Step<'_, '_>) -> Ticket {
        self.after(step, Before::Nothing)
    }

    fn after(&mut self, step: &Step<'_, '_>, before: Before) -> Ticket {
        let asker = self.asker();
        let open = self.session.open.note(step.partition, Open::WHEN_POLLED);
        let (core, ask) = (Arc::clone(self.core), to_ask(step));
        Box::pin(async move {
            let reply = settle(core, asker, ask, before).await;
            drop(open);
            reply
        })
    }

    /// A ticket for a step that was run here and whose reply may not be shown yet.
    fn held(&mut self, step: &Step<'_, '_>, held: Held) -> (Ticket, usize) {
        let asker = self.asker();
        let may_repeat = !held.wrote || step.is_repeatable();
        let bytes = held.reply.as_bytes().len();
        let ticket = Box::pin(Pending {
            core: Arc::clone(self.core),
            asker,
            showing: held.shown(asker.deadline),
            ask: may_repeat.then(|| to_ask(step)),
            open: self.session.open.note(step.partition, AT_HAND),
            again: None,
        });
        (ticket, bytes)
    }

    /// Puts a step into the message to a peer.
    fn forward(
        &mut self,
        worker: &'s WorkerId,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Ticket> {
        let Some(at) = self.message_to(worker) else { return Some(self.later(step)) };
        let route = self.messages[at].route;
        if self.must_wait(step.partition, route) {
            return Some(self.later(step));
        }
        let message = &mut self.messages[at];
        let start = message.bytes.len();
        AskRef::Step(*step).write(&mut message.bytes);
        let length = message.bytes.len() - start;
        if length > MESSAGE_BYTES_MAX - MESSAGE_BYTES_SOFT {
            message.bytes.truncate(start);
            let text = format!("{length} bytes for one partition at once; send less at a time");
            step.ops.iter().for_each(|_| answer(Failure::TooMuch(text.clone().into()).into()));
            return None;
        }
        message.starts.push(start as u32);
        let at = self.close_when_full(at);
        let message = &self.messages[at];
        Some(Box::pin(Forwarded {
            core: Arc::clone(self.core),
            asker: self.asker.expect("the message was begun with it"),
            call: Arc::clone(&message.call),
            index: message.starts.len() - 1,
            open: self.session.open.note(step.partition, route),
            again: None,
        }))
    }

    /// The place of the message to a worker; None when it cannot be reached by the map at hand.
    fn message_to(&mut self, worker: &'s WorkerId) -> Option<usize> {
        if let Some(at) = self.messages.iter().position(|message| message.worker == worker) {
            return Some(at);
        }
        let peer = self.core.links.peer(&self.view.map, worker)?;
        let route = peer.link(self.session.lane).route();
        let message = self.begin_message(worker, peer, route);
        self.messages.push(message);
        Some(self.messages.len() - 1)
    }

    fn begin_message(&mut self, worker: &'s WorkerId, peer: Arc<Peer>, route: u64) -> Outgoing<'s> {
        let asker = self.asker();
        let call = Call::new(asker.stream, asker.deadline);
        let bytes = request(&asker.head(&self.view.map, false));
        Outgoing { worker, peer, route, call, bytes, starts: Vec::new() }
    }

    /// Sends a message that has grown too long without its last ask, which begins another: a message above the soft
    /// bound has one ask.
    fn close_when_full(&mut self, at: usize) -> usize {
        let message = &mut self.messages[at];
        if message.bytes.len() <= MESSAGE_BYTES_SOFT || message.starts.len() == 1 {
            return at;
        }
        let start = message.starts.pop().expect("it has two at least");
        let ask = message.bytes.split_off(start as usize);
        let (worker, peer, route) = (message.worker, Arc::clone(&message.peer), message.route);
        let mut next = self.begin_message(worker, peer, route);
        next.starts.push(next.bytes.len() as u32);
        next.bytes.extend_from_slice(&ask);
        std::mem::replace(&mut self.messages[at], next).send(self.session.lane);
        at
    }
}

fn check_token(token: &[u8], crosses: bool) -> Result<(), Failure<'static>> {
    if token.len() > ONCE_BYTES_MAX {
        let text = format!("an idempotency key of {} bytes; at most {ONCE_BYTES_MAX}", token.len());
        return Err(Failure::TooMuch(text.into()));
    }
    if crosses { Err(Failure::CrossPartition) } else { Ok(()) }
}

fn probe_of<'a>(guard: &Guard<'a>) -> KeyOp<'a> {
    KeyOp { table: guard.table, key: guard.key, op: Op::Inspect }
}
