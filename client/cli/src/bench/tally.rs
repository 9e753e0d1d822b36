//! What a run has measured, and how it is told.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::Action;
use super::speech::Answer;
use crate::exit::{Exit, Problem};
use crate::output;

/// Latencies are kept in nanoseconds to three digits.
const DIGITS: u8 = 3;

/// Counts and latencies of one connection, or of all.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    gets: Histogram<u64>,
    puts: Histogram<u64>,
    /// Reads of keys that were not there.
    pub(crate) missing: u64,
    /// Requests the server refused.
    pub(crate) refused: u64,
    /// Requests without an answer; their wait until we gave up is in the latencies, so that leaving does not flatter.
    pub(crate) unanswered: u64,
    /// The first thing that went wrong, in words.
    pub(crate) trouble: Option<String>,
}

impl Default for Tally {
    fn default() -> Self {
        let empty = || Histogram::new(DIGITS).expect("three digits are within 0 to 5");
        let (gets, puts) = (empty(), empty());
        Self { gets, puts, missing: 0, refused: 0, unanswered: 0, trouble: None }
    }
}

impl Tally {
    /// Notes an answer and how long it took.
    pub(crate) fn answered(&mut self, action: Action, answer: Answer, took: Duration) {
        self.record(action, took);
        match (action, answer) {
            (_, Answer::Done) => {}
            (Action::Get(_), Answer::Missing) => self.missing += 1,
            (Action::Put(_), Answer::Missing) => self.refuse("there is no such table".to_owned()),
            (_, Answer::Refused(words)) => self.refuse(words),
        }
    }

    /// Notes that an answer did not come for as long as we waited.
    pub(crate) fn unanswered(&mut self, action: Action, waited: Duration) {
        self.record(action, waited);
        self.unanswered += 1;
    }

    /// Notes what went wrong, if it is the first.
    pub(crate) fn note(&mut self, trouble: String) {
        self.trouble.get_or_insert(trouble);
    }

    fn refuse(&mut self, words: String) {
        self.refused += 1;
        self.note(words);
    }

    fn record(&mut self, action: Action, took: Duration) {
        let latencies = match action {
            Action::Get(_) => &mut self.gets,
            Action::Put(_) => &mut self.puts,
        };
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        latencies.record(took_ns).expect("a histogram that resizes takes any number");
    }

    /// Takes another's counts in.
    pub(crate) fn add(&mut self, other: Self) {
        let fits = "a histogram that resizes takes any other";
        self.gets.add(&other.gets).expect(fits);
        self.puts.add(&other.puts).expect(fits);
        self.missing += other.missing;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        if let Some(trouble) = other.trouble {
            self.note(trouble);
        }
    }

    /// Whether every request was answered and none refused.
    pub(crate) fn verdict(&self) -> Result<(), Problem> {
        let Self { refused, unanswered, .. } = self;
        let exit = match (refused, unanswered) {
            (0, 0) if self.trouble.is_none() => return Ok(()),
            (_, 0) => Exit::Refused,
            _ => Exit::Unreachable,
        };
        let first = self.trouble.as_deref().unwrap_or("answers came too late");
        let counts = format!("{refused} refused, {unanswered} unanswered");
        Err(Problem::new(exit, format_args!("not every request was done ({counts}): {first}")))
    }

    /// Sums it up for a run that took `elapsed`.
    pub(crate) fn report(self, run: Setup, elapsed: Duration) -> Report {
        let mut all = self.gets.clone();
        all.add(&self.puts).expect("a histogram that resizes takes any other");
        let answered = all.len() - self.unanswered;
        Report {
            setup: run,
            elapsed_s: elapsed.as_secs_f64(),
            answered,
            per_second: answered as f64 / elapsed.as_secs_f64().max(1e-9),
            missing: self.missing,
            refused: self.refused,
            unanswered: self.unanswered,
            trouble: self.trouble,
            all: Latencies::of(&all),
            get: Latencies::of(&self.gets),
            put: Latencies::of(&self.puts),
        }
    }
}

/// What a run was asked to do; part of its report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Setup {
    /// `http` or `resp`.
    pub(crate) protocol: String,
    /// Where to.
    pub(crate) targets: Vec<String>,
    /// Connections, spread over the targets by turns.
    pub(crate) connections: u64,
    /// Requests a connection may have under way.
    pub(crate) pipeline: usize,
    /// Intended requests a second of all connections; None is a closed loop.
    pub(crate) rate: Option<f64>,
    /// Bytes of each value.
    pub(crate) value_bytes: u64,
    /// Distinct keys.
    pub(crate) keys: u64,
    /// The share of reads.
    pub(crate) ratio: f64,
    /// What the keys and the mix are drawn from.
    pub(crate) seed: u64,
}

