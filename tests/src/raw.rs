//! A socket spoken to byte by byte, with deadlines, for protocols a client library would hide.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::wait::DEADLINE;

/// A TCP connection. Each call panics, showing what had come until then, when it takes longer than [`DEADLINE`].
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// Read from the socket and not yet asked for.
    ahead: Vec<u8>,
}

impl Raw {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)
            .unwrap_or_else(|error| panic!("{address} does not take a connection: {error}"));
        stream.set_nodelay(true).expect("a connected socket takes options");
        stream.set_write_timeout(Some(DEADLINE)).expect("the deadline is not zero");
        Self { stream, ahead: Vec::new() }
    }

    /// The socket itself, for timeouts and options of the test's own.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other side takes what is sent");
    }

    /// Sends bytes the other side may refuse to take: whether it took all.
    pub fn offer(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Tells the other side that nothing more comes.
    pub fn finish(&mut self) {
        // Fails only when the other side has closed already, which is what the caller is about to look at.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The bytes up to and with the next LF, invalid UTF-8 replaced.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let end = self.fill("a line", |ahead| ahead.iter().position(|b| *b == b'\n'));
        String::from_utf8_lossy(&self.take(end + 1)).into_owned()
    }

    /// The next `count` bytes.
    #[track_caller]
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.fill("more bytes", |ahead| (ahead.len() >= count).then_some(()));
        self.take(count)
    }

    /// Reads until what has come ends with `tail`.
    #[track_caller]
    pub fn until(&mut self, tail: &[u8]) -> Vec<u8> {
        let found = |ahead: &[u8]| ahead.windows(tail.len()).position(|window| window == tail);
        let start = self.fill(&format!("{:?}", String::from_utf8_lossy(tail)), found);
        self.take(start + tail.len())
    }

    /// Everything up to the end of the connection, whether closed or reset.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read_some("the end of the connection") > 0 {}
        std::mem::take(&mut self.ahead)
    }

    /// Sends a request and compares the reply, of which every byte is expected.
    #[track_caller]
    pub fn expect(&mut self, request: impl AsRef<[u8]>, reply: impl AsRef<[u8]>) {
        let (request, reply) = (request.as_ref(), reply.as_ref());
        self.send(request);
        let got = self.exactly(reply.len());
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(show(&got), show(reply), "the reply to {:?}", show(request));
        assert_eq!(got, reply, "the reply to {:?}", show(request));
    }

    /// Nothing comes within `quiet`: for replies that must not be there.
    #[track_caller]
    pub fn is_quiet_for(&mut self, quiet: Duration) {
        assert!(self.ahead.is_empty(), "came early: {:?}", String::from_utf8_lossy(&self.ahead));
        self.stream.set_read_timeout(Some(quiet)).expect("the time is not zero");
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => panic!("came uncalled: {:?}", String::from_utf8_lossy(&buffer[..n])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.ahead.drain(..count).collect()
    }

    #[track_caller]
    fn fill<T>(&mut self, what: &str, mut found: impl FnMut(&[u8]) -> Option<T>) -> T {
        loop {
            if let Some(value) = found(&self.ahead) {
                return value;
            }
            let n = self.read_some(what);
            assert!(
                n > 0,
                "closed before {what}: {:?}",
                String::from_utf8_lossy(&self.ahead[..self.ahead.len().min(500)])
            );
        }
    }

    /// Reads what is there; 0 is the end.
    #[track_caller]
    fn read_some(&mut self, what: &str) -> usize {
        self.stream.set_read_timeout(Some(DEADLINE)).expect("the deadline is not zero");
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.ahead.extend_from_slice(&buffer[..n]);
                n
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!(
                "waiting for {what}: {error}; so far {:?}",
                String::from_utf8_lossy(&self.ahead[..self.ahead.len().min(500)])
            ),
        }
    }
}

/// The status of one HTTP request of its own connection, None when nobody answers: what readiness is asked with.
pub fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let pause = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, pause).ok()?;
    stream.set_read_timeout(Some(pause)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(head.strip_prefix(b"HTTP/1.1 ")?).ok()?.parse().ok()
}
