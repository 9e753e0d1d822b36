//! The listener for other workers, and for programs that use the client library: requests that a router has routed here
//! are answered or refused, never passed on (docs/PROTOCOL.md, "Peers"). The kind of a connection's first frame says what
//! it is for: requests, the batches of a primary whose copies are here, or beacons.
//!
//! Invariants:
//! - Before the caller has proven the cluster secret nothing but two fixed frames is read.
//! - Requests are handed over in the order in which they become whole; replies leave as they are ready.
//! - What a stream asks of a partition after a request that was refused is refused too, until its sender knows.
//! - Above [`REPLIES_BYTES_MAX`] of replies the caller has not taken or that are held, or [`LINK_MESSAGES_MAX`] requests without one,
//!   nothing more is read.
//! - Bytes that are no frame, or no message, end the connection with a line in the log.

mod batches;
mod refused;
mod response;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use firn_wire::frame::{Assembler, Frame, FrameError, Kind};
use firn_wire::handshake::{HELLO_BYTES, HandshakeError, Hello, PROOF_BYTES, Side};
use firn_wire::ids::{ClusterId, PartitionId, WorkerId};
use firn_wire::limits::{FRAME_BYTES_MAX, LINK_MESSAGES_MAX, REFUSED_MAX};
use firn_wire::message::{Ask, BadMessage, Head, read_request};
use firn_wire::replica::BadReplica;
use firn_wire::reply::Failure;
use firn_wire::rotation::Rotation;
use firn_wire::secret::Secret;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::execute::{Answer, Replicate};
use crate::listen::{Connections, Taken, accept};
use crate::loops::Lanes;
use crate::peer::batches::Batches;
use crate::peer::refused::Refused;
use crate::peer::response::{Ended, Late, Response};

/// How long a caller has for its hello and its proof.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of replies that wait to be taken, or to be shown, above which a connection is no longer read from.
pub const REPLIES_BYTES_MAX: usize = 16 * 1024 * 1024;
const READ_BYTES_MIN: usize = 16 * 1024;
/// Buffers above this are given back when they are empty.
const BUFFER_KEEP_BYTES: usize = 64 * 1024;

/// Who listens.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The cluster; a caller of another one is refused.
    pub cluster: ClusterId,
    /// This run of this worker.
    pub worker: WorkerId,
    /// The cluster's secret.
    pub secret: Secret,
}

/// What peers ask of a worker.
#[derive(Clone)]
pub struct Inside {
    /// Answers their requests.
    pub answer: Arc<dyn Answer>,
    /// Takes what they say about copies; None: there are none here.
    pub replicate: Option<Arc<dyn Replicate>>,
}

