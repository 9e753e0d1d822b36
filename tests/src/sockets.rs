//! Bytes that arrived at a listener, as the kernel counts them (`ss`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

/// The peers connected to a listener, each with the bytes it has sent. Empty where there is no `ss`.
fn received(listener: SocketAddr) -> BTreeMap<String, u64> {
    let filter = format!("sport = :{}", listener.port());
    let output = Command::new("ss").args(["-tinHO", "state", "established", &filter]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().filter_map(read).collect()
}

/// Reads a line of `ss -tinHO`: two queues, both addresses, then what the kernel knows.
fn read(line: &str) -> Option<(String, u64)> {
    let peer = line.split_ascii_whitespace().nth(3)?.to_owned();
    let bytes = line.split_once("bytes_received:").map_or("0", |(_, rest)| rest);
    let bytes = bytes.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((peer, bytes))
}

/// Counts what arrives at a listener from a moment on. What a connection that ended brought since the last look is missed.
#[derive(Debug)]
pub struct Received {
    listener: SocketAddr,
    last: BTreeMap<String, u64>,
    bytes: u64,
}

impl Received {
    /// From now on.
    pub fn at(listener: SocketAddr) -> Self {
        Self { listener, last: received(listener), bytes: 0 }
    }

    /// Looks again and gives the bytes that have arrived since the beginning.
    pub fn look(&mut self) -> u64 {
        let now = received(self.listener);
        for (peer, bytes) in &now {
            self.bytes += bytes - self.last.get(peer).copied().unwrap_or(0).min(*bytes);
        }
        self.last = now;
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ss_is_read() {
        let line = "0      0          127.0.0.1:40001    127.0.0.1:51234 \t cubic wscale:7,7 rto:201 \
                    bytes_sent:9 bytes_acked:9 bytes_received:1234 segs_out:3";
        assert_eq!(read(line), Some(("127.0.0.1:51234".to_owned(), 1234)));
        assert_eq!(read("0 0 127.0.0.1:1 127.0.0.1:2 cubic"), Some(("127.0.0.1:2".to_owned(), 0)));
    }
}
