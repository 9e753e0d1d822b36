//! The cluster map: who holds what. Changed only by the uplink; everyone else reads it.
//!
//! Invariants:
//! - `version` and every row's `rev` only grow; a row's `rev` is the map version of its last change.
//! - `partitions` is sorted by id and has, for each group, exactly the numbers below the group's count.
//! - A table's id is never used again; `default` is table 0.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{
    ClusterId, Epoch, GroupId, Incarnation, MapVersion, PartitionId, TableId, TableName, WorkerId,
    WorkerName,
};
use crate::key::KeyInteger;
use crate::limits::VALUE_BYTES_DEFAULT_MAX;

/// The newest form of records and frames this build writes and reads.
pub const FORMAT: u16 = 1;

/// How wanted places follow from membership; fixed for the life of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Partition p belongs to seat p mod n.
    #[default]
    Modulo,
    /// Each change of membership moves the fewest partitions that restore balance.
    Sticky,
}

/// The settings every process of a cluster shares. Fixed when the uplink first starts unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Key → integer.
    pub key_integer: KeyInteger,
    /// Partitions of group 0.
    pub partitions: u16,
    /// Membership → wanted places.
    pub placement: Placement,
    /// Copies of each partition of group 0, 1 or more.
    pub copies: u8,
    /// Workers that must have registered before the first map is published.
    pub expect_workers: u16,
    /// First bytes of a D-Boutique bucket's name, inclusive ranges, one partition each; empty turns the rule off.
    pub name_ranges: Vec<NameRange>,
    /// After this silence the uplink counts a worker as down, in milliseconds.
    pub worker_lease_ms: u64,
    /// How copies are kept. Changed online.
    pub replication: Replication,
}

/// How long workers trust each other, and what is done about those that are away. All times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// L: how long a primary may serve after it sent the last beacon that each in-sync copy has answered.
    pub lease_ms: u64,
    /// G: how long a copy that has heard a primary's beacon neither seeks nor supports another primary. Long enough for
    /// [`Replication::lease_of`] whatever the two clocks do.
    pub grant_ms: u64,
    /// A worker down for longer is replaced: its copies are made elsewhere. It keeps its seat.
    pub replace_after_ms: u64,
    /// A worker down for longer loses its seat, if all it had has another in-sync copy.
    pub forget_after_ms: u64,
    /// A partition whose in-sync copies have all been away for longer starts again empty elsewhere; None: never. For
    /// caches: with it no primary serves without the uplink.
    pub rehome_after_ms: Option<u64>,
    /// Bytes a worker copies to others in a second; 0: as fast as it goes.
    pub copy_bytes_per_second: u64,
}

impl Replication {
    /// The most two clocks may differ in rate, in tenths: one in ten.
    const RATE_TENTHS: u64 = 1;
    /// Allowed for rounding and for the granularity of clocks, in milliseconds.
    const SLACK_MS: u64 = 20;

    /// How often workers send each other a beacon.
    pub fn beacon_ms(&self) -> u64 {
        (self.lease_ms / 8).clamp(10, 250)
    }

    /// The lease that a grant of `grant_ms` is worth, from the moment the beacon was sent, with the lender's clock up to
    /// a tenth faster and ours a tenth slower: min(L, (G − slack)(1 − ρ)/(1 + ρ)), ρ = 0.1.
    pub fn lease_of(&self, grant_ms: u64) -> u64 {
        self.lease_ms.min(Self::sure_of(grant_ms))
    }

    /// What surely has not passed on another's clock when it has passed on ours: (T − slack)(1 − ρ)/(1 + ρ).
    pub fn sure_of(time_ms: u64) -> u64 {
        let (slow, fast) = (10 - Self::RATE_TENTHS, 10 + Self::RATE_TENTHS);
        time_ms.saturating_sub(Self::SLACK_MS) * slow / fast
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            lease_ms: 2_000,
            grant_ms: 2_500,
            replace_after_ms: 10_000,
            forget_after_ms: 600_000,
            rehome_after_ms: None,
            copy_bytes_per_second: 32 * 1024 * 1024,
        }
    }
}

