//! What is said to the uplink and what it answers: JSON bodies, and the signature of a request.
//!
//! With a cluster secret every request to `/v1/…` of the uplink carries
//! `Firn-Signature: TIME NONCE HMAC` (Unix milliseconds, 32 hex digits, 64 hex digits), where HMAC is that of
//! (`"uplink"`, TIME, NONCE, method, path with query, body). The uplink refuses a time more than a minute off its own and
//! a nonce it has seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{
    ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId, TableId, TableName, WorkerId,
    WorkerName,
};
use crate::map::{
    GroupRow, Map, PartitionRow, SeatRow, Settings, TableRow, WorkerRow, WorkerState,
};
use crate::secret::Secret;

/// The header a signature travels in.
pub const SIGNATURE_HEADER: &str = "Firn-Signature";

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Unix milliseconds of the sender.
    pub time_ms: u64,
    /// 32 hex digits, random.
    pub nonce: &'a str,
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl Signed<'_> {
    fn parts<'p>(&'p self, time: &'p str) -> [&'p [u8]; 6] {
        let text = str::as_bytes;
        [b"uplink", text(time), text(self.nonce), text(self.method), text(self.target), self.body]
    }

    /// The header's value.
    pub fn header(&self, secret: &Secret) -> String {
        let time = self.time_ms.to_string();
        let proof: String =
            secret.sign(&self.parts(&time)).iter().map(|b| format!("{b:02x}")).collect();
        format!("{time} {} {proof}", self.nonce)
    }

    /// Whether `header` is this request's signature.
    pub fn check(&self, secret: &Secret, header: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        self.header(secret).as_bytes().ct_eq(header.as_bytes()).into()
    }
}

/// `POST /v1/workers`: a worker's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Its name.
    pub name: WorkerName,
    /// This run of it.
    pub incarnation: Incarnation,
    /// Where its listeners can be reached: protocol name → `host:port`. `peer` must be there.
    pub addresses: BTreeMap<String, String>,
    /// Its shards (`SHARD_LIMIT`).
    pub shards: u16,
    /// The cluster it was in before, if it kept a map; another one is refused (409).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
}

/// The answer to [`Register`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The cluster.
    pub cluster: ClusterId,
    /// The map's version now; 0.0 before the first.
    pub version: MapVersion,
    /// How often to beat, in milliseconds.
    pub heartbeat_ms: u64,
    /// The seed of the cluster's table hashes: given to workers, never to clients.
    pub hash_seed: u64,
}

/// `POST /v1/workers/{name}/heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Which run beats; another than the registered one is refused (409).
    pub incarnation: Incarnation,
    /// True for the last beat of a worker that stops.
    #[serde(default)]
    pub goodbye: bool,
    /// True once a worker was told to stop and hands over what it leads.
    #[serde(default)]
    pub leaving: bool,
}

/// The answer to [`Heartbeat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beaten {
    /// The map's version now.
    pub version: MapVersion,
}

/// `GET /v1/map?after=VERSION&wait=25s`: what changed after a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDelta {
    /// The map's version now.
    pub version: MapVersion,
    /// The version the change starts from; meaningless when `full`.
    pub from: MapVersion,
    /// Whether these rows are all there are, so that the receiver drops its own.
    pub full: bool,
    /// Which cluster.
    pub cluster: ClusterId,
    /// The map's format.
    pub format: u16,
    /// Shared settings.
    pub settings: Settings,
    /// Rows with a `rev` after `from`.
    pub workers: Vec<WorkerRow>,
    /// Likewise.
    pub seats: Vec<SeatRow>,
    /// Likewise.
    pub groups: Vec<GroupRow>,
    /// Likewise.
    pub partitions: Vec<Arc<PartitionRow>>,
    /// Likewise.
    pub tables: Vec<TableRow>,
    /// What is gone since `from`.
    #[serde(default)]
    pub removed: Removed,
}

impl MapDelta {
    /// All of a map.
    pub fn whole(map: Map) -> Self {
        Self {
            version: map.version,
            from: MapVersion::default(),
            full: true,
            cluster: map.cluster,
            format: map.format,
            settings: map.settings,
            workers: map.workers,
            seats: map.seats,
            groups: map.groups,
            partitions: map.partitions,
            tables: map.tables,
            removed: Removed::default(),
        }
    }
}

/// Rows that are no more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Removed {
    /// Workers by name.
    pub workers: Vec<WorkerName>,
    /// Seats from this number on; None: none.
    pub seats_from: Option<u16>,
    /// Tables by id.
    pub tables: Vec<TableId>,
    /// Groups by id, with their partitions.
    pub groups: Vec<GroupId>,
}

