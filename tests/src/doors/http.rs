//! The doors of the `http` listener: the native `/v1` and Smache's `/api`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Answer, Ask, Door};
use crate::exchange::{self, Http};

/// Status and body, for messages.
fn text(reply: &exchange::Answer) -> String {
    format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body))
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
pub struct Native(Http, SocketAddr);

impl Native {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Self {
        Self(Http::connect(address), address)
    }

    /// One request; afterwards a new connection if this one was closed by an error.
    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> exchange::Answer {
        let reply = self.0.ask(method, path, headers, body);
        if reply.status >= 400 {
            self.0 = Http::connect(self.1);
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
        assert!([200, 201].contains(&reply.status), "{}", text(&reply));
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
        let text = text(&reply);
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
pub struct Smache(Http, SocketAddr);

impl Smache {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Self {
        Self(Http::connect(address), address)
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
        let utf8 = |bytes| std::str::from_utf8(bytes).ok();
        let reply = match ask {
            Ask::Write(key, value) | Ask::Overwrite(key, value) => {
                let body = json!({"key": utf8(key)?, "data": utf8(value)?}).to_string();
                let json = "Content-Type: application/json\r\n";
                self.0.ask("POST", "/api", json, body.as_bytes())
            }
            Ask::Get(key) => {
                let path = format!("/api?key={}", encode(utf8(key)?.as_bytes()));
                self.0.ask("GET", &path, "", b"")
            }
            Ask::WriteNew(..) | Ask::Delete(_) => return None,
        };
        if reply.status != 200 {
            self.0 = Http::connect(self.1);
            return Some(Answer::Refused(text(&reply)));
        }
        // The integer of a long key is beyond what a JSON number is read into here.
        let body: SmacheAnswer = serde_json::from_slice(&reply.body).expect("Smache answers JSON");
        Some(match (ask, &body.data) {
            (Ask::Write(_, value) | Ask::Overwrite(_, value), data) => {
                assert_eq!(data.as_str(), utf8(value), "the data are given back");
                Answer::Done
            }
            (_, Value::Null) => Answer::Nil,
            (_, Value::String(data)) => Answer::Value(data.clone().into_bytes()),
            (_, other) => panic!("not what was written: {other}"),
        })
    }
}
