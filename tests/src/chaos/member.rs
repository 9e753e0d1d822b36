//! One worker of a fleet: its process, and what has been done to it.

use std::time::Instant;

use firn_wire::ids::WorkerId;

use crate::process::Process;

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It was started and has not said that it is ready.
    Starting,
    /// It runs.
    Up,
    /// It was sent SIGSTOP.
    Stopped,
    /// It was killed, and is started again then.
    Dead(Instant),
    /// It was sent SIGTERM, and is started again when it has ended.
    Leaving,
    /// It gives away all it has, by the operator's order.
    Draining(Afterwards),
    /// It has given away all it had, and was sent SIGTERM.
    Retiring(Afterwards),
}

/// What becomes of a worker that was drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// It is started again.
    Return,
    /// It stays away.
    StayAway,
}

/// See the module's page.
#[derive(Debug)]
pub struct Member {
    /// Its process.
    pub process: Process,
    /// Where it stands.
    pub condition: Condition,
    /// Since when.
    pub since: Instant,
    /// Its run, or the last one it had while it starts. None: it never ran.
    pub run: Option<WorkerId>,
}

impl Member {
    /// One that was just started.
    pub fn starting(process: Process) -> Self {
        Self { process, condition: Condition::Starting, since: Instant::now(), run: None }
    }

    /// Changes where it stands.
    pub fn become_(&mut self, condition: Condition) {
        self.condition = condition;
        self.since = Instant::now();
    }

    /// Looks whether a worker that starts is ready; then its run is known.
    pub fn is_ready(&mut self) -> bool {
        let last = self.process.has_addresses().then(|| last_run(&self.process.log())).flatten();
        let is_new = last.is_some() && last != self.run;
        if is_new {
            self.run = last;
        }
        is_new
    }

    /// Whether it takes connections of clients, be it that it does not answer them.
    pub fn is_reachable(&self) -> bool {
        !matches!(self.condition, Condition::Starting | Condition::Dead(_))
    }
}

/// The last run a log tells of: `worker NAME@INCARNATION with N shards`.
fn last_run(log: &str) -> Option<WorkerId> {
    let says = |line: &str| line.split_once("worker ")?.1.split_once(" with ")?.0.parse().ok();
    log.lines().rev().find_map(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_the_one_that_counts() {
        let line = |run: u8| {
            format!("[2026 INFO  firn_worker::process] worker w1@{run:016x} with 4 shards: {{}}\n")
        };
        let log = format!("{}{}the worker w1 with nothing\n", line(1), line(10));
        assert_eq!(last_run(&log).unwrap().to_string(), "w1@000000000000000a");
        assert_eq!(last_run("nothing yet"), None);
    }
}
