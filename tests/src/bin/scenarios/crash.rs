//! Every process is ended at once, at any moment under load, again and again: what was acknowledged is there afterwards,
//! but for the last second where tables are synced every second, and nothing is there that nobody wrote. What the uplink
//! has answered is there, too.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use firn_tests::cluster::ClusterBuilder;
use firn_tests::{Choices, Cluster};
use tokio::runtime::Runtime;

use crate::author::{Author, End, Findings};
use crate::changer::{self, Changer};
use crate::disks::Disks;
use crate::outage::Outage;
use crate::report::{Goal, Report};

/// `everysec` promises that no more is lost.
const A_SECOND: Duration = Duration::from_secs(1);
/// And this much more where the power goes while a disk takes its time to sync: several images on one disk do.
const SYNC_MOST: Duration = Duration::from_secs(1);
/// Clients that write.
const AUTHORS: usize = 8;
/// How long the load lasts before the end, in milliseconds: from and to.
const LOAD_MS: (i64, i64) = (150, 2_500);
/// What the choices are made from.
const SEED: u64 = 7;
/// The exit code where the machine cannot do it: nothing was wrong, and nothing was seen.
const CANNOT: u8 = 2;

/// Every process killed under load, again and again; what is there afterwards
#[derive(Debug, Args)]
pub(crate) struct Crash {
    /// How often
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// The tables' durability
    #[arg(long, value_enum, default_value_t = Durability::Everysec)]
    durability: Durability,
    /// Workers; one has the registry inside, several have an uplink and two copies
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The power goes too: every disk is left as it was synced (needs root and loop devices)
    #[arg(long)]
    power: bool,
    /// Three rounds
    #[arg(long)]
    short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Durability {
    Everysec,
    Always,
}

/// What the rounds came to.
#[derive(Debug, Default)]
struct Sum {
    findings: Findings,
    /// Answered changes of the map that are gone.
    changes_lost: Vec<String>,
    /// The longest until all were ready again.
    longest_back: Duration,
}

/// Those who keep a cluster busy.
#[derive(Debug)]
struct Crowd {
    authors: Vec<Author>,
    /// Where there is an uplink.
    changer: Option<Changer>,
    runtime: Runtime,
}

impl Crash {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            self.rounds = 3;
        }
        let mut report = Report::new("crash");
        let disks = match self.power.then(|| Disks::of(&self.processes())).transpose() {
            Ok(disks) => disks,
            Err(why) => {
                report.say(format_args!("this machine has no disk whose power can be cut: {why}"));
                return ExitCode::from(CANNOT);
            }
        };
        let cluster = self.cluster(disks.as_ref()).start();
        if self.durability == Durability::Always {
            let altered = cluster.firn(&["tables", "alter", "default", "--durability", "always"]);
            report.must(altered.status.success(), "the table is to survive everything");
        }
        let mut outage = Outage::of(cluster, disks, SEED);
        let (mut crowd, mut sum) = (Crowd::new(self.workers > 1), Sum::default());
        let mut choices = Choices(SEED);
        for _ in 0..self.rounds {
            let time = Duration::from_millis(choices.between(LOAD_MS.0, LOAD_MS.1) as u64);
            self.round(&mut outage, &mut crowd, time, &mut sum);
        }
        self.judge(&mut report, &outage, &crowd, &sum)
    }

    /// The names of its processes, as a cluster calls them.
    fn processes(&self) -> Vec<String> {
        let uplink = (self.workers > 1).then(|| "uplink".to_owned());
        (1..=self.workers).map(|number| format!("w{number}")).chain(uplink).collect()
    }

    fn cluster(&self, disks: Option<&Disks>) -> ClusterBuilder {
        let cluster = match self.workers {
            1 => Cluster::alone_builder(),
            workers => Cluster::builder(workers).env("COPIES", 2),
        };
        match disks {
            Some(disks) => cluster.data_in(disks.folder()),
            None => cluster.data(),
        }
    }

    fn round(&self, outage: &mut Outage, crowd: &mut Crowd, time: Duration, sum: &mut Sum) {
        let at = crowd.write_until(outage, time);
        sum.longest_back = sum.longest_back.max(outage.recover());
        crowd.check(&outage.cluster, End { at, promised: self.promised(at) }, sum);
    }

    /// What was acknowledged before then is to be there.
    fn promised(&self, at: Instant) -> Instant {
        let before = match self.durability {
            // What was acknowledged while the processes ended one by one, too.
            Durability::Always => return Instant::now(),
            Durability::Everysec if self.power => A_SECOND + SYNC_MOST,
            Durability::Everysec => A_SECOND,
        };
        at.checked_sub(before).unwrap_or(at)
    }

    /// The oldest that may be gone.
    fn loss_most(&self) -> Duration {
        match self.durability {
            Durability::Everysec => A_SECOND,
            Durability::Always => Duration::ZERO,
        }
    }

    fn judge(&self, report: &mut Report, outage: &Outage, crowd: &Crowd, sum: &Sum) -> ExitCode {
        let (rounds, durability, findings) = (self.rounds, self.durability, &sum.findings);
        let what = if self.power { "power cuts" } else { "kills" };
        let written: u64 = crowd.authors.iter().map(Author::written).sum();
        report.say(format_args!(
            "{rounds} {what}, {durability:?}: {written} writes, back in at most {:.2?}",
            sum.longest_back
        ));
        if self.power {
            report.say(format_args!("all stood still within {:.2?}", outage.longest_stop));
        }
        let most = Goal::AtMost(self.loss_most().as_secs_f64());
        let oldest = findings.oldest.as_secs_f64();
        report.goal("the age in s of the oldest acknowledged write that is gone", oldest, most);
        let (lost, invented) = (&findings.lost, &findings.invented);
        report.none_of("writes lost that were to survive", lost.len() as u64, lost);
        report.none_of("values nobody wrote", invented.len() as u64, invented);
        if let Some(changer) = &crowd.changer {
            report.say(format_args!("{} changes of the map answered", changer.answered));
            let lost = &sum.changes_lost;
            report.none_of("answered changes of the map lost", lost.len() as u64, lost);
        }
        report.verdict(self.short)
    }
}

