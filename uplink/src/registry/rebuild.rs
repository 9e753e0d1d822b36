//! A registry that has lost its store comes back from the maps its workers keep.
//!
//! Before there is a map, a worker that comes from a cluster is asked for the last one it has seen. The first that is told
//! is waited after for a while, until all who beat in it have told theirs; then the newest of all, with rows of others that
//! are newer, goes on in the next generation, so that no version is issued twice.
//!
//! What the lost uplink did last may be known to few. So a partition's row says by its `rev` whether it is sure: one of an
//! older generation than the map's is not, and nobody may change its primary or isr. It becomes sure, with a new `rev`, when
//! everyone who has the partition or should have it has told what it knows: a newer row could not have counted without one
//! of them. Or when an operator does without those that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firn_wire::ids::{Incarnation, MapVersion, TableId, WorkerId, WorkerName};
use firn_wire::map::{FORMAT, Map, MapIndex, PartitionRow, TableRow, WorkerState};
use firn_wire::registry::{KnownMap, MapTaken, Register};

use super::history::History;
use super::{Answer, Refusal, RefusalKind, Registry};
use crate::settings::check;
use crate::state::State;

/// How long the maps of others are waited for after the first.
const COLLECT_MS: u64 = 2_000;
/// When a worker that waits for a rebuild asks again.
const AGAIN_MS: u64 = 1_000;
/// Ids of tables that are not given again after a rebuild: the lost uplink may have given them, and only a worker that has
/// not told its map yet knows.
const TABLES_SKIPPED: u32 = 1_024;
/// Reigns left out when a partition is given away whose row is not sure, for the same reason.
pub(super) const REIGNS_SKIPPED: u32 = 64;

/// What workers have told.
#[derive(Debug, Clone, Default)]
pub(super) struct Reports {
    /// Whether an operator wants a cluster back: none begins here without a map.
    expected: bool,
    /// What was told before there is a map; None: nothing.
    collected: Option<Collected>,
    /// Who has told it to this process.
    told: BTreeMap<WorkerName, Told>,
    /// Who has not told what it knows of partitions that are not sure.
    missed: BTreeSet<WorkerName>,
}

#[derive(Debug, Clone)]
struct Collected {
    /// When the first map was told, in Unix milliseconds.
    since_ms: u64,
    hash_seed: u64,
    map: Map,
}

/// That a worker has told its map.
#[derive(Debug, Clone)]
struct Told {
    incarnation: Incarnation,
    /// Whether the map was from before the loss. One that this registry has published tells something new only when it comes
    /// from a run that has lived through the loss.
    from_before: bool,
}

impl Reports {
    fn has_told(&self, worker: &WorkerId) -> bool {
        let told = self.told.get(&worker.name);
        told.is_some_and(|told| told.incarnation == worker.incarnation)
    }

    /// Whether all that a worker knew of a partition has been told.
    fn covers(&self, row: &PartitionRow, name: &WorkerName) -> bool {
        let Some(told) = self.told.get(name) else { return false };
        let run = WorkerId { name: name.clone(), incarnation: told.incarnation };
        told.from_before || row.has_in_sync(&run)
    }

    /// Those who have the partition or should have it and have not told what they know.
    fn missed_in<'r>(&self, row: &'r PartitionRow) -> BTreeSet<&'r WorkerName> {
        let concerned = row.isr.iter().map(|member| &member.name).chain(&row.wanted);
        concerned.filter(|name| !self.covers(row, name)).collect()
    }
}

impl Collected {
    /// Who beat in the newest map and has not told its own.
    fn waits_for(&self, told: &BTreeMap<WorkerName, Told>) -> Vec<WorkerName> {
        let rows = self.map.workers.iter().filter(|row| row.state != WorkerState::Down);
        rows.map(|row| &row.name).filter(|name| !told.contains_key(name)).cloned().collect()
    }
}

/// Whether a row is known to be the newest of its partition.
pub(super) fn is_sure(map: &Map, row: &PartitionRow) -> bool {
    row.rev.generation == map.version.generation
}

impl Registry {
    /// From now on no cluster begins here but by a worker's map.
    pub fn expect_maps(&mut self) {
        assert!(!self.is_published(), "there is a map");
        self.reports.expected = true;
    }

