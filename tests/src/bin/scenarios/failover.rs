//! kill -9 of a worker under load: until all of its partitions take writes again, and until it is in sync again.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::Cluster;
use firn_wire::map::PartitionRow;

use crate::load::{Load, Pace};
use crate::probe::{self, Served, until_served};
use crate::report::{Goal, Report};
use crate::scene::Scene;
use crate::site::{Site, numbers};
use crate::spread::Spread;
use crate::talk::Talk;

const WORKERS: usize = 3;

/// kill -9 of a worker under load, again and again
#[derive(Debug, Args)]
pub(crate) struct Failover {
    /// How often
    #[arg(long, default_value_t = 30)]
    times: usize,
    /// With the fast profile: LEASE=800ms GRANT=1s
    #[arg(long)]
    fast: bool,
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

/// Times since a kill until all of some partitions took writes.
#[derive(Debug)]
struct Round {
    /// Those the killed worker led.
    led: Duration,
    /// Those it had a copy of.
    backed: Duration,
    /// Those it had nothing of.
    others: Duration,
    /// From its start until it was in sync everywhere.
    back: Duration,
}

impl Failover {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.times, self.keys, self.rate) = (1, 5_000, 500);
        }
        let name = if self.fast { "failover-f" } else { "failover" };
        let mut scene = Scene::start(name, self.cluster(), self.keys);
        let mut load = scene.load(&scene.doors, Pace::mixed(self.rate));
        let rounds: Vec<Round> =
            (0..self.times).map(|number| round(&mut scene, number, &mut load)).collect();
        self.figures(&rounds, &mut scene.report);
        scene.no_violations(&load.end().0);
        scene.end(self.short)
    }

    fn cluster(&self) -> firn_tests::ClusterBuilder {
        let builder = Cluster::builder(WORKERS);
        if self.fast { builder.env("LEASE", "800ms").env("GRANT", "1s") } else { builder }
    }

    fn figures(&self, rounds: &[Round], report: &mut Report) {
        let of = |figure: fn(&Round) -> Duration| Spread::of_seconds(rounds.iter().map(figure));
        let led = of(|round| round.led);
        report.figure("partitions it led take writes again", &led);
        report.figure("partitions it backed", &of(|round| round.backed));
        report.figure("all others", &of(|round| round.others));
        report.figure("in sync again after its start", &of(|round| round.back));
        let most = if self.fast { 1.3 } else { 3.0 };
        report.goal("the longest failover in s", led.max(), Goal::AtMost(most));
    }
}

fn round(scene: &mut Scene, number: usize, load: &mut Load) -> Round {
    let site = &mut scene.site;
    let victim = number % WORKERS;
    let door = site.cluster.worker((number + 1) % WORKERS).resp();
    let (killed, served) = kill(site, victim, door);
    let started = Instant::now();
    site.cluster.worker_mut(victim).restart();
    site.wait_whole();
    let [led, backed, others] = served.map(|served| served.at - killed);
    let round = Round { led, backed, others, back: started.elapsed() };
    let failed = served.map(|served| served.failed);
    let (tally, _) = load.take();
    scene.no_violations(&tally);
    scene.report.say(format_args!(
        "{:2}: w{} killed; led {led:.2?}, backed {backed:.2?}, others {others:.2?} (retried {failed:?}); \
         in sync {:.2?} after its start; clients: {} answers, {:?}",
        number + 1,
        victim + 1,
        round.back,
        tally.count(),
        tally.failures,
    ));
    round
}

/// Kills a worker, and asks its partitions, those it backs and all others through a door of another.
fn kill(site: &mut Site, victim: usize, door: SocketAddr) -> (Instant, [Served; 3]) {
    let map = site.map();
    let name = site.cluster.worker(victim).name().to_owned();
    let leads =
        |row: &PartitionRow| row.primary.as_ref().is_some_and(|id| id.name.as_str() == name);
    let has = |row: &PartitionRow| row.isr.iter().any(|id| id.name.as_str() == name);
    let kinds = [
        numbers(&map, leads),
        numbers(&map, |row| has(row) && !leads(row)),
        numbers(&map, |row| !has(row)),
    ];
    let keys = probe::keys(map.settings.partitions);
    let begin = Arc::new(Barrier::new(kinds.len() + 1));
    let probes = kinds.map(|numbers| {
        let keys = numbers.iter().map(|number| keys[usize::from(*number)].clone()).collect();
        let talk = Talk::connect(door).expect("another worker takes connections");
        let begin = Arc::clone(&begin);
        thread::spawn(move || {
            begin.wait();
            until_served(talk, door, keys)
        })
    });
    let killed = Instant::now();
    site.cluster.worker_mut(victim).kill();
    begin.wait();
    (killed, probes.map(|probe| probe.join().expect("what it panicked over is printed")))
}
