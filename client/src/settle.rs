//! A step that needs more than one look: it is tried until it is answered, its deadline passes, or nobody knows what
//! became of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use firn_wire::command::{KeyOp, Step, StepBuf};
use firn_wire::exchange::{OpenGuard, Ticket};
use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::map::MapIndex;
use firn_wire::message::{Ask, AskRef, request};
use firn_wire::reply::{Failure, ReplyBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::call::{Call, Outcome};
use crate::core::{Asker, Core, Ran, Way, run_step};
use crate::gate::{Gate, Withheld};
use crate::local::{Local, NotNow};
use crate::retry::{Next, judge};
use crate::trouble::Trouble;

/// A step that was sent with others; tries again by itself when it comes to nothing.
pub(crate) struct Forwarded<L> {
    pub(crate) core: Arc<Core<L>>,
    pub(crate) asker: Asker,
    pub(crate) call: Arc<Call>,
    /// Which of the call's asks.
    pub(crate) index: usize,
    /// What follows on its partition by another route waits as long as this lives.
    pub(crate) open: OpenGuard,
    pub(crate) again: Option<Ticket>,
}

impl<L: Local> Future for Forwarded<L> {
    type Output = ReplyBuf;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ReplyBuf> {
        if let Some(again) = &mut self.again {
            return again.as_mut().poll(context);
        }
        let call = Arc::clone(&self.call);
        let outcome = ready!(call.poll(context));
        let repeatable = || read_step(&call.ask(self.index)).as_step().is_repeatable();
        if let Some(reply) = self.core.answer(outcome, self.index, repeatable) {
            return Poll::Ready(reply);
        }
        self.open.refused();
        let lost = matches!(outcome, Outcome::Lost);
        let before = if lost { Before::Doubt } else { Before::Nothing };
        let ask = call.ask(self.index);
        let settled = settle(Arc::clone(&self.core), self.asker, ask, before);
        let mut again: Ticket = Box::pin(settled);
        let first = again.as_mut().poll(context);
        self.again = Some(again);
        first
    }
}

fn read_step(ask: &[u8]) -> StepBuf<'_> {
    match postcard::from_bytes(ask) {
        Ok(Ask::Step(step)) => step,
        other => unreachable!("an ask of ours is a step: {other:?}"),
    }
}

/// The bytes of a step to be settled.
pub(crate) fn to_ask(step: &Step<'_, '_>) -> Bytes {
    let mut bytes = Vec::new();
    AskRef::Step(*step).write(&mut bytes);
    bytes.into()
}

/// What an earlier try came to.
pub(crate) enum Before {
    /// Nothing was applied, or there was none.
    Nothing,
    /// Nothing was applied, and another try is of no use before the gate opens.
    Parked(Arc<Gate>),
    /// It may have been applied.
    Doubt,
}

/// Tries a step until it is answered or its deadline passes.
pub(crate) async fn settle<L: Local>(
    core: Arc<Core<L>>,
    asker: Asker,
    ask: Bytes,
    before: Before,
) -> ReplyBuf {
    let step = read_step(&ask);
    let mut changes = core.maps.changes();
    let mut is_doubtful = matches!(before, Before::Doubt);
    if let Before::Parked(gate) = before {
        gate.opened(asker.deadline).await;
    }
    for tries in 0.. {
        changes.mark_unchanged();
        let trouble = match core.attempt(&step.as_step(), &ask, asker).await {
            Ok(reply) => return reply,
            Err(trouble) => trouble,
        };
        is_doubtful |= trouble.leaves_doubt();
        if !core.passes(&trouble, &mut changes, tries, asker.deadline).await {
            let may_be_applied = is_doubtful && writes(&step);
            return if may_be_applied { Failure::Unknown } else { trouble.failure() }.into();
        }
    }
    unreachable!("the deadline comes first")
}

fn writes(step: &StepBuf<'_>) -> bool {
    step.ops.iter().any(|op| !op.op.is_read())
}

/// A try that is under way.
enum Begun {
    Ran(Ran),
    Sent(Arc<Call>, WorkerId),
}

/// What kept a worker from answering.
fn in_the_way(outcome: &Outcome, id: PartitionId, worker: WorkerId) -> Trouble {
    match outcome {
        Outcome::Replies(_) | Outcome::Full => Trouble::Refuses(id, worker),
        Outcome::NotSent => Trouble::Unreached(id, worker),
        Outcome::Lost => Trouble::Lost(id, worker),
    }
}

