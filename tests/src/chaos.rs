//! Faults at random while clients read and write, and a judgement of what the clients saw.
//!
//! Reading order: [`network`] fails as it is told, [`member`] is a worker and [`fleet`] all of them with the uplink,
//! [`control`] asks the uplink, [`safety`] says what may be ended, [`fault`] draws what goes wrong and [`nemesis`] does it;
//! [`history`] is what a client was told, [`speech`] asks, [`client`] asks all the time, [`plant`] makes mistakes on
//! purpose; [`report`] is what came of it all.

pub mod client;
pub mod control;
pub mod fault;
pub mod fleet;
pub mod history;
pub mod member;
pub mod nemesis;
pub mod network;
pub mod plant;
pub mod report;
pub mod safety;
pub mod speech;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Choices;
use crate::linearizability::check;
use client::{Client, Run, key_name};
use fleet::{Fleet, Wiring};
use history::{History, Key};
use nemesis::Nemesis;
use plant::Plant;
use report::Report;
use speech::{Ask, Speech as _, Tongue};

/// Steps of the search for an order, for each key.
const STEPS_MAX: usize = 2_000_000;
/// How long the cluster may take to be well after the last fault.
const WELL_PATIENCE: Duration = Duration::from_secs(60);
/// How often `firn status` is asked.
const WELL_PAUSE: Duration = Duration::from_millis(250);
/// The table whose acknowledged writes may be lost, and which is there to be in the way.
const LOOSE: &str = "loose";

/// What a run is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// What everything is drawn from.
    pub seed: u64,
    /// How long faults are made.
    pub time: Duration,
    /// Workers at the start; up to two more join.
    pub workers: usize,
    /// Copies of each partition.
    pub copies: u8,
    /// Partitions.
    pub partitions: u16,
    /// Clients whose histories are judged.
    pub clients: u64,
    /// Operations a second that all of them try.
    pub rate: u64,
    /// Keys.
    pub keys: Key,
    /// Whether anything is made to fail.
    pub faults: bool,
    /// What is spoilt on purpose.
    pub plant: Option<Plant>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            time: Duration::from_secs(60),
            workers: 3,
            copies: 2,
            partitions: 256,
            clients: 48,
            rate: 3_000,
            keys: 200,
            faults: true,
            plant: None,
        }
    }
}

/// Runs it. `say` is given a line for each fault.
pub fn run(options: &Options, mut say: impl FnMut(&str)) -> Report {
    let (copies, partitions) = (options.copies.to_string(), options.partitions.to_string());
    let settings = [("COPIES", &*copies), ("PARTITIONS", &*partitions)];
    let mut fleet = Fleet::start(options.workers, &settings, Wiring::Network);
    fleet.create_table(LOOSE, &json!({"ack": "primary"}));
    let (mut report, faults) = witness(options, &mut fleet, |fleet, start| {
        if !options.faults {
            std::thread::sleep(options.time);
            return BTreeMap::new();
        }
        let mut nemesis = Nemesis::new(fleet, options.seed, |text| {
            say(&format!("{:6.1} s  {text}", start.elapsed().as_secs_f64()));
        });
        nemesis.rage(start + options.time);
        std::mem::take(&mut nemesis.counts)
    });
    report.faults = faults;
    if !report.is_clean() && options.plant.is_none() {
        say(&format!("logs and data are kept in {}", fleet.keep().display()));
    }
    report
}