    /// Whose maps are waited for.
    pub fn waits_for(&self) -> Vec<WorkerName> {
        match &self.reports.collected {
            Some(collected) => collected.waits_for(&self.reports.told),
            None => self.reports.missed.iter().cloned().collect(),
        }
    }

    /// Whether nobody may begin a cluster here: one is to come back.
    pub(super) fn is_rebuilding(&self) -> bool {
        !self.is_published() && (self.reports.expected || self.reports.collected.is_some())
    }

    /// What a rebuild waits for, in words.
    pub(super) fn what_is_waited_for(&self) -> String {
        let names = self.waits_for();
        let names: Vec<&str> = names.iter().map(WorkerName::as_str).collect();
        match names.is_empty() {
            true => "the uplink waits for a worker that has a map of its cluster: start one \
                     with its data directory"
                .to_owned(),
            false => format!("the uplink waits for the maps of {}", names.join(", ")),
        }
    }

    /// Before there is a map: who has one is to tell it, and while one is waited for nobody begins a cluster.
    pub(super) fn check_no_map_is_lost(&self, asked: &Register) -> Result<(), Refusal> {
        let id = WorkerId { name: asked.name.clone(), incarnation: asked.incarnation };
        let expected = self.reports.collected.as_ref().map(|collected| collected.map.cluster);
        match (asked.cluster, expected) {
            (Some(cluster), Some(expected)) if cluster != expected => {
                Err(other_cluster(asked, expected))
            }
            (Some(_), _) if !self.reports.has_told(&id) => Err(send_map(&asked.name)),
            _ if self.is_rebuilding() => {
                let detail = self.what_is_waited_for();
                Err(Refusal::later(RefusalKind::Rebuilding, detail, AGAIN_MS))
            }
            _ => Ok(()),
        }
    }

    /// Whether a partition waits for what a worker knows of it.
    pub(super) fn must_tell(&self, worker: &WorkerId) -> bool {
        self.reports.missed.contains(&worker.name) && !self.reports.has_told(worker)
    }

    /// A worker tells the last map it has seen.
    pub(super) fn tell(
        &mut self,
        now_ms: u64,
        name: WorkerName,
        known: KnownMap,
    ) -> Result<Answer, Refusal> {
        let id = WorkerId { name, incarnation: known.incarnation };
        let map = checked(known.map).map_err(|why| {
            let detail = format!("the map of {id} cannot be used: {why}");
            Refusal::new(RefusalKind::BadMap, detail)
        })?;
        match self.is_published() {
            true => self.take_late(&id, map)?,
            false => self.collect(now_ms, &id, known.hash_seed, map)?,
        }
        let (version, waits_for) = (self.version(), self.waits_for());
        Ok(Answer::Told(MapTaken { version, waits_for }))
    }

    fn collect(
        &mut self,
        now_ms: u64,
        id: &WorkerId,
        hash_seed: u64,
        map: Map,
    ) -> Result<(), Refusal> {
        let collected = match self.reports.collected.take() {
            None => Collected { since_ms: now_ms, hash_seed, map },
            Some(before) if before.map.cluster != map.cluster => {
                let (theirs, mine) = (map.cluster, before.map.cluster);
                self.reports.collected = Some(before);
                let detail = format!("{id} has a map of cluster {theirs}; {mine} is rebuilt here");
                return Err(Refusal::new(RefusalKind::OtherCluster, detail));
            }
            Some(before) => Collected { map: merged(before.map, map), ..before },
        };
        self.reports.collected = Some(collected);
        let told = Told { incarnation: id.incarnation, from_before: true };
        self.reports.told.insert(id.name.clone(), told);
        self.rebuild_when_told(now_ms);
        Ok(())
    }

