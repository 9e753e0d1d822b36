//! What the network does to what goes from one process to another: plain data, and who is told when it changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

/// The name of a process: a worker's, or [`UPLINK`].
pub type Name = Arc<str>;

/// What the uplink is called.
pub const UPLINK: &str = "uplink";

/// What happens to bytes on their way from one process to another. The default: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// They wait, as packets that are lost and sent again do.
    pub hold: bool,
    /// New connections in this direction are closed as soon as they are made.
    pub refuse: bool,
    /// How long they are on their way.
    pub delay: Duration,
    /// How many pass in a second; None: as many as come.
    pub bytes_per_second: Option<u32>,
    /// The answer to a proposal (`POST /v1/map/changes`) is lost with its connection, after the proposal has passed: the
    /// ambiguous compare-and-set.
    pub lose_verdicts: bool,
}

/// The rules of a network.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// By (from, to); none is the default.
    directed: BTreeMap<(Name, Name), Rule>,
    /// How often the connections between two were broken; the lesser name first.
    breaks: BTreeMap<(Name, Name), u64>,
}

fn pair(one: &Name, other: &Name) -> (Name, Name) {
    if one < other { (one.clone(), other.clone()) } else { (other.clone(), one.clone()) }
}

impl Rules {
    pub(super) fn rule(&self, from: &Name, to: &Name) -> Rule {
        self.directed.get(&(from.clone(), to.clone())).cloned().unwrap_or_default()
    }

    pub(super) fn holds(&self, from: &Name, to: &Name) -> bool {
        self.directed.get(&(from.clone(), to.clone())).is_some_and(|rule| rule.hold)
    }

    pub(super) fn breaks(&self, one: &Name, other: &Name) -> u64 {
        self.breaks.get(&pair(one, other)).copied().unwrap_or(0)
    }
}

/// Bytes that have arrived, by (from, to).
pub(super) type Carried = Arc<Mutex<BTreeMap<(Name, Name), u64>>>;

/// The rules in force, shared with every connection.
#[derive(Debug, Clone)]
pub(super) struct Ruling(Arc<watch::Sender<Rules>>);

impl Default for Ruling {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Rules::default())))
    }
}

impl Ruling {
    /// Tells of changes.
    pub(super) fn follow(&self) -> watch::Receiver<Rules> {
        self.0.subscribe()
    }

    pub(super) fn set(&self, from: &Name, to: &Name, rule: Rule) {
        let direction = (from.clone(), to.clone());
        self.0.send_modify(|rules| match rule == Rule::default() {
            true => drop(rules.directed.remove(&direction)),
            false => drop(rules.directed.insert(direction, rule)),
        });
    }

    pub(super) fn break_between(&self, one: &Name, other: &Name) {
        self.0.send_modify(|rules| *rules.breaks.entry(pair(one, other)).or_default() += 1);
    }

    pub(super) fn clear(&self) {
        self.0.send_modify(|rules| rules.directed.clear());
    }
}
