//! The network with a process that says back what it hears.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use firn_wire::handshake::{HELLO_BYTES, Hello};
use firn_wire::ids::{ClusterId, Incarnation, WorkerId};

use super::*;
use crate::wait::DEADLINE;

/// Long enough for what should come to come, and short enough to wait for what should not.
const QUIET: Duration = Duration::from_millis(200);

/// A process that says back every byte it hears.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn connect(door: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A connection of the worker `name` that has said its hello and heard it back.
fn call(name: &str, door: SocketAddr) -> TcpStream {
    let worker = WorkerId { name: name.parse().unwrap(), incarnation: Incarnation(1) };
    let hello = Hello { cluster: ClusterId(1), worker, nonce: [7; 32] }.to_bytes();
    let mut stream = connect(door);
    stream.write_all(&hello).unwrap();
    let mut back = [0; HELLO_BYTES];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, hello);
    stream
}

fn hears(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

fn says(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    hears(stream, bytes);
}

fn hears_nothing(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let error = stream.read(&mut [0; 1]).expect_err("nothing may come");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
}

fn has_ended(stream: &mut TcpStream) {
    // An end or a reset, as the kernel has it.
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
}

fn network() -> (Network, SocketAddr) {
    let mut network = Network::default();
    let door = network.peer_door("b");
    network.lead("b", echo());
    (network, door)
}

#[test]
fn what_is_held_in_one_direction_comes_when_it_is_healed() {
    let (network, door) = network();
    let (mut cut, mut other) = (call("a", door), call("c", door));
    for (from, to) in [("a", "b"), ("b", "a")] {
        network.set(from, to, Rule { hold: true, ..Rule::default() });
        cut.write_all(b"held").unwrap();
        hears_nothing(&mut cut);
        says(&mut other, b"passes");
        network.heal();
        hears(&mut cut, b"held");
    }
}

#[test]
fn broken_connections_end_and_others_stay() {
    let (network, door) = network();
    let (mut broken, mut other) = (call("a", door), call("c", door));
    network.break_between("b", "a");
    has_ended(&mut broken);
    says(&mut other, b"still there");
    says(&mut call("a", door), b"a new one");
    network.set("a", "b", Rule { refuse: true, ..Rule::default() });
    let mut refused = connect(door);
    let _ = refused.write_all(&[0; HELLO_BYTES]);
    has_ended(&mut refused);
}

#[test]
fn bytes_can_be_late_and_slow() {
    let (network, door) = network();
    let mut stream = call("a", door);
    let delay = Duration::from_millis(50);
    network.set("a", "b", Rule { delay, ..Rule::default() });
    let start = Instant::now();
    says(&mut stream, b"late");
    assert!(start.elapsed() >= delay);
    network.set("b", "a", Rule { bytes_per_second: Some(1_000), ..Rule::default() });
    let start = Instant::now();
    says(&mut stream, &[1; 100]);
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(network.bytes_to("b"), HELLO_BYTES as u64 + 104);
}

#[test]
fn a_process_may_come_back_at_another_address() {
    let (mut network, door) = network();
    network.lead("b", "127.0.0.1:1".parse().unwrap());
    let mut stream = connect(door);
    let _ = stream.write_all(&[0; HELLO_BYTES]);
    has_ended(&mut stream);
    network.lead("b", echo());
    says(&mut call("a", door), b"back");
}

#[test]
fn a_lost_verdict_is_lost_after_the_proposal_has_passed() {
    let mut network = Network::default();
    let door = network.uplink_door("a");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    network.lead(UPLINK, listener.local_addr().unwrap());
    network.set("a", UPLINK, Rule { lose_verdicts: true, ..Rule::default() });
    for (request, is_lost) in [(&b"GET /v1/map "[..], false), (b"POST /v1/map/changes ", true)] {
        let mut worker = connect(door);
        worker.write_all(request).unwrap();
        let (mut uplink, _) = listener.accept().unwrap();
        hears(&mut uplink, request);
        uplink.write_all(b"applied").unwrap();
        match is_lost {
            true => has_ended(&mut worker),
            false => hears(&mut worker, b"applied"),
        }
    }
}