    /// Goes on from what was told, once all have told it or were waited for long enough.
    pub(super) fn rebuild_when_told(&mut self, now_ms: u64) {
        let Some(collected) = &self.reports.collected else { return };
        let all_have = collected.waits_for(&self.reports.told).is_empty();
        if !all_have && now_ms < collected.since_ms + COLLECT_MS {
            return;
        }
        let reports = std::mem::take(&mut self.reports);
        let Collected { hash_seed, mut map, .. } = reports.collected.expect("it is there");
        let generation = map.version.generation + 1;
        map.version = MapVersion { generation, counter: 1 };
        let last = map.tables.last().map_or(0, |row| row.id.0);
        let next_table = TableId(last.saturating_add(TABLES_SKIPPED));
        let state = State { map: Arc::new(map), hash_seed, next_table };
        let own_address = std::mem::take(&mut self.own_address);
        *self = Self::new(state, own_address, None, now_ms);
        // The step at hand has opened its change: it is the whole map.
        self.base = MapVersion::default();
        self.reports.told = reports.told;
        self.settle_told();
    }

    /// Takes what a worker tells that was away when the registry was rebuilt.
    fn take_late(&mut self, id: &WorkerId, map: Map) -> Result<(), Refusal> {
        let (mine, here) = (self.map().cluster, self.version());
        if map.cluster != mine {
            let detail = format!("{id} has a map of cluster {} and this is {mine}", map.cluster);
            return Err(Refusal::new(RefusalKind::OtherCluster, detail));
        }
        if map.version > here {
            let detail = format!(
                "{id} has map {}, which this uplink at {here} has not issued: stop the uplink and start it once with \
                 --rebuild",
                map.version
            );
            return Err(Refusal::new(RefusalKind::OtherHistory, detail));
        }
        let from_before = map.version.generation < here.generation;
        let told = Told { incarnation: id.incarnation, from_before };
        self.reports.told.insert(id.name.clone(), told);
        let mut state = self.state.clone();
        let own = Arc::make_mut(&mut state.map);
        if take_rows(own, &map) | take_tables(own, &map) {
            let (_, version) = self.change();
            own.version = version;
            let last = own.tables.last().map_or(0, |row| row.id.0);
            state.next_table = state.next_table.max(TableId(last + 1));
            self.state = state;
            // Rows have changed without a new rev: who asks is told the whole.
            self.history = Arc::new(History::new(version));
        }
        self.settle_told();
        Ok(())
    }

    /// Rows of which nobody knows more are sure.
    fn settle_told(&mut self) {
        let told = |place: &usize| self.reports.missed_in(self.row(*place)).is_empty();
        let told: Vec<usize> = self.unsure().filter(told).collect();
        self.settle(&told);
    }

    /// These rows are sure from now on.
    pub(super) fn settle(&mut self, places: &[usize]) {
        if !places.is_empty() {
            let (map, version) = self.change();
            places.iter().for_each(|place| map.row_mut(*place).rev = version);
            // The plan may have changed meanwhile.
            self.replan();
        }
        self.note_missed();
    }

    /// Who is waited for, after rows or reports have changed.
    pub(super) fn note_missed(&mut self) {
        let missed = self.unsure().flat_map(|place| self.reports.missed_in(self.row(place)));
        self.reports.missed = missed.cloned().collect();
    }

    /// Places of rows that are not sure because of that worker alone, or of anybody.
    pub(super) fn held_by(&self, worker: Option<&WorkerName>) -> Vec<usize> {
        let by_it = |row: &PartitionRow| {
            worker.is_none_or(|name| self.missed_in(row).into_iter().all(|other| other == name))
        };
        self.unsure().filter(|place| by_it(self.row(*place))).collect()
    }

    /// Who has not told what it knows of a row that is not sure.
    pub(super) fn missed_in<'r>(&self, row: &'r PartitionRow) -> BTreeSet<&'r WorkerName> {
        self.reports.missed_in(row)
    }

    fn unsure(&self) -> impl Iterator<Item = usize> {
        let rows = self.map().partitions.iter().enumerate();
        rows.filter(|(_, row)| !is_sure(self.map(), row)).map(|(place, _)| place)
    }

    fn row(&self, place: usize) -> &PartitionRow {
        &self.map().partitions[place]
    }
}

pub(super) fn send_map(name: &WorkerName) -> Refusal {
    let detail =
        format!("the uplink has lost its map: {name} is to send its last one and register again");
    Refusal::new(RefusalKind::SendMap, detail)
}

