//! The doors as a client sees them: one vocabulary in every protocol's own words, over a raw connection each.

pub mod http;
pub mod lines;
pub mod resp;

use std::net::SocketAddr;

use crate::process::Process;

/// What a client wants, in no protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Write where nothing is there as far as the client knows: by whichever write the protocol has.
    Write(&'a [u8], &'a [u8]),
    /// Write over what is there.
    Overwrite(&'a [u8], &'a [u8]),
    /// Write if nothing is there.
    WriteNew(&'a [u8], &'a [u8]),
    /// Read.
    Get(&'a [u8]),
    /// Remove.
    Delete(&'a [u8]),
}

/// What came of it, in no protocol's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Written, or removed, or not needed: not every protocol tells these apart.
    Done,
    /// The value.
    Value(Vec<u8>),
    /// The key is not there.
    Nil,
    /// The table is not there.
    NoTable,
    /// An error, with all its text.
    Refused(String),
}

/// A door of a worker, with one connection.
pub trait Door: Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Makes a table, or finds that it is there; false where the door has only `default`.
    fn create(&mut self, table: &str) -> bool;

    /// Asks; None where its protocol has no words for this.
    fn ask(&mut self, table: &str, ask: Ask<'_>) -> Option<Answer>;
}

/// Every door of a worker or a proxy.
pub fn doors(process: &Process) -> Vec<Box<dyn Door>> {
    doors_at(|protocol| process.address(protocol))
}

/// Every door, each at the address its listener's protocol has.
pub fn doors_at(address: impl Fn(&str) -> SocketAddr) -> Vec<Box<dyn Door>> {
    vec![
        Box::new(http::Native::connect(address("http"))),
        Box::new(http::Smache::connect(address("http"))),
        Box::new(resp::Resp::connect(address("resp"))),
        Box::new(lines::Boutique::connect(address("boutique"))),
        Box::new(lines::Winter::connect(address("winter"))),
    ]
}