/// First bytes `from..=to` of a bucket's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRange {
    /// Lowest first byte.
    pub from: u8,
    /// Highest first byte.
    pub to: u8,
}

/// What the uplink last heard of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It beats.
    Up,
    /// It was told to stop and hands over what it leads. It keeps its seat.
    Leaving,
    /// An operator drains it: it has no seat, and gives away all it has.
    Draining,
    /// It has been silent longer than its lease, or said goodbye.
    Down,
}

/// A registered worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its name; the key of the row.
    pub name: WorkerName,
    /// Its last registered run.
    pub incarnation: Incarnation,
    /// Where its listeners can be reached: protocol name → `host:port`. `peer` is always there.
    pub addresses: BTreeMap<String, String>,
    /// Its shards (`SHARD_LIMIT`).
    pub shards: u16,
    /// Whether it beats.
    pub state: WorkerState,
    /// Unix milliseconds at which `state` took its value, for messages to people.
    pub since_ms: u64,
    /// Last change.
    pub rev: MapVersion,
}

impl WorkerRow {
    /// Its identity.
    pub fn id(&self) -> WorkerId {
        WorkerId { name: self.name.clone(), incarnation: self.incarnation }
    }
}

/// The shard, of `shards`, that a worker serves a partition with. Not `number % shards`: with modulo placement that
/// would put all of a worker's partitions into few shards. (Fibonacci hashing, Knuth 6.4.)
pub fn shard_of(partition: PartitionId, shards: u16) -> usize {
    let id = u64::from(partition.group.0) << 16 | u64::from(partition.number);
    let mixed = (id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((mixed * u64::from(shards)) >> 32) as usize
}

/// A place in the modulo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatRow {
    /// Its number, from 0, without holes.
    pub number: u16,
    /// Who sits there; None is a vacant seat.
    pub worker: Option<WorkerName>,
    /// Last change.
    pub rev: MapVersion,
}

/// How the partitions of a group are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupRule {
    /// By the key's integer.
    Keys,
    /// By the first byte of the table's name: one partition per range of `Settings::name_ranges`.
    NameRanges,
}

/// A group of partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its id.
    pub id: GroupId,
    /// Copies of each of its partitions.
    pub copies: u8,
    /// Number of partitions.
    pub partitions: u16,
    /// How a key finds its partition.
    pub rule: GroupRule,
    /// Last change.
    pub rev: MapVersion,
}

/// A partition's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRow {
    /// Which.
    pub id: PartitionId,
    /// Last change; what a proposal must name.
    pub rev: MapVersion,
    /// The reign of its primary; +1 at each change of primary.
    pub epoch: Epoch,
    /// Who orders its writes; None before its first reign.
    pub primary: Option<WorkerId>,
    /// Who has every acknowledged write, the primary included.
    pub isr: Vec<WorkerId>,
    /// Who should have it, the primary first.
    pub wanted: Vec<WorkerName>,
    /// Whether the last primary gave this reign away itself: no lease of an earlier one lives.
    #[serde(default)]
    pub released: bool,
}

impl PartitionRow {
    /// Whether a run of a worker is in sync.
    pub fn has_in_sync(&self, worker: &WorkerId) -> bool {
        self.isr.contains(worker)
    }

    /// Whether a worker should have the partition.
    pub fn wants(&self, name: &WorkerName) -> bool {
        self.wanted.contains(name)
    }
}

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// When the primary has applied it.
    Primary,
    /// When every in-sync copy has it.
    All,
}

/// What a restart leaves of a table, on workers that have a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Nothing.
    None,
    /// All but what was written in the last second.
    Everysec,
    /// All that was acknowledged: a write is answered when it is on the disks of its in-sync copies.
    Always,
}

