//! The loop of one connection, shared by every pipelined byte-stream protocol: read once, parse every complete request
//! in place, execute, encode all replies in order, write once.
//!
//! Invariants:
//! - Replies leave in the order of their requests. While a ticket is open later requests still start; their replies wait
//!   behind it.
//! - Tickets are polled only at the front of the queue, so what they still have to send keeps the order of requests.
//! - Above [`REPLY_BYTES_SOFT_MAX`] of replies that are held or not yet taken by the client nothing more is executed;
//!   requests are still read, up to [`INPUT_BYTES_MAX`], so that a client that writes all before it reads does not wait
//!   for us for ever.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use firn_wire::command::Command;
use firn_wire::exchange::{Session, Sink, Ticket};
use firn_wire::limits::{PIPELINE_OPEN_MAX, REPLY_BYTES_SOFT_MAX};
use firn_wire::reply::Reply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::execute::Execute;

/// Bytes of requests not yet executed above which a connection is no longer read from. A single request may be longer:
/// it is read to its end.
pub const INPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a request that has begun may stand still.
pub const STALL_MAX: Duration = Duration::from_secs(300);
/// Buffers above this are given back when they are empty.
const BUFFER_KEEP_BYTES: usize = 64 * 1024;
const READ_BYTES_MIN: usize = 16 * 1024;
/// How long and how much is still read from a client after our last words.
const LINGER_MAX: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Commands handed over in one submission, at most.
const SUBMIT_MAX: usize = 1_024;
/// Commands handed over in the first submission, when nothing is known of the size of replies.
const SUBMIT_FIRST: usize = 16;
/// Bytes of replies still to come, by the size of the last ones, above which nothing more is executed.
const COMING_BYTES_MAX: usize = 16 * REPLY_BYTES_SOFT_MAX;

/// What a protocol makes of the bytes at hand.
#[derive(Debug)]
pub enum Next<'a, Shape, Job> {
    /// They are not a whole request. `total` is how many bytes it takes at least, if that is known, else 0.
    More {
        /// Bytes of the request as far as is known.
        total: usize,
    },
    /// A command for the store.
    Ask {
        /// Bytes it took.
        taken: usize,
        /// The command.
        command: Command<'a>,
        /// How its reply is written.
        shape: Shape,
    },
    /// A request the protocol answers itself.
    Answer {
        /// Bytes it took.
        taken: usize,
        /// The reply's bytes; may be none.
        reply: std::borrow::Cow<'static, [u8]>,
    },
    /// A request of several steps, run by [`Protocol::run`] once everything before it has been answered; what comes after
    /// it starts when it is done.
    Run {
        /// Bytes it took.
        taken: usize,
        /// What to do.
        job: Job,
    },
    /// The connection is of no more use: the reply is sent, then it is closed.
    Close {
        /// Last words.
        reply: std::borrow::Cow<'static, [u8]>,
    },
}

/// What a job says when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the connection.
    Continue,
    /// Close it once all is written.
    Close,
}

