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
use firn_wire::message::{Ask, AskRef, request};
use firn_wire::reply::{Failure, ReplyBuf};
use tokio::time::Instant;

use crate::call::{Call, Outcome};
use crate::core::{Asker, Core, Way, run_step};
use crate::local::Local;
use crate::retry::{Next, judge};

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
        let ask = call.ask(self.index);
        let mut again: Ticket = Box::pin(settle(Arc::clone(&self.core), self.asker, ask));
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

/// What is in the way of a step.
enum Trouble {
    NoPartition(PartitionId),
    NoPrimary(PartitionId),
    NotLedHere(PartitionId),
    Refuses(PartitionId, WorkerId),
    Silent(PartitionId, WorkerId),
}

impl Trouble {
    fn failure(&self) -> Failure<'static> {
        let text = match self {
            Self::NoPartition(id) => format!("the map has no partition {id}"),
            Self::NoPrimary(id) => format!("partition {id} has no primary"),
            Self::NotLedHere(id) => format!("partition {id} is not served by this worker yet"),
            Self::Refuses(id, worker) => {
                format!("worker {} does not serve partition {id} yet", worker.name)
            }
            Self::Silent(id, worker) => {
                format!("worker {}, which leads partition {id}, does not answer", worker.name)
            }
        };
        Failure::Unavailable(text.into())
    }
}

/// Tries a step until it is answered or its deadline passes.
pub(crate) async fn settle<L: Local>(core: Arc<Core<L>>, asker: Asker, ask: Bytes) -> ReplyBuf {
    let step = read_step(&ask);
    let mut changes = core.maps.changes();
    for tries in 0.. {
        changes.mark_unchanged();
        let trouble = match core.attempt(&step.as_step(), &ask, asker).await {
            Ok(reply) => return reply,
            Err(trouble) => trouble,
        };
        if !core.pause(&mut changes, tries, asker.deadline).await {
            return trouble.failure().into();
        }
    }
    unreachable!("the deadline comes first")
}

impl<L: Local> Core<L> {
    /// One operation, settled.
    pub(crate) async fn one(self: &Arc<Self>, asker: Asker, op: KeyOp<'_>) -> ReplyBuf {
        let Some(partition) = self.maps.load().locate(op.table, op.key) else {
            return Failure::NoSuchTable.into();
        };
        let ask = to_ask(&Step { partition, once: None, guards: &[], ops: &[op] });
        settle(Arc::clone(self), asker, ask).await
    }

    /// Tries a step once, by the newest row known. An error: nothing was applied, or applying it again is the same.
    async fn attempt(
        &self,
        step: &Step<'_, '_>,
        ask: &Bytes,
        asker: Asker,
    ) -> Result<ReplyBuf, Trouble> {
        let id = step.partition;
        let (call, worker) = {
            let view = self.maps.view();
            let row = view.row(id).ok_or(Trouble::NoPartition(id))?;
            match self.way(row) {
                Way::Nowhere => return Err(Trouble::NoPrimary(id)),
                Way::Here => {
                    return run_step(&self.local, &view.map, step)
                        .map_err(|_| Trouble::NotLedHere(id));
                }
                Way::To(worker) if Instant::now() >= asker.deadline => {
                    return Err(Trouble::Silent(id, worker.clone()));
                }
                Way::To(worker) => {
                    let mut message = request(&asker.head(&view.map, true));
                    let start = message.len() as u32;
                    message.extend_from_slice(ask);
                    let call = self
                        .send(&view.map, worker, asker, message, vec![start])
                        .ok_or_else(|| Trouble::Refuses(id, worker.clone()))?;
                    (call, worker.clone())
                }
            }
        };
        let outcome = call.ended().await;
        self.answer(outcome, 0, || step.is_repeatable()).ok_or(match outcome {
            Outcome::Replies(_) => Trouble::Refuses(id, worker),
            _ => Trouble::Silent(id, worker),
        })
    }

    /// Sends a message to a peer; None when the map does not know where it is.
    pub(crate) fn send(
        &self,
        map: &firn_wire::map::MapIndex,
        worker: &WorkerId,
        asker: Asker,
        message: Vec<u8>,
        starts: Vec<u32>,
    ) -> Option<Arc<Call>> {
        let peer = self.links.peer(map, worker)?;
        let link = peer.link(asker.stream);
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
