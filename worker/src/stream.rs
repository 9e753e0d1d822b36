//! The stream to one peer: over one connection go the batches of all shards for it, and back come its acknowledgements.
//!
//! Invariants:
//! - Each connection is a session of its own, which every shard is told of at its start and at its end, whatever ends it.
//! - The batches of a shard leave in the order it gave them. A long one holds up no other shard's.
//! - What is under way is bounded: above [`WINDOW_BYTES_MAX`] no shard is asked for more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firn_client::follow::{pause, random};
use firn_client::greet::{GreetError, connect};
use firn_wire::frame::{Assembler, Frame, FrameError, Kind, PAYLOAD_BYTES_MAX};
use firn_wire::ids::{ClusterId, WorkerId};
use firn_wire::limits::FRAME_BYTES_MAX;
use firn_wire::replica::{Ack, BadReplica, decode};
use firn_wire::rotation::Rotation;
use firn_wire::secret::Secret;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::shards::Shards;
use crate::wake::Wake;
use crate::window::Window;

/// Bytes of batches under way to one peer above which no more are made.
const WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Above this a batch is held to be entries that are copied, and not records that somebody waits for.
const RECORDS_BYTES_MAX: usize = 16 * 1024;
/// A peer that owes an acknowledgement and says nothing for this long is connected to anew.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// A connection that lasted longer than this had not failed.
const LASTING: Duration = Duration::from_secs(5);
/// How often silence is looked for.
const TICK: Duration = Duration::from_millis(250);
/// A longer gap between two looks was our own stall, and says nothing of the peer.
const STALL: Duration = Duration::from_millis(750);
const READ_BYTES_MIN: usize = 4 * 1024;
/// Buffers above this are given back when they are empty.
const BUFFER_KEEP_BYTES: usize = 2 * FRAME_BYTES_MAX;

static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// Who calls: the same for all outgoing connections about copies.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// Its secret.
    pub(crate) secret: Secret,
    /// What is copied.
    pub(crate) shards: Arc<Shards>,
}

impl Caller {
    /// Connects to a peer.
    pub(crate) async fn connect(
        &self,
        peer: &WorkerId,
        address: &str,
    ) -> Result<TcpStream, GreetError> {
        connect(address, self.cluster, self.shards.me(), peer, &self.secret).await
    }
}

/// Keeps a stream to a peer going for as long as it is polled.
pub(crate) async fn run(caller: Arc<Caller>, wake: Arc<Wake>, address: String) {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let why = match caller.connect(wake.peer(), &address).await {
            Ok(socket) => Stream::new(&caller.shards, &wake).run(socket).await.to_string(),
            Err(error) => error.to_string(),
        };
        failures = if begun.elapsed() > LASTING { 1 } else { failures + 1 };
        match failures {
            1 => log::warn!("no copies go to {} at {address}: {why}", wake.peer()),
            _ => log::debug!("no copies go to {} at {address}: {why}", wake.peer()),
        }
        tokio::time::sleep(pause(failures, random())).await;
    }
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer closed it")]
    Closed,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Replica(#[from] BadReplica),
    #[error("the peer acknowledges what it was not sent")]
    Unasked,
    #[error("the peer has acknowledged nothing for {SILENT_AFTER:?}")]
    Silent,
}

/// A session, as the shards see it.
struct Session<'s> {
    shards: &'s Shards,
    peer: &'s WorkerId,
    number: u64,
}

impl<'s> Session<'s> {
    fn begin(shards: &'s Shards, peer: &'s WorkerId) -> Self {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        shards.link_up(peer, number);
        Self { shards, peer, number }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.shards.link_down(self.peer, self.number);
    }
}

/// One connection.
struct Stream<'s> {
    session: Session<'s>,
    wake: &'s Wake,
    /// Shards that may have something.
    due: Vec<bool>,
    /// The shard that is asked next.
    turn: usize,
    next_id: u32,
    window: Window,
    rotation: Rotation<Vec<u8>>,
    assembler: Assembler,
    input: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    heard: Instant,
    looked: Instant,
}

impl<'s> Stream<'s> {
    fn new(shards: &'s Shards, wake: &'s Wake) -> Self {
        let (count, now) = (shards.count(), Instant::now());
        Self {
            session: Session::begin(shards, wake.peer()),
            wake,
            due: vec![true; usize::from(count)],
            turn: 0,
            next_id: 0,
            window: Window::new(count),
            rotation: Rotation::new(Kind::Batch),
            assembler: Assembler::default(),
            input: Vec::new(),
            out: Vec::new(),
            written: 0,
            heard: now,
            looked: now,
        }
    }