/// A table's policy as an operator writes it. Every field may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TablePolicy {
    /// Copies; None takes the cluster's. Fixed at creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<u8>,
    /// How keys find their partition; None is `keys`. Fixed at creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<GroupRule>,
    /// When a write is answered; None: `all` when there are two copies or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    /// What a restart leaves of it, on workers that have a data folder; None: `everysec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Time to live of values written without one, in milliseconds; None: they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The longest value, in bytes; None: 1 MiB. At most 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_bytes_max: Option<u64>,
    /// The most memory its entries may take on one worker, in bytes; None: no bound of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
}

impl TablePolicy {
    /// When a write is answered, with the default filled in: a single copy is all copies.
    pub fn ack_or_default(&self) -> Ack {
        self.ack.unwrap_or(Ack::All)
    }

    /// What a restart leaves of it, with the default filled in.
    pub fn durability_or_default(&self) -> Durability {
        self.durability.unwrap_or(Durability::Everysec)
    }

    /// The longest value in bytes, with the default filled in.
    pub fn value_bytes_limit(&self) -> usize {
        self.value_bytes_max
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(VALUE_BYTES_DEFAULT_MAX)
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    /// Its id, never used again.
    pub id: TableId,
    /// Its name.
    pub name: TableName,
    /// The group its partitions are in.
    pub group: GroupId,
    /// Under [`GroupRule::NameRanges`]: the one partition that holds all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u16>,
    /// Its policy.
    pub policy: TablePolicy,
    /// Last change.
    pub rev: MapVersion,
}

/// The whole map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Its version; [`MapVersion::default`] is "none yet".
    pub version: MapVersion,
    /// The newest record and frame form every member understands.
    pub format: u16,
    /// Shared settings.
    pub settings: Settings,
    /// Registered workers, by name.
    pub workers: Vec<WorkerRow>,
    /// Places in the modulo, by number.
    pub seats: Vec<SeatRow>,
    /// Groups, by id.
    pub groups: Vec<GroupRow>,
    /// Partitions, by id. Shared: while they move there are many maps, each with few rows that are not of the last.
    pub partitions: Vec<Arc<PartitionRow>>,
    /// Tables, by id.
    pub tables: Vec<TableRow>,
}

impl Map {
    /// The partition at a place, to be changed in this map alone.
    ///
    /// # Panics
    /// Without such a place.
    pub fn row_mut(&mut self, place: usize) -> &mut PartitionRow {
        Arc::make_mut(&mut self.partitions[place])
    }
}

/// A map with its indexes: what every request looks into. Immutable; a new map is a new one.
#[derive(Debug)]
pub struct MapIndex {
    map: Map,
    tables_by_name: HashMap<TableName, usize>,
    /// For each group, in the map's order, where its partitions start.
    starts: Vec<usize>,
}

/// Finds the row of an id in rows sorted by id; ids are mostly their own places.
fn find_by_id<T>(rows: &[T], id: u32, id_of: impl Fn(&T) -> u32) -> Option<usize> {
    let guess = id as usize;
    if rows.get(guess).is_some_and(|row| id_of(row) == id) {
        return Some(guess);
    }
    rows.binary_search_by_key(&id, id_of).ok()
}

/// Whether ids ascend without a repetition.
fn ascend<T>(rows: &[T], id_of: impl Fn(&T) -> u32) -> bool {
    rows.windows(2).all(|pair| id_of(&pair[0]) < id_of(&pair[1]))
}

impl Deref for MapIndex {
    type Target = Map;
    fn deref(&self) -> &Map {
        &self.map
    }
}

