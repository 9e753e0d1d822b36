//! What a scenario says while it runs, and what came of it.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use crate::spread::Spread;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Not above this.
    AtMost(f64),
    /// Not below this.
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn sign(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
        }
    }
}

/// One scenario's lines, each printed at once, and its verdict.
#[derive(Debug)]
pub(crate) struct Report {
    name: &'static str,
    /// What must not be and was.
    broken: Vec<String>,
    /// Figures that were not as they should be.
    missed: Vec<String>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, broken: Vec::new(), missed: Vec::new() }
    }

    /// Prints a line.
    pub(crate) fn say(&self, text: impl Display) {
        // A reader that has gone away is no reason to stop.
        drop(writeln!(std::io::stdout(), "{:<11} {text}", self.name));
    }

    /// Prints how a figure spreads.
    pub(crate) fn figure(&self, what: &str, spread: &Spread) {
        self.say(format_args!("{what}: {spread}"));
    }

    /// Compares a figure with its goal. Missing it does not make a run fail.
    pub(crate) fn goal(&mut self, what: &str, value: f64, goal: Goal) {
        let met = goal.is_met(value);
        let word = if met { "met" } else { "MISSED" };
        self.say(format_args!("{what} {value:.2}, goal {}: {word}", goal.sign()));
        if !met {
            self.missed.push(what.to_owned());
        }
    }

    /// Counts something that must not be; `examples` are shown when it is.
    pub(crate) fn none_of(&mut self, what: &str, count: u64, examples: &[String]) {
        if count == 0 {
            self.say(format_args!("{what}: 0"));
        } else {
            self.say(format_args!("WRONG: {what}: {count}"));
            self.broken.push(format!("{count} {what}"));
            examples.iter().take(10).for_each(|example| self.say(format_args!("  {example}")));
        }
    }

    /// Notes something that must be.
    pub(crate) fn must(&mut self, holds: bool, what: impl Display) {
        if !holds {
            self.say(format_args!("WRONG: {what}"));
            self.broken.push(what.to_string());
        }
    }

    /// Prints the verdict and gives it as an exit code: 1 when something was lost or failed that must not, 3 when only a
    /// figure missed its goal. `short` forms are too short for goals.
    pub(crate) fn verdict(&self, short: bool) -> ExitCode {
        match (self.broken.is_empty(), self.missed.is_empty()) {
            (false, _) => self.say(format_args!("FAILED: {}", self.broken.join("; "))),
            (true, false) => self.say(format_args!("missed: {}", self.missed.join("; "))),
            (true, true) => self.say("ok"),
        }
        match (self.broken.is_empty(), self.missed.is_empty() || short) {
            (false, _) => ExitCode::FAILURE,
            (true, false) => ExitCode::from(3),
            (true, true) => ExitCode::SUCCESS,
        }
    }

    /// Whether something was lost or failed that must not.
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}
