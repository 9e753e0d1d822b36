//! Asking the store about one key, over either protocol, and never panicking over what comes back.

mod http;
mod resp;
mod socket;

use std::net::SocketAddr;

pub use http::Http;
pub use resp::Resp;

use super::history::{Trouble, Value};
use crate::linearizability::Kind;

/// What is asked about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Its value.
    Get,
    /// To have this value.
    Set(Value),
    /// To have this value if it has none.
    SetIfAbsent(Value),
    /// To have `1` if it still has what was seen.
    SetIfSeen(Seen, Value),
    /// To have this value, and to say what it had.
    Swap(Value),
    /// To have none.
    Delete,
    /// To have none, and to say what it had.
    Take,
}

/// A value that was read, with what names it when it is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The value.
    pub value: Value,
    /// The bytes of it, or its version.
    pub token: String,
}

impl Ask {
    /// What it may do when nothing is known of it.
    pub fn open(&self) -> Kind<Value> {
        match self {
            Self::Get => Kind::Read(None),
            Self::Set(new) | Self::Swap(new) => Kind::Write(Some(*new)),
            Self::Delete | Self::Take => Kind::Write(None),
            Self::SetIfAbsent(new) => Kind::Cas { expect: None, new: Some(*new), done: true },
            Self::SetIfSeen(seen, new) => {
                Kind::Cas { expect: Some(seen.value), new: Some(*new), done: true }
            }
        }
    }

    /// What it did, told whether its condition held.
    fn conditional(&self, held: bool) -> Kind<Value> {
        match self.open() {
            Kind::Cas { expect, new, .. } => Kind::Cas { expect, new, done: held },
            other => other,
        }
    }
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub kind: Kind<Value>,
    /// After [`Ask::Get`] that found something: what names it.
    pub seen: Option<Seen>,
}

impl From<Kind<Value>> for Told {
    fn from(kind: Kind<Value>) -> Self {
        Self { kind, seen: None }
    }
}

/// A connection on which one thing is asked at a time. After trouble it is of no more use.
pub trait Speech: Send {
    /// Asks.
    fn ask(&mut self, key: &str, ask: &Ask) -> Result<Told, Trouble>;
}

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// The Redis protocol.
    Resp,
    /// `/v1/kv` over HTTP/1.1.
    Http,
}

impl Tongue {
    /// Connects.
    pub fn connect(self, address: SocketAddr) -> Result<Box<dyn Speech>, Trouble> {
        Ok(match self {
            Self::Resp => Box::new(Resp::connect(address)?),
            Self::Http => Box::new(Http::connect(address)?),
        })
    }
}

/// The bytes of a value: its number, then as many letters as the number says, one value in 64 being long.
pub(super) fn text(value: Value) -> String {
    let letters = if value.is_multiple_of(64) { 20_000 } else { value % 100 };
    format!("{value}.{}", "x".repeat(usize::try_from(letters).expect("it is small")))
}

/// The number of a value's bytes; an error is something nobody wrote.
pub(super) fn number(bytes: &[u8]) -> Result<Value, Trouble> {
    let read =
        std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('.')?.0.parse().ok());
    match read {
        Some(value) if text(value).as_bytes() == bytes => Ok(value),
        _ => Err(Trouble::Refused(format!("a value nobody wrote: {:.60}", bytes.escape_ascii()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_its_bytes_and_a_damaged_one_is_seen() {
        for value in [0, 1, 63, 64, 1_000_001] {
            assert_eq!(number(text(value).as_bytes()), Ok(value));
        }
        for bad in ["", "7", "7.", "x.", "8.xxxxxxx", "7.xxxxxxxy"] {
            assert!(number(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
