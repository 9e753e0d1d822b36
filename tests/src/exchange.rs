//! HTTP/1.1 as it stands on the wire: paths are sent as they are given, where a client library would normalise them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use crate::raw::Raw;

/// A connection on which requests are answered one after the other.
#[derive(Debug)]
pub struct Http {
    raw: Raw,
}

/// What a request was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case; of several of one name the last.
    pub headers: BTreeMap<String, String>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body's lines as JSON, one value each.
    ///
    /// # Panics
    /// When one is none.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.text().lines().map(read).collect()
    }

    /// The name of the problem it is (RFC 9457).
    ///
    /// # Panics
    /// When it is none, or one whose status is not that of the answer.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        let name = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:firn:problem:"));
        name.unwrap_or_else(|| panic!("a problem without a name: {body}")).to_owned()
    }
}

impl Http {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self { raw: Raw::connect(address) }
    }

    /// The connection itself, for bytes of the test's own.
    pub fn raw(&mut self) -> &mut Raw {
        &mut self.raw
    }

    /// Sends a request and reads its answer. `headers` are whole lines; an empty body is not announced.
    #[track_caller]
    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let body = body.as_ref();
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n");
        self.raw.send(head.as_bytes());
        self.raw.offer(body); // one that is refused for its length need not be taken
        self.answer(method)
    }

    /// Reads the answer to a request of this method.
    #[track_caller]
    pub fn answer(&mut self, method: &str) -> Answer {
        let head = String::from_utf8(self.raw.until(b"\r\n\r\n")).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers: BTreeMap<_, _> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").and_then(|text| text.parse().ok());
        let body = match length {
            _ if method == "HEAD" => Vec::new(),
            _ if headers.contains_key("transfer-encoding") => self.chunks(),
            length => self.raw.exactly(length.unwrap_or(0)),
        };
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        Answer { status, headers, body }
    }

    #[track_caller]
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = self.raw.line();
            let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk has a size");
            body.append(&mut self.raw.exactly(size));
            self.raw.exactly(2);
            if size == 0 {
                return body;
            }
        }
    }
}
