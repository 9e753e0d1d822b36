//! A client: it asks one thing at a time, at a pace, and writes down what it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::history::{History, Key, Trouble, Value};
use super::plant::{Plant, Planter};
use super::speech::{Ask, Speech, Told, Tongue};
use crate::choices::Choices;

/// Asks on one connection, after which another worker gets to be asked.
const ASKS_PER_CONNECTION: u32 = 200;
/// How long a client that found nobody waits.
const PAUSE: Duration = Duration::from_millis(20);

/// Where workers take requests just now.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<RwLock<Vec<Doors>>>);

/// The listeners of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// Of the Redis protocol.
    pub resp: SocketAddr,
    /// Of HTTP.
    pub http: SocketAddr,
}

impl Doors {
    /// The one of a protocol.
    pub fn of(self, tongue: Tongue) -> SocketAddr {
        match tongue {
            Tongue::Resp => self.resp,
            Tongue::Http => self.http,
        }
    }
}

impl Directory {
    /// Replaces all there is.
    pub fn set(&self, doors: Vec<Doors>) {
        *self.0.write().expect("no holder panics") = doors;
    }

    /// All there is.
    pub fn all(&self) -> Vec<Doors> {
        self.0.read().expect("no holder panics").clone()
    }

    fn any(&self, choices: &mut Choices) -> Option<Doors> {
        let doors = self.0.read().expect("no holder panics");
        let count = doors.len() as u64;
        (count > 0).then(|| doors[choices.below(count) as usize])
    }
}

/// What all clients of a run share.
#[derive(Debug)]
pub struct Run {
    /// When it began.
    pub start: Instant,
    /// Whom to ask.
    pub directory: Directory,
    /// How many keys there are.
    pub keys: Key,
    /// The next value nobody has written.
    next_value: AtomicU64,
    /// Set when it is over.
    over: AtomicBool,
}

impl Run {
    /// One that begins now.
    pub fn new(directory: Directory, keys: Key) -> Self {
        let (next_value, over) = (AtomicU64::new(1), AtomicBool::new(false));
        Self { start: Instant::now(), directory, keys, next_value, over }
    }

    /// A value nobody has written.
    pub fn new_value(&self) -> Value {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the clients to stop.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether the clients were told to stop.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// The name of a key.
pub fn key_name(key: Key) -> String {
    format!("key:{key}")
}

/// See the module's page.
pub struct Client<'r> {
    run: &'r Run,
    tongue: Tongue,
    choices: Choices,
    connection: Option<(Box<dyn Speech>, u32)>,
    planter: Option<Planter>,
    history: History,
}

impl<'r> Client<'r> {
    /// A client that draws from `seed`. With `plant` it spoils its own answers.
    pub fn new(run: &'r Run, tongue: Tongue, seed: u64, plant: Option<Plant>) -> Self {
        Self {
            run,
            tongue,
            choices: Choices(seed),
            connection: None,
            planter: plant.map(Planter::new),
            history: History::new(run.start),
        }
    }

    /// Asks once in `every`, as long as the run lasts. What is late is not made up for.
    pub fn work(mut self, every: Duration) -> History {
        let mut due = Instant::now();
        while !self.run.is_over() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due = Instant::now().max(due + every);
            let key = self.choices.below(u64::from(self.run.keys)) as Key;
            self.once(key);
        }
        self.history
    }

    /// One thing about a key.
    fn once(&mut self, key: Key) {
        let new = self.run.new_value();
        let ask = match self.choices.below(100) {
            0..45 => Ask::Get,
            45..65 => Ask::Set(new),
            65..85 => match self.ask(key, &Ask::Get) {
                Some(Told { seen: Some(seen), .. }) => Ask::SetIfSeen(seen, new),
                Some(_) => Ask::SetIfAbsent(new),
                None => return,
            },
            85..90 => Ask::Swap(new),
            90..95 => Ask::Delete,
            95..97 => Ask::Take,
            _ => Ask::SetIfAbsent(new),
        };
        self.ask(key, &ask);
    }

    fn ask(&mut self, key: Key, ask: &Ask) -> Option<Told> {
        let call = self.history.now();
        let mut told = match self.connection() {
            Ok(speech) => speech.ask(&key_name(key), ask),
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = &told {
            self.connection = None;
            if matches!(trouble, Trouble::Unsent(_)) {
                std::thread::sleep(PAUSE);
            }
        }
        if let (Some(planter), Ok(told)) = (&mut self.planter, &mut told) {
            planter.spoil(&self.run.directory, key, ask, told);
        }
        self.history.note(key, call, told.as_ref().map(|told| &told.kind), ask.open());
        told.ok()
    }

    /// The connection of now, or a new one to any worker.
    fn connection(&mut self) -> Result<&mut Box<dyn Speech>, Trouble> {
        if self.connection.as_ref().is_some_and(|(_, asked)| *asked >= ASKS_PER_CONNECTION) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let doors = self.run.directory.any(&mut self.choices);
            let doors = doors.ok_or_else(|| Trouble::Unsent("no worker runs".to_owned()))?;
            self.connection = Some((self.tongue.connect(doors.of(self.tongue))?, 0));
        }
        let (speech, asked) = self.connection.as_mut().expect("there is one by now");
        *asked += 1;
        Ok(speech)
    }
}
