//! Mistakes made on purpose: a checker that has never failed proves nothing.

use std::collections::BTreeMap;

use super::client::{Directory, key_name};
use super::history::{Key, Value};
use super::speech::{Ask, Told, Tongue};
use crate::linearizability::Kind;

/// Chances of a mistake of which one is taken.
const ONE_IN: u32 = 5;

/// What is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// A read is answered with what the same client has since seen written over.
    StaleRead,
    /// What a write was acknowledged for is deleted by nobody.
    LostWrite,
}

/// Makes them.
#[derive(Debug)]
pub struct Planter {
    plant: Plant,
    /// Of each key what this client wrote or read last, and another value that it had before.
    known: BTreeMap<Key, (Value, Option<Value>)>,
    chances: u32,
}

impl Planter {
    /// Nothing is spoilt yet.
    pub fn new(plant: Plant) -> Self {
        Self { plant, known: BTreeMap::new(), chances: 0 }
    }

    /// Looks at what was asked and told, and now and then spoils it.
    pub fn spoil(&mut self, directory: &Directory, key: Key, ask: &Ask, told: &mut Told) {
        match (self.plant, ask, &told.kind) {
            (Plant::StaleRead, Ask::Get, Kind::Read(Some(now))) => {
                let (_, stale) = self.knows(key, *now);
                if stale.is_some() && self.is_due() {
                    *told = Kind::Read(stale).into();
                }
            }
            (Plant::StaleRead, Ask::Set(new), _) => {
                self.knows(key, *new);
            }
            (Plant::LostWrite, Ask::Set(_), _) if self.is_due() => delete(directory, key),
            _ => {}
        }
    }

    /// Remembers what a key has now. No value comes back, so another one that it had before is stale for good.
    fn knows(&mut self, key: Key, now: Value) -> (Value, Option<Value>) {
        let known = self.known.entry(key).or_insert((now, None));
        if known.0 != now {
            *known = (now, Some(known.0));
        }
        *known
    }

    fn is_due(&mut self) -> bool {
        self.chances += 1;
        self.chances.is_multiple_of(ONE_IN)
    }
}

/// Deletes behind everybody's back. That it may not succeed is as good as not being due.
fn delete(directory: &Directory, key: Key) {
    if let Some(doors) = directory.all().first()
        && let Ok(mut speech) = Tongue::Resp.connect(doors.resp)
    {
        let _ = speech.ask(&key_name(key), &Ask::Delete);
    }
}
