//! A fourth worker, sticky placement, one copy, unthrottled: how long a quarter of the keys takes to move.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::{Cluster, wait_until};

use crate::load::Pace;
use crate::report::Goal;
use crate::scene::Scene;
use crate::site::WHOLE_PATIENCE;
use crate::spread::Spread;
use crate::watch::{Look, Watch};

const WORKERS: usize = 3;
const PARTITIONS: u64 = 1024;
/// What the fourth worker is to lead.
const SHARE: u64 = PARTITIONS / (WORKERS as u64 + 1);

/// A fourth worker takes a quarter of all keys over, unthrottled
#[derive(Debug, Args)]
pub(crate) struct Sticky {
    /// How often, each time with a new cluster
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u32,
    /// Operations a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Once, with few keys
    #[arg(long)]
    short: bool,
}

/// How one movement went.
#[derive(Debug)]
struct Moved {
    took: Duration,
    max_ms: f64,
    exit: ExitCode,
}

impl Sticky {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.times, self.keys, self.rate) = (1, 20_000, 500);
        }
        let rounds: Vec<Moved> = (0..self.times).map(|_| self.round()).collect();
        let mut report = crate::report::Report::new("sticky");
        let took = Spread::of_seconds(rounds.iter().map(|round| round.took));
        report.figure("a quarter of the keys has moved after", &took);
        report.goal("the longest in s", took.max(), Goal::AtMost(1.5));
        let max = Spread::of_numbers("ms", rounds.iter().map(|round| round.max_ms));
        report.figure("the slowest request of a client", &max);
        report.goal("the slowest of all in ms", max.max(), Goal::AtMost(100.0));
        let broken = rounds.iter().find(|round| round.exit != ExitCode::SUCCESS);
        broken.map_or_else(|| report.verdict(self.short), |round| round.exit)
    }

    fn round(&self) -> Moved {
        let cluster = Cluster::builder(WORKERS)
            .env("COPIES", 1)
            .env("PLACEMENT", "sticky")
            .env("COPY_RATE", 0)
            .env("PARTITIONS", PARTITIONS);
        let mut scene = Scene::start("sticky", cluster, self.keys);
        let mut load = scene.load(&scene.doors, Pace::mixed(self.rate));
        std::thread::sleep(Duration::from_secs(2)); // what the quiet cluster answers is a figure too
        let (quiet, time) = load.take();
        scene.report.say(format_args!("quiet: {}", quiet.line(time)));

        let started = Instant::now();
        let watch = Watch::start(scene.site.cluster.uplink().http(), "w4");
        scene.site.cluster.add_worker();
        wait_until("the fourth worker leads its share", WHOLE_PATIENCE, || {
            watch.last().filter(|look| look.leads >= SHARE && look.moving == 0)
        });
        let (mut tally, time) = load.take();
        let looks = watch.end();
        let (first, took) = movement(&looks);
        scene.report.say(format_args!(
            "w4 began {:.2?} after its start, led {SHARE} partitions {took:.2?} later; meanwhile {}",
            first - started,
            tally.line(time)
        ));
        let max_ms = tally.milliseconds(1.0);
        tally.add(load.end().0);
        scene.no_violations(&tally);
        scene.no_failures(&tally);
        Moved { took, max_ms, exit: scene.end(self.short) }
    }
}

/// When something began to move, and how long it took until the watched worker led its share.
fn movement(looks: &[Look]) -> (Instant, Duration) {
    let first = looks.iter().find(|look| look.moving > 0).or(looks.first());
    let last = looks.iter().find(|look| look.leads >= SHARE).or(looks.last());
    let (first, last) = (first.expect("it was watched").at, last.expect("likewise").at);
    (first, last.saturating_duration_since(first))
}
