//! The uplink away for a while under traffic: every request is answered, and nobody takes over from anybody.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::Cluster;

use crate::load::Pace;
use crate::scene::Scene;
use crate::site::reigns;

const WORKERS: usize = 3;
/// How long the traffic goes on after the uplink is back.
const AFTER: Duration = Duration::from_secs(5);
/// How often it says how it goes.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The uplink killed, traffic, the uplink back
#[derive(Debug, Args)]
pub(crate) struct UplinkDown {
    /// How long it is away
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Keys
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Operations a second
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// For 5 seconds, with few keys
    #[arg(long)]
    short: bool,
}

impl UplinkDown {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.minutes, self.keys, self.rate) = (5.0 / 60.0, 5_000, 500);
        }
        let mut scene = Scene::start("uplink-down", Cluster::builder(WORKERS).data(), self.keys);
        let before = reigns(&scene.site.map());
        let mut load = scene.load(&scene.doors, Pace::mixed(self.rate));
        scene.site.cluster.uplink_mut().kill();
        let end = Instant::now() + Duration::from_secs_f64(self.minutes * 60.0);
        while Instant::now() < end {
            thread::sleep(SAY_EVERY.min(end.saturating_duration_since(Instant::now())));
            let (tally, time) = load.take();
            scene.report.say(format_args!("away: {}", tally.line(time)));
            scene.no_violations(&tally);
            scene.no_failures(&tally);
        }
        let start = Instant::now();
        scene.site.cluster.uplink_mut().restart();
        let whole = start.elapsed() + scene.site.wait_whole();
        thread::sleep(AFTER);
        let (tally, time) = load.end();
        scene.report.say(format_args!("back, whole after {whole:.2?}: {}", tally.line(time)));
        scene.no_violations(&tally);
        scene.no_failures(&tally);
        let changes = reigns(&scene.site.map()) - before;
        scene.report.none_of("false failovers", changes, &[]);
        scene.end(self.short)
    }
}
