//! The doors of the `http` listener: the native `/v1` and Smache's `/api`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Answer, Ask, Door};
use crate::raw::Raw;

/// The head's first number and the body of an HTTP reply.
struct Reply {
    status: u16,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// Sends one request as it stands: a client library would normalise the path.
fn exchange(http: &mut Raw, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let (status, body) = http.http_with(method, path, headers, body);
    Reply { status, body }
}

/// Every byte percent-encoded but letters and digits.
fn encode(bytes: &[u8]) -> String {
    let one = |b: &u8| match b {
        b if b.is_ascii_alphanumeric() => char::from(*b).to_string(),
        b => format!("%{b:02X}"),
    };
    bytes.iter().map(one).collect()
}

/// `/v1/kv`.
#[derive(Debug)]
pub struct Native(Raw, SocketAddr);

impl Native {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Self {
        Self(Raw::connect(address), address)
    }

    /// One request; afterwards a new connection if this one was closed by an error.
    fn exchange(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let reply = exchange(&mut self.0, method, path, headers, body);
        if reply.status >= 400 {
            self.0 = Raw::connect(self.1);
        }
        reply
    }
}

impl Door for Native {
    fn name(&self) -> &'static str {
        "http"
    }

    fn create(&mut self, table: &str) -> bool {
        let json = "Content-Type: application/json\r\n";
        let reply = self.exchange("PUT", &format!("/v1/tables/{table}"), json, b"{}");
        assert!([200, 201].contains(&reply.status), "{}", reply.text());
        true
    }

    fn ask(&mut self, table: &str, ask: Ask<'_>) -> Option<Answer> {
        let path = |key| format!("/v1/kv/{table}/{}", encode(key));
        let reply = match ask {
            Ask::Write(key, value) | Ask::Overwrite(key, value) => {
                self.exchange("PUT", &path(key), "", value)
            }
            Ask::WriteNew(key, value) => {
                self.exchange("PUT", &path(key), "If-None-Match: *\r\n", value)
            }
            Ask::Get(key) => self.exchange("GET", &path(key), "", b""),
            Ask::Delete(key) => self.exchange("DELETE", &path(key), "", b""),
        };
        let text = reply.text();
        Some(match (reply.status, ask) {
            (404, _) if text.contains("no-such-table") => Answer::NoTable,
            (404, Ask::Get(_)) => Answer::Nil,
            (404, Ask::Delete(_)) | (201 | 204, _) => Answer::Done,
            (412, Ask::WriteNew(..)) => Answer::Done,
            (200, Ask::Get(_)) => Answer::Value(reply.body),
            (400.., _) => Answer::Refused(text),
            _ => panic!("an odd reply: {text}"),
        })
    }
}

/// What Smache answers; `key` and `node` are not looked at.
#[derive(serde::Deserialize)]
struct SmacheAnswer {
    data: Value,
}

/// `/api`: JSON texts in the table `default`, no removal.
#[derive(Debug)]
pub struct Smache(Raw, SocketAddr);

impl Smache {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Self {
        Self(Raw::connect(address), address)
    }
}

impl Door for Smache {
    fn name(&self) -> &'static str {
        "smache"
    }

    fn create(&mut self, _: &str) -> bool {
        false
    }

    fn ask(&mut self, table: &str, ask: Ask<'_>) -> Option<Answer> {
        if table != "default" {
            return None;
        }
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let reply = match ask {
            Ask::Write(key, value) | Ask::Overwrite(key, value) => {
                let body = json!({"key": text(key)?, "data": text(value)?}).to_string();
                let json = "Content-Type: application/json\r\n";
                exchange(&mut self.0, "POST", "/api", json, body.as_bytes())
            }
            Ask::Get(key) => {
                let path = format!("/api?key={}", encode(text(key)?.as_bytes()));
                exchange(&mut self.0, "GET", &path, "", b"")
            }
            Ask::WriteNew(..) | Ask::Delete(_) => return None,
        };
        if reply.status != 200 {
            self.0 = Raw::connect(self.1);
            return Some(Answer::Refused(reply.text()));
        }
        // The integer of a long key is beyond what a JSON number is read into here.
        let body: SmacheAnswer = serde_json::from_slice(&reply.body).expect("Smache answers JSON");
        Some(match (ask, &body.data) {
            (Ask::Write(_, value) | Ask::Overwrite(_, value), data) => {
                assert_eq!(data.as_str(), text(value), "the data are given back");
                Answer::Done
            }
            (_, Value::Null) => Answer::Nil,
            (_, Value::String(data)) => Answer::Value(data.clone().into_bytes()),
            (_, other) => panic!("not what was written: {other}"),
        })
    }
}
