//! Clients that read and write the keys of a ledger at a pace of their own (open loop), each on a connection and a thread.
//!
//! A latency counts from the time the request was due, so that a pause is in the latency of every request it delayed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firn_tests::Choices;

use crate::ledger::{Key, Ledger};
use crate::talk::{self, Talk, Told};
use crate::tally::Tally;

/// The most requests a client that is late sends at once.
const PIPELINE_MAX: usize = 32;
/// How long a client that found nobody waits.
const PAUSE: Duration = Duration::from_millis(20);

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Clients; each has keys that it alone writes.
    pub(crate) clients: u32,
    /// Requests a second of all of them.
    pub(crate) per_second: u32,
    /// Of a hundred requests, how many write.
    pub(crate) writes_percent: u64,
}

impl Pace {
    /// Half reads, half writes, by 50 clients.
    pub(crate) fn mixed(per_second: u32) -> Self {
        Self { clients: 50, per_second, writes_percent: 50 }
    }
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    tallies: Vec<Arc<Mutex<Tally>>>,
    threads: Vec<JoinHandle<()>>,
    since: Instant,
}

impl Load {
    /// Starts the clients. One whose door closes takes the next.
    pub(crate) fn start(ledger: &Arc<Ledger>, doors: &[SocketAddr], pace: Pace) -> Self {
        assert!(pace.clients <= ledger.keys(), "{} keys are too few", ledger.keys());
        let over = Arc::new(AtomicBool::new(false));
        let (mut tallies, mut threads) = (Vec::new(), Vec::new());
        for number in 0..pace.clients {
            let tally = Arc::<Mutex<Tally>>::default();
            tallies.push(Arc::clone(&tally));
            let client = Client {
                ledger: Arc::clone(ledger),
                doors: doors.to_vec(),
                door: number as usize % doors.len(),
                talk: None,
                own: Own::new(number, pace.clients, ledger.keys()),
                choices: Choices(u64::from(number)),
                writes_percent: pace.writes_percent,
                tally,
            };
            let every = Duration::from_secs(1) * pace.clients / pace.per_second;
            let (start, over) = (every * number / pace.clients, Arc::clone(&over));
            threads.push(thread::spawn(move || client.work(start, every, &over)));
        }
        Self { over, tallies, threads, since: Instant::now() }
    }

    /// What was counted since the start or the last time, and how long that was.
    pub(crate) fn take(&mut self) -> (Tally, Duration) {
        let mut all = Tally::default();
        for tally in &self.tallies {
            all.add(std::mem::take(&mut *tally.lock().expect("no client panics")));
        }
        let time = self.since.elapsed();
        self.since = Instant::now();
        (all, time)
    }

    /// Lets the clients end, and gives what was counted since the last time.
    pub(crate) fn end(mut self) -> (Tally, Duration) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("no client panics");
        }
        self.take()
    }
}

/// The keys one client writes: every `step`th.
#[derive(Debug)]
struct Own {
    number: Key,
    step: Key,
    keys: Key,
    /// Those with a write of unknown fate: it may still happen, so no later one may.
    retired: HashSet<Key>,
    at: Key,
}

impl Own {
    fn new(number: Key, step: Key, keys: Key) -> Self {
        Self { number, step, keys, retired: HashSet::new(), at: number }
    }

    /// The next one that may be written; None when all of them are retired.
    fn next(&mut self) -> Option<Key> {
        for _ in 0..=self.keys / self.step {
            let key = self.at;
            self.at = key + self.step;
            if self.at >= self.keys {
                self.at = self.number;
            }
            if !self.retired.contains(&key) {
                return Some(key);
            }
        }
        None
    }
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// To have the key's next number.
    Write(Key, u32),
    /// To say what the key has, when its floor was this.
    Read(Key, u32),
}

struct Client {
    ledger: Arc<Ledger>,
    doors: Vec<SocketAddr>,
    /// The door in use.
    door: usize,
    talk: Option<Talk>,
    own: Own,
    choices: Choices,
    writes_percent: u64,
    tally: Arc<Mutex<Tally>>,
}

