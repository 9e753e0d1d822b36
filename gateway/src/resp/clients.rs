//! The connections of this process, as `CLIENT` shows and ends them.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::lookup::{Commands, Place};
use super::write::Dialect;

/// The last command's place before there was one.
const NO_COMMAND: u8 = u8::MAX;

/// What a connection has said of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels {
    /// `CLIENT SETNAME`; empty is none.
    pub(super) name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`; empty is none.
    pub(super) library: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`; empty is none.
    pub(super) library_version: Vec<u8>,
}

/// One connection, as others see it.
#[derive(Debug)]
pub(super) struct Client {
    /// The session's id.
    pub(super) id: u64,
    /// The other end.
    pub(super) address: SocketAddr,
    /// This end.
    pub(super) local: SocketAddr,
    since: Instant,
    /// Milliseconds from `since` to the last bytes.
    heard_ms: AtomicU64,
    labels: Mutex<Labels>,
    database: AtomicU32,
    dialect: AtomicU8,
    /// Requests queued by MULTI; -1 outside of one.
    queued: AtomicI32,
    last: AtomicU8,
    killed: AtomicBool,
    waker: AtomicWaker,
}

impl Client {
    /// A connection that has just been taken.
    pub(super) fn new(id: u64, address: SocketAddr, local: SocketAddr) -> Self {
        Self {
            id,
            address,
            local,
            since: Instant::now(),
            heard_ms: AtomicU64::new(0),
            labels: Mutex::default(),
            database: AtomicU32::new(0),
            dialect: AtomicU8::new(Dialect::Resp2.number()),
            queued: AtomicI32::new(-1),
            last: AtomicU8::new(NO_COMMAND),
            killed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// What it has said of itself.
    pub(super) fn labels(&self) -> Labels {
        self.labels.lock().expect("no holder panics").clone()
    }

    /// Changes what it has said of itself.
    pub(super) fn label(&self, change: impl FnOnce(&mut Labels)) {
        change(&mut self.labels.lock().expect("no holder panics"));
    }

    /// Notes the last command.
    pub(super) fn note_command(&self, command: Place) {
        self.last.store(command.0, Ordering::Relaxed);
    }

    /// Notes the database in use.
    pub(super) fn note_database(&self, number: u32) {
        self.database.store(number, Ordering::Relaxed);
    }

    /// Notes the protocol in use.
    pub(super) fn note_dialect(&self, dialect: Dialect) {
        self.dialect.store(dialect.number(), Ordering::Relaxed);
    }

    /// Notes how many requests MULTI has queued; None: there is no MULTI.
    pub(super) fn note_queued(&self, count: Option<usize>) {
        let count = count.map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX));
        self.queued.store(count, Ordering::Relaxed);
    }

    /// Wants the connection closed.
    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ends when somebody wants the connection closed. The connection asks once in each turn of its loop, which is when it
    /// has just read: so this also notes that it was heard.
    pub(super) async fn killed(&self) {
        let heard = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(heard, Ordering::Relaxed);
        poll_fn(|context| {
            self.waker.register(context.waker());
            match self.killed.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// The name of the last command, or as redis-server has it where there was none.
    fn last_command<H>(&self, commands: &Commands<H>) -> &'static str {
        match self.last.load(Ordering::Relaxed) {
            NO_COMMAND => "NULL",
            place => commands.at(Place(place)).name,
        }
    }

    /// The line of `CLIENT LIST`; `commands` is the table the commands noted are of. What this process does not count per connection is 0.
    pub(super) fn line<H>(&self, commands: &Commands<H>) -> Vec<u8> {
        let age = self.since.elapsed();
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        let queued = self.queued.load(Ordering::Relaxed);
        let labels = self.labels();
        let mut line =
            format!("id={} addr={} laddr={} fd=0 name=", self.id, self.address, self.local)
                .into_bytes();
        line.extend_from_slice(&labels.name);
        let rest = format!(
            " age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi={queued} qbuf=0 qbuf-free=0 \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
             user=default redir=-1 resp={} lib-name=",
            age.as_secs(),
            age.saturating_sub(heard).as_secs(),
            if queued < 0 { "N" } else { "x" },
            self.database.load(Ordering::Relaxed),
            self.last_command(commands),
            self.dialect.load(Ordering::Relaxed),
        );
        line.extend_from_slice(rest.as_bytes());
        line.extend_from_slice(&labels.library);
        line.extend_from_slice(b" lib-ver=");
        line.extend_from_slice(&labels.library_version);
        line.push(b'\n');
        line
    }
}

/// The connections of a process, by id.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<BTreeMap<u64, Arc<Client>>>);

impl Clients {
    /// Adds one.
    pub(super) fn enter(&self, client: Client) -> Arc<Client> {
        let client = Arc::new(client);
        self.0.lock().expect("no holder panics").insert(client.id, Arc::clone(&client));
        client
    }

    /// Removes one.
    pub(super) fn leave(&self, id: u64) {
        self.0.lock().expect("no holder panics").remove(&id);
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        self.0.lock().expect("no holder panics").values().cloned().collect()
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.lock().expect("no holder panics").len()
    }
}
