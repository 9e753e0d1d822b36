//! The library for programs: typed requests over a router without shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use firn_wire::command::{
    Command, Condition, Cursor, Expiry, Filter, KeyOp, Op, Scan, Set, TableCommand,
};
use firn_wire::exchange::{Collect, Role, Session};
use firn_wire::ids::{Incarnation, MapVersion, TableId, TableName, Version, WorkerId};
use firn_wire::map::{MapIndex, TablePolicy};
use firn_wire::reply::{Failure, Reply, ReplyBuf};
use firn_wire::secret::Secret;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::delta::DeltaError;
use crate::follow::{follow, pause, random};
use crate::links::Links;
use crate::local::Nothing;
use crate::maps::{Maps, no_map};
use crate::router::Router;
use crate::uplink::{BadUrls, Uplink, UplinkError};

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// An uplink or workers' http doors, `http://host:port` with commas between them; tried in turn.
    pub servers: String,
    /// The cluster's secret; the default is none.
    pub secret: Secret,
    /// How long connecting, and later each request, may take.
    pub timeout: Duration,
}

/// Why a request came to nothing, by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nothing was applied; it may work later.
    #[error("{0}")]
    Unavailable(String),
    /// It may or may not have been applied.
    #[error("no answer in time: the request may or may not have been applied")]
    Unknown,
    /// There is no such table.
    #[error("there is no table {0:?}; make it with `firn tables create {0}`")]
    NoSuchTable(String),
    /// The store refuses the request as it is.
    #[error("{0}")]
    Refused(String),
    /// The addresses are none.
    #[error("{0}")]
    Servers(#[from] BadUrls),
}

/// A value and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value; a slice of the message it came in.
    pub value: Bytes,
    /// What the HTTP door wrote beside it; empty is none.
    pub meta: Bytes,
    /// Its version.
    pub version: Version,
    /// When it is gone, Unix milliseconds; None: never.
    pub expires_at: Option<u64>,
}

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written, with this version; `created` says that the key was not there before.
    Yes {
        /// The new version.
        version: Version,
        /// Whether the key is new.
        created: bool,
    },
    /// The condition did not hold: this is there, None for nothing.
    No(Option<Version>),
}

/// An entry of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRow {
    /// The key.
    pub key: Vec<u8>,
    /// Its version.
    pub version: Version,
    /// When it is gone, Unix milliseconds; None: never.
    pub expires_at: Option<u64>,
    /// Bytes of the value.
    pub length: u64,
    /// The value, if asked for.
    pub value: Option<Vec<u8>>,
}

/// A connected program. Cheap to share by reference; each request is on its own, so many may run at once.
pub struct Client {
    router: Router<Nothing>,
    uplink: Arc<Uplink>,
    timeout: Duration,
    next_session: AtomicU64,
    follower: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Client {
    /// Gets the map from the first server that answers.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let uplink = Arc::new(Uplink::new(&config.servers, config.secret.clone())?);
        let maps = Arc::new(Maps::alone(Arc::new(no_map())));
        first_map(&maps, &uplink, Instant::now() + config.timeout).await?;
        let links = Links::here(client_id()?, config.secret, Arc::clone(&maps));
        let follower = tokio::spawn(follow(Arc::clone(&maps), Arc::clone(&uplink)));
        Ok(Self {
            router: Router::new(Nothing, maps, links, Some(Arc::clone(&uplink))),
            uplink,
            timeout: config.timeout,
            next_session: AtomicU64::new(1),
            follower,
        })
    }

    /// The router below, for what has no method here.
    pub fn router(&self) -> &Router<Nothing> {
        &self.router
    }

    /// How long ago the uplink, or the worker that stands in for it, last answered.
    pub fn uplink_heard(&self) -> Option<Duration> {
        self.uplink.heard()
    }

    /// The map in force.
    pub fn map(&self) -> Arc<MapIndex> {
        self.router.map()
    }

    /// A session of its own, with the client's timeout.
    pub fn session(&self) -> Session {
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let mut session = Session::new(id, Role::Admin);
        session.timeout = self.timeout;
        session
    }

