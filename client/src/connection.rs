//! The life of one connected link: everything queued goes out in one write, frames come in, silence is noticed.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firn_wire::exchange::Role;
use firn_wire::frame::{Assembler, Frame, FrameError, Kind};
use firn_wire::ids::MapVersion;
use firn_wire::limits::FRAME_BYTES_MAX;
use firn_wire::message::{BadMessage, Head, read_response, request};
use firn_wire::rotation::Rotation;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::call::{Call, Outcome};
use crate::line::Line;

/// How often deadlines and silence are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// A peer that owes an answer and is silent for this long is asked for a sign of life: a request of no asks.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// After this silence, the sign of life included, the connection is given up.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// A longer gap between two looks at the clock was our own stall, and says nothing of the peer.
const STALL: Duration = Duration::from_millis(500);
/// Stream of the requests for a sign of life; sessions count from 1.
const OWN_STREAM: u64 = u64::MAX;
const READ_BYTES_MIN: usize = 16 * 1024;
/// Buffers above this are given back when they are empty.
const BUFFER_KEEP_BYTES: usize = 64 * 1024;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Nobody needs it any more.
    Unused,
    /// The reason.
    Failed(String),
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
enum LoopError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer closed it")]
    Closed,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Message(#[from] BadMessage),
    #[error("the peer sent a request, or an answer that fits no request")]
    Unasked,
    #[error("the peer has been silent for {DEAD_AFTER:?}")]
    Silent,
}

/// Serves calls over a connection until its end; each call it took has ended then.
pub(crate) async fn run(line: &Line, mut socket: TcpStream) -> Ended {
    let (reader, writer) = socket.split();
    let mut connection = Connection::new(line);
    let ended = match connection.serve(reader, writer).await {
        Ok(()) => Ended::Unused,
        Err(error) => Ended::Failed(error.to_string()),
    };
    connection.give_up_all();
    ended
}

struct Connection<'l> {
    line: &'l Line,
    /// Calls without an answer, those that nobody waits for any more included: their answers will still come.
    open: HashMap<u32, Arc<Call>>,
    next_id: u32,
    rotation: Rotation<Bytes>,
    assembler: Assembler,
    input: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    /// Reused between looks into the inbox.
    taken: Vec<Arc<Call>>,
    heard: Instant,
    looked: Instant,
    /// The unanswered request for a sign of life.
    own: Option<u32>,
}

impl<'l> Connection<'l> {
    fn new(line: &'l Line) -> Self {
        let now = Instant::now();
        Self {
            line,
            open: HashMap::new(),
            next_id: 0,
            rotation: Rotation::new(Kind::Request),
            assembler: Assembler::default(),
            input: Vec::new(),
            out: Vec::new(),
            written: 0,
            taken: Vec::new(),
            heard: now,
            looked: now,
            own: None,
        }
    }

    async fn serve(
        &mut self,
        mut reader: ReadHalf<'_>,
        writer: WriteHalf<'_>,
    ) -> Result<(), LoopError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.take_calls();
            self.write(&writer)?;
            if self.line.is_closed() && self.open.is_empty() {
                return Ok(());
            }
            if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
                self.input.reserve(BUFFER_KEEP_BYTES);
            }
            let unwritten = self.written < self.out.len();
            let waits = !self.open.is_empty() || self.own.is_some();
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(LoopError::Closed);
                    }
                    self.heard = Instant::now();
                    self.take_frames()?;
                }
                ready = writer.writable(), if unwritten => ready?,
                () = self.line.wake.notified() => {}
                _ = tick.tick(), if waits => self.look_at_the_clock()?,
            }
        }
    }

    fn take_calls(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        self.line.take_calls(&mut taken);
        if self.open.is_empty() && self.own.is_none() {
            // Nothing was owed: silence and our own stalls count from here.
            self.heard = Instant::now();
            self.looked = self.heard;
        }
        for call in taken.drain(..) {
            let id = self.new_id();
            self.rotation.push(call.stream, id, call.bytes().clone());
            self.open.insert(id, call);
        }
        self.taken = taken;
    }

    fn new_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// Writes as much as the socket takes.
    fn write(&mut self, writer: &WriteHalf<'_>) -> Result<(), LoopError> {
        loop {
            if self.written == self.out.len() {
                self.fill();
                if self.out.is_empty() {
                    return Ok(());
                }
            }
            match writer.try_write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next frames to be written, from every message in turn.
    fn fill(&mut self) {
        self.written = 0;
        self.out = emptied(std::mem::take(&mut self.out));
        let Self { rotation, open, line, out, .. } = self;
        rotation.fill(out, FRAME_BYTES_MAX, |id| {
            let Some(call) = open.get(&id) else { return true };
            if call.begin() {
                return true;
            }
            line.release(call);
            open.remove(&id);
            false
        });
    }

    fn take_frames(&mut self) -> Result<(), LoopError> {
        let input = std::mem::take(&mut self.input);
        let mut taken = 0;
        while let Some((frame, length)) = Frame::read(&input[taken..])? {
            taken += length;
            let (id, kind) = (frame.id, frame.kind);
            if kind != Kind::Response || !self.open.contains_key(&id) && self.own != Some(id) {
                return Err(LoopError::Unasked);
            }
            if let Some(message) = self.assembler.take(frame)? {
                self.finish(id, message.into())?;
            }
        }
        self.input = input;
        if taken == self.input.len() {
            self.input = emptied(std::mem::take(&mut self.input));
        } else {
            self.input.drain(..taken);
        }
        Ok(())
    }

    fn finish(&mut self, id: u32, message: Bytes) -> Result<(), LoopError> {
        let Some(call) = self.open.get(&id) else {
            self.own = None;
            return Ok(());
        };
        let replies = read_response(&message)?;
        if replies.len() != call.asks() {
            return Err(LoopError::Unasked);
        }
        let call = self.open.remove(&id).expect("it was there above");
        self.line.release(&call);
        call.complete(Outcome::Replies(replies));
        Ok(())
    }

    fn look_at_the_clock(&mut self) -> Result<(), LoopError> {
        let now = Instant::now();
        let stalled = now - self.looked > STALL;
        self.looked = now;
        for call in self.open.values().filter(|call| call.deadline <= now) {
            call.give_up();
        }
        if stalled {
            self.heard = now;
        }
        let silence = now - self.heard;
        if silence > DEAD_AFTER {
            return Err(LoopError::Silent);
        }
        if silence > ASK_AFTER && self.own.is_none() {
            let id = self.new_id();
            let head = Head {
                role: Role::Admin,
                remaining_ms: 0,
                stream: OWN_STREAM,
                alone: true,
                map: MapVersion::default(),
            };
            self.rotation.push(OWN_STREAM, id, request(&head).into());
            self.own = Some(id);
        }
        Ok(())
    }

    fn give_up_all(&mut self) {
        for (_, call) in self.open.drain() {
            self.line.release(&call);
            call.give_up();
        }
    }
}

/// The buffer without its contents, and without memory that a long message has left.
fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(BUFFER_KEEP_BYTES);
    buffer
}
