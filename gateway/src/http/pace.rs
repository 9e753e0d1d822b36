//! A connection's socket with the patience that actix does not bound as we want it: a head that does not end, a body
//! nobody reads that does not end, and a client that takes nothing of what it asked for. A connection on which nothing has
//! begun is only idle.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::listen::Place;

/// What the socket and the requests of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// A request is being answered: what comes now is its body, or waits its turn.
    answering: Cell<bool>,
    /// Since when bytes come that must soon be a whole head, or stop; None: nothing is under way.
    unfinished_since: Cell<Option<Instant>>,
    /// What is unfinished is a body whose request has its answer.
    has_answer: Cell<bool>,
    /// The connection's task, once a read has waited.
    reader: RefCell<Option<Waker>>,
}

impl Pace {
    /// A head is complete; its request is being answered.
    pub(super) fn head_is_read(&self) {
        self.answering.set(true);
        self.unfinished_since.set(None);
    }

    /// The request is answered. `broken`: bytes of its body may still come, and the connection is to end.
    pub(super) fn is_answered(&self, broken: bool) {
        self.answering.set(false);
        self.unfinished_since.set(broken.then(Instant::now));
        self.has_answer.set(broken);
        // A read that waits already knows nothing of the timer that has to run from now on.
        if broken && let Some(reader) = &*self.reader.borrow() {
            reader.wake_by_ref();
        }
    }

    fn read_waits(&self, cx: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
    }

    /// While an earlier response is being taken, what waits behind it has time.
    fn bytes_went(&self) {
        if self.unfinished_since.get().is_some() {
            self.unfinished_since.set(Some(Instant::now()));
        }
    }

    fn bytes_came(&self) {
        if !self.answering.get() && self.unfinished_since.get().is_none() {
            self.unfinished_since.set(Some(Instant::now()));
        }
    }
}

const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How long each kind of patience lasts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From a head's first byte to its end.
    pub(super) head: Duration,
    /// For a client to take at least one byte.
    pub(super) write: Duration,
}

/// A socket that gives up on slow peers with [`io::ErrorKind::TimedOut`].
pub(super) struct Paced<S> {
    socket: S,
    pace: Rc<Pace>,
    patience: Patience,
    /// Runs while a read waits and something is unfinished; once started it is left running and read as a clock, so that
    /// a busy connection sets a timer once in a while and not once a request.
    head_timer: Option<Pin<Box<Sleep>>>,
    /// Runs while a write waits.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Given back with the socket; None: the connection is not counted.
    _place: Option<Place>,
}

impl<S> Paced<S> {
    pub(super) fn new(socket: S, patience: Patience, place: Option<Place>) -> Self {
        let (head_timer, write_timer) = (None, None);
        Self { socket, pace: Rc::default(), patience, head_timer, write_timer, _place: place }
    }

    /// What its requests share with it.
    pub(super) fn pace(&self) -> Rc<Pace> {
        Rc::clone(&self.pace)
    }

    /// None also while a write waits: that has its own timer.
    fn head_deadline(&self) -> Option<Instant> {
        let since = self.pace.unfinished_since.get().filter(|_| self.write_timer.is_none());
        since.map(|since| since + self.patience.head)
    }

    /// Ready when the head's time is over; registers to be woken otherwise.
    fn poll_head_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.head_deadline() else { return Poll::Pending };
            let timer = self.head_timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            self.head_timer = None;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// Tells a client whose head came too slowly, as far as the socket takes it at once.
    fn give_up(&mut self, cx: &mut Context<'_>) -> io::Error {
        if !self.pace.has_answer.get() {
            let _ = Pin::new(&mut self.socket).poll_write(cx, TOO_SLOW);
        }
        timed_out("the head came too slowly")
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let filled = buffer.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > filled {
                    // Bytes without end that never become a head must not hold the timer off.
                    if this.head_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                        return Poll::Ready(Err(this.give_up(cx)));
                    }
                    this.pace.bytes_came();
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                this.pace.read_waits(cx);
                ready!(this.poll_head_timer(cx));
                Poll::Ready(Err(this.give_up(cx)))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.socket).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                this.write_timer = None;
                this.pace.bytes_went();
                Poll::Ready(written)
            }
            Poll::Pending => {
                let deadline = || Box::pin(sleep_until(Instant::now() + this.patience.write));
                let timer = this.write_timer.get_or_insert_with(deadline);
                timer.as_mut().poll(cx).map(|()| Err(timed_out("the client takes no bytes")))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const SHORT: Patience =
        Patience { head: Duration::from_millis(20), write: Duration::from_millis(20) };
    const LONG: Patience =
        Patience { head: Duration::from_secs(3_600), write: Duration::from_secs(3_600) };

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up() {
        let (mut client, server) = duplex(64);
        let mut server = Paced::new(server, SHORT, None);
        client.write_all(b"GET /").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(server);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        assert!(TOO_SLOW.starts_with(&told) && !told.is_empty(), "{told:?}");
    }

    #[tokio::test]
    async fn bytes_without_end_do_not_hold_it_off() {
        let (mut client, server) = duplex(64);
        let mut server = Paced::new(server, SHORT, None);
        let flood = async {
            while client.write_all(b"aaaaaaaa").await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let read = async {
            let mut buffer = [0; 8];
            loop {
                if let Err(error) = server.read(&mut buffer).await {
                    drop(server);
                    return error.kind();
                }
            }
        };
        assert_eq!(tokio::join!(read, flood).0, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_idle_connection_and_a_request_being_answered_have_time() {
        let (mut client, server) = duplex(64);
        let mut server = Paced::new(server, SHORT, None);
        let mut buffer = [0; 64];
        let longer = SHORT.head * 3;
        assert!(tokio::time::timeout(longer, server.read(&mut buffer)).await.is_err(), "idle");
        client.write_all(b"head").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 4);
        server.pace().head_is_read();
        assert!(tokio::time::timeout(longer, server.read(&mut buffer)).await.is_err(), "answering");
        server.pace().is_answered(true);
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "a body nobody reads");
        drop(server);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        assert!(told.is_empty(), "it has its answer: {told:?}");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (_client, server) = duplex(4);
        let mut server = Paced::new(server, SHORT, None);
        let error = server.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (mut client, server) = duplex(4);
        let mut server = Paced::new(server, LONG, None);
        let mut taken = [0; 14];
        let (written, read) =
            tokio::join!(server.write_all(b"more than four"), client.read_exact(&mut taken));
        assert!(written.is_ok() && read.is_ok());
    }
}