/// Lets clients read and write while `act` does something to the fleet and until that is well again, and judges what they
/// saw. `act` is told when they started.
pub fn witness<T>(
    options: &Options,
    fleet: &mut Fleet,
    act: impl FnOnce(&mut Fleet, Instant) -> T,
) -> (Report, T) {
    let run = Run::new(fleet.directory.clone(), options.keys);
    let mut choices = Choices(options.seed);
    let seeds: Vec<u64> = (0..options.clients).map(|_| choices.any()).collect();
    let every = Duration::from_secs(1).mul_f64(options.clients as f64 / options.rate as f64);
    let ((value, well), mut histories) = std::thread::scope(|scope| {
        let client = |(number, seed): (usize, &u64)| {
            let tongue = if number.is_multiple_of(2) { Tongue::Resp } else { Tongue::Http };
            let client = Client::new(&run, tongue, *seed, options.plant);
            scope.spawn(move || client.work(every))
        };
        let clients: Vec<_> = seeds.iter().enumerate().map(client).collect();
        let loose = scope.spawn(|| write_loosely(&run));
        let done = (act(fleet, run.start), becomes_well(fleet));
        run.end();
        loose.join().expect("the traffic does not panic");
        let ended = clients.into_iter().map(|client| client.join().expect("no client panics"));
        (done, ended.collect::<Vec<_>>())
    });
    let time = run.start.elapsed();
    let (well_after, status) = well;
    let (last, unserved) = look_at_the_end(&run);
    histories.push(last);
    let mishaps = std::mem::take(&mut fleet.mishaps);
    let judged = judge(options.seed, time, histories);
    (Report { mishaps, well_after, status, unserved, ..judged }, value)
}

/// Puts the histories together and checks them.
fn judge(seed: u64, time: Duration, histories: Vec<History>) -> Report {
    let mut troubles = BTreeMap::new();
    for (reason, count) in histories.iter().flat_map(|history| &history.troubles) {
        *troubles.entry(reason.clone()).or_default() += count;
    }
    let unknown = histories.iter().map(|history| history.unknown).sum();
    let operations = histories.into_iter().flat_map(|history| history.operations);
    Report {
        seed,
        time,
        faults: BTreeMap::new(),
        troubles,
        unknown,
        verdict: check(operations, STEPS_MAX),
        mishaps: Vec::new(),
        well_after: None,
        status: String::new(),
        unserved: Vec::new(),
    }
}

/// Traffic on [`LOOSE`], of which nothing is expected.
fn write_loosely(run: &Run) {
    while !run.is_over() {
        let Some(doors) = run.directory.all().pop() else {
            std::thread::sleep(WELL_PAUSE);
            continue;
        };
        if let Ok(mut speech) = speech::Http::connect_for(doors.http, LOOSE) {
            let mut round = 0;
            while !run.is_over() && round < 200 {
                round += 1;
                if speech.ask(&format!("{round}"), &Ask::Set(round)).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Waits until `firn status` says that all is well. How long that took, and what it said last.
fn becomes_well(fleet: &mut Fleet) -> (Option<Duration>, String) {
    let start = Instant::now();
    let mut said = String::new();
    while start.elapsed() < WELL_PATIENCE {
        fleet.poll();
        let (is_well, status) = status(fleet);
        said = status;
        if is_well && fleet.is_whole() {
            return (Some(start.elapsed()), said);
        }
        std::thread::sleep(WELL_PAUSE);
    }
    (None, said)
}

/// Whether `firn status` says that all is well, and its words.
fn status(fleet: &Fleet) -> (bool, String) {
    let output = fleet.firn(&["status", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let words = format!("{} {}", said["status"].as_str().unwrap_or("no status"), said["notes"]);
    (said["well"] == true, words)
}

/// Reads every key through every worker, and writes it; gives what could not be.
fn look_at_the_end(run: &Run) -> (History, Vec<String>) {
    let mut history = History::new(run.start);
    let mut unserved = Vec::new();
    for doors in run.directory.all() {
        let Ok(mut speech) = Tongue::Resp.connect(doors.resp) else {
            unserved.push(format!("{} takes no connection", doors.resp));
            continue;
        };
        for key in 0..run.keys {
            for ask in [Ask::Get, Ask::Set(run.new_value())] {
                let call = history.now();
                let told = speech.ask(&key_name(key), &ask);
                history.note(key, call, told.as_ref().map(|told| &told.kind), ask.open());
                if let Err(trouble) = told {
                    unserved.push(format!("{ask:?} of {key} at {}: {trouble:?}", doors.resp));
                }
            }
        }
    }
    (history, unserved)
}
