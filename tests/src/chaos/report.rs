//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::history::{Key, Value};
use crate::linearizability;

/// What came of a run. `Display` is its summary.
#[derive(Debug)]
pub struct Report {
    /// What it was drawn from.
    pub seed: u64,
    /// How long clients asked.
    pub time: Duration,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What clients did not get, by reason.
    pub troubles: BTreeMap<String, u64>,
    /// Operations of unknown fate.
    pub unknown: u64,
    /// The judgement of the histories.
    pub verdict: linearizability::Report<Key, Value>,
    /// Workers that ended by themselves, or not as they should.
    pub mishaps: Vec<String>,
    /// How long after the last fault `firn status` was well; None: not in time.
    pub well_after: Option<Duration>,
    /// What `firn status` said at the end.
    pub status: String,
    /// Keys and workers that were not read and written at the end.
    pub unserved: Vec<String>,
}

impl Report {
    /// Whether everything was as it must be.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean()
            && self.mishaps.is_empty()
            && self.well_after.is_some()
            && self.unserved.is_empty()
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.verdict.operations as f64 / self.time.as_secs_f64()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        writeln!(
            f,
            "seed {}: {} operations on {} keys in {:.0?}, {:.0} a second; {} of unknown fate",
            self.seed,
            verdict.operations,
            verdict.keys,
            self.time,
            self.rate(),
            self.unknown
        )?;
        let faults: u64 = self.faults.values().sum();
        writeln!(f, "{faults} faults of {} kinds", self.faults.len())?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {count:6} {kind}")?;
        }
        let troubles: u64 = self.troubles.values().sum();
        writeln!(f, "{troubles} operations without an answer to the question")?;
        for (reason, count) in &self.troubles {
            writeln!(f, "  {count:6} {reason}")?;
        }
        match self.well_after {
            Some(time) => writeln!(f, "well {time:.1?} after the last fault: {}", self.status)?,
            None => writeln!(f, "NOT WELL: {}", self.status)?,
        }
        self.mishaps.iter().try_for_each(|mishap| writeln!(f, "MISHAP: {mishap}"))?;
        for unserved in self.unserved.iter().take(10) {
            writeln!(f, "NOT SERVED: {unserved}")?;
        }
        for violation in &verdict.violations {
            writeln!(f, "VIOLATION: key {}: {:?}", violation.key, violation.stuck)?;
        }
        write!(
            f,
            "{} violations, gave up on {} keys, {} mishaps, {} not served",
            verdict.violations.len(),
            verdict.gave_up.len(),
            self.mishaps.len(),
            self.unserved.len()
        )
    }
}