    /// Runs commands and waits for their replies, in order.
    pub async fn run(&self, commands: &[Command<'_>]) -> Vec<ReplyBuf> {
        let mut sink = Collect::default();
        self.router.submit(&mut self.session(), commands, &mut sink);
        sink.all().await
    }

    /// Runs a command and waits for its reply; a failure is an error.
    pub async fn run_one(&self, command: Command<'_>) -> Result<ReplyBuf, ClientError> {
        let reply = self.run(&[command]).await.pop().expect("one command has one reply");
        match reply.view() {
            Reply::Failed(failure) => Err(error_of(failure)),
            _ => Ok(reply),
        }
    }

    /// A table's id.
    pub async fn table(&self, name: &TableName) -> Result<TableId, ClientError> {
        let missing = || ClientError::NoSuchTable(name.to_string());
        self.router.find_table(name).await.ok_or_else(missing)
    }

    /// One operation.
    pub async fn key(
        &self,
        table: &TableName,
        key: &[u8],
        op: Op<'_>,
    ) -> Result<ReplyBuf, ClientError> {
        let table = self.table(table).await?;
        self.run_one(Command::Key(KeyOp { table, key, op })).await
    }

    /// The value of a key; None: it is not there.
    pub async fn get(&self, table: &TableName, key: &[u8]) -> Result<Option<Entry>, ClientError> {
        let reply = self.key(table, key, Op::Get).await?;
        let bytes = |part: &[u8]| reply.as_bytes().slice_ref(part);
        match reply.view() {
            Reply::Nil => Ok(None),
            Reply::Value(value) => Ok(Some(Entry {
                value: bytes(value.bytes),
                meta: bytes(value.meta),
                version: value.version.unwrap_or_default(),
                expires_at: value.expires_at,
            })),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a value if the condition holds.
    pub async fn set(
        &self,
        table: &TableName,
        key: &[u8],
        value: &[u8],
        expiry: Expiry,
        condition: Condition<'_>,
    ) -> Result<Written, ClientError> {
        let set = Set { expiry, condition, ..Set::plain(value) };
        match self.key(table, key, Op::Set(set)).await?.view() {
            Reply::Written { version, created, .. } => Ok(Written::Yes { version, created }),
            Reply::NotMet { version, .. } => Ok(Written::No(version)),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes a key; false when it was not there.
    pub async fn delete(&self, table: &TableName, key: &[u8]) -> Result<bool, ClientError> {
        let delete = Op::Delete { condition: Condition::Always, want_old: false };
        match self.key(table, key, delete).await?.view() {
            Reply::Deleted { .. } => Ok(true),
            Reply::Nil | Reply::NotMet { .. } => Ok(false),
            other => Err(unexpected(&other)),
        }
    }

    /// Adds to an integer, 0 where there is none, and gives the sum.
    pub async fn increment(
        &self,
        table: &TableName,
        key: &[u8],
        by: i64,
    ) -> Result<i64, ClientError> {
        match self.key(table, key, Op::Increment { by }).await?.view() {
            Reply::Number { value, .. } => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    /// One page of a table: its rows and where to go on; None: the table is through.
    pub async fn scan(
        &self,
        table: &TableName,
        from: Cursor,
        count: u32,
        filter: Filter<'_>,
        values: bool,
    ) -> Result<(Vec<ScanRow>, Option<Cursor>), ClientError> {
        let table = self.table(table).await?;
        let scan = Scan { from, count, filter, values };
        match self.run_one(Command::Scan { table, scan }).await?.view() {
            Reply::Page { next, rows } => {
                let row = |row: firn_wire::reply::Row<'_>| ScanRow {
                    key: row.key.to_vec(),
                    version: row.version,
                    expires_at: row.expires_at,
                    length: row.length,
                    value: row.value.map(<[u8]>::to_vec),
                };
                Ok((rows.into_iter().map(row).collect(), next))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The number of entries of a table.
    pub async fn count(&self, table: &TableName) -> Result<u64, ClientError> {
        let table = self.table(table).await?;
        match self.run_one(Command::Count { table }).await?.view() {
            Reply::Count(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a table; false when it was there already with this placement.
    pub async fn create_table(
        &self,
        name: &TableName,
        policy: TablePolicy,
    ) -> Result<bool, ClientError> {
        let first_byte = name.as_str().as_bytes()[0];
        let create = TableCommand::Create { name, first_byte, policy };
        match self.run_one(Command::Table(create)).await?.view() {
            Reply::Table { created, .. } => Ok(created),
            other => Err(unexpected(&other)),
        }
    }

    /// Changes a table's policy by a JSON merge patch (RFC 7396).
    pub async fn alter_table(&self, name: &TableName, patch: &str) -> Result<(), ClientError> {
        let alter = Command::Table(TableCommand::Alter { name, patch });
        self.run_one(alter).await.map(drop)
    }

    /// Removes a table with all it holds; false when there was none.
    pub async fn drop_table(&self, name: &TableName) -> Result<bool, ClientError> {
        match self.run_one(Command::Table(TableCommand::Drop { name })).await?.view() {
            Reply::Done(was_there) => Ok(was_there),
            other => Err(unexpected(&other)),
        }
    }
}

fn error_of(failure: Failure<'_>) -> ClientError {
    match failure {
        Failure::Unknown => ClientError::Unknown,
        Failure::Unavailable(_)
        | Failure::NoUplink(_)
        | Failure::MemoryFull { .. }
        | Failure::DiskFailed(_) => ClientError::Unavailable(failure.to_string()),
        other => ClientError::Refused(other.to_string()),
    }
}

fn unexpected(reply: &Reply<'_>) -> ClientError {
    let text: String = format!("{reply:?}").chars().take(200).collect();
    ClientError::Refused(format!("a worker answered what does not fit the request: {text}"))
}

/// A name that no worker has; the listener only checks the secret.
fn client_id() -> Result<WorkerId, ClientError> {
    let random = getrandom::u64()
        .map_err(|error| ClientError::Unavailable(format!("no random bytes: {error}")))?;
    let name = "client".parse().expect("a valid name");
    Ok(WorkerId { name, incarnation: Incarnation(random) })
}

async fn first_map(maps: &Maps, uplink: &Uplink, deadline: Instant) -> Result<(), ClientError> {
    let unavailable = |why: String| ClientError::Unavailable(why);
    for failures in 1.. {
        let wait = deadline.saturating_duration_since(Instant::now());
        let why = match uplink.map(MapVersion::default(), wait).await {
            Ok(Some(delta)) => {
                let taken = maps.take(delta).await;
                return taken.map_err(|error: DeltaError| unavailable(error.to_string()));
            }
            Ok(None) => "the cluster has no map yet: workers are missing".to_owned(),
            Err(UplinkError::NoAnswer(why)) => why,
            Err(refused) => return Err(ClientError::Refused(refused.to_string())),
        };
        let pause = pause(failures, random());
        if Instant::now() + pause >= deadline {
            return Err(unavailable(why));
        }
        tokio::time::sleep(pause).await;
    }
    unreachable!("the deadline comes first")
}
