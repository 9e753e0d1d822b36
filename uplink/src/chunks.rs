//! The state as named values: a head, and each kind of row in chunks of [`CHUNK_ROWS`], so that a change writes few of
//! them. The values are JSON. docs/PROTOCOL.md has the list.

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_wire::ids::{ClusterId, MapVersion, TableId};
use firn_wire::map::{FORMAT, Map, MapIndex, Settings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::state::State;

/// Rows in one value.
pub const CHUNK_ROWS: usize = 64;
/// The name of the value that each change compares and raises.
pub const VERSION: &str = "version";
const CLUSTER: &str = "cluster";

/// A change of the stored values, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What [`VERSION`] must be; None: not there, as in a store that is empty.
    pub expected: Option<Vec<u8>>,
    /// Values to write, [`VERSION`] among them.
    pub puts: BTreeMap<String, Vec<u8>>,
    /// Values to take away.
    pub deletes: Vec<String>,
}

/// What is neither version nor rows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u16,
    cluster: ClusterId,
    hash_seed: u64,
    next_table: TableId,
    settings: Settings,
}

impl Head {
    fn of(state: &State) -> Self {
        Self {
            format: state.map.format,
            cluster: state.map.cluster,
            hash_seed: state.hash_seed,
            next_table: state.next_table,
            settings: state.map.settings.clone(),
        }
    }
}

impl Change {
    /// What turns the stored `old` (None: nothing) into `new`.
    pub fn between(old: Option<&State>, new: &State) -> Self {
        let mut change = Self {
            expected: old.map(|state| json(&state.map.version)),
            puts: [(VERSION.to_owned(), json(&new.map.version))].into(),
            deletes: Vec::new(),
        };
        let head = Head::of(new);
        if old.map(Head::of).as_ref() != Some(&head) {
            change.puts.insert(CLUSTER.to_owned(), json(&head));
        }
        let before = old.map(|state| &*state.map);
        macro_rules! rows {
            ($($kind:ident),*) => {$(
                let rows = before.map_or(&[][..], |map| &map.$kind);
                change.rows(stringify!($kind), rows, &new.map.$kind);
            )*};
        }
        rows!(workers, seats, groups, partitions, tables);
        change
    }

    /// Writes all of a state that is stored once more.
    pub fn again(state: &State) -> Self {
        let change = Self::between(None, state);
        Self { expected: change.puts.get(VERSION).cloned(), ..change }
    }

    fn rows<T: Serialize + PartialEq>(&mut self, kind: &str, old: &[T], new: &[T]) {
        let mut old = old.chunks(CHUNK_ROWS);
        let mut number = 0;
        for chunk in new.chunks(CHUNK_ROWS) {
            if old.next() != Some(chunk) {
                self.puts.insert(chunk_name(kind, number), json(&chunk));
            }
            number += 1;
        }
        self.deletes.extend(old.zip(number..).map(|(_, number)| chunk_name(kind, number)));
    }
}

fn chunk_name(kind: &str, number: usize) -> String {
    format!("{kind}/{number:06}")
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("rows are plain data")
}

/// Reads the state from all stored values; None when there are none. An error says what is wrong with them.
pub fn read(values: &BTreeMap<String, Vec<u8>>) -> Result<Option<State>, String> {
    if values.is_empty() {
        return Ok(None);
    }
    let version: MapVersion = value(values, VERSION)?;
    let head: Head = value(values, CLUSTER)?;
    if head.format > FORMAT {
        let newer = head.format;
        return Err(format!("it has format {newer} and this version knows {FORMAT}: update it"));
    }
    let map = Map {
        cluster: head.cluster,
        version,
        format: head.format,
        settings: head.settings,
        workers: rows(values, "workers")?,
        seats: rows(values, "seats")?,
        groups: rows(values, "groups")?,
        partitions: rows(values, "partitions")?,
        tables: rows(values, "tables")?,
    };
    let map = MapIndex::new(map)?.map().clone();
    if map.tables.iter().any(|row| row.id >= head.next_table) {
        return Err(format!("a table has an id that is not below {}", head.next_table.0));
    }
    Ok(Some(State { map: Arc::new(map), hash_seed: head.hash_seed, next_table: head.next_table }))
}

