//! What one client asked and was told, with times.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::linearizability::{Kind, Operation};

/// A key's number.
pub type Key = u16;
/// A value's number. No two writes of a run write the same.
pub type Value = u64;

/// Why a client was not told what it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing was sent.
    Unsent(String),
    /// The store says that it did nothing, and why.
    Refused(String),
    /// It was sent, and may or may not have been done.
    Unknown(String),
}

/// One client's history.
#[derive(Debug)]
pub struct History {
    /// Time 0, the same for all clients of a run.
    start: Instant,
    /// What may have had an effect, or was told one.
    pub operations: Vec<Operation<Key, Value>>,
    /// What did not go well, by kind and reason.
    pub troubles: BTreeMap<String, u64>,
    /// Operations whose fate is unknown.
    pub unknown: u64,
}

impl History {
    /// An empty one.
    pub fn new(start: Instant) -> Self {
        Self { start, operations: Vec::new(), troubles: BTreeMap::new(), unknown: 0 }
    }

    /// Now, in nanoseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a run ends within five centuries")
    }

    /// Notes what was told of something asked at `call`, just now. `open` is what it would have been.
    pub fn note(
        &mut self,
        key: Key,
        call: u64,
        told: Result<&Kind<Value>, &Trouble>,
        open: Kind<Value>,
    ) {
        let ret = self.now();
        match told {
            Ok(kind) => {
                let kind = kind.clone();
                self.operations.push(Operation { key, call, ret: Some(ret), kind });
            }
            Err(trouble) => {
                self.count(trouble);
                if let Trouble::Unknown(_) = trouble {
                    self.unknown += 1;
                    self.operations.push(Operation { key, call, ret: None, kind: open });
                }
            }
        }
    }

    fn count(&mut self, trouble: &Trouble) {
        let text = match trouble {
            Trouble::Unsent(why) => format!("unsent: {why}"),
            Trouble::Refused(why) => format!("refused: {why}"),
            Trouble::Unknown(why) => format!("unknown: {why}"),
        };
        *self.troubles.entry(text).or_default() += 1;
    }
}
