//! The signs of life this worker gives one peer, and the leases they bring.

use std::collections::VecDeque;

use firn_store::time::Now;
use firn_wire::frame::Kind;
use firn_wire::ids::MapVersion;
use firn_wire::replica::{Beacon, Grant, decode, encode};

use super::socket::{Socket, SocketError};

/// A connection on which beacons go out and grants come back, in the same order.
#[derive(Debug)]
pub(super) struct Pulse {
    socket: Socket,
    next: u64,
    /// The number of each beacon without an answer, and when it was sent, lease clock.
    open: VecDeque<(u64, u64)>,
}

impl Pulse {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, next: 1, open: VecDeque::new() }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Writes what is left, as far as the socket takes it now.
    pub(super) fn flush(&mut self) -> Result<(), SocketError> {
        self.socket.flush()
    }

    /// Sends a beacon. `now` was read before: a lease counts from it.
    pub(super) fn beat(&mut self, now: Now, map: MapVersion) -> Result<(), SocketError> {
        let beacon = Beacon { number: self.next, clock: now.unix_ms, map };
        self.next += 1;
        self.open.push_back((beacon.number, now.lease_ms));
        self.socket.send(Kind::Beacon, &encode(&beacon))
    }

    /// Adds every grant that has arrived, with the time its beacon was sent. They count whatever is returned.
    pub(super) fn receive(&mut self, grants: &mut Vec<(u64, Grant)>) -> Result<(), SocketError> {
        let mut messages = Vec::new();
        let received = self.socket.receive(Kind::Grant, &mut messages);
        for message in messages {
            let grant: Grant = decode(&message)?;
            match self.open.pop_front() {
                Some((number, sent)) if number == grant.number => grants.push((sent, grant)),
                _ => return Err(SocketError::Unasked),
            }
        }
        received
    }

    /// An error when the oldest beacon without an answer was sent more than `patience_ms` ago.
    pub(super) fn check(&self, now: Now, patience_ms: u64) -> Result<(), SocketError> {
        let waited = self.open.front().map_or(0, |(_, sent)| now.lease_ms.saturating_sub(*sent));
        if waited > patience_ms { Err(SocketError::Silent(waited)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::tests::{pair, received};
    use super::*;

    fn at(lease_ms: u64) -> Now {
        Now { lease_ms, unix_ms: lease_ms + 1_000 }
    }

    fn answer(there: &mut Socket, number: u64) {
        let grant = Grant { number, grant_ms: 2_500, except: Vec::new() };
        there.send(Kind::Grant, &encode(&grant)).unwrap();
    }

    #[test]
    fn a_grant_counts_from_the_sending_of_its_beacon() {
        let (here, there) = pair();
        let (mut pulse, mut there) = (Pulse::new(here), Socket::new(there, Vec::new()).unwrap());
        pulse.beat(at(100), MapVersion::default()).unwrap();
        pulse.beat(at(350), MapVersion::default()).unwrap();
        let beacon: Beacon = decode(&received(&mut there, Kind::Beacon)[0]).unwrap();
        assert_eq!((beacon.number, beacon.clock), (1, 1_100));
        answer(&mut there, 1);
        let mut grants = Vec::new();
        while grants.is_empty() {
            pulse.receive(&mut grants).unwrap();
        }
        assert_eq!((grants[0].0, grants[0].1.number), (100, 1));
        assert!(pulse.check(at(2_350), 2_000).is_ok(), "the second is not late yet");
        assert!(matches!(pulse.check(at(2_351), 2_000), Err(SocketError::Silent(2_001))));
    }

    #[test]
    fn an_answer_to_nothing_ends_the_connection() {
        let (here, there) = pair();
        let (mut pulse, mut there) = (Pulse::new(here), Socket::new(there, Vec::new()).unwrap());
        pulse.beat(at(100), MapVersion::default()).unwrap();
        answer(&mut there, 2);
        let ended = loop {
            match pulse.receive(&mut Vec::new()) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, SocketError::Unasked), "{ended}");
    }
}
