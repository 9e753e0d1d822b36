//! Three workers, then four, then three under load: nothing lost, no error, and how much slower it is meanwhile.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::{Choices, Cluster, DEADLINE, wait_until};

use crate::load::{Load, Pace};
use crate::probe::{self, Probes};
use crate::report::Goal;
use crate::scene::Scene;
use crate::spread::Spread;
use crate::tally::Tally;

const WORKERS: usize = 3;
/// The worker that comes and goes.
const FOURTH: usize = WORKERS;

/// Three workers, then four, then three (drain) under load
#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// Keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u32,
    /// Operations a second
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// Partitions that are asked all the time, besides
    #[arg(long, default_value_t = 15)]
    probes: usize,
    /// Seconds before anything moves
    #[arg(long, default_value_t = 20.0)]
    quiet: f64,
    /// COPY_RATE of the cluster, bytes a second; the default without
    #[arg(long)]
    copy_rate: Option<String>,
    /// With 20,000 keys
    #[arg(long)]
    short: bool,
}

/// What clients and probes saw in one part of it.
#[derive(Debug)]
struct Part {
    tally: Tally,
    pauses: Vec<Duration>,
}

/// Everybody who asks.
#[derive(Debug)]
struct Askers {
    load: Load,
    probes: Probes,
}

impl Askers {
    /// What they saw since the last time; prints it.
    fn part(&mut self, scene: &Scene, what: &str, took: Duration) -> Part {
        let ((tally, time), pauses) = (self.load.take(), self.probes.take());
        scene.report.say(format_args!("{what} {took:.1?}: {}", tally.line(time)));
        let spread = Spread::of_milliseconds(pauses.iter().copied());
        scene.report.figure("  longest time between two answers of a partition", &spread);
        Part { tally, pauses }
    }
}

impl Resize {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.keys, self.rate, self.probes, self.quiet) = (20_000, 500, 10, 1.0);
        }
        let mut cluster = Cluster::builder(WORKERS);
        if let Some(rate) = &self.copy_rate {
            cluster = cluster.env("COPY_RATE", rate);
        }
        let mut scene = Scene::start("resize", cluster, self.keys);
        let mut askers = self.askers(&scene);
        std::thread::sleep(Duration::from_secs_f64(self.quiet));
        let quiet = askers.part(&scene, "quiet for", Duration::from_secs_f64(self.quiet));

        let start = Instant::now();
        scene.site.cluster.add_worker();
        // A newcomer has its seat after a second; until then the cluster is as whole as before.
        wait_until("the fourth worker leads something", DEADLINE, || {
            (scene.site.leads(FOURTH) > 0).then_some(())
        });
        scene.site.wait_whole();
        let growing = askers.part(&scene, "3 → 4 in", start.elapsed());
        std::thread::sleep(Duration::from_secs_f64(self.quiet));
        askers.part(&scene, "quiet with four for", Duration::from_secs_f64(self.quiet));

        let start = Instant::now();
        drain(&mut scene);
        let shrinking = askers.part(&scene, "4 → 3 in", start.elapsed());
        self.judge(&mut scene, askers, quiet, [growing, shrinking]);
        scene.site.wait_whole();
        scene.end(self.short)
    }

    fn askers(&self, scene: &Scene) -> Askers {
        let keys = probe::keys(scene.site.map().settings.partitions);
        // Drawn, since every eighth partition, say, would be on the same worker.
        let (mut choices, mut chosen) = (Choices(1), BTreeSet::new());
        while chosen.len() < self.probes.min(keys.len()) {
            chosen.insert(choices.below(keys.len() as u64) as usize);
        }
        let keys = chosen.into_iter().map(|number| keys[number].clone()).collect();
        let load = scene.load(&scene.doors, Pace::mixed(self.rate));
        let probes = Probes::start(&scene.doors, keys);
        Askers { load, probes }
    }

    fn judge(&self, scene: &mut Scene, askers: Askers, quiet: Part, moving: [Part; 2]) {
        let [mut all, shrinking] = moving;
        all.tally.add(shrinking.tally);
        let pairs = all.pauses.iter().zip(&shrinking.pauses);
        let pauses = Spread::of_milliseconds(pairs.map(|(one, other)| *one.max(other)));
        let ratio = all.tally.milliseconds(0.99) / quiet.tally.milliseconds(0.99);
        let report = &mut scene.report;
        report.goal("p99 while it moves over the quiet p99", ratio, Goal::AtMost(2.0));
        report.goal("p99 of the pauses in ms", pauses.at(0.99), Goal::AtMost(50.0));
        let failed = askers.probes.end();
        report.none_of("probes that failed", failed, &[]);
        all.tally.add(quiet.tally);
        all.tally.add(askers.load.end().0);
        scene.no_violations(&all.tally);
        scene.no_failures(&all.tally);
    }
}

/// Drains the fourth worker as an operator does, stops it, and strikes it off.
fn drain(scene: &mut Scene) {
    let name = scene.site.cluster.worker(FOURTH).name().to_owned();
    let output = scene.site.cluster.firn(&["drain", &name]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    scene.report.must(output.status.success(), format_args!("firn drain says {said}"));
    scene.report.must(scene.site.leads(FOURTH) == 0, "a drained worker leads nothing");
    let status = scene.site.cluster.worker_mut(FOURTH).terminate();
    scene.report.must(status.success(), format_args!("the drained worker ended with {status}"));
    let output = scene.site.cluster.firn(&["forget", &name]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    scene.report.must(output.status.success(), format_args!("firn forget says {said}"));
}
