//! The line doors: D-Boutique's and Winter's.

use std::net::SocketAddr;

use super::{Answer, Ask, Door};
use crate::raw::Raw;

/// The bytes of a line without its end.
fn line(raw: &mut Raw, end: &[u8]) -> Vec<u8> {
    let mut line = raw.until(end);
    line.truncate(line.len() - end.len());
    line
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Words between white space; a value has no white space and at least one byte.
#[derive(Debug)]
pub struct Boutique(Raw);

impl Boutique {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Self {
        Self(Raw::connect(address))
    }

    /// Sends a line of words and reads its first reply line; None where a word is no word.
    fn line(&mut self, words: &[&[u8]]) -> Option<Vec<u8>> {
        let white = |b: &u8| b" \t\n\x0b\x0c\r".contains(b);
        if words.iter().any(|word| word.is_empty() || word.iter().any(white)) {
            return None;
        }
        self.0.send(&words.join(&b' '));
        self.0.send(b"\r\n");
        Some(line(&mut self.0, b"\r\n"))
    }
}

impl Door for Boutique {
    fn name(&self) -> &'static str {
        "boutique"
    }

    fn create(&mut self, table: &str) -> bool {
        assert_eq!(self.line(&[b"CREATE", table.as_bytes()]).as_deref(), Some(&b"OK"[..]));
        true
    }

    fn ask(&mut self, table: &str, ask: Ask<'_>) -> Option<Answer> {
        let table = table.as_bytes();
        let reply = match ask {
            Ask::Write(key, value) | Ask::Overwrite(key, value) => {
                self.line(&[b"PUT", table, key, value])?
            }
            Ask::Get(key) => self.line(&[b"GET", table, key])?,
            Ask::Delete(key) => self.line(&[b"DELETE", table, key])?,
            Ask::WriteNew(..) => return None,
        };
        Some(match (reply.as_slice(), ask) {
            (b"NOT FOUND", _) => Answer::NoTable,
            (b"OK", Ask::Write(..) | Ask::Overwrite(..) | Ask::Delete(_)) => Answer::Done,
            (error, _) if error.starts_with(b"ERROR ") => Answer::Refused(text(error)),
            (value, Ask::Get(_)) => {
                assert_eq!(self.0.line(), "OK\r\n", "what follows a value");
                if value.is_empty() { Answer::Nil } else { Answer::Value(value.to_vec()) }
            }
            (other, _) => panic!("an odd reply: {}", text(other)),
        })
    }
}

/// Arguments between single blanks; a value is the rest of a line, and the first one stays.
#[derive(Debug)]
pub struct Winter(Raw);

impl Winter {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Self {
        Self(Raw::connect(address))
    }

    fn line(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.0.send(&words.join(&b' '));
        self.0.send(b"\n");
        line(&mut self.0, b"\n")
    }
}

impl Door for Winter {
    fn name(&self) -> &'static str {
        "winter"
    }

    fn create(&mut self, table: &str) -> bool {
        let reply = self.line(&[b"CREATE", table.as_bytes()]);
        assert!([&b"created"[..], b"already created"].contains(&&reply[..]), "{}", text(&reply));
        true
    }

    fn ask(&mut self, table: &str, ask: Ask<'_>) -> Option<Answer> {
        let table = table.as_bytes();
        let sayable = |bytes: &[u8]| !bytes.contains(&b'\n') && !bytes.ends_with(b"\r");
        let reply = match ask {
            Ask::Write(key, value) | Ask::WriteNew(key, value)
                if sayable(key) && sayable(value) && !key.contains(&b' ') =>
            {
                self.line(&[b"PUTNEW", table, key, value])
            }
            Ask::Get(key) if sayable(key) => self.line(&[b"GET", table, key]),
            Ask::Delete(key) if sayable(key) => self.line(&[b"DELETE", table, key]),
            _ => return None,
        };
        Some(match (reply.as_slice(), ask) {
            (b"missing table", _) => Answer::NoTable,
            (b"ok", Ask::Write(..) | Ask::WriteNew(..) | Ask::Delete(_)) => Answer::Done,
            (error, _) if error.starts_with(b"error ") => Answer::Refused(text(error)),
            (b"nil", Ask::Get(_)) => Answer::Nil,
            (value, Ask::Get(_)) => Answer::Value(value.to_vec()),
            (other, _) => panic!("an odd reply: {}", text(other)),
        })
    }
}
