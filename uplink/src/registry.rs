//! The registry: membership, tables and the map that tells them. Pure: what happens comes in as an [`Event`] with the
//! time it happens at, and the shell around it stores, publishes and answers.
//!
//! Invariants:
//! - The map's version only grows; a step that changes the map raises it by one, and every row it touches has that `rev`.
//! - An id of a table is never used again.
//! - Before the first map its version is 0.0; nothing is in it but workers that beat and wait.
//! - The plan writes only seats and `wanted`. Primary, in-sync replicas and epoch of a partition change only by a
//!   worker's proposal, after their first row, or for a partition none of whose in-sync replicas is left.
//! - After the first map somebody has a seat.
//! - A row of an older generation than the map's changes only by what workers tell of it, or by an operator's word.

mod claims;
mod history;
mod members;
mod movement;
mod proposals;
mod ranges;
mod rebuild;
mod recovery;
mod refusal;
mod registration;
mod retirement;
mod rules;
mod seats;
mod settings;
mod silence;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_wire::ids::{Epoch, GroupId, MapVersion, PartitionId, TableName, WorkerId, WorkerName};
use firn_wire::map::{
    GroupRow, GroupRule, Map, PartitionRow, Settings, TablePolicy, WorkerRow, WorkerState,
};
use firn_wire::registry::{
    Beaten, Draining, Heartbeat, KnownMap, MapTaken, Proposal, Recover, Recovered, Register,
    Registered, TableMade, Verdict,
};

pub use claims::ClaimRule;
pub use history::{Ahead, History};
pub use movement::Progress;
pub use refusal::{Refusal, RefusalKind};

use crate::plan::{Absences, plan};
use crate::state::State;
use claims::Claims;
use members::Heard;
use rebuild::{Reports, is_sure};
use silence::absences_of;

/// What happens to a registry.
#[derive(Debug, Clone)]
pub enum Event {
    /// A worker starts.
    Register(Register),
    /// A worker tells the last map it has seen.
    Tell(WorkerName, Box<KnownMap>),
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
    /// A worker shall give away all it has.
    Drain(WorkerName),
    /// A worker shall be forgotten.
    Forget(WorkerName),
    /// Partitions without a copy shall start again.
    Recover(Recover),
    /// A JSON merge patch (RFC 7396) of the cluster's settings.
    AlterSettings(serde_json::Map<String, serde_json::Value>),
    /// Time has passed.
    Tick,
    /// The uplink itself stood still: silence until now says nothing.
    Woken,
}

/// What came of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The worker is registered, and whether it was not before.
    Registered(Registered, bool),
    /// The worker's map was taken down.
    Told(MapTaken),
    /// The worker's beat was heard.
    Beaten(Beaten),
    /// What became of each proposal, in order.
    Verdicts(Vec<Verdict>),
    /// The table is there.
    Table(TableMade),
    /// It is gone since this version.
    Gone(MapVersion),
    /// What a worker that is drained still has.
    Draining(Draining),
    /// What was given away.
    Recovered(Recovered),
    /// The settings from now on.
    Settings(Box<Settings>),
    /// Nothing is to be said.
    Nothing,
}