/// One connection's side of a protocol: its parser and whatever it remembers between requests.
pub trait Protocol: Send + 'static {
    /// How a reply is written; made when the request is read, since the connection's settings may change before the reply
    /// is there.
    type Shape: Send + 'static;
    /// A request of several steps.
    type Job: Send + 'static;

    /// Reads the first request of `input`, which is not empty. Never consumes a part of a request.
    fn next<'a>(&mut self, input: &'a [u8]) -> Next<'a, Self::Shape, Self::Job>;

    /// Appends a reply's bytes.
    fn encode(shape: &Self::Shape, reply: Reply<'_>, out: &mut Vec<u8>);

    /// Does a job and appends its reply's bytes.
    fn run(
        &mut self,
        job: Self::Job,
        execute: &dyn Execute,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> impl Future<Output = Flow> + Send;

    /// Ends when somebody else wants the connection closed.
    fn stopped(&self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// Replies on their way out.
struct Replies<Shape> {
    /// Ready to be written.
    out: Vec<u8>,
    /// What comes after; empty, or its front is a ticket.
    behind: VecDeque<Behind<Shape>>,
    /// Tickets in `behind`.
    tickets: usize,
    /// Bytes of their replies that are in memory.
    held: usize,
    /// Bytes of a large reply of late: the largest, fading with each smaller one.
    usual: usize,
}

enum Behind<Shape> {
    /// How its reply is written, and how many bytes of it are in memory.
    Ticket(Shape, usize, Ticket),
    Bytes(Vec<u8>),
}

impl<Shape> Replies<Shape> {
    /// Where the next reply's bytes go.
    fn tail(&mut self) -> &mut Vec<u8> {
        if self.behind.is_empty() {
            return &mut self.out;
        }
        if !matches!(self.behind.back(), Some(Behind::Bytes(_))) {
            self.behind.push_back(Behind::Bytes(Vec::new()));
        }
        match self.behind.back_mut() {
            Some(Behind::Bytes(bytes)) => bytes,
            _ => unreachable!("bytes were pushed to the back above"),
        }
    }

    fn push_ticket(&mut self, shape: Shape, bytes: usize, ticket: Ticket) {
        self.behind.push_back(Behind::Ticket(shape, bytes, ticket));
        self.tickets += 1;
        self.held += bytes;
    }

    /// Waits for the front ticket, and encodes its reply and everything that is ready behind it, so that it leaves in one
    /// write: copies acknowledge many requests at once. Losing the race of a `select!` loses nothing: a ticket stays where
    /// it is until it is done.
    async fn advance<P: Protocol<Shape = Shape>>(&mut self) {
        self.take_front::<P>().await;
        while self.out.len() < REPLY_BYTES_SOFT_MAX && self.takes_front_now::<P>().await {}
    }

    /// Waits for the front ticket, and takes it with the bytes behind it.
    async fn take_front<P: Protocol<Shape = Shape>>(&mut self) {
        let Some(Behind::Ticket(shape, bytes, ticket)) = self.behind.front_mut() else {
            return pending().await;
        };
        let reply = ticket.await;
        self.held -= *bytes;
        let before = self.out.len();
        P::encode(shape, reply.view(), &mut self.out);
        self.usual = larger_of_late(self.usual, self.out.len() - before);
        self.behind.pop_front();
        self.tickets -= 1;
        while let Some(Behind::Bytes(bytes)) = self.behind.front_mut() {
            self.out.append(bytes);
            self.behind.pop_front();
        }
    }

    /// Takes the front ticket if it is ready; never waits.
    async fn takes_front_now<P: Protocol<Shape = Shape>>(&mut self) -> bool {
        poll_fn(|context| Poll::Ready(pin!(self.take_front::<P>()).poll(context).is_ready())).await
    }

    fn may_take_more(&self) -> bool {
        self.out.len() + self.held < REPLY_BYTES_SOFT_MAX
            && self.tickets < PIPELINE_OPEN_MAX
            && self.tickets.saturating_mul(self.usual) < COMING_BYTES_MAX
    }

    /// How many commands to hand over at once: those whose replies would reach the bound.
    fn submit_max(&self) -> usize {
        (REPLY_BYTES_SOFT_MAX / self.usual.max(1)).clamp(1, SUBMIT_MAX)
    }
}

/// The size of large replies after one more.
fn larger_of_late(usual: usize, bytes: usize) -> usize {
    bytes.max(usual - usual / 16)
}

/// A submission's way into the replies.
struct Slots<'r, P: Protocol> {
    replies: &'r mut Replies<P::Shape>,
    shapes: std::vec::Drain<'r, P::Shape>,
    next: usize,
}

impl<P: Protocol> Slots<'_, P> {
    fn shape(&mut self, slot: usize) -> P::Shape {
        assert_eq!(slot, self.next, "slots are filled once and in order");
        self.next += 1;
        self.shapes.next().expect("a shape per command")
    }
}

impl<P: Protocol> Sink for Slots<'_, P> {
    fn put(&mut self, slot: usize, reply: Reply<'_>) {
        let shape = self.shape(slot);
        let tail = self.replies.tail();
        let before = tail.len();
        P::encode(&shape, reply, tail);
        let bytes = tail.len() - before;
        self.replies.usual = larger_of_late(self.replies.usual, bytes);
    }
    fn wait(&mut self, slot: usize, ticket: Ticket) {
        self.hold(slot, 0, ticket);
    }
    fn hold(&mut self, slot: usize, bytes: usize, ticket: Ticket) {
        let shape = self.shape(slot);
        self.replies.usual = self.replies.usual.max(bytes);
        self.replies.push_ticket(shape, bytes, ticket);
    }
}

/// What reading stopped at.
enum Stop<Job> {
    /// The bytes at hand are used up, or the replies are too many for now.
    Wait,
    Run(Job),
    Close,
}