/// Takes connections of peers for ever.
pub async fn listen(
    listener: TcpListener,
    lanes: Lanes,
    inside: Inside,
    identity: Identity,
    connections: Arc<Connections>,
) {
    let identity = Arc::new(identity);
    let serve = |caller| serve(caller, inside.clone(), Arc::clone(&identity));
    accept(listener, lanes, connections, "", serve).await;
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no handshake within {HANDSHAKE_TIMEOUT:?}")]
    Slow,
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Message(#[from] BadMessage),
    #[error("{0}")]
    Replica(#[from] BadReplica),
    #[error("a frame of kind {0:?} came where it has no place")]
    Kind(Kind),
    #[error("{REFUSED_MAX} of its requests were refused")]
    Refused,
}

async fn serve(mut caller: Taken, inside: Inside, identity: Arc<Identity>) {
    let address = caller.address;
    let greeting = greet(&mut caller.socket, &identity);
    let greeted = tokio::time::timeout(HANDSHAKE_TIMEOUT, greeting).await;
    let ended = match greeted.unwrap_or(Err(PeerError::Slow)) {
        Err(error) => Err(error),
        Ok(peer) => {
            log::debug!("{peer} connected from {address}");
            serve_greeted(caller, peer, inside).await
        }
    };
    match ended {
        Ok(()) => {}
        Err(PeerError::Io(error)) => log::debug!("the peer at {address} is gone: {error}"),
        Err(error) => log::warn!("the connection from {address} is closed: {error}"),
    }
}

/// Serves a connection as its first frame says.
async fn serve_greeted(caller: Taken, peer: WorkerId, inside: Inside) -> Result<(), PeerError> {
    let Taken { mut socket, id, .. } = caller;
    let mut input = Vec::new();
    let kind = loop {
        match Frame::kind_of(&input)? {
            Some(kind) => break kind,
            None if socket.read_buf(&mut input).await? == 0 => return Ok(()),
            None => {}
        }
    };
    match (kind, inside.replicate) {
        (Kind::Request, _) => {
            let (reader, writer) = socket.split();
            Connection::new(inside.answer, input).serve(reader, writer).await
        }
        (Kind::Batch, Some(replicate)) => {
            let (reader, writer) = socket.split();
            Batches::new(replicate, peer, id, input).serve(reader, writer).await
        }
        (Kind::Beacon, Some(replicate)) => {
            replicate.beacons(peer, socket.into_std()?, input);
            Ok(())
        }
        _ => Err(PeerError::Kind(kind)),
    }
}

/// The listener's side of [`firn_wire::handshake`].
async fn greet(socket: &mut TcpStream, identity: &Identity) -> Result<WorkerId, PeerError> {
    let mut bytes = [0; HELLO_BYTES];
    socket.read_exact(&mut bytes).await?;
    let caller = Hello::from_bytes(&bytes)?;
    if caller.cluster != ClusterId::default() && caller.cluster != identity.cluster {
        return Err(HandshakeError::Cluster(caller.cluster, identity.cluster).into());
    }
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let me = Hello { cluster: identity.cluster, worker: identity.worker.clone(), nonce };
    socket.write_all(&me.to_bytes()).await?;
    let mut proof = [0; PROOF_BYTES];
    socket.read_exact(&mut proof).await?;
    Side::Caller.check(&identity.secret, &caller, &me, &proof)?;
    socket.write_all(&Side::Listener.proof(&identity.secret, &caller, &me)).await?;
    Ok(caller.worker)
}

/// A response that waits for some of its replies.
type Waiting = Pin<Box<dyn Future<Output = Waited> + Send>>;

/// What it has waited for, and its request.
struct Waited {
    id: u32,
    head: Head,
    /// Bytes of it that were in memory meanwhile.
    held: usize,
    late: Late,
}

struct Connection {
    answer: Arc<dyn Answer>,
    input: Vec<u8>,
    assembler: Assembler,
    /// Responses that wait for some of their replies.
    waiting: FuturesUnordered<Waiting>,
    /// Bytes of them.
    held: usize,
    rotation: Rotation<Vec<u8>>,
    refused: Refused,
    out: Vec<u8>,
    written: usize,
}

impl Connection {
    /// `input` is what has been read.
    fn new(answer: Arc<dyn Answer>, input: Vec<u8>) -> Self {
        Self {
            answer,
            input,
            assembler: Assembler::default(),
            waiting: FuturesUnordered::new(),
            held: 0,
            rotation: Rotation::new(Kind::Response),
            refused: Refused::default(),
            out: Vec::new(),
            written: 0,
        }
    }

    async fn serve(
        &mut self,
        mut reader: ReadHalf<'_>,
        writer: WriteHalf<'_>,
    ) -> Result<(), PeerError> {
        loop {
            let stopped = self.take_frames()?;
            self.write(&writer)?;
            let has_room = self.has_room();
            if stopped && has_room {
                continue; // what was taken meanwhile made room for what is at hand
            }
            if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
                self.input.reserve(BUFFER_KEEP_BYTES);
            }
            let unwritten = self.written < self.out.len();
            tokio::select! {
                biased;
                Some(waited) = self.waiting.next(), if !self.waiting.is_empty() => {
                    self.take_late(waited)?;
                    // Copies acknowledge many requests at once: what is ready leaves in one write.
                    while let Some(Some(waited)) = self.waiting.next().now_or_never() {
                        self.take_late(waited)?;
                    }
                }
                ready = writer.writable(), if unwritten => ready?,
                read = reader.read_buf(&mut self.input), if has_room => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.rotation.bytes() + self.held < REPLIES_BYTES_MAX
            && self.waiting.len() <= LINK_MESSAGES_MAX
    }

    fn take_late(&mut self, waited: Waited) -> Result<(), PeerError> {
        let Waited { id, head, held, late } = waited;
        self.held -= held;
        for partition in late.refused {
            if !self.refused.note(&head, partition) {
                return Err(PeerError::Refused);
            }
        }
        self.rotation.push(u64::from(id), id, late.bytes);
        Ok(())
    }

    /// Takes frames until there is no whole one, or no room for replies: then true.
    fn take_frames(&mut self) -> Result<bool, PeerError> {
        let mut taken = 0;
        let stopped = loop {
            if !self.has_room() {
                break true;
            }
            let Some((frame, length)) = Frame::read(&self.input[taken..])? else { break false };
            if frame.kind != Kind::Request {
                return Err(PeerError::Kind(frame.kind));
            }
            let id = frame.id;
            let message = self.assembler.take(frame)?;
            taken += length;
            if let Some(message) = message {
                self.take_request(id, &message)?;
            }
        };
        if taken == self.input.len() {
            empty(&mut self.input);
        } else {
            self.input.drain(..taken);
        }
        Ok(stopped)
    }

    fn take_request(&mut self, id: u32, message: &[u8]) -> Result<(), PeerError> {
        let (head, asks) = read_request(message)?;
        let mut response = Response::default();
        for ask in &asks {
            // One by one: a refusal, or a response that has grown long, concerns what comes after.
            let partition = partition_of(ask);
            response.begin(partition);
            if response.is_long() || self.refused.concerns(&head, partition) {
                response.push(&Failure::NotHereYet(partition).into());
            } else {
                self.answer.answer(&head, std::slice::from_ref(ask), &mut response);
            }
            if response.is_refused() && !self.refused.note(&head, partition) {
                return Err(PeerError::Refused);
            }
        }
        let held = response.length();
        match response.end(asks.len()) {
            Ended::Ready(bytes) => self.rotation.push(u64::from(id), id, bytes),
            Ended::Waits(rest) => {
                self.held += held;
                let waited = async move { Waited { id, head, held, late: rest.await } };
                self.waiting.push(Box::pin(waited));
            }
        }
        Ok(())
    }

    /// Writes as much as the socket takes.
    fn write(&mut self, writer: &WriteHalf<'_>) -> Result<(), PeerError> {
        loop {
            if self.written == self.out.len() {
                self.written = 0;
                empty(&mut self.out);
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
}

/// The partition an ask is for, the first of several.
fn partition_of(ask: &Ask<'_>) -> PartitionId {
    match ask {
        Ask::Step(step) => step.partition,
        Ask::Wide(wide) => PartitionId {
            group: wide.group,
            number: wide.partitions.first().copied().unwrap_or_default(),
        },
    }
}

/// Empties a buffer, and gives memory back that a long message has left.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(BUFFER_KEEP_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::command::{KeyOp, Op, Step};
    use firn_wire::exchange::{Role, Sink};
    use firn_wire::ids::TableId;
    use firn_wire::message::{AskRef, read_response, request};
    use firn_wire::reply::Reply;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Answers everything with a mebibyte.
    struct Long(Vec<u8>);

    impl Answer for Long {
        fn answer(&self, _: &Head, _: &[Ask<'_>], sink: &mut dyn Sink) {
            sink.put(0, Reply::Text { value: &self.0, version: Default::default() });
        }
    }

    /// A frame with a request of one ask.
    fn frame(id: u32) -> Vec<u8> {
        let map = Default::default();
        let head = Head { role: Role::Admin, remaining_ms: 9, stream: 1, alone: false, map };
        let ops = [KeyOp { table: TableId::DEFAULT, key: b"k", op: Op::Get }];
        let partition = PartitionId::default();
        let mut payload = request(&head);
        AskRef::Step(Step { partition, once: None, guards: &[], ops: &ops }).write(&mut payload);
        let mut out = Vec::new();
        Frame { kind: Kind::Request, last: true, id, payload: &payload }.write(&mut out);
        out
    }

    /// Answers the first ask late, with a refusal, and all others at once.
    #[derive(Default)]
    struct RefusesLate(AtomicBool);

    impl Answer for RefusesLate {
        fn answer(&self, _: &Head, _: &[Ask<'_>], sink: &mut dyn Sink) {
            if self.0.swap(true, Ordering::Relaxed) {
                return sink.put(0, Reply::Nil);
            }
            let refusal = Failure::NotHereYet(PartitionId::default());
            sink.hold(0, 7, Box::pin(async move { refusal.into() }));
        }
    }

    /// A held read is refused in the end because the partition has gone. By the time its sender hears of that, the
    /// partition is back, and so is the stream's next request: it must not overtake the read.
    #[tokio::test]
    async fn what_follows_a_late_refusal_is_refused() {
        let mut connection = Connection::new(Arc::new(RefusesLate::default()), frame(1));
        connection.take_frames().unwrap();
        assert!(connection.held >= 7 && connection.rotation.is_empty());
        let waited = connection.waiting.next().await.unwrap();
        connection.take_late(waited).unwrap();
        assert_eq!(connection.held, 0);
        connection.input = frame(2);
        connection.take_frames().unwrap();
        let mut out = Vec::new();
        connection.rotation.fill(&mut out, usize::MAX, |_| true);
        let (mut rest, mut refused) = (&out[..], 0);
        while let Some((frame, length)) = Frame::read(rest).unwrap() {
            let replies = read_response(&frame.payload.to_vec().into()).unwrap();
            let refusal = Failure::NotHereYet(PartitionId::default()).into();
            assert_eq!(replies[0].view(), refusal, "request {}", frame.id);
            (rest, refused) = (&rest[length..], refused + 1);
        }
        assert_eq!(refused, 2);
    }

    #[test]
    fn who_does_not_take_replies_is_answered_no_more() {
        let long = 1024 * 1024;
        let input = (0..100).flat_map(frame).collect();
        let mut connection = Connection::new(Arc::new(Long(vec![0; long])), input);
        assert!(connection.take_frames().unwrap(), "it stops");
        assert!(!connection.has_room());
        assert!(connection.rotation.bytes() <= REPLIES_BYTES_MAX + 2 * long);
        let mut taken = connection.rotation.bytes() / long;
        while !connection.rotation.is_empty() {
            connection.rotation.fill(&mut Vec::new(), usize::MAX, |_| true);
            connection.take_frames().unwrap();
            taken += connection.rotation.bytes() / long;
        }
        assert_eq!(taken, 100, "and goes on");
        assert!(connection.input.is_empty() && connection.input.capacity() <= BUFFER_KEEP_BYTES);
    }
}
