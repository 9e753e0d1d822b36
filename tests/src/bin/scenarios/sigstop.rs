//! A worker that stands still (SIGSTOP) for a random time under load, again and again: nothing lost, nothing stale.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::{Choices, Cluster};

use crate::load::{Load, Pace};
use crate::scene::Scene;
use crate::site::reigns;

const WORKERS: usize = 3;
const SHORTEST_S: f64 = 0.1;
/// The steps between the shortest and the longest time.
const STEPS: u64 = 1_000;

/// SIGSTOP of a worker for a random time, SIGCONT, again and again
#[derive(Debug, Args)]
pub(crate) struct Sigstop {
    /// How often
    #[arg(long, default_value_t = 50)]
    times: usize,
    /// The longest it stands still, in seconds; the shortest is 0.1
    #[arg(long, default_value_t = 60.0)]
    longest: f64,
    /// Keys
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Operations a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// What times and workers are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Twice for up to 5 seconds, with few keys
    #[arg(long)]
    short: bool,
}

impl Sigstop {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.times, self.longest, self.keys, self.rate) = (2, 5.0, 5_000, 500);
        }
        let mut choices = Choices(self.seed);
        let mut scene = Scene::start("sigstop", Cluster::builder(WORKERS), self.keys);
        let mut load = scene.load(&scene.doors, Pace::mixed(self.rate));
        for number in 1..=self.times {
            let victim = choices.below(WORKERS as u64) as usize;
            let time = self.time(&mut choices);
            stop(&mut scene, &mut load, number, victim, time);
        }
        let (tally, _) = load.end();
        scene.no_violations(&tally);
        scene.end(self.short)
    }

    /// As many short times as long ones: each tenfold is as likely as the next.
    fn time(&self, choices: &mut Choices) -> Duration {
        let share = choices.below(STEPS + 1) as f64 / STEPS as f64;
        Duration::from_secs_f64(SHORTEST_S * (self.longest / SHORTEST_S).powf(share))
    }
}

fn stop(scene: &mut Scene, load: &mut Load, number: usize, victim: usize, time: Duration) {
    let before = reigns(&scene.site.map());
    scene.site.cluster.worker(victim).signal("STOP");
    thread::sleep(time);
    scene.site.cluster.worker(victim).signal("CONT");
    let start = Instant::now();
    scene.site.wait_whole();
    let changes = reigns(&scene.site.map()) - before;
    let (tally, _) = load.take();
    scene.report.say(format_args!(
        "{number:2}: w{} stood still for {time:.1?}, whole {:.2?} later; {changes} changes of primary; {} answers, {:?}",
        victim + 1,
        start.elapsed(),
        tally.count(),
        tally.failures
    ));
    scene.no_violations(&tally);
}
