//! The registry: membership, tables and the map that tells them. Pure: what happens comes in as an [`Event`] with the
//! time it happens at, and the shell around it stores, publishes and answers.
//!
//! Invariants:
//! - The map's version only grows; a step that changes the map raises it by one, and every row it touches has that `rev`.
//! - An id of a table is never used again.
//! - Before the first map its version is 0.0; nothing is in it but workers that beat and wait.
//! - The plan writes only seats and `wanted`. Primary, in-sync replicas and epoch of a partition change only by a
//!   worker's proposal, after their first row.

mod history;
mod members;
mod proposals;
mod refusal;
mod registration;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_wire::ids::{Epoch, GroupId, MapVersion, PartitionId, TableName, WorkerId, WorkerName};
use firn_wire::map::{GroupRow, GroupRule, Map, PartitionRow, TablePolicy, WorkerRow, WorkerState};
use firn_wire::registry::{Beaten, Heartbeat, Proposal, Register, Registered, TableMade, Verdict};

pub use history::{Ahead, History};
pub use refusal::{Refusal, RefusalKind};

use crate::plan::plan;
use crate::state::State;
use members::Heard;

/// What happens to a registry.
#[derive(Debug, Clone)]
pub enum Event {
    /// A worker starts.
    Register(Register),
    /// A worker lives, or says goodbye.
    Beat(WorkerName, Heartbeat),
    /// Workers want partitions' rows changed; judged in order, applied as one change.
    Propose(Vec<Proposal>),
    /// Someone wants a table to exist.
    CreateTable {
        /// Its name.
        name: TableName,
        /// Its policy, if it is new.
        policy: TablePolicy,
        /// First byte of the name as its user wrote it, for `placement: name-ranges`; None takes that of `name`.
        first_byte: Option<u8>,
    },
    /// A JSON merge patch (RFC 7396) of a table's policy.
    AlterTable(TableName, serde_json::Map<String, serde_json::Value>),
    /// A table and all that is in it shall be gone.
    DropTable(TableName),
    /// A worker shall be forgotten.
    Forget(WorkerName),
    /// Time has passed.
    Tick,
}

/// What came of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The worker is registered, and whether it was not before.
    Registered(Registered, bool),
    /// The worker's beat was heard.
    Beaten(Beaten),
    /// What became of each proposal, in order.
    Verdicts(Vec<Verdict>),
    /// The table is there.
    Table(TableMade),
    /// It is gone since this version.
    Gone(MapVersion),
    /// Nothing is to be said.
    Nothing,
}

/// The registry of one cluster.
#[derive(Debug)]
pub struct Registry {
    state: State,
    history: Arc<History>,
    /// When each worker that is not down was last heard. Not kept: silence counts from the uplink's own start.
    heard: BTreeMap<WorkerName, Heard>,
    /// The uplink's own `host:port`, which no worker may claim.
    own_address: String,
}

impl Registry {
    /// A registry that goes on from a state at `now_ms`: every worker that is not down is given a whole lease, but for
    /// `ended`, of which it is known that its last run has ended.
    pub fn new(state: State, own_address: String, ended: Option<&WorkerName>, now_ms: u64) -> Self {
        let beating = state.map.workers.iter().filter(|row| row.state != WorkerState::Down);
        let beating = beating.filter(|row| Some(&row.name) != ended);
        let heard = beating.map(|row| (row.name.clone(), Heard::At(now_ms))).collect();
        let history = Arc::new(History::new(state.map.version));
        Self { state, history, heard, own_address }
    }

    /// One event at `now_ms` (Unix milliseconds that never go back). When the map's version has grown after it, the state
    /// must be stored before the answer is given.
    pub fn step(&mut self, now_ms: u64, event: Event) -> Result<Answer, Refusal> {
        let before = self.version();
        let answer = match event {
            Event::Register(register) => self.register(now_ms, register),
            Event::Beat(name, beat) => self.beat(now_ms, &name, &beat),
            Event::Propose(proposals) => self.propose(&proposals),
            Event::CreateTable { name, policy, first_byte } => {
                self.create_table(name, policy, first_byte)
            }
            Event::AlterTable(name, patch) => self.alter_table(&name, patch),
            Event::DropTable(name) => self.drop_table(&name),
            Event::Forget(name) => self.forget(&name),
            Event::Tick => self.tick(now_ms),
        };
        let after = self.version();
        assert!(after >= before, "the map went back from {before} to {after}");
        answer
    }

    /// What must be stored.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The map.
    pub fn map(&self) -> &Arc<Map> {
        &self.state.map
    }

    /// What is gone from the map.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The map's version; 0.0 before the first.
    pub fn version(&self) -> MapVersion {
        self.state.map.version
    }

    fn is_published(&self) -> bool {
        self.version() != MapVersion::default()
    }

    fn expect_map(&self) -> Result<(), Refusal> {
        if self.is_published() {
            return Ok(());
        }
        let (there, expected) = (self.map().workers.len(), self.map().settings.expect_workers);
        Err(Refusal::later(
            RefusalKind::NoMapYet,
            format!("{there} of the {expected} workers to expect are there; again when all are"),
            1_000,
        ))
    }

    fn worker(&self, name: &WorkerName) -> Option<&WorkerRow> {
        let place = self.worker_place(name).ok()?;
        Some(&self.map().workers[place])
    }

    /// Where the worker's row is, or where it would be.
    fn worker_place(&self, name: &WorkerName) -> Result<usize, usize> {
        self.map().workers.binary_search_by(|row| row.name.cmp(name))
    }

    /// Opens a change: the map to write, and the version that what is written takes. Before the first map there are no
    /// versions.
    fn change(&mut self) -> (&mut Map, MapVersion) {
        let published = self.is_published();
        let map = Arc::make_mut(&mut self.state.map);
        if published {
            map.version.counter += 1;
        }
        let version = map.version;
        (map, version)
    }
}

/// Writes what the plan wants into the rows, within a change to `version`.
fn write_plan(map: &mut Map, version: MapVersion) {
    let wanted = plan(map);
    for (row, wanted) in map.partitions.iter_mut().zip(wanted) {
        if row.wanted != wanted {
            row.wanted = wanted;
            row.rev = version;
        }
    }
}

/// Adds a group with its partitions, each in the first reign of the worker that should lead it.
fn add_group(map: &mut Map, version: MapVersion, copies: u8, rule: GroupRule) -> GroupId {
    let id = GroupId(map.groups.last().map_or(0, |group| group.id.0 + 1));
    let partitions = match rule {
        GroupRule::Keys => map.settings.partitions,
        GroupRule::NameRanges => map.settings.name_ranges.len() as u16,
    };
    map.groups.push(GroupRow { id, copies, partitions, rule, rev: version });
    let first = map.partitions.len();
    map.partitions.extend((0..partitions).map(|number| PartitionRow {
        id: PartitionId { group: id, number },
        rev: version,
        epoch: Epoch(1),
        primary: None,
        isr: Vec::new(),
        wanted: Vec::new(),
    }));
    write_plan(map, version);
    let workers: BTreeMap<&WorkerName, WorkerId> =
        map.workers.iter().map(|row| (&row.name, row.id())).collect();
    for row in &mut map.partitions[first..] {
        let primary = row.wanted.first().and_then(|name| workers.get(name)).cloned();
        row.isr = primary.iter().cloned().collect();
        row.primary = primary;
    }
    id
}
