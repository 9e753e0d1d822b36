//! A wait for something a shard decides: the commit of a record, or the end of a handover.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use firn_wire::exchange::Fate;
use firn_wire::reply::ReplyBuf;
use tokio::time::{Instant, Sleep};

/// Opened once, with what has come of the wait. Shared by the shard that opens it and the ticket that waits.
#[derive(Debug, Default)]
pub struct Gate {
    fate: OnceLock<Fate>,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    /// A closed one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Opens it and wakes who waits. Only the first fate counts.
    pub fn open(&self, fate: Fate) {
        if self.fate.set(fate).is_ok() {
            let waker = self.waker.lock().expect("no holder panics").take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Waits for it to open. One waits at a time: a later waiter takes the place of an earlier one.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Fate> {
        if let Some(fate) = self.fate.get() {
            return Poll::Ready(*fate);
        }
        let mut waker = self.waker.lock().expect("no holder panics");
        // Under the lock: a fate that is set after this look finds the waker.
        if let Some(fate) = self.fate.get() {
            return Poll::Ready(*fate);
        }
        *waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits for it to open, at most until the deadline: then None.
    pub async fn opened(&self, deadline: Instant) -> Option<Fate> {
        let open = std::future::poll_fn(|context| self.poll(context));
        tokio::time::timeout_at(deadline, open).await.ok()
    }
}

/// A reply that may be shown once all gates are open: what it says is applied here, and not yet in every in-sync copy.
#[derive(Debug)]
pub struct Held {
    /// What it waits for.
    pub gates: Vec<Arc<Gate>>,
    /// The reply.
    pub reply: ReplyBuf,
    /// Whether something was written. What only read can be asked again whatever happens.
    pub wrote: bool,
}

/// Why a held reply may not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// Nothing was written: ask again.
    Again,
    /// It may or may not be applied in the end.
    Unknown,
    /// Nothing was written, and the deadline has passed.
    Late,
}

impl Held {
    /// Gives the reply once it may be shown.
    pub fn shown(self, deadline: Instant) -> Showing {
        Showing { held: Some(self), open: 0, deadline, timer: None }
    }
}

/// Waits until a held reply may be shown.
#[derive(Debug)]
pub struct Showing {
    /// None once it has been given away.
    held: Option<Held>,
    /// Gates seen open.
    open: usize,
    deadline: Instant,
    /// Made when a gate is closed: in a pipeline most are open by the time somebody looks.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for Showing {
    type Output = Result<ReplyBuf, Withheld>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let held = this.held.as_ref().expect("not polled after its end");
        while let Some(gate) = held.gates.get(this.open) {
            let why = match gate.poll(context) {
                Poll::Ready(Fate::Committed) => {
                    this.open += 1;
                    continue;
                }
                Poll::Ready(Fate::Again | Fate::Lost) => Withheld::Again,
                Poll::Pending => {
                    let sleep = || Box::pin(tokio::time::sleep_until(this.deadline));
                    ready!(this.timer.get_or_insert_with(sleep).as_mut().poll(context));
                    Withheld::Late
                }
            };
            return Poll::Ready(Err(if held.wrote { Withheld::Unknown } else { why }));
        }
        let held = this.held.take().expect("it was there above");
        Poll::Ready(Ok(held.reply))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::reply::Reply;
    use std::time::Duration;

    fn held(gates: &[Arc<Gate>], wrote: bool) -> Held {
        Held { gates: gates.to_vec(), reply: ReplyBuf::new(&Reply::Done(true)), wrote }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_shown_when_all_of_it_is_committed() {
        let gates = [Gate::new(), Gate::new()];
        let deadline = Instant::now() + Duration::from_secs(5);
        let waiting = tokio::spawn(held(&gates, true).shown(deadline));
        gates[1].open(Fate::Committed);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        gates[0].open(Fate::Committed);
        gates[0].open(Fate::Lost);
        assert_eq!(waiting.await.unwrap().unwrap().view(), Reply::Done(true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_committed_is_unknown_if_it_wrote() {
        let deadline = Instant::now() + Duration::from_secs(5);
        let lost = Gate::new();
        lost.open(Fate::Lost);
        let shown = |gates: &[Arc<Gate>], wrote| held(gates, wrote).shown(deadline);
        assert_eq!(shown(&[Arc::clone(&lost)], true).await.unwrap_err(), Withheld::Unknown);
        assert_eq!(shown(&[lost], false).await.unwrap_err(), Withheld::Again);
        assert_eq!(shown(&[Gate::new()], false).await.unwrap_err(), Withheld::Late);
        assert_eq!(shown(&[Gate::new()], true).await.unwrap_err(), Withheld::Unknown);
    }
}