struct Connection<P: Protocol> {
    protocol: P,
    execute: Arc<dyn Execute>,
    session: Session,
    input: Vec<u8>,
    /// Bytes the next request takes at least.
    wanted: usize,
    replies: Replies<P::Shape>,
    shapes: Vec<P::Shape>,
}

impl<P: Protocol> Connection<P> {
    /// Parses and submits as much as may be. Returns what it stopped at.
    fn take_requests(&mut self) -> Stop<P::Job> {
        let mut taken = 0;
        let mut stop = Stop::Wait;
        while self.replies.may_take_more() && self.input.len() - taken >= self.wanted.max(1) {
            let mut commands = Vec::new();
            let mut after = None;
            self.wanted = 0;
            let submit_max = self.replies.submit_max();
            while taken < self.input.len() && commands.len() < submit_max {
                match self.protocol.next(&self.input[taken..]) {
                    Next::Ask { taken: n, command, shape } => {
                        taken += n;
                        commands.push(command);
                        self.shapes.push(shape);
                    }
                    Next::More { total } => {
                        self.wanted = total.max(self.input.len() - taken + 1);
                        break;
                    }
                    Next::Answer { taken: n, reply } => {
                        taken += n;
                        after = Some((reply, Stop::Wait));
                        break;
                    }
                    Next::Run { taken: n, job } => {
                        taken += n;
                        after = Some((Default::default(), Stop::Run(job)));
                        break;
                    }
                    Next::Close { reply } => {
                        taken = self.input.len();
                        after = Some((reply, Stop::Close));
                        break;
                    }
                }
            }
            if !commands.is_empty() {
                let shapes = self.shapes.drain(..);
                let mut slots = Slots::<P> { replies: &mut self.replies, shapes, next: 0 };
                self.execute.submit(&mut self.session, &commands, &mut slots);
                assert_eq!(slots.next, commands.len(), "every slot is filled");
            }
            if let Some((reply, what)) = after {
                self.replies.tail().extend_from_slice(&reply);
                if !matches!(what, Stop::Wait) {
                    stop = what;
                    break;
                }
            }
        }
        self.forget(taken);
        stop
    }

    /// Drops the first `taken` bytes of the input, and memory a long request has left.
    fn forget(&mut self, taken: usize) {
        if taken == self.input.len() {
            self.input.clear();
            self.wanted = 0;
            if self.input.capacity() > BUFFER_KEEP_BYTES {
                self.input = Vec::new();
            }
        } else if taken > 0 {
            self.input.drain(..taken);
        }
    }

