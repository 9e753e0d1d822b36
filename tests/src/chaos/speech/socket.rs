//! A socket that is given up at the first trouble.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::chaos::history::Trouble;

/// How long a client waits for an answer: longer than a failover, shorter than an operator.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// See the module's page.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Read and not yet taken.
    ahead: Vec<u8>,
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".to_owned(),
        kind => kind.to_string(),
    }
}

impl Socket {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, Trouble> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { stream, ahead: Vec::new() }),
            Err(error) => Err(Trouble::Unsent(why(&error))),
        }
    }

    /// Sends a request. That some of it may have arrived makes its fate unknown.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.stream.write_all(bytes).map_err(|error| Trouble::Unknown(why(&error)))
    }

    /// Reads until `end` finds where what it looks for ends, and takes everything up to there.
    pub(super) fn take(
        &mut self,
        mut end: impl FnMut(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>, Trouble> {
        loop {
            if let Some(end) = end(&self.ahead) {
                return Ok(self.ahead.drain(..end).collect());
            }
            let mut buffer = [0; 32 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Trouble::Unknown("closed without an answer".to_owned())),
                Ok(n) => self.ahead.extend_from_slice(&buffer[..n]),
                Err(error) => return Err(Trouble::Unknown(why(&error))),
            }
        }
    }
}