impl Client {
    fn work(mut self, start: Duration, every: Duration, over: &AtomicBool) {
        let mut due = Instant::now() + start;
        while !over.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut dues = Vec::new();
            while due <= Instant::now() && dues.len() < PIPELINE_MAX {
                dues.push(due);
                due += every;
            }
            self.ask(&dues);
        }
    }

    /// Asks as much as is due.
    fn ask(&mut self, dues: &[Instant]) {
        let Some(mut talk) = self.talk() else { return };
        let asks: Vec<Ask> = dues.iter().map(|_| self.choose()).collect();
        let mut answered = 0;
        let outcome = talk.send(&self.requests(&asks)).and_then(|()| {
            for (ask, due) in asks.iter().zip(dues) {
                let told = talk.reply()?;
                self.note(*ask, told, due.elapsed());
                answered += 1;
            }
            Ok(())
        });
        match outcome {
            Ok(()) => self.talk = Some(talk),
            Err(why) => {
                let left = asks[answered..].iter();
                left.for_each(|ask| self.note(*ask, Told::Unknown(why.clone()), Duration::ZERO));
                self.door += 1;
            }
        }
    }

    /// The connection of now, or a new one; None, after a while, where nobody takes one.
    fn talk(&mut self) -> Option<Talk> {
        if let Some(talk) = self.talk.take() {
            return Some(talk);
        }
        match Talk::connect(self.doors[self.door % self.doors.len()]) {
            Ok(talk) => Some(talk),
            Err(why) => {
                self.tally
                    .lock()
                    .expect("no holder panics")
                    .failed(format!("no connection: {why}"));
                self.door += 1;
                thread::sleep(PAUSE);
                None
            }
        }
    }

    fn choose(&mut self) -> Ask {
        let writes = self.choices.below(100) < self.writes_percent;
        match writes.then(|| self.own.next()).flatten() {
            Some(key) => Ask::Write(key, self.ledger.next(key)),
            None => {
                let key = self.choices.below(u64::from(self.ledger.keys())) as Key;
                Ask::Read(key, self.ledger.floor(key))
            }
        }
    }

    fn requests(&self, asks: &[Ask]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ask in asks {
            match *ask {
                Ask::Write(key, number) => {
                    talk::set(&mut bytes, &Ledger::name(key), &self.ledger.value(key, number));
                }
                Ask::Read(key, _) => talk::get(&mut bytes, &Ledger::name(key)),
            }
        }
        bytes
    }

    fn note(&mut self, ask: Ask, told: Told, took: Duration) {
        let mut tally = self.tally.lock().expect("no holder panics");
        match (ask, told) {
            (Ask::Write(key, number), Told::Done) => {
                self.ledger.acknowledged(key, number);
                tally.answered(took);
            }
            (Ask::Read(key, floor), Told::Value(found)) => {
                tally.answered(took);
                if let Err(violation) = self.ledger.found(key, floor, found.as_deref()) {
                    tally.violations.push(violation);
                }
            }
            (Ask::Write(key, _), Told::Unknown(why)) => {
                self.own.retired.insert(key);
                tally.failed(format!("write of unknown fate: {why}"));
            }
            (Ask::Read(..), Told::Unknown(why)) => tally.failed(format!("read: {why}")),
            (_, Told::Refused(why)) => tally.failed(format!("refused: {why}")),
            (ask, told) => tally.violations.push(format!("{ask:?} was answered {told:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_walks_over_its_own_keys_but_the_retired() {
        let mut own = Own::new(1, 3, 8);
        let mut seen = |count| (0..count).map(|_| own.next()).collect::<Vec<_>>();
        assert_eq!(seen(4), [Some(1), Some(4), Some(7), Some(1)]);
        own.retired.extend([4, 7]);
        assert_eq!((own.next(), own.next()), (Some(1), Some(1)));
        own.retired.insert(1);
        assert_eq!(own.next(), None);
    }
}
