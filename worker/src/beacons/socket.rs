//! A connection of beacons: a socket that never blocks, since one thread has them all.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use firn_wire::frame::{Assembler, Frame, FrameError, Kind, write_part};
use firn_wire::replica::BadReplica;

/// Bytes the other side has not taken above which the connection is given up.
const OUT_BYTES_MAX: usize = 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer closed it")]
    Closed,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Replica(#[from] BadReplica),
    #[error("a frame of kind {0:?} came where it has no place")]
    Kind(Kind),
    #[error("the peer answers a beacon that was not sent")]
    Unasked,
    #[error("the peer takes no answers")]
    Full,
    #[error("the peer has not answered for {0} ms")]
    Silent(u64),
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    input: Vec<u8>,
    assembler: Assembler,
    next_id: u32,
    out: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Socket {
    /// `read` is what has been read of it.
    pub(super) fn new(stream: TcpStream, read: Vec<u8>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (assembler, out) = (Assembler::default(), Vec::new());
        Ok(Self { stream, input: read, assembler, next_id: 0, out })
    }

    /// Whether something is left to be written.
    pub(super) fn is_behind(&self) -> bool {
        !self.out.is_empty()
    }

    /// Adds every message that has arrived, all of them of one kind. They are of use whatever is returned.
    pub(super) fn receive(
        &mut self,
        kind: Kind,
        messages: &mut Vec<Vec<u8>>,
    ) -> Result<(), SocketError> {
        self.take_frames(kind, messages)?;
        let mut bytes = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(SocketError::Closed),
                Ok(n) => self.input.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            self.take_frames(kind, messages)?;
        }
    }

    fn take_frames(&mut self, kind: Kind, messages: &mut Vec<Vec<u8>>) -> Result<(), SocketError> {
        let mut taken = 0;
        while let Some((frame, length)) = Frame::read(&self.input[taken..])? {
            if frame.kind != kind {
                return Err(SocketError::Kind(frame.kind));
            }
            messages.extend(self.assembler.take(frame)?);
            taken += length;
        }
        self.input.drain(..taken);
        Ok(())
    }

    /// Sends a message, as far as the socket takes it now.
    pub(super) fn send(&mut self, kind: Kind, message: &[u8]) -> Result<(), SocketError> {
        let mut next = Some(0);
        while let Some(sent) = next {
            next = write_part(kind, self.next_id, message, sent, &mut self.out);
        }
        self.next_id = self.next_id.wrapping_add(1);
        self.flush()?;
        if self.out.len() > OUT_BYTES_MAX { Err(SocketError::Full) } else { Ok(()) }
    }

    /// Writes what is left, as far as the socket takes it now.
    pub(super) fn flush(&mut self) -> Result<(), SocketError> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Two ends of a connection.
    pub(crate) fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Socket::new(listener.accept().unwrap().0, Vec::new()).unwrap(), there)
    }

    /// Receives until there is something.
    pub(crate) fn received(socket: &mut Socket, kind: Kind) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while messages.is_empty() {
            socket.receive(kind, &mut messages).unwrap();
        }
        messages
    }

    #[test]
    fn messages_arrive_whole_and_what_was_read_before_counts() {
        let (mut here, there) = pair();
        let mut there = Socket::new(there, Vec::new()).unwrap();
        let long = vec![7; 300_000];
        there.send(Kind::Grant, &long).unwrap();
        let mut got = Vec::new();
        while got.is_empty() {
            there.flush().unwrap();
            here.receive(Kind::Grant, &mut got).unwrap();
        }
        assert_eq!(got, [long]);

        let mut read = Vec::new();
        Frame { kind: Kind::Beacon, last: true, id: 0, payload: b"first" }.write(&mut read);
        let mut here = Socket::new(here.stream, read).unwrap();
        there.send(Kind::Beacon, b"second").unwrap();
        drop(there);
        let mut got = Vec::new();
        let ended = loop {
            match here.receive(Kind::Beacon, &mut got) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, SocketError::Closed), "{ended}");
        assert_eq!(got, [b"first".to_vec(), b"second".to_vec()], "what came before the end counts");
    }

    #[test]
    fn what_has_no_place_here_is_an_error() {
        let (mut here, there) = pair();
        let mut there = Socket::new(there, Vec::new()).unwrap();
        there.send(Kind::Grant, b"").unwrap();
        let refused = loop {
            match here.receive(Kind::Beacon, &mut Vec::new()) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, SocketError::Kind(Kind::Grant)), "{refused}");
    }

    #[test]
    fn who_takes_no_answers_is_given_up() {
        let (mut here, _there) = pair();
        let message = vec![0; 100_000];
        let sent = (0..1_000).find_map(|_| here.send(Kind::Grant, &message).err());
        assert!(matches!(sent, Some(SocketError::Full)));
        assert!(here.is_behind());
    }
}