fn value<T: DeserializeOwned>(values: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<T, String> {
    let bytes = values.get(name).ok_or_else(|| format!("{name:?} is missing"))?;
    serde_json::from_slice(bytes).map_err(|error| format!("{name:?} is not readable: {error}"))
}

fn rows<T: DeserializeOwned>(
    values: &BTreeMap<String, Vec<u8>>,
    kind: &str,
) -> Result<Vec<T>, String> {
    let prefix = format!("{kind}/");
    let count =
        values.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)).count();
    let mut all = Vec::new();
    for number in 0..count {
        let chunk: Vec<T> = value(values, &chunk_name(kind, number))?;
        all.extend(chunk);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::{GroupId, Incarnation};
    use firn_wire::registry::Register;

    use crate::registry::{Event, Registry};
    use crate::settings::Wishes;

    /// A cluster of one worker and 1,024 partitions.
    fn state() -> State {
        let settings = Wishes::default().of_a_new_cluster().unwrap();
        let state = State::new(ClusterId(1), 2, settings);
        let mut registry = Registry::new(state, "uplink:1".to_owned(), None, 0);
        let addresses = [("peer".to_owned(), "w1:1".to_owned())].into();
        let (name, incarnation) = ("w1".parse().unwrap(), Incarnation(1));
        let register = Register { name, incarnation, addresses, shards: 1, cluster: None };
        registry.step(0, Event::Register(register)).unwrap();
        registry.state().clone()
    }

    #[test]
    fn a_change_of_one_row_writes_one_chunk() {
        let old = state();
        let mut new = old.clone();
        let map = Arc::make_mut(&mut new.map);
        map.version.counter += 1;
        map.row_mut(130).rev = map.version;
        let change = Change::between(Some(&old), &new);
        assert_eq!(change.puts.keys().collect::<Vec<_>>(), ["partitions/000002", "version"]);
        assert_eq!((change.expected, change.deletes), (Some(b"\"1.1\"".to_vec()), vec![]));
    }

    #[test]
    fn a_chunk_that_empties_is_taken_away() {
        let old = state();
        let mut new = old.clone();
        Arc::make_mut(&mut new.map).tables.clear();
        assert_eq!(Change::between(Some(&old), &new).deletes, ["tables/000000"]);
    }

    #[test]
    fn what_is_damaged_is_named() {
        let good = Change::between(None, &state()).puts;
        assert_eq!(read(&good), Ok(Some(state())));
        assert_eq!(read(&BTreeMap::new()), Ok(None));
        let why = |name: &str, value: Option<&[u8]>| {
            let mut bad = good.clone();
            match value {
                Some(value) => bad.insert(name.to_owned(), value.to_vec()),
                None => bad.remove(name),
            };
            read(&bad).unwrap_err()
        };
        for name in good.keys() {
            assert!(why(name, Some(b"{")).contains(name), "{name}");
            // A kind of rows may be empty; what refers to them then hangs in the air.
            if !["workers/000000", "seats/000000", "tables/000000"].contains(&name.as_str()) {
                why(name, None);
            }
        }
        assert!(why("partitions/000003", None).contains("partitions/000003"));
        let mut head = Head::of(&state());
        head.format += 1;
        assert!(why(CLUSTER, Some(&json(&head))).contains("update it"));
        head.format = FORMAT;
        head.next_table = TableId(3);
        assert!(why(CLUSTER, Some(&json(&head))).contains("not below 3"));
        let mut map = (*state().map).clone();
        map.groups[0].id = GroupId(1);
        assert!(why("groups/000000", Some(&json(&map.groups))).contains("group"));
    }
}