/// A run in figures. Its JSON is the output of `firn bench --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    setup: Setup,
    elapsed_s: f64,
    answered: u64,
    per_second: f64,
    missing: u64,
    refused: u64,
    unanswered: u64,
    trouble: Option<String>,
    all: Option<Latencies>,
    get: Option<Latencies>,
    put: Option<Latencies>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Latencies {
    count: u64,
    min_us: f64,
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    p9999_us: f64,
    max_us: f64,
}

impl Latencies {
    /// None where there is none.
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let us = |ns: u64| ns as f64 / 1_000.0;
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            min_us: us(histogram.min()),
            mean_us: histogram.mean() / 1_000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: us(histogram.max()),
        })
    }

    fn row(&self, name: &str) -> [String; 9] {
        let us = |us: f64| format!("{us:.1}");
        [
            name.to_owned(),
            self.count.to_string(),
            us(self.mean_us),
            us(self.p50_us),
            us(self.p90_us),
            us(self.p99_us),
            us(self.p999_us),
            us(self.p9999_us),
            us(self.max_us),
        ]
    }
}

impl Report {
    /// Writes it for people.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Setup { protocol, connections, pipeline, .. } = &self.setup;
        let pace = match self.setup.rate {
            None => "closed loop, latencies from sending".to_owned(),
            Some(rate) => {
                format!("open loop at {rate:.0} a second, latencies from the intended start")
            }
        };
        writeln!(out, "{protocol}, {connections} connections, pipeline {pipeline}, {pace}")?;
        writeln!(
            out,
            "{:.0} a second: {} answers in {:.2} s; {} missing, {} refused, {} unanswered",
            self.per_second,
            self.answered,
            self.elapsed_s,
            self.missing,
            self.refused,
            self.unanswered
        )?;
        writeln!(out, "latency in microseconds:\n{}", self.latencies())
    }

    fn latencies(&self) -> String {
        let rows = [("get", self.get), ("put", self.put), ("all", self.all)];
        let rows = rows.into_iter().filter_map(|(name, latencies)| Some(latencies?.row(name)));
        let header = ["", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
        output::columns(header, rows, 1..header.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        Setup {
            protocol: "resp".into(),
            targets: vec!["127.0.0.1:1".into()],
            connections: 2,
            pipeline: 1,
            rate: Some(100.0),
            value_bytes: 64,
            keys: 10,
            ratio: 0.5,
            seed: 1,
        }
    }

    #[test]
    fn figures_come_from_all_that_was_noted() {
        let ms = Duration::from_millis;
        let mut tally = Tally::default();
        for n in 1..=99 {
            tally.answered(Action::Get(n), Answer::Done, ms(1));
        }
        tally.answered(Action::Get(0), Answer::Missing, ms(100));
        let mut other = Tally::default();
        other.answered(Action::Put(0), Answer::Refused("full".into()), ms(2));
        other.unanswered(Action::Put(1), ms(5_000));
        tally.add(other);

        let problem = tally.verdict().unwrap_err();
        assert_eq!(problem.exit, Exit::Unreachable, "the worst that happened");
        assert!(problem.to_string().ends_with("(1 refused, 1 unanswered): full"), "{problem}");
        let report = tally.report(setup(), Duration::from_secs(2));
        assert_eq!((report.answered, report.missing, report.refused), (101, 1, 1));
        assert_eq!((report.unanswered, report.trouble.as_deref()), (1, Some("full")));
        assert!((report.per_second - 50.5).abs() < 1e-9);
        let (get, put) = (report.get.unwrap(), report.put.unwrap());
        assert_eq!((get.count, put.count), (100, 2));
        let near = |got: f64, want: f64| (got - want).abs() <= want / 500.0;
        assert!(near(get.p99_us, 1_000.0) && near(get.p999_us, 100_000.0), "{get:?}");
        assert!(near(put.max_us, 5_000_000.0), "{put:?}");
    }

    #[test]
    fn a_report_reads_well_and_is_json() {
        let mut tally = Tally::default();
        tally.answered(Action::Put(0), Answer::Done, Duration::from_micros(7));
        assert_eq!(tally.verdict(), Ok(()));
        let report = tally.report(setup(), Duration::from_secs(1));
        let mut text = Vec::new();
        report.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("resp, 2 connections, pipeline 1, open loop at 100 a second"));
        assert!(text.contains("p99.99") && !text.contains("get"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["keys"], &json["answered"]), (&10.into(), &1.into()));
        assert!(json["get"].is_null() && json["put"]["p50_us"].is_number(), "{json}");
    }
}
