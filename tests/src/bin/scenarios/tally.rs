//! What clients were told, counted.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// What clients were told, counted, and how long it took.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Microseconds from when a request was due to its answer.
    latencies: Histogram<u64>,
    /// Requests without the answer asked for, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Answers that cannot be.
    pub(crate) violations: Vec<String>,
}

impl Default for Tally {
    fn default() -> Self {
        let latencies = Histogram::new(3).expect("3 digits are allowed");
        Self { latencies, failures: BTreeMap::new(), violations: Vec::new() }
    }
}

impl Tally {
    /// Notes an answer.
    pub(crate) fn answered(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).expect("a run ends within centuries");
        self.latencies.record(micros.max(1)).expect("it resizes");
    }

    /// Notes a request without the answer asked for.
    pub(crate) fn failed(&mut self, reason: String) {
        *self.failures.entry(reason).or_default() += 1;
    }

    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies).expect("it resizes");
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        self.violations.extend(other.violations);
    }

    /// Requests that were answered.
    pub(crate) fn count(&self) -> u64 {
        self.latencies.len()
    }

    /// Requests that were not.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The failures, a line each.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.failures.iter().map(|(reason, count)| format!("{count} × {reason}")).collect()
    }

    /// Milliseconds that `share` of all answers did not exceed.
    pub(crate) fn milliseconds(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64 / 1000.0
    }

    /// One line of it, for traffic of this long.
    pub(crate) fn line(&self, time: Duration) -> String {
        let ms = |share| self.milliseconds(share);
        let rate = self.count() as f64 / time.as_secs_f64();
        format!(
            "{} answers in {:.1} s, {rate:.0} a second; p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.1} ms; {} failed",
            self.count(),
            time.as_secs_f64(),
            ms(0.5),
            ms(0.99),
            ms(0.999),
            ms(1.0),
            self.failures()
        )
    }
}