    async fn run(mut self, mut socket: TcpStream) -> StreamError {
        log::info!("copies go to {}", self.wake.peer());
        let (reader, writer) = socket.split();
        match self.serve(reader, writer).await {
            Ok(()) => StreamError::Closed,
            Err(error) => error,
        }
    }

    /// Ends well when the peer closes the connection.
    async fn serve(
        &mut self,
        mut reader: ReadHalf<'_>,
        writer: WriteHalf<'_>,
    ) -> Result<(), StreamError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.fill();
            self.write(&writer)?;
            if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
                self.input.reserve(READ_BYTES_MIN);
            }
            let unwritten = self.written < self.out.len();
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    self.heard = Instant::now();
                    self.take_frames()?;
                }
                ready = writer.writable(), if unwritten => ready?,
                () = self.wake.roused() => {}
                _ = tick.tick() => self.look_at_the_clock()?,
            }
        }
    }

    /// Asks the shards in turn for what they have, as long as there is room.
    fn fill(&mut self) {
        if self.window.bytes() >= WINDOW_BYTES_MAX {
            return; // nor is more news asked for: each write would wake this task in vain
        }
        for (shard, due) in self.due.iter_mut().enumerate() {
            *due |= self.wake.take(shard);
        }
        while self.window.bytes() < WINDOW_BYTES_MAX && self.rotation.bytes() < FRAME_BYTES_MAX {
            let Some(shard) = self.next_due() else { return };
            let Session { shards, peer, number } = &self.session;
            match shards.fill(shard, peer, *number, PAYLOAD_BYTES_MAX) {
                Some(batch) => self.push(shard, batch),
                None => self.due[shard] = false,
            }
        }
    }

    fn next_due(&mut self) -> Option<usize> {
        let count = self.due.len();
        let next = (self.turn..self.turn + count).map(|n| n % count).find(|n| self.due[*n])?;
        self.turn = next + 1;
        Some(next)
    }

    fn push(&mut self, shard: usize, batch: Vec<u8>) {
        if self.window.is_empty() {
            self.heard = Instant::now(); // nothing was owed: silence counts from here
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.window.sent(shard, id, batch.len());
        self.rotation.push(shard as u64, id, batch);
    }

    /// Writes as much as the socket takes.
    fn write(&mut self, writer: &WriteHalf<'_>) -> Result<(), StreamError> {
        loop {
            if self.written == self.out.len() {
                self.written = 0;
                self.out.clear();
                self.out.shrink_to(BUFFER_KEEP_BYTES);
                self.rotation.fill(&mut self.out, FRAME_BYTES_MAX, |_| true);
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

    fn take_frames(&mut self) -> Result<(), StreamError> {
        let mut taken = 0;
        while let Some((frame, length)) = Frame::read(&self.input[taken..])? {
            if frame.kind != Kind::Ack {
                return Err(StreamError::Unasked);
            }
            let id = frame.id;
            let message = self.assembler.take(frame)?;
            taken += length;
            if let Some(message) = message {
                self.take_ack(id, &message)?;
            }
        }
        self.input.drain(..taken);
        self.input.shrink_to(BUFFER_KEEP_BYTES);
        Ok(())
    }

    fn take_ack(&mut self, id: u32, message: &[u8]) -> Result<(), StreamError> {
        let ack: Ack<'_> = decode(message)?;
        let sent = self.window.acknowledged(usize::from(ack.shard), id);
        let (bytes, sent) = sent.ok_or(StreamError::Unasked)?;
        if bytes <= RECORDS_BYTES_MAX {
            self.session.shards.acknowledged_after(sent.elapsed());
        }
        self.session.shards.acked(self.session.peer, self.session.number, &ack);
        Ok(())
    }

    fn look_at_the_clock(&mut self) -> Result<(), StreamError> {
        let now = Instant::now();
        if now - self.looked > STALL || self.window.is_empty() {
            self.heard = now;
        }
        self.looked = now;
        if now - self.heard > SILENT_AFTER { Err(StreamError::Silent) } else { Ok(()) }
    }
}
