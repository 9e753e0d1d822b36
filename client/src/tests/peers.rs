//! Links against peers that break, fall silent or are others, and the peer listener against bad input
//! (limits-and-security.md, part 9).

use std::sync::Arc;
use std::time::Duration;

use firn_wire::command::{Command, Op};
use firn_wire::exchange::{Role, Session};
use firn_wire::frame::{Frame, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX, write_part};
use firn_wire::handshake::{HELLO_BYTES, Hello, PROOF_BYTES, Side};
use firn_wire::ids::{ClusterId, MapVersion, WorkerId};
use firn_wire::limits::MESSAGES_OPEN_MAX;
use firn_wire::map::{Map, MapIndex};
use firn_wire::message::{Head, push_reply, read_request, request};
use firn_wire::reply::{Failure, Reply};
use firn_wire::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::toy::*;
use crate::fixture;
use crate::links::Links;
use crate::local::Nothing;
use crate::maps::Maps;
use crate::router::Router;

fn hello(worker: WorkerId, cluster: ClusterId, nonce: u8) -> Hello {
    Hello { cluster, worker, nonce: [nonce; 32] }
}

fn caller() -> WorkerId {
    "client@0000000000000001".parse().unwrap()
}

/// Connects and proves the secret; the listener's proof is checked.
async fn greeted(map: &Map) -> TcpStream {
    let mut socket = TcpStream::connect(address(map, 0)).await.unwrap();
    let me = hello(caller(), map.cluster, 1);
    let other = exchange_hellos(&mut socket, &me).await;
    socket.write_all(&Side::Caller.proof(&secret(), &me, &other)).await.unwrap();
    let mut proof = [0; PROOF_BYTES];
    socket.read_exact(&mut proof).await.unwrap();
    Side::Listener.check(&secret(), &me, &other, &proof).unwrap();
    socket
}

async fn exchange_hellos(socket: &mut TcpStream, me: &Hello) -> Hello {
    socket.write_all(&me.to_bytes()).await.unwrap();
    let mut bytes = [0; HELLO_BYTES];
    socket.read_exact(&mut bytes).await.unwrap();
    Hello::from_bytes(&bytes).unwrap()
}

/// Everything until the other side closes.
async fn until_closed(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes).await {
        Ok(_) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("{error}"),
    }
}

fn head() -> Vec<u8> {
    let map = MapVersion::default();
    request(&Head { role: Role::Admin, remaining_ms: 0, stream: 1, alone: true, map })
}

fn frame(id: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(write_part(Kind::Request, id, message, 0, &mut out), None);
    out
}

