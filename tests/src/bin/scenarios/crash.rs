//! Every process is killed at once, at any moment under load, again and again: what was acknowledged is there afterwards,
//! but for the last second where tables are synced every second, and nothing is there that nobody wrote.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use firn_tests::{Choices, Cluster};

use crate::image::Image;
use crate::report::Report;
use crate::talk::{self, Talk, Told};

/// `everysec` promises that no more is lost.
const A_SECOND: Duration = Duration::from_secs(1);
/// Clients, and the keys that each of them alone writes.
const CLIENTS: usize = 8;
const KEYS: usize = 50;
/// Requests a client sends at once.
const PIPELINE: usize = 8;
/// How long a sync that is under way may take.
const SETTLE: Duration = Duration::from_millis(50);
/// How long the load lasts before the kill, in milliseconds: from and to.
const LOAD_MS: (i64, i64) = (150, 2_500);

/// Every process killed under load, again and again; what is there afterwards
#[derive(Debug, Args)]
pub(crate) struct Crash {
    /// How often
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// The tables' durability
    #[arg(long, value_enum, default_value_t = Durability::Everysec)]
    durability: Durability,
    /// Workers; one has the registry inside
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The power goes too: the disk is left as it was synced (one worker; needs root and loop devices)
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

/// One key, as its one writer knows it.
#[derive(Debug, Default)]
struct Key {
    /// The last number sent.
    sent: u32,
    /// Acknowledged numbers, each with when, of about the last second.
    acknowledged: VecDeque<(u32, Instant)>,
    /// The last one before those.
    floor: u32,
}

impl Key {
    fn acknowledge(&mut self, number: u32) {
        let now = Instant::now();
        self.acknowledged.push_back((number, now));
        self.settle(now.checked_sub(2 * A_SECOND).unwrap_or(now));
    }

    /// What was acknowledged before a moment must be there.
    fn settle(&mut self, before: Instant) {
        while let Some((number, _)) = self.acknowledged.pop_front_if(|(_, when)| *when < before) {
            self.floor = number;
        }
    }
}

fn name(client: usize, key: usize) -> String {
    format!("crash:{client}:{key}")
}

fn value(number: u32, name: &str) -> Vec<u8> {
    format!("{number}:{name}:{}", "x".repeat(number as usize % 300)).into_bytes()
}

/// The number in a value; None: nobody wrote it.
fn number(bytes: &[u8], name: &str) -> Option<u32> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let number = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    (value(number, name) == bytes).then_some(number)
}

/// What the rounds came to.
#[derive(Debug, Default)]
struct Sum {
    written: u64,
    lost: Vec<String>,
    invented: Vec<String>,
    /// The oldest write that was acknowledged and is gone, by its age at the kill.
    oldest: Duration,
    back: Vec<Duration>,
}

impl Crash {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            self.rounds = 3;
        }
        let mut report = Report::new("crash");
        let mut image = match self.power.then(Image::new).transpose() {
            Ok(image) => image,
            Err(why) => {
                report.say(format_args!("this machine has no disk whose power can be cut: {why}"));
                return ExitCode::from(2);
            }
        };
        let mut cluster = match (&image, self.workers) {
            (Some(image), _) => {
                Cluster::alone_builder().env("DATA", image.path().display()).start()
            }
            (None, 1) => Cluster::alone_builder().data().start(),
            (None, workers) => Cluster::builder(workers).env("COPIES", 2).data().start(),
        };
        if self.durability == Durability::Always {
            let altered = cluster.firn(&["tables", "alter", "default", "--durability", "always"]);
            report.must(altered.status.success(), "the table is to survive everything");
        }
        let mut clients: Vec<Vec<Key>> =
            (0..CLIENTS).map(|_| (0..KEYS).map(|_| Key::default()).collect()).collect();
        let (mut choices, mut sum) = (Choices(7), Sum::default());
        for _ in 0..self.rounds {
            let wait = choices.between(LOAD_MS.0, LOAD_MS.1) as u64;
            let killed =
                load(&mut cluster, &mut clients, Duration::from_millis(wait), image.as_mut());
            let start = Instant::now();
            restart(&mut cluster, &mut choices);
            sum.back.push(start.elapsed());
            let promised = match self.durability {
                Durability::Everysec => killed.checked_sub(A_SECOND).unwrap_or(killed),
                Durability::Always => killed,
            };
            check(&cluster, &mut clients, (killed, promised), &mut sum);
        }
        sum.written = clients.iter().flatten().map(|key| u64::from(key.sent)).sum();
        self.judge(&mut report, &sum)
    }

    fn judge(&self, report: &mut Report, sum: &Sum) -> ExitCode {
        let (rounds, durability) = (self.rounds, self.durability);
        let what = if self.power { "power cuts" } else { "kills" };
        sum.back.iter().max().into_iter().for_each(|longest| {
            report.say(format_args!(
                "{rounds} {what}, {durability:?}: {} writes, back in at most {longest:.2?}",
                sum.written
            ));
        });
        report.say(format_args!(
            "the oldest acknowledged write that is gone was {:.0?} old",
            sum.oldest
        ));
        report.none_of("writes lost that were to survive", sum.lost.len() as u64, &sum.lost);
        report.none_of("values nobody wrote", sum.invented.len() as u64, &sum.invented);
        report.verdict(self.short)
    }
}

