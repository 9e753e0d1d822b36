//! One message to a peer, and what became of it: shared by the link that carries it and the tickets that wait for it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use firn_wire::reply::ReplyBuf;
use tokio::time::Instant;

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Answered, one reply per ask.
    Replies(Vec<ReplyBuf>),
    /// No byte of it left this process: nothing was applied.
    NotSent,
    /// The link is full: nothing was applied, and it is no use to try at once.
    Full,
    /// It was sent, and no answer came: it may or may not have been applied.
    Lost,
}

/// The asks of a call, encoded behind its head.
#[derive(Debug)]
struct Message {
    bytes: Bytes,
    /// Where each ask starts; ascending.
    starts: Vec<u32>,
}

const QUEUED: u8 = 0;
const SENT: u8 = 1;
const DROPPED: u8 = 2;

/// See the module's page. Made empty, so that tickets can refer to it while its message still grows.
#[derive(Debug)]
pub(crate) struct Call {
    /// Messages of one stream keep their order.
    pub(crate) stream: u64,
    /// When nobody waits any more.
    pub(crate) deadline: Instant,
    message: OnceLock<Message>,
    stage: AtomicU8,
    outcome: OnceLock<Outcome>,
    wakers: Mutex<Vec<Waker>>,
}

impl Call {
    pub(crate) fn new(stream: u64, deadline: Instant) -> Arc<Self> {
        Arc::new(Self {
            stream,
            deadline,
            message: OnceLock::new(),
            stage: AtomicU8::new(QUEUED),
            outcome: OnceLock::new(),
            wakers: Mutex::default(),
        })
    }

    /// Gives it its message, once.
    pub(crate) fn close(&self, bytes: Vec<u8>, starts: Vec<u32>) {
        let message = Message { bytes: bytes.into(), starts };
        assert!(self.message.set(message).is_ok(), "a call is closed once");
    }

    fn message(&self) -> &Message {
        self.message.get().expect("a call is closed before it is sent or polled")
    }

    /// The whole message.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.message().bytes
    }

    /// One ask, to be sent again.
    pub(crate) fn ask(&self, index: usize) -> Bytes {
        let Message { bytes, starts } = self.message();
        let end = starts.get(index + 1).map_or(bytes.len(), |next| *next as usize);
        bytes.slice(starts[index] as usize..end)
    }

    /// Number of asks, and so of replies.
    pub(crate) fn asks(&self) -> usize {
        self.message().starts.len()
    }

    /// The link is about to write its first byte; false when it has been dropped.
    pub(crate) fn begin(&self) -> bool {
        self.stage.compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends it without an answer: as never sent if no byte of it was, which then none will be.
    pub(crate) fn give_up(&self) {
        let dropped =
            self.stage.compare_exchange(QUEUED, DROPPED, Ordering::AcqRel, Ordering::Acquire);
        let sent = dropped == Err(SENT);
        self.complete(if sent { Outcome::Lost } else { Outcome::NotSent });
    }

    /// Ends it. Only the first end counts.
    pub(crate) fn complete(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            let waiting = std::mem::take(&mut *self.wakers.lock().expect("no holder panics"));
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    /// Waits for its end.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<&Outcome> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let mut wakers = self.wakers.lock().expect("no holder panics");
        // Under the lock: an end that is set after this look finds the waker.
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        if !wakers.iter().any(|known| known.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> &Outcome {
        std::future::poll_fn(|context| self.poll(context)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Arc<Call> {
        let call = Call::new(1, Instant::now());
        call.close(b"head-one-two".to_vec(), vec![5, 9]);
        call
    }

    #[tokio::test]
    async fn an_ask_can_be_taken_out_again() {
        let call = call();
        assert_eq!(
            (call.asks(), &call.ask(0)[..], &call.ask(1)[..]),
            (2, &b"one-"[..], &b"two"[..])
        );
    }

    #[tokio::test]
    async fn what_was_given_up_before_it_was_sent_never_is() {
        let unsent = call();
        unsent.give_up();
        assert!(!unsent.begin());
        assert!(matches!(unsent.ended().await, Outcome::NotSent));
        let sent = call();
        assert!(sent.begin());
        sent.give_up();
        sent.complete(Outcome::Replies(vec![]));
        assert!(matches!(sent.ended().await, Outcome::Lost), "only the first end counts");
    }

    #[tokio::test]
    async fn its_end_wakes_who_waits() {
        let call = call();
        let other = Arc::clone(&call);
        let waiting = tokio::spawn(async move { matches!(other.ended().await, Outcome::Full) });
        tokio::task::yield_now().await;
        call.complete(Outcome::Full);
        assert!(waiting.await.unwrap());
    }
}
