//! The uplink killed while the map changes, again and again: what it has answered is there when it serves again, and no
//! version it has answered is issued for something else.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use firn_tests::process::Start;
use firn_tests::{Choices, Http, Process};
use firn_wire::ids::MapVersion;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::changer::{self, Changer};
use crate::report::{Goal, Report};
use crate::spread::Spread;

/// How long changes are made before a kill, at least and at most, in milliseconds.
const CHANGES_MS: (i64, i64) = (5, 300);
/// In how many seconds the uplink is to serve again.
const SERVES_WITHIN_S: f64 = 2.0;
/// After how many kills it says how it goes.
const SAY_EVERY: u32 = 100;
/// The table that is made to see whether changes are answered.
const PROBE: &str = "/v1/tables/probe";
/// Kills of the short form.
const SHORT: u32 = 12;

/// The uplink killed during changes of the map, and started again
#[derive(Debug, Args)]
pub(crate) struct UplinkKill {
    /// How often it is killed
    #[arg(long, default_value_t = 500)]
    rounds: u32,
    /// How many change the map at once
    #[arg(long, default_value_t = 4)]
    changers: u64,
    /// What the choices are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Few kills
    #[arg(long)]
    short: bool,
}

impl UplinkKill {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            self.rounds = SHORT;
        }
        let mut report = Report::new("uplink-kill");
        let mut site = Site::start();
        let runtime = Runtime::new().expect("a runtime");
        let mut changers: Vec<_> = (0..self.changers).map(|n| Changer::new(n, self.seed)).collect();
        let mut choices = Choices(self.seed);
        let mut seen = Seen::default();
        for round in 1..=self.rounds {
            let time = Duration::from_millis(choices.between(CHANGES_MS.0, CHANGES_MS.1) as u64);
            changers = site.change_and_kill(&runtime, changers, time);
            seen.versions(&mut changers);
            seen.serves_again(&mut site);
            seen.compare(&site, &mut changers);
            if round % SAY_EVERY == 0 {
                let slowest = seen.times.iter().max().copied().unwrap_or_default();
                report.say(format_args!("{round} kills, slowest to serve {slowest:.2?}"));
            }
        }
        seen.tell(&mut report, &changers);
        if report.is_broken() {
            report.say(format_args!("its folder is {}", site.folder.keep().display()));
        }
        report.verdict(self.short)
    }
}

/// What was measured and what was wrong.
#[derive(Debug, Default)]
struct Seen {
    /// From each start until a change is answered.
    times: Vec<Duration>,
    /// Versions that were answered, and for what.
    issued: BTreeMap<MapVersion, String>,
    /// Versions that were issued again, or went back over a restart.
    reused: Vec<String>,
    lost: Vec<String>,
}

impl Seen {
    /// Takes down the versions of one run of the uplink.
    fn versions(&mut self, changers: &mut [Changer]) {
        let before = self.last();
        for (version, what) in changers.iter_mut().flat_map(|changer| changer.versions.drain(..)) {
            self.note(before, version, what);
        }
    }

    /// A version that was answered comes after all of earlier runs, and is nobody else's.
    fn note(&mut self, before: MapVersion, version: MapVersion, what: String) {
        if version <= before {
            self.reused.push(format!("{version} of {what} does not come after {before}"));
        }
        if let Some(other) = self.issued.insert(version, what.clone()) {
            self.reused.push(format!("{version} of {what} was that of {other}"));
        }
    }

    /// The last version that was answered.
    fn last(&self) -> MapVersion {
        self.issued.last_key_value().map(|(version, _)| *version).unwrap_or_default()
    }

    /// Has the uplink start again, and measures how long that takes.
    fn serves_again(&mut self, site: &mut Site) {
        let before = self.last();
        let (time, version) = site.serve_again();
        self.times.push(time);
        self.note(before, version, "the first change after a restart".to_owned());
        site.ask("DELETE", PROBE, "");
    }

    /// Looks whether what was answered is there.
    fn compare(&mut self, site: &Site, changers: &mut [Changer]) {
        let there = changer::there(site.uplink.http());
        self.lost.extend(changers.iter_mut().flat_map(|changer| changer.missing(&there)));
        let version = site.version();
        if let Some((last, what)) = self.issued.last_key_value()
            && version < *last
        {
            self.lost.push(format!("the map is {version}, and {what} was answered with {last}"));
        }
    }

    fn tell(&self, report: &mut Report, changers: &[Changer]) {
        let answered: u64 = changers.iter().map(|changer| changer.answered).sum();
        report.say(format_args!("{answered} changes answered, {} kills", self.times.len()));
        let spread = Spread::of_seconds(self.times.iter().copied());
        report.figure("time to serve", &spread);
        report.goal("the slowest to serve", spread.max(), Goal::AtMost(SERVES_WITHIN_S));
        let refused: Vec<String> =
            changers.iter().flat_map(|changer| changer.refused.clone()).collect();
        report.must(answered > self.times.len() as u64, "changes were answered in every run");
        report.none_of("answered changes lost", self.lost.len() as u64, &self.lost);
        report.none_of("answered versions issued again", self.reused.len() as u64, &self.reused);
        report.none_of("changes refused", refused.len() as u64, &refused);
    }
}

/// An uplink with a folder of its own, and one worker that was there once.
#[derive(Debug)]
struct Site {
    uplink: Process,
    folder: TempDir,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data").display().to_string();
        let start = Start {
            binary: "firn-uplink",
            name: "uplink".to_owned(),
            arguments: vec!["--data".to_owned(), data],
            listens: vec!["127.0.0.1:0".to_owned()],
            environment: BTreeMap::new(),
        };
        let mut uplink = Process::spawn(start, folder.path());
        uplink.wait_addresses();
        let site = Self { uplink, folder };
        let worker = json!({
            "name": "w1", "incarnation": "0000000000000001", "shards": 1,
            "addresses": { "peer": "127.0.0.1:1" },
        });
        site.ask("POST", "/v1/workers", &worker.to_string());
        site
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = Http::connect(self.uplink.http()).ask(method, path, "", body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.json()
    }

    /// Has the map changed for some time, then kills the uplink amid it.
    fn change_and_kill(
        &mut self,
        runtime: &Runtime,
        changers: Vec<Changer>,
        time: Duration,
    ) -> Vec<Changer> {
        let url = self.uplink.url("");
        let running = changers.into_iter().map(|changer| runtime.spawn(changer.run(url.clone())));
        let running: Vec<_> = running.collect();
        thread::sleep(time);
        self.uplink.kill();
        let ended = running.into_iter().map(|changer| runtime.block_on(changer));
        ended.map(|changer| changer.expect("a changer does not panic")).collect()
    }

    /// Starts the uplink again. Returns how long it took until a change was answered, and the change's version.
    fn serve_again(&mut self) -> (Duration, MapVersion) {
        let start = Instant::now();
        self.uplink.restart();
        let made = self.ask("PUT", PROBE, "");
        assert_eq!(made["created"], true, "the probe was dropped: {made}");
        (start.elapsed(), version(&made))
    }

    fn version(&self) -> MapVersion {
        version(&self.ask("GET", "/v1/cluster", ""))
    }
}

fn version(answer: &Value) -> MapVersion {
    let version = answer["version"].as_str().and_then(|text| text.parse().ok());
    version.expect("the answer has a version")
}