/// Writes for so long, then kills everything. Gives the moment before the first kill.
fn load(
    cluster: &mut Cluster,
    clients: &mut [Vec<Key>],
    time: Duration,
    image: Option<&mut Image>,
) -> Instant {
    let doors: Vec<SocketAddr> = cluster.workers().iter().map(|worker| worker.resp()).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (number, keys) in clients.iter_mut().enumerate() {
            let (door, over) = (doors[number % doors.len()], &over);
            scope
                .spawn(move || while !over.load(Ordering::Relaxed) && write(number, keys, door) {});
        }
        std::thread::sleep(time);
        let killed = Instant::now();
        if let Some(image) = &image {
            // Stopped, so that nobody is told anything of after the cut.
            cluster.worker(0).signal("STOP");
            std::thread::sleep(SETTLE);
            image.cut();
        }
        for worker in 0..doors.len() {
            cluster.worker_mut(worker).kill();
        }
        if doors.len() > 1 {
            cluster.uplink_mut().kill();
        }
        over.store(true, Ordering::Relaxed);
        if let Some(image) = image {
            image.power_up();
        }
        killed
    })
}

/// Writes every key once; false when nobody takes it any more.
fn write(client: usize, keys: &mut [Key], door: SocketAddr) -> bool {
    let Ok(mut talk) = Talk::connect(door) else { return false };
    for (place, some) in keys.chunks_mut(PIPELINE).enumerate() {
        let mut requests = Vec::new();
        for (at, key) in some.iter_mut().enumerate() {
            key.sent += 1;
            let name = name(client, place * PIPELINE + at);
            talk::set(&mut requests, &name, &value(key.sent, &name));
        }
        if talk.send(&requests).is_err() {
            return false;
        }
        for key in some {
            match talk.reply() {
                Ok(Told::Done) => key.acknowledge(key.sent),
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
    true
}

fn restart(cluster: &mut Cluster, choices: &mut Choices) {
    let workers = cluster.workers().len();
    if workers > 1 {
        cluster.uplink_mut().restart();
    }
    let first = choices.below(workers as u64) as usize;
    for worker in 0..workers {
        cluster.worker_mut((first + worker) % workers).start_anew();
    }
    for worker in 0..workers {
        cluster.worker_mut(worker).wait_addresses();
    }
    cluster.wait_ready();
}

/// Reads every key back and goes on from what is there.
fn check(
    cluster: &Cluster,
    clients: &mut [Vec<Key>],
    (killed, promised): (Instant, Instant),
    sum: &mut Sum,
) {
    let door = cluster.worker(0).resp();
    for (client, keys) in clients.iter_mut().enumerate() {
        for (place, key) in keys.iter_mut().enumerate() {
            let name = name(client, place);
            let newest = key.acknowledged.back().map_or(key.floor, |(number, _)| *number);
            let after: Vec<_> = key.acknowledged.iter().copied().collect();
            key.settle(promised);
            let found = match read(door, &name) {
                None => Some(0),
                Some(bytes) => number(&bytes, &name),
            };
            let Some(found) = found.filter(|found| *found <= key.sent) else {
                sum.invented.push(format!("{name}: something that was never written"));
                continue;
            };
            if found < key.floor {
                sum.lost.push(format!("{name}: {} was to survive, found {found}", key.floor));
            }
            if found < newest {
                let gone = after.iter().find(|(number, _)| *number > found);
                let age = gone
                    .map_or(Duration::ZERO, |(_, when)| killed.saturating_duration_since(*when));
                sum.oldest = sum.oldest.max(age);
            }
            *key = Key { sent: key.sent, acknowledged: VecDeque::new(), floor: found };
        }
    }
}

/// A key's value; asked again while nobody can say.
fn read(door: SocketAddr, name: &str) -> Option<Vec<u8>> {
    let deadline = Instant::now() + firn_tests::DEADLINE;
    loop {
        let mut request = Vec::new();
        talk::get(&mut request, name);
        let told = Talk::connect(door).and_then(|mut talk| {
            talk.send(&request)?;
            talk.reply()
        });
        match told {
            Ok(Told::Value(value)) => return value,
            other => assert!(Instant::now() < deadline, "{name} cannot be read: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_second_is_to_survive() {
        let mut key = Key { sent: 2, ..Key::default() };
        let start = Instant::now();
        key.acknowledge(1);
        key.acknowledge(2);
        key.settle(start);
        assert_eq!(key.floor, 0);
        key.settle(Instant::now() + A_SECOND);
        assert_eq!((key.floor, key.acknowledged.len()), (2, 0));
        let name = name(1, 2);
        assert_eq!(number(&value(7, &name), &name), Some(7));
        let torn = &value(250, &name)[..100];
        assert_eq!(number(torn, &name), None, "a torn value is none");
    }
}
