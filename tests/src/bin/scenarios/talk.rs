//! The Redis protocol to one worker, several requests at a time, without a panic over what comes back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use firn_tests::redis;

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer may take: longer than a failover.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was done.
    Done,
    /// A value, or that there is none.
    Value(Option<Vec<u8>>),
    /// It was not done, and why.
    Refused(String),
    /// It may have been done.
    Unknown(String),
}

/// A connection. After trouble it is of no more use.
#[derive(Debug)]
pub(crate) struct Talk {
    stream: TcpStream,
    /// Read from the socket.
    ahead: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
}

impl Talk {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Self { stream, ahead: Vec::new(), taken: 0 })
        };
        connect().map_err(|error| why(&error))
    }

    /// Sends requests. Some may have arrived when it fails.
    pub(crate) fn send(&mut self, requests: &[u8]) -> Result<(), String> {
        self.stream.write_all(requests).map_err(|error| why(&error))
    }

    /// Takes the next reply; an error when none comes.
    pub(crate) fn reply(&mut self) -> Result<Told, String> {
        loop {
            let is_empty = self.taken == self.ahead.len();
            let end = if is_empty { None } else { redis::reply_end(&self.ahead, self.taken) };
            if let Some(end) = end {
                let told = told(&self.ahead[self.taken..end]);
                self.taken = end;
                return Ok(told);
            }
            self.ahead.drain(..std::mem::take(&mut self.taken));
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let mut buffer = [0; 4 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err("closed without an answer".to_owned()),
            Ok(n) => {
                self.ahead.extend_from_slice(&buffer[..n]);
                Ok(())
            }
            // A process that is stopped and goes on sees that where it had a deadline.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(why(&error)),
        }
    }
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".to_owned(),
        kind => kind.to_string(),
    }
}

fn told(reply: &[u8]) -> Told {
    let line = String::from_utf8_lossy(&reply[1..]).trim_end().to_owned();
    match reply[0] {
        b'+' => Told::Done,
        b'$' if line.starts_with('-') => Told::Value(None),
        b'_' => Told::Value(None),
        b'$' => Told::Value(redis::text(reply).map(<[u8]>::to_vec)),
        b'-' if line.starts_with("UNKNOWN") => Told::Unknown(line),
        _ => Told::Refused(reason(&line)),
    }
}

/// An error's text without its numbers, so that many count as one.
fn reason(line: &str) -> String {
    let words = line.split_ascii_whitespace().take(16);
    let general = |word: &str| word.replace(|c: char| c.is_ascii_digit(), "#");
    words.map(general).collect::<Vec<_>>().join(" ")
}

/// Appends `SET key value`.
pub(crate) fn set(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend(redis::request(&[b"SET".as_slice(), key.as_bytes(), value]));
}

/// Appends `GET key`.
pub(crate) fn get(out: &mut Vec<u8>, key: &str) {
    out.extend(redis::request(&["GET", key]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_fate_is_no_refusal() {
        assert_eq!(told(b"+OK\r\n"), Told::Done);
        assert_eq!(told(b"$-1\r\n"), Told::Value(None));
        assert_eq!(told(b"$2\r\nab\r\n"), Told::Value(Some(b"ab".to_vec())));
        assert!(matches!(told(b"-UNKNOWN no answer\r\n"), Told::Unknown(_)));
        assert_eq!(
            told(b"-TRYAGAIN of 12 copies\r\n"),
            Told::Refused("TRYAGAIN of ## copies".into())
        );
    }
}
