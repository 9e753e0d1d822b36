//! `/v1/kv` over HTTP/1.1.

use std::net::SocketAddr;

use super::socket::Socket;
use super::{Ask, Seen, Speech, Told, number, text};
use crate::chaos::history::Trouble;
use crate::linearizability::Kind;

/// A connection, and the table it is about.
#[derive(Debug)]
pub struct Http {
    socket: Socket,
    table: &'static str,
}

/// What came back.
struct Answer {
    status: u16,
    etag: String,
    body: Vec<u8>,
}

impl Http {
    /// Connects to its listener, for the table `default`.
    pub fn connect(address: SocketAddr) -> Result<Self, Trouble> {
        Self::connect_for(address, "default")
    }

    /// Connects, for any table.
    pub fn connect_for(address: SocketAddr, table: &'static str) -> Result<Self, Trouble> {
        Ok(Self { socket: Socket::connect(address)?, table })
    }

    fn exchange(&mut self, line: &str, headers: &str, body: &str) -> Result<Answer, Trouble> {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        self.socket.send(request.as_bytes())?;
        let end =
            |ahead: &[u8]| ahead.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let head = String::from_utf8_lossy(&self.socket.take(end)?).into_owned();
        let status = head.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        let length = match header(&head, "content-length") {
            Some(text) => text.parse().map_err(|_| odd(&head))?,
            None if status == 204 => 0,
            None => return Err(odd(&head)),
        };
        let body = self.socket.take(|ahead| (ahead.len() >= length).then_some(length))?;
        Ok(Answer { status, etag: header(&head, "etag").unwrap_or_default().to_owned(), body })
    }
}

fn odd(head: &str) -> Trouble {
    Trouble::Unknown(format!("an odd answer: {:.100}", head.escape_debug().to_string()))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(is, _)| is.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

impl Answer {
    /// What an answer that is not what was asked for says.
    fn trouble(&self) -> Trouble {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let kind = problem["type"].as_str().unwrap_or("no problem document").rsplit(':').next();
        let text = format!("{} {}", self.status, kind.unwrap_or_default());
        match self.status {
            504 | 0..=399 => Trouble::Unknown(text),
            _ => Trouble::Refused(text),
        }
    }

    /// 404 is no entry only when the table is there.
    fn is_no_key(&self) -> bool {
        self.status == 404 && self.body.windows(11).any(|text| text == b"no-such-key")
    }
}

impl Speech for Http {
    fn ask(&mut self, key: &str, ask: &Ask) -> Result<Told, Trouble> {
        let path = format!("/v1/kv/{}/{key}", self.table);
        let put = format!("PUT {path}");
        let answer = match ask {
            Ask::Get => self.exchange(&format!("GET {path}"), "", ""),
            Ask::Set(new) | Ask::Swap(new) => self.exchange(&put, "", &text(*new)),
            Ask::SetIfAbsent(new) => self.exchange(&put, "If-None-Match: *\r\n", &text(*new)),
            Ask::SetIfSeen(seen, new) => {
                self.exchange(&put, &format!("If-Match: {}\r\n", seen.token), &text(*new))
            }
            Ask::Delete => self.exchange(&format!("DELETE {path}"), "", ""),
            Ask::Take => self.exchange(&format!("POST {path}?op=getdel"), "", ""),
        }?;
        told(ask, answer)
    }
}

fn told(ask: &Ask, answer: Answer) -> Result<Told, Trouble> {
    let kind = match (ask, answer.status) {
        (Ask::Get, 200) => {
            let value = number(&answer.body)?;
            let seen = Some(Seen { value, token: answer.etag });
            return Ok(Told { kind: Kind::Read(Some(value)), seen });
        }
        (Ask::Get, 404) if answer.is_no_key() => Kind::Read(None),
        (Ask::Set(new) | Ask::Swap(new), 201 | 204) => {
            Kind::Put { new: Some(*new), found: answer.status == 204 }
        }
        (Ask::SetIfAbsent(_) | Ask::SetIfSeen(..), 201 | 204) => ask.conditional(true),
        (Ask::SetIfAbsent(_) | Ask::SetIfSeen(..), 412) => ask.conditional(false),
        (Ask::Delete, 204) => Kind::Remove { found: true },
        (Ask::Delete, 404) if answer.is_no_key() => Kind::Remove { found: false },
        (Ask::Take, 200) => Kind::Swap { old: Some(number(&answer.body)?), new: None },
        (Ask::Take, 404) if answer.is_no_key() => Kind::Swap { old: None, new: None },
        _ => return Err(answer.trouble()),
    };
    Ok(kind.into())
}
