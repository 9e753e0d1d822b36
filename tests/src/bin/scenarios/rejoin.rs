//! A worker that stands still while much is written: how long until it is in sync again, and how much it is sent for that.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::sockets::Received;
use firn_tests::{Cluster, wait_until};

use crate::load::Pace;
use crate::report::Goal;
use crate::scene::Scene;
use crate::site::WHOLE_PATIENCE;
use crate::spread::Spread;
use crate::watch::Watch;

const WORKERS: usize = 3;
/// The worker that stands still.
const VICTIM: usize = WORKERS - 1;
/// How long the cost of a write is measured before.
const QUIET: Duration = Duration::from_secs(5);
/// Sent over what was missed: less than this is no snapshot.
const SURPLUS: f64 = 1.5;

/// SIGSTOP of a worker under many writes, SIGCONT, until it is in sync again
#[derive(Debug, Args)]
pub(crate) struct Rejoin {
    /// How long it stands still
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// How often
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Writes a second
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Keys: more than are written meanwhile
    #[arg(long, default_value_t = 2_000_000)]
    keys: u32,
    /// LOG_MEMORY of each worker
    #[arg(long, default_value = "256MiB")]
    log_memory: String,
    /// Once for 5 seconds, with few keys
    #[arg(long)]
    short: bool,
}

/// How one return went.
#[derive(Debug)]
struct Return {
    took: Duration,
    /// Bytes sent over bytes missed.
    surplus: f64,
}

impl Rejoin {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.seconds, self.times, self.rate, self.keys) = (5.0, 1, 1_000, 50_000);
        }
        let cluster = Cluster::builder(WORKERS)
            .env("LOG_MEMORY", &self.log_memory)
            // Whoever is away for longer is replaced, and what it has is of no use to anybody.
            .env("REPLACE_AFTER", "5m");
        let mut scene = Scene::start("rejoin", cluster, self.keys);
        let rounds: Vec<Return> = (0..self.times).map(|_| self.round(&mut scene)).collect();
        let took = Spread::of_seconds(rounds.iter().map(|round| round.took));
        scene.report.figure("in sync again after", &took);
        scene.report.goal("the longest in s", took.max(), Goal::AtMost(3.0));
        let surplus = Spread::of_numbers("", rounds.iter().map(|round| round.surplus));
        scene.report.figure("bytes sent over bytes missed", &surplus);
        scene.report.goal("the most", surplus.max(), Goal::AtMost(SURPLUS));
        scene.end(self.short)
    }

    fn round(&self, scene: &mut Scene) -> Return {
        let pace = Pace { clients: 100, per_second: self.rate, writes_percent: 100 };
        let mut load = scene.load(&scene.doors[..VICTIM], pace);
        let victim = scene.site.cluster.worker(VICTIM);
        let mut received = Received::at(victim.peer());
        thread::sleep(QUIET);
        let (tally, _) = load.take();
        let bytes_per_write = received.look() as f64 / tally.count() as f64;

        victim.signal("STOP");
        thread::sleep(Duration::from_secs_f64(self.seconds));
        let (away, _) = load.take();
        let watch = Watch::start(scene.site.cluster.uplink().http(), victim.name());
        let mut received = Received::at(victim.peer());
        victim.signal("CONT");
        let start = Instant::now();
        wait_until("it is in sync again", WHOLE_PATIENCE, || {
            watch.last().filter(|look| look.at > start && look.short == 0)
        });
        let took = start.elapsed();
        let sent = received.look() as f64;
        let (mut tally, time) = load.end();
        scene.site.wait_whole();

        let missed = (away.count() + tally.count()) as f64 * bytes_per_write;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        scene.report.say(format_args!(
            "{} writes while it stood still, then {}; in sync after {took:.2?}; {bytes_per_write:.0} B a write, \
             missed {:.0} MiB, sent {:.0} MiB",
            away.count(),
            tally.line(time),
            mib(missed),
            mib(sent)
        ));
        tally.add(away);
        scene.no_violations(&tally);
        Return { took, surplus: sent / missed }
    }
}
