//! How often what happened.

use std::collections::BTreeMap;
use std::fmt;

/// Counts of one run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations that were answered.
    pub answered: u64,
    /// Operations that were not done, and said so.
    pub not_done: u64,
    /// Operations of unknown fate.
    pub unknown: u64,
    /// Everything that happened.
    pub events: u64,
    /// Changes of a primary.
    pub reigns: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts a fault.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.not_done += other.not_done;
        self.unknown += other.unknown;
        self.events += other.events;
        self.reigns += other.reigns;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    /// All faults.
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, not_done, unknown, events, reigns, .. } = self;
        write!(
            f,
            "{answered} operations answered, {unknown} of unknown fate, {not_done} not done; {events} events, {reigns} \
             changes of a primary; {} faults",
            self.faults()
        )?;
        for (at, (kind, count)) in self.faults.iter().enumerate() {
            write!(f, "{} {count} {kind}", if at == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}