impl Crowd {
    fn new(with_uplink: bool) -> Self {
        Self {
            authors: (0..AUTHORS).map(Author::new).collect(),
            // Number 0 would change the settings, too.
            changer: with_uplink.then(|| Changer::new(1, SEED)),
            runtime: Runtime::new().expect("a runtime"),
        }
    }

    /// Writes for so long, then ends everything. Gives the moment before.
    fn write_until(&mut self, outage: &mut Outage, time: Duration) -> Instant {
        let doors: Vec<_> = outage.cluster.workers().iter().map(|worker| worker.resp()).collect();
        let changer = self.changer.take().map(|changer| {
            let url = outage.cluster.uplink().url("");
            self.runtime.spawn(changer.run(url))
        });
        let over = AtomicBool::new(false);
        let at = std::thread::scope(|scope| {
            for (number, author) in self.authors.iter_mut().enumerate() {
                let (door, over) = (doors[number % doors.len()], &over);
                scope.spawn(move || author.write(door, over));
            }
            std::thread::sleep(time);
            let at = outage.strike();
            over.store(true, Ordering::Relaxed);
            at
        });
        let ended = changer.map(|changer| self.runtime.block_on(changer));
        self.changer = ended.map(|changer| changer.expect("a changer does not panic"));
        at
    }

    /// Compares what is there with what must be.
    fn check(&mut self, cluster: &Cluster, end: End, sum: &mut Sum) {
        let door = cluster.worker(0).resp();
        self.authors.iter_mut().for_each(|author| author.check(door, end, &mut sum.findings));
        if let Some(changer) = &mut self.changer {
            let there = changer::there(cluster.uplink().http());
            sum.changes_lost.extend(changer.missing(&there));
        }
    }
}
