//! Whether what clients saw of a store could be the doing of one register per key.
//!
//! A history is linearizable (Herlihy and Wing, 1990) when each operation can be given a moment between its call and its
//! return, so that one after the other they are right for a register. Keys are independent, so each is checked alone. The
//! search is that of Wing and Gong with the memory of Lowe ("Testing for linearizability", 2017): see [`search`].
//!
//! Invariants:
//! - What was not answered stays open: it may take effect at any time after its call, or never.
//! - A check that runs out of its bound says so, and says nothing else.

mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::Hash;

pub use search::{Stuck, Verdict};

/// Something a client did to one key. Times are of one clock, in any unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<K, V> {
    /// Which register.
    pub key: K,
    /// When it was asked for: a moment before the request was sent.
    pub call: u64,
    /// When it was answered: a moment after the answer had come. None: its fate is unknown, and what `kind` says of an
    /// answer is not read.
    pub ret: Option<u64>,
    /// What was asked and answered.
    pub kind: Kind<V>,
}

/// What was asked of a register and what it answered. A value of None is "no entry", with which every key begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<V> {
    /// It gave this value.
    Read(Option<V>),
    /// It was given this value, whatever it had. None: it was deleted, and did not say what it had.
    Write(Option<V>),
    /// It was to take `new` if it had `expect`.
    Cas {
        /// What it had to have.
        expect: Option<V>,
        /// What it was to have afterwards.
        new: Option<V>,
        /// Whether it took it.
        done: bool,
    },
    /// It was deleted, and said whether there was anything.
    Remove {
        /// Whether there was.
        found: bool,
    },
    /// It was given `new`, whatever it had, and said whether it had anything.
    Put {
        /// What it has afterwards.
        new: Option<V>,
        /// Whether it had anything.
        found: bool,
    },
    /// It was given `new`, and gave what it had.
    Swap {
        /// What it had.
        old: Option<V>,
        /// What it has afterwards.
        new: Option<V>,
    },
}

/// A key whose history no register has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation<K, V> {
    /// Which.
    pub key: K,
    /// How far the search came.
    pub stuck: Stuck<V>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<K, V> {
    /// Keys that were checked.
    pub keys: usize,
    /// Operations that were checked.
    pub operations: usize,
    /// Keys whose histories are not linearizable.
    pub violations: Vec<Violation<K, V>>,
    /// Keys of which nothing can be said within the bound.
    pub gave_up: Vec<K>,
}

impl<K, V> Report<K, V> {
    /// Whether every key was checked to the end and found right.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.gave_up.is_empty()
    }
}

/// Checks the history of every key, each within `steps_max` steps of the search.
pub fn check<K, V>(
    operations: impl IntoIterator<Item = Operation<K, V>>,
    steps_max: usize,
) -> Report<K, V>
where
    K: Ord + Clone,
    V: Eq + Hash + Clone,
{
    let mut by_key: BTreeMap<K, Vec<Operation<K, V>>> = BTreeMap::new();
    for operation in operations {
        by_key.entry(operation.key.clone()).or_default().push(operation);
    }
    let mut report = Report {
        keys: by_key.len(),
        operations: by_key.values().map(Vec::len).sum(),
        violations: Vec::new(),
        gave_up: Vec::new(),
    };
    for (key, history) in by_key {
        match check_key(&history, steps_max) {
            Verdict::Linearizable => {}
            Verdict::Violation(stuck) => report.violations.push(Violation { key, stuck }),
            Verdict::GaveUp => report.gave_up.push(key),
        }
    }
    report
}

/// Checks one key's history. The operations may be in any order; their keys are not looked at.
///
/// # Panics
/// When an operation returns before it is called.
pub fn check_key<K, V: Eq + Hash + Clone>(
    history: &[Operation<K, V>],
    steps_max: usize,
) -> Verdict<V> {
    search::Search::new(history).run(steps_max)
}