async fn read_frame(socket: &mut TcpStream, input: &mut Vec<u8>) -> Option<(u32, Vec<u8>)> {
    loop {
        if let Some((frame, length)) = Frame::read(input).unwrap() {
            assert!(frame.last, "the tests' messages are short");
            let read = (frame.id, frame.payload.to_vec());
            input.drain(..length);
            return Some(read);
        }
        if socket.read_buf(input).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

#[tokio::test]
async fn a_request_of_no_asks_is_a_sign_of_life() {
    let (_nodes, map) = cluster(1, 1).await;
    let mut socket = greeted(&map).await;
    let split = frame(7, &head());
    for byte in split {
        socket.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(read_frame(&mut socket, &mut Vec::new()).await, Some((7, vec![])));
}

#[tokio::test]
async fn nothing_is_said_to_who_does_not_prove_the_secret() {
    let (_nodes, map) = cluster(1, 1).await;
    let me = hello(caller(), map.cluster, 1);
    let mut wrong_magic = me.to_bytes();
    wrong_magic[0] = b'G';
    let mut wrong_format = me.to_bytes();
    wrong_format[4..8].fill(0xFF);
    let mut wrong_name = me.to_bytes();
    wrong_name[64] = b'/';
    let other_cluster = hello(caller(), ClusterId(6), 1).to_bytes();
    let http = *b"GET / HTTP/1.1\r\n";
    let http: Vec<u8> = http.iter().copied().cycle().take(HELLO_BYTES).collect();
    let bad = [&wrong_magic[..], &wrong_format, &wrong_name, &other_cluster, &http];
    for (n, bytes) in bad.into_iter().enumerate() {
        let mut socket = TcpStream::connect(address(&map, 0)).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        assert_eq!(until_closed(&mut socket).await, b"", "case {n}");
    }
    // A proof of another connection, of another side, of another secret.
    let mut first = TcpStream::connect(address(&map, 0)).await.unwrap();
    let other = exchange_hellos(&mut first, &me).await;
    let replayed = Side::Caller.proof(&secret(), &me, &other);
    for n in 0..3 {
        let mut socket = TcpStream::connect(address(&map, 0)).await.unwrap();
        let other = exchange_hellos(&mut socket, &me).await;
        let proof = match n {
            0 => replayed,
            1 => Side::Listener.proof(&secret(), &me, &other),
            _ => Side::Caller.proof(&Secret::default(), &me, &other),
        };
        let request = [&proof[..], &frame(0, &head())].concat();
        socket.write_all(&request).await.unwrap();
        assert_eq!(until_closed(&mut socket).await, b"", "proof {n}");
    }
    assert_eq!(_nodes[0].toy.requests.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// The clock is the runtime's: it jumps to the handshake's limit when nothing else is left to do.
#[tokio::test(start_paused = true)]
async fn a_slow_handshake_is_closed() {
    let (_nodes, map) = cluster(1, 1).await;
    for said in [0, 10, HELLO_BYTES] {
        let mut socket = TcpStream::connect(address(&map, 0)).await.unwrap();
        let me = hello(caller(), map.cluster, 1).to_bytes();
        socket.write_all(&me[..said]).await.unwrap();
        let answer = until_closed(&mut socket).await;
        assert_eq!(answer.len(), if said == HELLO_BYTES { HELLO_BYTES } else { 0 });
    }
}

/// A frame of any header and payload whose checksum is right.
fn forged(kind: u8, last: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xF1, 0x52, kind, last, 0, 0, 0, 0];
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc_of(&[&bytes, payload]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc_of(parts: &[&[u8]]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !parts.iter().flat_map(|part| part.iter()).fold(!0, step)
}

#[tokio::test]
async fn bytes_that_are_no_frame_close_the_connection_and_nothing_else() {
    let (nodes, map) = cluster(1, 1).await;
    let good = frame(0, &head());
    assert_eq!(good, forged(Kind::Request as u8, 1, &head()), "the forger can forge");
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let long = (PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes();
    let too_long = [&good[..8], &long, &good[12..]].concat();
    let open: Vec<u8> = (0..=MESSAGES_OPEN_MAX as u32)
        .flat_map(|id| {
            let mut out = Vec::new();
            Frame { kind: Kind::Request, last: false, id, payload: b"" }.write(&mut out);
            out
        })
        .collect();
    let cases = [
        ("magic", changed(0, 0)),
        ("kind", forged(9, 1, &head())),
        ("flag", forged(Kind::Request as u8, 2, &head())),
        ("length", too_long),
        ("crc", changed(12, !good[12])),
        ("payload", changed(HEADER_BYTES, !good[HEADER_BYTES])),
        ("a response", forged(Kind::Response as u8, 1, &head())),
        ("no message", forged(Kind::Request as u8, 1, b"\xff\xff\xff")),
        ("no ask", forged(Kind::Request as u8, 1, &[&head()[..], b"\x09"].concat())),
        ("a list that is announced and not there", {
            let ask = b"\x00\x00\x00\x00\x00\xff\xff\xff\xff\x0f";
            forged(Kind::Request as u8, 1, &[&head()[..], ask].concat())
        }),
        ("too many open messages", open),
    ];
    for (what, bytes) in cases {
        let mut socket = greeted(&map).await;
        // It may be closed before all is written.
        let _ = socket.write_all(&bytes).await;
        assert_eq!(until_closed(&mut socket).await, b"", "{what}");
    }
    assert_eq!(nodes[0].one(get(b"1")).await.view(), Reply::Nil);
    let mut socket = greeted(&map).await;
    socket.write_all(&good).await.unwrap();
    assert_eq!(read_frame(&mut socket, &mut Vec::new()).await, Some((0, vec![])));
}

/// A peer that is played by the test, and a router to it.
struct Played {
    listener: TcpListener,
    identity: WorkerId,
    router: Router<Nothing>,
}

impl Played {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut map = fixture::map(1, 1);
        let address = listener.local_addr().unwrap().to_string();
        map.workers[0].addresses.insert("peer".to_owned(), address);
        let maps = Arc::new(Maps::alone(Arc::new(MapIndex::new(map).unwrap())));
        let links = Links::here(caller(), secret(), Arc::clone(&maps));
        let router = Router::new(Nothing, maps, links, None);
        Self { listener, identity: fixture::worker(0), router }
    }

    /// The next connection, after its handshake.
    async fn accept(&self) -> TcpStream {
        let (mut socket, _) = self.listener.accept().await.unwrap();
        let mut bytes = [0; HELLO_BYTES];
        socket.read_exact(&mut bytes).await.unwrap();
        let caller = Hello::from_bytes(&bytes).unwrap();
        let me = hello(self.identity.clone(), caller.cluster, 2);
        socket.write_all(&me.to_bytes()).await.unwrap();
        let mut proof = [0; PROOF_BYTES];
        if socket.read_exact(&mut proof).await.is_ok() {
            Side::Caller.check(&secret(), &caller, &me, &proof).unwrap();
            let own = Side::Listener.proof(&secret(), &caller, &me);
            socket.write_all(&own).await.unwrap();
        }
        socket
    }
}

#[tokio::test]
async fn one_submission_is_one_message() {
    let played = Played::new().await;
    let router = played.router.clone();
    let asked = tokio::spawn(async move {
        let mut commands = vec![get(b"1"); 100];
        commands.push(Command::Many { guards: vec![], ops: vec![key_op(b"2", Op::Get); 2] });
        run(&router, &mut session(), &commands).await
    });
    let mut socket = played.accept().await;
    let (id, message) = read_frame(&mut socket, &mut Vec::new()).await.unwrap();
    assert_eq!(read_request(&message).unwrap().1.len(), 101);
    let mut response = Vec::new();
    (0..101).for_each(|_| push_reply(&mut response, &Reply::Aborted));
    let mut out = Vec::new();
    Frame { kind: Kind::Response, last: true, id, payload: &response }.write(&mut out);
    socket.write_all(&out).await.unwrap();
    assert!(asked.await.unwrap().iter().all(|reply| reply.view() == Reply::Aborted));
}

#[tokio::test]
async fn a_broken_connection_loses_writes_and_repeats_reads() {
    let played = Played::new().await;
    let router = played.router.clone();
    let one_session = session();
    let asked = tokio::spawn(async move {
        let mut session = one_session;
        run(&router, &mut session, &[set(b"1", b"v"), get(b"1")]).await
    });
    let mut socket = played.accept().await;
    let (_, message) = read_frame(&mut socket, &mut Vec::new()).await.unwrap();
    assert_eq!(read_request(&message).unwrap().1.len(), 2);
    drop(socket);
    let mut socket = played.accept().await;
    let (id, message) = read_frame(&mut socket, &mut Vec::new()).await.unwrap();
    let (_, asks) = read_request(&message).unwrap();
    assert_eq!(asks.len(), 1, "the write is not sent again");
    let mut response = Vec::new();
    push_reply(&mut response, &Reply::Nil);
    let mut out = Vec::new();
    Frame { kind: Kind::Response, last: true, id, payload: &response }.write(&mut out);
    socket.write_all(&out).await.unwrap();
    let replies = asked.await.unwrap();
    let replies: Vec<Reply<'_>> = replies.iter().map(|reply| reply.view()).collect();
    assert_eq!(replies, [Reply::Failed(Failure::Unknown), Reply::Nil]);
}

/// The clock is the runtime's: hours may pass in it.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_for_a_sign_of_life_and_given_up() {
    let played = Played::new().await;
    let router = played.router.clone();
    let mut patient = Session { timeout: Duration::from_secs(3_600), ..session() };
    let asked = tokio::spawn(async move { run(&router, &mut patient, &[set(b"1", b"v")]).await });
    let mut socket = played.accept().await;
    let mut input = Vec::new();
    let (_, message) = read_frame(&mut socket, &mut input).await.unwrap();
    assert_eq!(read_request(&message).unwrap().1.len(), 1);
    let (_, message) = read_frame(&mut socket, &mut input).await.unwrap();
    assert_eq!(read_request(&message).unwrap().1.len(), 0, "a request of no asks");
    assert_eq!(read_frame(&mut socket, &mut input).await, None, "then it hangs up");
    assert_eq!(asked.await.unwrap()[0].view(), Reply::Failed(Failure::Unknown));
}

#[tokio::test]
async fn another_worker_at_the_address_is_sent_nothing() {
    let mut played = Played::new().await;
    played.identity.incarnation.0 += 1;
    let router = played.router.clone();
    let asked =
        tokio::spawn(async move { run(&router, &mut short_session(), &[set(b"1", b"v")]).await });
    let mut socket = played.accept().await;
    assert_eq!(until_closed(&mut socket).await, b"");
    drop(played);
    let replies = asked.await.unwrap();
    assert!(matches!(replies[0].view(), Reply::Failed(Failure::Unavailable(_))), "{replies:?}");
}

/// Answers that fit nothing end the connection; the requests on it are lost, and the next connection is a new one.
#[tokio::test]
async fn answers_that_fit_no_request_end_the_connection() {
    let reply = |count| {
        let mut response = Vec::new();
        (0..count).for_each(|_| push_reply(&mut response, &Reply::Nil));
        response
    };
    let cases = [
        (Kind::Response, 99, reply(1)),
        (Kind::Response, 0, reply(2)),
        (Kind::Response, 0, vec![1, 0, 0, 0, 0xFF]),
        (Kind::Request, 0, reply(1)),
    ];
    let played = Played::new().await;
    for (n, (kind, id, payload)) in cases.into_iter().enumerate() {
        let router = played.router.clone();
        // Sessions of one lane: each case's connection follows the one before it.
        let mut same_lane = Session::new(2, Role::Admin);
        let asked =
            tokio::spawn(async move { run(&router, &mut same_lane, &[set(b"1", b"v")]).await });
        let mut socket = played.accept().await;
        let mut input = Vec::new();
        read_frame(&mut socket, &mut input).await.unwrap();
        let mut out = Vec::new();
        Frame { kind, last: true, id, payload: &payload }.write(&mut out);
        socket.write_all(&out).await.unwrap();
        assert_eq!(read_frame(&mut socket, &mut input).await, None, "case {n}");
        assert_eq!(asked.await.unwrap()[0].view(), Reply::Failed(Failure::Unknown), "case {n}");
    }
}