impl<L: Local> Core<L> {
    /// One operation, settled.
    pub(crate) async fn one(self: &Arc<Self>, asker: Asker, op: KeyOp<'_>) -> ReplyBuf {
        let Some(partition) = self.maps.load().locate(op.table, op.key) else {
            return Failure::NoSuchTable.into();
        };
        let ask = to_ask(&Step { partition, once: None, guards: &[], ops: &[op] });
        settle(Arc::clone(self), asker, ask, Before::Nothing).await
    }

    /// Tries a step once, by the newest row known. An error: nothing was applied, or applying it again is the same.
    async fn attempt(
        &self,
        step: &Step<'_, '_>,
        ask: &Bytes,
        asker: Asker,
    ) -> Result<ReplyBuf, Trouble> {
        match self.begin(step, ask, asker)? {
            Begun::Ran(Ran::Reply(reply)) => Ok(reply),
            Begun::Ran(Ran::Held(held)) => match held.shown(asker.deadline).await {
                Ok(reply) => Ok(reply),
                Err(Withheld::Unknown) if !step.is_repeatable() => Ok(Failure::Unknown.into()),
                Err(why) => Err(Trouble::Withheld(step.partition, why)),
            },
            Begun::Sent(call, worker) => {
                let outcome = call.ended().await;
                self.answer(outcome, 0, || step.is_repeatable())
                    .ok_or_else(|| in_the_way(outcome, step.partition, worker))
            }
        }
    }

    /// Runs a step here, or sends it.
    fn begin(&self, step: &Step<'_, '_>, ask: &Bytes, asker: Asker) -> Result<Begun, Trouble> {
        let id = step.partition;
        let view = self.maps.view();
        let row = view.row(id).ok_or(Trouble::NoPartition(id))?;
        match self.way(row) {
            Way::Nowhere => Err(Trouble::NoPrimary(id)),
            Way::Here => match run_step(&self.local, &view.map, step) {
                Ok(ran) => Ok(Begun::Ran(ran)),
                Err(NotNow::NotLed) => Err(Trouble::NotLedHere(id)),
                Err(NotNow::Wait(gate)) => Err(Trouble::Parked(id, gate)),
            },
            Way::To(worker) if Instant::now() >= asker.deadline => {
                Err(Trouble::Unreached(id, worker.clone()))
            }
            Way::To(worker) => {
                let mut message = request(&asker.head(&view.map, true));
                let start = message.len() as u32;
                message.extend_from_slice(ask);
                self.send(&view.map, worker, asker, message, vec![start])
                    .map(|call| Begun::Sent(call, worker.clone()))
                    .ok_or_else(|| Trouble::Refuses(id, worker.clone()))
            }
        }
    }

    /// Waits until another try is worth it; false when the deadline has passed.
    async fn passes(
        &self,
        trouble: &Trouble,
        changes: &mut watch::Receiver<u64>,
        tries: u32,
        deadline: Instant,
    ) -> bool {
        match trouble {
            Trouble::Parked(_, gate) => gate.opened(deadline).await.is_some(),
            _ => self.pause(changes, tries, deadline).await,
        }
    }

    /// Sends a message to a peer; None when the map does not know where it is.
    pub(crate) fn send(
        &self,
        map: &MapIndex,
        worker: &WorkerId,
        asker: Asker,
        message: Vec<u8>,
        starts: Vec<u32>,
    ) -> Option<Arc<Call>> {
        let peer = self.links.peer(map, worker)?;
        let link = peer.link(asker.lane);
        let call = Call::new(asker.stream, asker.deadline);
        call.close(message, starts);
        link.send(link.route(), Arc::clone(&call));
        Some(call)
    }

    /// What an ask's outcome means for who asked; None: it is to be tried again, by a newer row if there was one.
    fn answer(
        &self,
        outcome: &Outcome,
        index: usize,
        repeatable: impl FnOnce() -> bool,
    ) -> Option<ReplyBuf> {
        match (judge(outcome, index, repeatable), outcome) {
            (Next::Answer, Outcome::Replies(replies)) => Some(replies[index].clone()),
            (Next::Answer, _) => unreachable!("only a reply is an answer"),
            (Next::Fail(failure), _) => Some(failure.into()),
            (Next::Again(row), _) => {
                row.map(|row| self.maps.heal(&row));
                None
            }
        }
    }
}