/// Where each group's partitions start, after a check that they are all there.
fn group_starts(map: &Map) -> Result<Vec<usize>, String> {
    let (mut starts, mut next) = (Vec::with_capacity(map.groups.len()), 0);
    for group in &map.groups {
        let end = next + usize::from(group.partitions);
        let rows = map.partitions.get(next..end).unwrap_or_default();
        let numbered = (0..group.partitions).map(|number| PartitionId { group: group.id, number });
        if group.partitions == 0 || !rows.iter().map(|row| row.id).eq(numbered) {
            return Err(format!("the partitions of group {} are not 0, 1, 2, …", group.id.0));
        }
        starts.push(next);
        next = end;
    }
    if next != map.partitions.len() {
        return Err(format!("{} partitions are in no group", map.partitions.len() - next));
    }
    Ok(starts)
}

impl MapIndex {
    /// Indexes a map; an error says which invariant it breaks.
    pub fn new(map: Map) -> Result<Self, String> {
        if !ascend(&map.groups, |group| u32::from(group.id.0)) || !ascend(&map.tables, |t| t.id.0) {
            return Err("groups or tables are not sorted by id".to_owned());
        }
        if !map.workers.is_sorted_by(|one, next| one.name < next.name) {
            return Err("workers are not sorted by name".to_owned());
        }
        let starts = group_starts(&map)?;
        let tables_by_name =
            map.tables.iter().enumerate().map(|(at, row)| (row.name.clone(), at)).collect();
        let index = Self { map, tables_by_name, starts };
        for table in &index.map.tables {
            let group = index
                .group(table.group)
                .ok_or_else(|| format!("table {} is in no group", table.name))?;
            let pinned_well = match (group.rule, table.pinned) {
                (GroupRule::Keys, None) => true,
                (GroupRule::NameRanges, Some(number)) => number < group.partitions,
                _ => false,
            };
            if !pinned_well {
                return Err(format!("table {} is pinned against its group's rule", table.name));
            }
        }
        Ok(index)
    }

    /// The map itself.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// A table by name.
    pub fn table(&self, name: &TableName) -> Option<&TableRow> {
        self.tables_by_name.get(name).map(|at| &self.map.tables[*at])
    }

    /// A table by id.
    pub fn table_by_id(&self, id: TableId) -> Option<&TableRow> {
        find_by_id(&self.map.tables, id.0, |row| row.id.0).map(|at| &self.map.tables[at])
    }

    fn group_place(&self, id: GroupId) -> Option<usize> {
        find_by_id(&self.map.groups, u32::from(id.0), |row| u32::from(row.id.0))
    }

    /// A group by id.
    pub fn group(&self, id: GroupId) -> Option<&GroupRow> {
        self.group_place(id).map(|at| &self.map.groups[at])
    }

    /// A worker by name.
    pub fn worker(&self, name: &WorkerName) -> Option<&WorkerRow> {
        let at = self.map.workers.binary_search_by(|row| row.name.cmp(name)).ok()?;
        Some(&self.map.workers[at])
    }

    /// The partition of a key of a table; None when the map has no such table.
    pub fn locate(&self, table: TableId, key: &[u8]) -> Option<PartitionId> {
        let table = self.table_by_id(table)?;
        let number = match table.pinned {
            Some(number) => number,
            None => {
                let partitions = self.group(table.group)?.partitions;
                self.map.settings.key_integer.partition(key, partitions)
            }
        };
        Some(PartitionId { group: table.group, number })
    }

    /// The numbers of the partitions in which a table may have entries.
    pub fn partitions_of(&self, table: &TableRow) -> std::ops::Range<u16> {
        match table.pinned {
            Some(number) => number..number + 1,
            None => 0..self.group(table.group).map_or(0, |group| group.partitions),
        }
    }

    /// The row's place in `partitions`; None when there is no such partition.
    pub fn position(&self, id: PartitionId) -> Option<usize> {
        let place = self.group_place(id.group)?;
        let inside = id.number < self.map.groups[place].partitions;
        inside.then(|| self.starts[place] + usize::from(id.number))
    }

    /// A partition's row.
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionRow> {
        self.position(id).map(|at| &*self.map.partitions[at])
    }
}
