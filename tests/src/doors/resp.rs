//! The Redis door, in RESP2, on the table `default`.

use std::net::SocketAddr;

use super::{Answer, Ask, Door};
use crate::raw::Raw;

/// One connection to the Redis door.
#[derive(Debug)]
pub struct Resp(Raw);

impl Resp {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Self {
        Self(Raw::connect(address))
    }

    /// Sends one command and reads a reply that is no array.
    pub fn command(&mut self, words: &[&[u8]]) -> Answer {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.0.send(&request);
        let line = self.0.line();
        let (kind, rest) = line.trim_end().split_at(1);
        match (kind, rest) {
            ("-", error) => Answer::Refused(error.to_owned()),
            ("$", "-1") => Answer::Nil,
            ("$", length) => {
                let length: usize = length.parse().expect("a length");
                let mut value = self.0.exactly(length + 2);
                assert_eq!(value.split_off(length), b"\r\n");
                Answer::Value(value)
            }
            ("+" | ":", _) => Answer::Done,
            _ => panic!("an odd reply: {line:?}"),
        }
    }
}

impl Door for Resp {
    fn name(&self) -> &'static str {
        "resp"
    }

    fn create(&mut self, _: &str) -> bool {
        false
    }

    fn ask(&mut self, table: &str, ask: Ask<'_>) -> Option<Answer> {
        if table != "default" {
            return None;
        }
        Some(match ask {
            Ask::Write(key, value) | Ask::Overwrite(key, value) => {
                self.command(&[b"SET", key, value])
            }
            Ask::WriteNew(key, value) => match self.command(&[b"SET", key, value, b"NX"]) {
                Answer::Nil => Answer::Done,
                other => other,
            },
            Ask::Get(key) => self.command(&[b"GET", key]),
            Ask::Delete(key) => self.command(&[b"DEL", key]),
        })
    }
}
