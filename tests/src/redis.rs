//! Redis servers to compare with, and replies of the Redis protocol as they come.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::outside::outside;
use crate::wait::{DEADLINE, wait_until};

/// A redis-server of Debian's on a socket in a folder of its own, without a port. It is killed when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: TempDir,
}

impl RedisServer {
    /// Starts it. None after saying that the test skips, where there is no redis-server.
    #[track_caller]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// As [`RedisServer::start`], as a node of a Redis Cluster, for `CLUSTER KEYSLOT`.
    #[track_caller]
    pub fn start_cluster() -> Option<Self> {
        // Its bus is the one listener that cannot be turned off, and takes no port 0: one that was free just now.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("loopback has a free port").port().to_string();
        Self::start_with(&[
            "--cluster-enabled",
            "yes",
            "--bind",
            "127.0.0.1",
            "--cluster-port",
            &port,
        ])
    }

    #[track_caller]
    fn start_with(options: &[&str]) -> Option<Self> {
        let program = outside("redis-server")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = Command::new(program)
            .args(["--port", "0", "--save", "", "--unixsocket", "socket"])
            .args(options)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server can be started");
        let server = Self { child, folder };
        wait_until("redis-server takes connections", DEADLINE, || {
            UnixStream::connect(server.socket()).ok().map(drop)
        });
        Some(server)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Connects.
    #[track_caller]
    pub fn connect(&self) -> Talk {
        let stream = UnixStream::connect(self.socket()).expect("redis-server takes connections");
        stream.set_read_timeout(Some(DEADLINE)).expect("the deadline is not zero");
        Talk::new(stream)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Anything bytes go through both ways.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection that speaks the Redis protocol: requests out, replies back as the bytes they are.
pub struct Talk {
    stream: Box<dyn Stream>,
    /// Read from the socket.
    ahead: Vec<u8>,
    /// How much of `ahead` has been taken.
    taken: usize,
}

impl Talk {
    fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), ahead: Vec::new(), taken: 0 }
    }

    /// Connects to a listener of ours.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)
            .unwrap_or_else(|error| panic!("{address} does not take a connection: {error}"));
        stream.set_nodelay(true).expect("a connected socket takes options");
        stream.set_read_timeout(Some(DEADLINE)).expect("the deadline is not zero");
        Self::new(stream)
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other side takes what is sent");
    }

    /// Sends a request and takes its reply.
    #[track_caller]
    pub fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.send(&request(words));
        self.reply()
    }

    /// The bytes of the next reply.
    ///
    /// # Panics
    /// When none comes within [`DEADLINE`], or what comes is none.
    #[track_caller]
    pub fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = reply_end(&self.ahead, self.taken) {
                let reply = self.ahead[self.taken..end].to_vec();
                self.taken = end;
                return reply;
            }
            self.ahead.drain(..std::mem::take(&mut self.taken));
            assert!(self.read() > 0, "the connection ended: {}", self.ahead.escape_ascii());
        }
    }

    /// Everything up to the end of the connection.
    ///
    /// # Panics
    /// When it does not end within [`DEADLINE`].
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read() > 0 {}
        self.ahead.drain(..std::mem::take(&mut self.taken));
        std::mem::take(&mut self.ahead)
    }

    #[track_caller]
    fn read(&mut self) -> usize {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.ahead.extend_from_slice(&buffer[..n]);
                n
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => {
                panic!("no reply: {error}; so far {}", self.ahead[self.taken..].escape_ascii())
            }
        }
    }
}

/// The bytes of a request.
pub fn request(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Where the reply that starts at `at` ends; None: it is not whole.
///
/// # Panics
/// When the bytes are no reply.
#[track_caller]
pub fn reply_end(bytes: &[u8], at: usize) -> Option<usize> {
    let line = bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
    let after = at + line + 2;
    let number = || {
        let text = std::str::from_utf8(&bytes[at + 1..at + line]).ok();
        let number = text.and_then(|text| text.parse::<i64>().ok());
        number.unwrap_or_else(|| panic!("no length: {:?}", String::from_utf8_lossy(&bytes[at..])))
    };
    let many = |count: i64| (0..count).try_fold(after, |at, _| reply_end(bytes, at));
    match bytes[at] {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Some(after),
        b'$' | b'=' => match number() {
            ..0 => Some(after),
            length => Some(after + length as usize + 2).filter(|end| *end <= bytes.len()),
        },
        b'*' | b'~' | b'>' => many(number()),
        b'%' => many(2 * number()),
        _ => panic!("no reply: {:?}", String::from_utf8_lossy(&bytes[at..])),
    }
}

/// The elements of an array, set or map, as bytes; None where the reply is none.
pub fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    if !matches!(reply.first(), Some(b'*' | b'~' | b'%')) {
        return None;
    }
    let mut at = reply.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let mut found = Vec::new();
    while at < reply.len() {
        let end = reply_end(reply, at)?;
        found.push(&reply[at..end]);
        at = end;
    }
    Some(found)
}

/// The bytes of a string reply.
pub fn text(reply: &[u8]) -> Option<&[u8]> {
    let start = reply.windows(2).position(|pair| pair == b"\r\n")? + 2;
    match reply.first() {
        Some(b'$' | b'=') => reply.get(start..)?.strip_suffix(b"\r\n"),
        _ => None,
    }
}