/// The registry of one cluster. A clone is what it was, should a change turn out not to be stored.
#[derive(Debug, Clone)]
pub struct Registry {
    state: State,
    history: Arc<History>,
    /// When each worker that is not down was last heard. Not kept: silence counts from the uplink's own start.
    heard: BTreeMap<WorkerName, Heard>,
    /// The time from which silence counts: the uplink's own start, or when it last stood still.
    silence_from_ms: u64,
    /// Who was not counted on when the plan was last made.
    absences: Absences,
    /// The map and the time at which everything was last looked at.
    reviewed: (MapVersion, u64),
    progress: Progress,
    /// What workers have told of a map that was lost.
    reports: Reports,
    /// What is said of partitions all of whose in-sync replicas have restarted.
    claims: Claims,
    /// Partitions started again by themselves.
    rehomed: u64,
    /// Partitions of which nobody had kept anything.
    emptied: u64,
    /// The version the step at hand began with.
    base: MapVersion,
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
        let version = state.map.version;
        let mut registry = Self {
            history: Arc::new(History::new(version)),
            heard,
            silence_from_ms: now_ms,
            absences: absences_of(&state.map),
            reviewed: (MapVersion::default(), now_ms),
            progress: Progress::default(),
            claims: Claims::default(),
            rehomed: 0,
            emptied: 0,
            base: version,
            own_address,
            reports: Reports::default(),
            state,
        };
        registry.note_missed();
        registry
    }

    /// The same without a rule of claims: for a simulation that shows what the rule is for.
    pub fn without(mut self, rule: ClaimRule) -> Self {
        self.claims.without = Some(rule);
        self
    }

    /// One event at `now_ms` (Unix milliseconds that never go back). When the map's version has grown after it, the state
    /// must be stored before the answer is given.
    pub fn step(&mut self, now_ms: u64, event: Event) -> Result<Answer, Refusal> {
        let before = self.version();
        self.base = before;
        let answer = match event {
            Event::Register(register) => self.register(now_ms, register),
            Event::Tell(name, known) => self.tell(now_ms, name, *known),
            Event::Beat(name, beat) => self.beat(now_ms, &name, &beat),
            Event::Propose(proposals) => self.propose(&proposals),
            Event::CreateTable { name, policy, first_byte } => {
                self.create_table(name, policy, first_byte)
            }
            Event::AlterTable(name, patch) => self.alter_table(&name, patch),
            Event::DropTable(name) => self.drop_table(&name),
            Event::Drain(name) => self.drain(now_ms, &name),
            Event::Forget(name) => self.delete(&name),
            Event::Recover(asked) => self.recover(&asked),
            Event::AlterSettings(patch) => self.alter_settings(patch),
            Event::Tick => {
                self.tick(now_ms);
                Ok(Answer::Nothing)
            }
            Event::Woken => {
                self.wake(now_ms);
                Ok(Answer::Nothing)
            }
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

    /// How far partitions have come to where they should be, as of the last tick.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Partitions that were started again without a copy, by themselves, since the start.
    pub fn rehomed(&self) -> u64 {
        self.rehomed
    }

    /// Partitions that were started again empty since the start, since none of those in sync had kept anything.
    pub fn emptied(&self) -> u64 {
        self.emptied
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
        let detail = match self.is_rebuilding() {
            true => self.what_is_waited_for(),
            false => {
                format!("{there} of the {expected} workers to expect are there; again when all are")
            }
        };
        Err(Refusal::later(RefusalKind::NoMapYet, detail, 1_000))
    }

    fn worker(&self, name: &WorkerName) -> Option<&WorkerRow> {
        let place = self.worker_place(name).ok()?;
        Some(&self.map().workers[place])
    }

    /// Where the worker's row is, or where it would be.
    fn worker_place(&self, name: &WorkerName) -> Result<usize, usize> {
        self.map().workers.binary_search_by(|row| row.name.cmp(name))
    }

    /// Opens a change, or goes on with the step's: the map to write, and the version that what is written takes. Before the
    /// first map there are no versions.
    fn change(&mut self) -> (&mut Map, MapVersion) {
        let opens = self.is_published() && self.version() == self.base;
        let map = Arc::make_mut(&mut self.state.map);
        if opens {
            map.version.counter += 1;
        }
        let version = map.version;
        (map, version)
    }

    /// Makes the plan anew. Nothing changes where it is as it was, nor in rows that are not sure.
    fn replan(&mut self) {
        let wanted = plan(self.map(), &self.absences);
        let rows = self.map().partitions.iter().zip(&wanted);
        let mut sure = rows.filter(|(row, _)| is_sure(self.map(), row));
        if sure.any(|(row, wanted)| row.wanted != *wanted) {
            let (map, version) = self.change();
            write_plan(map, version, wanted);
        }
    }
}

/// Writes what the plan wants into the rows that are sure, within a change to `version`.
fn write_plan(map: &mut Map, version: MapVersion, wanted: Vec<Vec<WorkerName>>) {
    for (row, wanted) in map.partitions.iter_mut().zip(wanted) {
        if row.wanted != wanted && row.rev.generation == version.generation {
            let row = Arc::make_mut(row);
            row.wanted = wanted;
            row.rev = version;
        }
    }
}

/// Adds a group with its partitions, each in the first reign of the worker that should lead it, or of the next that is up.
fn add_group(
    map: &mut Map,
    version: MapVersion,
    absences: &Absences,
    copies: u8,
    rule: GroupRule,
) -> GroupId {
    let id = GroupId(map.groups.last().map_or(0, |group| group.id.0 + 1));
    let partitions = match rule {
        GroupRule::Keys => map.settings.partitions,
        GroupRule::NameRanges => map.settings.name_ranges.len() as u16,
    };
    map.groups.push(GroupRow { id, copies, partitions, rule, rev: version });
    let first = map.partitions.len();
    let row = |number| PartitionRow {
        id: PartitionId { group: id, number },
        rev: version,
        epoch: Epoch(1),
        primary: None,
        isr: Vec::new(),
        wanted: Vec::new(),
        released: false,
    };
    map.partitions.extend((0..partitions).map(row).map(Arc::new));
    let wanted = plan(map, absences);
    write_plan(map, version, wanted);
    let workers: BTreeMap<&WorkerName, &WorkerRow> =
        map.workers.iter().map(|row| (&row.name, row)).collect();
    let is_up = |name: &&WorkerName| workers[name].state == WorkerState::Up;
    for row in map.partitions[first..].iter_mut().map(Arc::make_mut) {
        let first_up = row.wanted.iter().find(is_up).or(row.wanted.first());
        let primary: Option<WorkerId> = first_up.map(|name| workers[name].id());
        row.isr = primary.iter().cloned().collect();
        row.primary = primary;
    }
    id
}
