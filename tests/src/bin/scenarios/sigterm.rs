//! SIGTERM of a worker under load: how long until it has ended, and that nobody misses it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::Cluster;

use crate::load::{Load, Pace};
use crate::report::Goal;
use crate::scene::Scene;
use crate::spread::Spread;

const WORKERS: usize = 3;
/// The worker that is told to stop.
const LEAVER: usize = WORKERS - 1;

/// SIGTERM of one of three workers under load, again and again
#[derive(Debug, Args)]
pub(crate) struct Sigterm {
    /// How often
    #[arg(long, default_value_t = 10)]
    times: usize,
    /// Keys
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Operations a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Once, with few keys
    #[arg(long)]
    short: bool,
}

impl Sigterm {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.times, self.keys, self.rate) = (1, 5_000, 500);
        }
        let mut scene = Scene::start("sigterm", Cluster::builder(WORKERS), self.keys);
        let mut load = scene.load(&scene.doors[..LEAVER], Pace::mixed(self.rate));
        let gone: Vec<_> = (0..self.times).map(|_| leave(&mut scene, &mut load)).collect();
        let (tally, _) = load.end();
        let gone = Spread::of_seconds(gone);
        scene.report.figure("it has ended after", &gone);
        scene.report.goal("the longest in s", gone.max(), Goal::AtMost(2.0));
        scene.no_violations(&tally);
        scene.end(self.short)
    }
}

/// Ends the worker and starts it again.
fn leave(scene: &mut Scene, load: &mut Load) -> Duration {
    let led = scene.site.leads(LEAVER);
    load.take();
    let start = Instant::now();
    let status = scene.site.cluster.worker_mut(LEAVER).terminate();
    let gone = start.elapsed();
    scene.report.must(status.success(), format_args!("it ended with {status}"));
    let started = Instant::now();
    scene.site.cluster.worker_mut(LEAVER).restart();
    scene.site.wait_whole();
    let (tally, time) = load.take();
    scene.report.say(format_args!(
        "led {led} partitions, gone after {gone:.2?}; whole {:.2?} after its start; {}",
        started.elapsed(),
        tally.line(time)
    ));
    scene.no_violations(&tally);
    scene.no_failures(&tally);
    gone
}
