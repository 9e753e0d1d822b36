//! What the uplink counts, and how it is told (Prometheus text format 0.0.4).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use firn_wire::map::{Map, WorkerState};
use firn_wire::status::Status;

/// A number that grows, or a gauge.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Counts one more until the guard is dropped.
    pub fn during(&self) -> During<'_> {
        self.add(1);
        During(self)
    }
}

/// Something that goes on, counted.
#[derive(Debug)]
pub struct During<'a>(&'a Count);

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Events handed to the registry.
    pub events: Count,
    /// Changes of the store.
    pub commits: Count,
    /// Time they took, in microseconds.
    pub commit_micros: Count,
    /// Requests without a good signature.
    pub unsigned: Count,
    /// Proposals that were applied.
    pub proposals_applied: Count,
    /// Proposals that were refused.
    pub proposals_refused: Count,
    /// Partitions that were started again by themselves, without a copy.
    pub rehomed: Count,
    /// Partitions that were started again empty, since no copy had kept anything.
    pub emptied: Count,
    /// Requests that wait for a newer map now.
    pub waiting: Count,
}

impl Metrics {
    /// All of it, with what the map says.
    pub fn text(&self, map: &Map) -> String {
        let status = Status::of(map);
        let state =
            |state: WorkerState| map.workers.iter().filter(|row| row.state == state).count() as u64;
        let mut text = String::new();
        let mut put = |kind: &str, name: &str, help: &str, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "# HELP firn_uplink_{name} {help}\n# TYPE firn_uplink_{name} {kind}\nfirn_uplink_{name} {value}\n"
            );
        };
        put("gauge", "map_generation", "Generation of the map's version.", &map.version.generation);
        put("gauge", "map_counter", "Counter of the map's version.", &map.version.counter);
        put("gauge", "workers_up", "Workers that beat.", &state(WorkerState::Up));
        put("gauge", "workers_leaving", "Workers that leave.", &state(WorkerState::Leaving));
        put(
            "gauge",
            "workers_draining",
            "Workers that are drained.",
            &state(WorkerState::Draining),
        );
        put("gauge", "workers_down", "Workers that are silent.", &state(WorkerState::Down));
        put("gauge", "tables", "Tables.", &map.tables.len());
        put("gauge", "partitions", "Partitions.", &map.partitions.len());
        put("gauge", "partitions_unserved", "Partitions nobody leads.", &status.unserved);
        let no_copy = "Partitions of which no in-sync copy is on a worker that beats.";
        put("gauge", "partitions_unavailable", no_copy, &status.unavailable);
        let one_copy = "Partitions on one copy that should have more.";
        put("gauge", "partitions_on_one_copy", one_copy, &status.single);
        let short = "Partitions with fewer copies than they should have.";
        put("gauge", "partitions_short_of_copies", short, &status.short);
        let moving = "Partitions not yet led and held by whom they should be.";
        put("gauge", "partitions_moving", moving, &status.moving);
        put(
            "gauge",
            "map_polls_waiting",
            "Requests that wait for a newer map.",
            &self.waiting.get(),
        );
        put("counter", "events_total", "Events handed to the registry.", &self.events.get());
        put("counter", "commits_total", "Changes of the store.", &self.commits.get());
        let applied = self.proposals_applied.get();
        put("counter", "proposals_applied_total", "Proposals that were applied.", &applied);
        let refused = self.proposals_refused.get();
        put("counter", "proposals_refused_total", "Proposals that were refused.", &refused);
        let rehomed = "Partitions started again without a copy, by themselves.";
        put("counter", "partitions_rehomed_total", rehomed, &self.rehomed.get());
        let emptied = "Partitions whose copies all restarted and had kept nothing.";
        put("counter", "partitions_emptied_total", emptied, &self.emptied.get());
        let seconds = self.commit_micros.get() as f64 / 1e6;
        put("counter", "commit_seconds_total", "Time the changes of the store took.", &seconds);
        put(
            "counter",
            "unsigned_total",
            "Requests without a good signature.",
            &self.unsigned.get(),
        );
        text
    }
}