/// One proposal of `POST /v1/map/changes`, which takes a list of them and answers one [`Verdict`] each, in order. It is
/// applied if the partition's row still has the `rev` it assumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Who proposes.
    pub by: WorkerId,
    /// Which partition.
    pub partition: PartitionId,
    /// The row it assumes.
    pub rev: MapVersion,
    /// The row's new reign: the same, or one more when the primary changes.
    pub epoch: Epoch,
    /// Its new primary.
    pub primary: WorkerId,
    /// Its new in-sync replicas, the primary among them.
    pub isr: Vec<WorkerId>,
    /// Of a claim: what its claimer kept of the partition; None: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// What a worker has of a partition's log after a restart. The greater, the more; the default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The reign of its last record.
    pub epoch: Epoch,
    /// The number of its last record.
    pub sequence: u64,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The row is now as proposed, with this rev.
    Applied(MapVersion),
    /// The row has changed meanwhile, or the proposal breaks a rule; the text says which.
    Refused(String),
}

/// The answer to `PUT /v1/tables/{t}` (201 new, 200 there already) and `PATCH`. The body of PUT is a
/// [`crate::map::TablePolicy`]; `?first_byte=N` is the first byte of the name as its user wrote it, for
/// `placement: name-ranges` (else that of `t`). The body of PATCH is a JSON merge patch (RFC 7396) of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMade {
    /// The row as it is now.
    pub table: TableRow,
    /// Whether this request made it.
    pub created: bool,
    /// The map's version that has it.
    pub version: MapVersion,
}

/// The problem (409) of a registration whose name's last run may still live: the same may succeed after its lease.
pub const NAME_IN_USE: &str = "urn:firn:problem:name-in-use";
/// The problem (409) of a registration with an address of another worker that may still live: likewise.
pub const ADDRESS_IN_USE: &str = "urn:firn:problem:address-in-use";

/// The problem (409) of a registration at an uplink that has lost its map, of a worker that has one: it sends it
/// ([`KnownMap`]) and registers again.
pub const SEND_MAP: &str = "urn:firn:problem:send-map";
/// The problem (409) of a registration while an uplink that has lost its map waits for those of workers: likewise later.
pub const REBUILDING: &str = "urn:firn:problem:rebuilding";
/// The problem (409) of a registration with a worker of another cluster.
pub const OTHER_CLUSTER: &str = "urn:firn:problem:other-cluster";

/// `POST /v1/workers/{name}/map`: the last map a worker has seen, for an uplink that has lost its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownMap {
    /// Which run tells it.
    pub incarnation: Incarnation,
    /// The seed of the cluster's table hashes.
    pub hash_seed: u64,
    /// The map.
    pub map: Map,
}

/// The answer to [`KnownMap`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapTaken {
    /// The map's version now; 0.0 while others are waited for.
    pub version: MapVersion,
    /// Workers whose maps are waited for.
    pub waits_for: Vec<WorkerName>,
}

/// The body of every 4xx and 5xx of the uplink and of `/v1` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problem {
    /// A stable name: `urn:firn:problem:NAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, in few words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What was wrong here and what to do.
    pub detail: String,
    /// The table concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
}

/// `POST /v1/recover`: partitions whose in-sync copies are all gone start again with what is left, or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recover {
    /// Whether what the missing copies had may be lost. Without it the answer says what that would be.
    pub accept_data_loss: bool,
    /// Only partitions this worker is missed in; None: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
}

/// The answer to [`Recover`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The map's version that has it.
    pub version: MapVersion,
    /// How many partitions were given to another worker, or go on without what a missing one knew of them.
    pub recovered: usize,
    /// Which, as `0/3` and ranges `0/5-9`.
    pub partitions: Vec<String>,
}

/// The answer to `POST /v1/workers/{name}/drain`: what is still to be moved. Asked again it is how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// The worker.
    pub worker: WorkerName,
    /// Its state: draining, or down once it has stopped.
    pub state: WorkerState,
    /// Partitions it still leads.
    pub leads: usize,
    /// Partitions it is still in sync with, those it leads among them. At 0 it may be stopped.
    pub in_sync: usize,
}

/// The answer to `GET /v1/movement`: how far what is has come to what is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Movement {
    /// Partitions that are not yet led and held by whom they should be, of those that are up.
    pub left: usize,
    /// The most there were left since there were none.
    pub total: usize,
    /// Since when some are, in Unix milliseconds; None: none are.
    pub since_ms: Option<u64>,
    /// Since when it is as many as now, in Unix milliseconds; None: none are left. Long ago: nothing moves.
    pub unchanged_since_ms: Option<u64>,
    /// How many have arrived in a second since then.
    pub rate_per_second: f64,
    /// In how many milliseconds none will be left if it goes on like that; None: not known, or none are left.
    pub ends_in_ms: Option<u64>,
}