pub(super) fn other_cluster(asked: &Register, mine: firn_wire::ids::ClusterId) -> Refusal {
    let detail = format!(
        "{} was in cluster {} and this is {mine}; point it at its own uplink, or give it an empty data directory",
        asked.name,
        asked.cluster.unwrap_or_default()
    );
    Refusal::new(RefusalKind::OtherCluster, detail)
}

/// The newer of two maps, with the rows that are newer in the other.
fn merged(one: Map, two: Map) -> Map {
    let (mut newest, other) = if one.version >= two.version { (one, two) } else { (two, one) };
    take_rows(&mut newest, &other);
    // Within a generation the newest has all tables; what it does not have was dropped.
    if other.version.generation < newest.version.generation {
        take_tables(&mut newest, &other);
    }
    newest
}

/// Takes the other's rows of partitions that are newer and not decided upon since. Returns whether there were any.
fn take_rows(map: &mut Map, other: &Map) -> bool {
    let newness = |row: &PartitionRow| (row.rev.generation, row.epoch, row.rev);
    let mut taken = false;
    for place in 0..map.partitions.len() {
        let id = map.partitions[place].id;
        let Ok(there) = other.partitions.binary_search_by_key(&id, |row| row.id) else { continue };
        if newness(&other.partitions[there]) > newness(&map.partitions[place]) {
            map.partitions[place] = Arc::clone(&other.partitions[there]);
            taken = true;
        }
    }
    taken
}

/// Takes tables that were made after all that this map has of the other's generation. A table of a name or in a group that
/// is another one here is left out. Returns whether there were any.
fn take_tables(map: &mut Map, other: &Map) -> bool {
    let of_then = |row: &&TableRow| row.rev.generation <= other.version.generation;
    let last = map.tables.iter().filter(of_then).map(|row| row.id).max();
    let mut taken = false;
    for table in other.tables.iter().filter(|row| last.is_none_or(|last| row.id > last)) {
        let is_known = map.tables.iter().any(|row| row.name == table.name || row.id == table.id);
        if !is_known && take_group(map, other, table) {
            let place = map.tables.partition_point(|row| row.id < table.id);
            map.tables.insert(place, table.clone());
            taken = true;
        }
    }
    taken
}

/// Sees to it that a table's group is there; false when another one has its id.
fn take_group(map: &mut Map, other: &Map, table: &TableRow) -> bool {
    let group = other.groups.iter().find(|row| row.id == table.group);
    let group = group.expect("a checked map has the groups of its tables");
    let here = map.groups.iter().find(|row| row.id == group.id);
    if let Some(here) = here {
        return (here.copies, here.rule, here.partitions)
            == (group.copies, group.rule, group.partitions);
    }
    map.groups.push(group.clone());
    map.groups.sort_by_key(|row| row.id);
    let rows = other.partitions.iter().filter(|row| row.id.group == group.id);
    map.partitions.extend(rows.cloned());
    map.partitions.sort_by_key(|row| row.id);
    true
}

/// A map somebody sent, after a look at all that the registry relies on.
fn checked(map: Map) -> Result<Map, String> {
    let MapVersion { generation, counter } = map.version;
    if generation == 0 || counter == 0 || generation == u32::MAX {
        return Err(format!("{} is no version to go on from", map.version));
    }
    if map.format > FORMAT {
        return Err(format!("it has format {} and this version knows {FORMAT}", map.format));
    }
    check(&map.settings)?;
    check_seats(&map)?;
    let index = MapIndex::new(map)?;
    let names: BTreeSet<_> = index.tables.iter().map(|row| &row.name).collect();
    if names.len() != index.tables.len() {
        return Err("two tables have one name".to_owned());
    }
    Ok(index.map().clone())
}

