//! The Redis protocol, on the table `default`.

use std::net::SocketAddr;

use super::socket::Socket;
use super::{Ask, Seen, Speech, Told, number, text};
use crate::chaos::history::{Trouble, Value};
use crate::linearizability::Kind;
use crate::redis;

/// A connection.
#[derive(Debug)]
pub struct Resp(Socket);

/// A reply: nothing, a value, a number, or done.
enum Reply {
    Nil,
    Bytes(Vec<u8>),
    Count(bool),
    Done,
}

impl Resp {
    /// Connects to its listener.
    pub fn connect(address: SocketAddr) -> Result<Self, Trouble> {
        Ok(Self(Socket::connect(address)?))
    }

    fn command(&mut self, words: &[&str]) -> Result<Reply, Trouble> {
        self.0.send(&redis::request(words))?;
        let bytes = self.0.take(|ahead| match ahead.is_empty() {
            true => None,
            false => redis::reply_end(ahead, 0),
        })?;
        read(&bytes)
    }
}

fn read(reply: &[u8]) -> Result<Reply, Trouble> {
    let line = String::from_utf8_lossy(&reply[1..]);
    let word = line.split_ascii_whitespace().next().unwrap_or_default();
    match (reply[0], word) {
        (b'-', "UNKNOWN") => Err(Trouble::Unknown("the store says so".to_owned())),
        (b'-', _) => Err(Trouble::Refused(reason(&line))),
        (b'+', _) => Ok(Reply::Done),
        (b':', count) => Ok(Reply::Count(count != "0")),
        (b'_', _) | (b'$', "-1") => Ok(Reply::Nil),
        (b'$', _) => Ok(Reply::Bytes(redis::text(reply).unwrap_or_default().to_vec())),
        _ => Err(Trouble::Refused(format!("an odd reply: {line}"))),
    }
}

/// An error's text without its numbers, so that many count as one.
fn reason(line: &str) -> String {
    let words = line.split_ascii_whitespace().take(12);
    let general = |word: &str| word.replace(|c: char| c.is_ascii_digit(), "#");
    words.map(general).collect::<Vec<_>>().join(" ")
}

/// What a reply that is a value, or none, names.
fn value(reply: &Reply) -> Result<Option<Value>, Trouble> {
    match reply {
        Reply::Nil => Ok(None),
        Reply::Bytes(bytes) => Ok(Some(number(bytes)?)),
        _ => Err(Trouble::Refused("an odd reply instead of a value".to_owned())),
    }
}

impl Speech for Resp {
    fn ask(&mut self, key: &str, ask: &Ask) -> Result<Told, Trouble> {
        let new = match ask {
            Ask::Set(new) | Ask::SetIfAbsent(new) | Ask::SetIfSeen(_, new) | Ask::Swap(new) => {
                text(*new)
            }
            Ask::Get | Ask::Delete | Ask::Take => String::new(),
        };
        let reply = match ask {
            Ask::Get => self.command(&["GET", key]),
            Ask::Set(_) => self.command(&["SET", key, &new]),
            Ask::SetIfAbsent(_) => self.command(&["SET", key, &new, "NX"]),
            Ask::SetIfSeen(seen, _) => self.command(&["SET", key, &new, "IFEQ", &seen.token]),
            Ask::Swap(_) => self.command(&["SET", key, &new, "GET"]),
            Ask::Delete => self.command(&["DEL", key]),
            Ask::Take => self.command(&["GETDEL", key]),
        }?;
        told(ask, &reply)
    }
}

fn told(ask: &Ask, reply: &Reply) -> Result<Told, Trouble> {
    let kind = match (ask, reply) {
        (Ask::Get, reply) => {
            let value = value(reply)?;
            let seen = value.map(|value| Seen { value, token: text(value) });
            return Ok(Told { kind: Kind::Read(value), seen });
        }
        (Ask::Set(_), Reply::Done) => ask.open(),
        (Ask::SetIfAbsent(_) | Ask::SetIfSeen(..), Reply::Done) => ask.conditional(true),
        (Ask::SetIfAbsent(_) | Ask::SetIfSeen(..), Reply::Nil) => ask.conditional(false),
        (Ask::Swap(new), reply) => Kind::Swap { old: value(reply)?, new: Some(*new) },
        (Ask::Take, reply) => Kind::Swap { old: value(reply)?, new: None },
        (Ask::Delete, Reply::Count(found)) => Kind::Remove { found: *found },
        _ => return Err(Trouble::Unknown(format!("an odd reply to {ask:?}"))),
    };
    Ok(kind.into())
}