    /// Room for the next read. The buffer grows with what has arrived, never with what was announced.
    fn make_room(&mut self) {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            let missing = self.wanted.saturating_sub(self.input.len());
            self.input.reserve(missing.min(self.input.len()).max(READ_BYTES_MIN));
        }
    }

    fn may_read(&self) -> bool {
        self.input.len() < self.wanted.max(INPUT_BYTES_MAX)
    }

    /// Answers everything up to here and waits until the client has taken it.
    async fn settle(&mut self, writer: &mut WriteHalf<'_>) -> io::Result<()> {
        while self.replies.tickets > 0 {
            self.replies.advance::<P>().await;
        }
        writer.write_all(&self.replies.out).await?;
        self.replies.out = Vec::new();
        Ok(())
    }

    /// Answers everything up to here and ends the connection. What the client still sends is read and forgotten for a
    /// while: unread bytes would make the kernel reset the connection, and our last words could be lost (RFC 9112 §9.6).
    async fn close(
        &mut self,
        mut reader: ReadHalf<'_>,
        mut writer: WriteHalf<'_>,
    ) -> io::Result<()> {
        self.settle(&mut writer).await?;
        writer.shutdown().await?;
        let forget = async {
            let (mut buffer, mut forgotten) = (vec![0; READ_BYTES_MIN], 0);
            while forgotten < LINGER_BYTES_MAX {
                match reader.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => forgotten += n,
                }
            }
        };
        // Either way the connection has had its time.
        let _ = tokio::time::timeout(LINGER_MAX, forget).await;
        Ok(())
    }

    async fn serve(
        &mut self,
        mut reader: ReadHalf<'_>,
        mut writer: WriteHalf<'_>,
    ) -> io::Result<()> {
        let stall = tokio::time::sleep(STALL_MAX);
        tokio::pin!(stall);
        let mut moved = true;
        let mut written = 0;
        loop {
            match self.take_requests() {
                Stop::Wait => {}
                Stop::Run(job) => {
                    self.replies.out.drain(..written);
                    written = 0;
                    self.settle(&mut writer).await?;
                    let out = &mut self.replies.out;
                    let flow = self.protocol.run(job, &*self.execute, &mut self.session, out).await;
                    if flow == Flow::Close {
                        return self.close(reader, writer).await;
                    }
                    continue;
                }
                Stop::Close => {
                    self.replies.out.drain(..written);
                    return self.close(reader, writer).await;
                }
            }
            if written < self.replies.out.len() {
                match writer.try_write(&self.replies.out[written..]) {
                    Ok(n) => written += n,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            if written == self.replies.out.len() && written > 0 {
                written = 0;
                self.replies.out.clear();
                if self.replies.out.capacity() > BUFFER_KEEP_BYTES {
                    self.replies.out = Vec::new();
                }
                if self.input.len() >= self.wanted.max(1) {
                    continue; // what stopped at the bound of replies goes on
                }
            }
            self.make_room();
            let (may_read, unwritten) = (self.may_read(), written < self.replies.out.len());
            let waits = self.replies.tickets > 0 && self.replies.out.len() < REPLY_BYTES_SOFT_MAX;
            tokio::select! {
                biased;
                () = self.replies.advance::<P>(), if waits => {}
                read = reader.read_buf(&mut self.input), if may_read => {
                    if read? == 0 {
                        self.replies.out.drain(..written);
                        return self.settle(&mut writer).await;
                    }
                    moved = true;
                }
                ready = writer.writable(), if unwritten => ready?,
                () = self.protocol.stopped() => return Ok(()),
                () = &mut stall => {
                    let begun = !self.input.is_empty() && self.replies.tickets == 0;
                    if begun && !moved {
                        return Ok(());
                    }
                    moved = false;
                    stall.as_mut().reset(tokio::time::Instant::now() + STALL_MAX);
                }
            }
        }
    }
}

/// Serves one connection until its end. Errors of the socket only end it.
pub async fn serve<P: Protocol>(
    mut socket: TcpStream,
    protocol: P,
    execute: Arc<dyn Execute>,
    session: Session,
) {
    let mut connection = Connection {
        protocol,
        execute,
        session,
        input: Vec::new(),
        wanted: 0,
        replies: Replies {
            out: Vec::new(),
            behind: VecDeque::new(),
            tickets: 0,
            held: 0,
            usual: REPLY_BYTES_SOFT_MAX / SUBMIT_FIRST,
        },
        shapes: Vec::new(),
    };
    let (reader, writer) = socket.split();
    if let Err(error) = connection.serve(reader, writer).await {
        log::debug!("connection {} ended: {error}", connection.session.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::reply::ReplyBuf;

    /// Says nothing but counts.
    struct Counts;

    impl Protocol for Counts {
        type Shape = ();
        type Job = ();

        fn next<'a>(&mut self, _: &'a [u8]) -> Next<'a, (), ()> {
            Next::More { total: 0 }
        }

        fn encode((): &(), reply: Reply<'_>, out: &mut Vec<u8>) {
            let Reply::Count(count) = reply else { panic!("{reply:?}") };
            out.push(count as u8);
        }

        async fn run(&mut self, (): (), _: &dyn Execute, _: &mut Session, _: &mut Vec<u8>) -> Flow {
            Flow::Close
        }
    }

    fn ready(count: u64) -> Ticket {
        Box::pin(async move { ReplyBuf::new(&Reply::Count(count)) })
    }

    /// A batch of writes is committed by one acknowledgement: its replies are not written one by one.
    #[tokio::test]
    async fn what_is_ready_together_leaves_together() {
        let mut replies =
            Replies { out: vec![], behind: VecDeque::new(), tickets: 0, held: 0, usual: 0 };
        replies.push_ticket((), 3, ready(1));
        replies.push_ticket((), 3, ready(2));
        replies.tail().push(3);
        replies.push_ticket((), 3, ready(4));
        replies.push_ticket((), 3, Box::pin(pending()));
        replies.push_ticket((), 3, ready(6));
        replies.advance::<Counts>().await;
        assert_eq!((&replies.out[..], replies.tickets, replies.held), (&[1, 2, 3, 4][..], 2, 6));
    }
}