fn check_seats(map: &Map) -> Result<(), String> {
    if !map.seats.iter().map(|seat| usize::from(seat.number)).eq(0..map.seats.len()) {
        return Err("seats are not 0, 1, 2, …".to_owned());
    }
    if map.seats.last().is_none_or(|seat| seat.worker.is_none()) {
        return Err("nobody has its last seat".to_owned());
    }
    let known: BTreeSet<&WorkerName> = map.workers.iter().map(|row| &row.name).collect();
    let mut seated = map.seats.iter().filter_map(|seat| seat.worker.as_ref());
    match seated.find(|name| !known.contains(name)) {
        Some(name) => Err(format!("{name} has a seat and is not registered")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Event;
    use crate::settings::Wishes;
    use firn_wire::ids::{ClusterId, GroupId};
    use firn_wire::map::TablePolicy;

    /// A cluster of one worker, with tables of these names.
    fn map(tables: &[&str]) -> Map {
        let settings = Wishes::default().of_a_new_cluster().unwrap();
        let state = State::new(ClusterId(1), 2, settings);
        let mut registry = Registry::new(state, "uplink:1".to_owned(), None, 0);
        let addresses = [("peer".to_owned(), "w1:1".to_owned())].into();
        let (name, incarnation) = ("w1".parse().unwrap(), Incarnation(1));
        let register = Register { name, incarnation, addresses, shards: 1, cluster: None };
        registry.step(0, Event::Register(register)).unwrap();
        for name in tables {
            let policy = TablePolicy { copies: Some(3), ..TablePolicy::default() };
            let name = name.parse().unwrap();
            registry.step(0, Event::CreateTable { name, policy, first_byte: None }).unwrap();
        }
        (**registry.map()).clone()
    }

    fn table_names(map: &Map) -> Vec<&str> {
        map.tables.iter().map(|row| row.name.as_str()).filter(|name| name.len() == 1).collect()
    }

    fn later(mut map: Map) -> Map {
        map.version.generation += 1;
        map
    }

    #[test]
    fn within_a_generation_the_newest_map_has_all_tables() {
        let (mut newest, older) = (map(&["a"]), map(&["a", "b"]));
        newest.version.counter = older.version.counter + 1;
        assert_eq!(table_names(&merged(newest.clone(), older.clone())), ["a"]);
        assert_eq!(table_names(&merged(older, newest)), ["a"]);
    }

    #[test]
    fn tables_of_an_older_generation_come_with_their_groups_if_they_were_not_known() {
        let rebuilt = later(map(&[]));
        let all = merged(map(&["a", "b"]), rebuilt.clone());
        assert_eq!((table_names(&all), all.groups.len()), (vec!["a", "b"], 2));
        assert_eq!(all.version, rebuilt.version);
        let all = MapIndex::new(all).unwrap();
        assert!(!is_sure(&all, all.partition(all.partitions[1024].id).unwrap()));

        // Made, and dropped, before what is known: it stays dropped. One that has another's name or group is left out.
        let mut dropped = later(map(&["a", "b"]));
        dropped.tables.retain(|row| row.name.as_str() != "a");
        assert_eq!(table_names(&merged(dropped, map(&["a"]))), ["b"]);
        let mut other = later(map(&[]));
        other.tables.last_mut().unwrap().name = "a".parse().unwrap();
        assert_eq!(merged(other, map(&["a"])).groups.len(), 1);
        let mut other = later(map(&["c"]));
        other.tables.pop();
        other.groups[1].copies = 2;
        assert_eq!(table_names(&merged(other, map(&["a"]))), [""; 0]);
    }

    #[test]
    fn a_map_that_breaks_a_rule_is_not_gone_on_from() {
        let good = map(&["a"]);
        assert_eq!(checked(good.clone()), Ok(good.clone()));
        let why = |change: fn(&mut Map)| {
            let mut bad = good.clone();
            change(&mut bad);
            checked(bad).unwrap_err()
        };
        assert!(why(|map| map.version = MapVersion::default()).contains("0.0 is no version"));
        assert!(why(|map| map.version.generation = u32::MAX).contains("is no version"));
        assert!(why(|map| map.format += 1).contains("format"));
        assert!(why(|map| map.settings.copies = 0).contains("COPIES"));
        assert!(why(|map| map.seats.clear()).contains("seat"));
        assert!(why(|map| map.seats[0].number = 7).contains("seats are not"));
        assert!(why(|map| map.workers.clear()).contains("w1 has a seat"));
        assert!(why(|map| map.groups[0].id = GroupId(9)).contains("sorted"));
        assert!(why(|map| drop(map.partitions.pop())).contains("group 1"));
        assert!(
            why(|map| map.tables[1].name = map.tables[0].name.clone()).contains("have one name")
        );
    }
}
