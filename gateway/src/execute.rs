//! What a listener may ask of the process it is in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use firn_wire::command::Command;
use firn_wire::exchange::{Collect, Session, Sink};
use firn_wire::ids::{TableId, TableName, WorkerId};
use firn_wire::map::MapIndex;
use firn_wire::message::{Ask, Head};
use firn_wire::replica::BadReplica;
use firn_wire::reply::ReplyBuf;

/// A future that is kept in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store behind the listeners: a worker's router over its shards and its peers, or a proxy's over its peers alone.
pub trait Execute: Send + Sync + 'static {
    /// Runs commands in order. Each slot of `sink` (the command's index) gets its reply or a ticket before this returns.
    /// Never waits.
    fn submit(&self, session: &mut Session, commands: &[Command<'_>], sink: &mut dyn Sink);

    /// The map in force.
    fn map(&self) -> Arc<MapIndex>;

    /// A table by name; the uplink is asked once when the map in force does not have it, and with the uplink down the
    /// map decides.
    fn find_table<'a>(&'a self, name: &'a TableName) -> Boxed<'a, Option<TableId>>;

    /// Unix milliseconds, on a clock that never goes back.
    fn now_ms(&self) -> u64;

    /// What there is to say about this process.
    fn about(&self) -> About;
}

/// What a process says of itself, for `/v1/cluster`, INFO and health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The worker's name, or `proxy`.
    pub name: String,
    /// What it is.
    pub kind: ProcessKind,
    /// None when it can serve; else what is missing, in one sentence.
    pub not_ready: Option<String>,
    /// How long it has run.
    pub uptime: Duration,
    /// How long ago the uplink last answered; None: never in this run.
    pub uplink_heard: Option<Duration>,
    /// Entries held here, expired ones not yet removed included.
    pub entries: u64,
    /// Bytes they take, the share of indexes included.
    pub memory_bytes: u64,
    /// Shards; 0 in a proxy.
    pub shards: u16,
}

/// Whether a process holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessKind {
    /// It does.
    Worker,
    /// It only passes requests on.
    Proxy,
}

/// What a worker's peer listener asks: requests that another router has routed here. They are answered here or refused
/// with `Moved`, never passed on.
pub trait Answer: Send + Sync + 'static {
    /// Runs asks in order; each slot of `sink` (the ask's index) gets its reply or a ticket. Never waits.
    fn answer(&self, head: &Head, asks: &[Ask<'_>], sink: &mut dyn Sink);
}

/// The answer to a batch.
pub struct Acked {
    /// An encoded [`firn_wire::replica::Ack`].
    pub ack: Vec<u8>,
    /// What is to be waited for before it is given; None: nothing.
    pub after: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// What a worker's peer listener hands over besides asks: what other workers say about copies. Their name is what they
/// said in the handshake: they know the cluster secret, and whether the map knows them is for the worker to see.
pub trait Replicate: Send + Sync + 'static {
    /// Applies a [`firn_wire::replica::Batch`] of a primary and gives what answers it. `session` is the connection it came
    /// over. An error closes the connection.
    fn batch(&self, from: &WorkerId, session: u64, batch: &[u8]) -> Result<Acked, BadReplica>;

    /// Takes a connection over that carries beacons, with what has been read of it. The socket does not block.
    fn beacons(&self, from: WorkerId, socket: std::net::TcpStream, read: Vec<u8>);
}

/// Runs commands and waits for all replies: for listeners that have one request at a time.
pub async fn run(
    execute: &dyn Execute,
    session: &mut Session,
    commands: &[Command<'_>],
) -> Vec<ReplyBuf> {
    let mut sink = Collect::default();
    execute.submit(session, commands, &mut sink);
    sink.all().await
}

/// Runs one command and waits for its reply.
pub async fn run_one(
    execute: &dyn Execute,
    session: &mut Session,
    command: Command<'_>,
) -> ReplyBuf {
    let mut replies = run(execute, session, &[command]).await;
    replies.pop().expect("one command has one reply")
}
