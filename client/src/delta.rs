//! What an uplink sends of its map, put into the map at hand.

use std::sync::Arc;

use firn_wire::map::{Map, MapIndex, PartitionRow};
use firn_wire::registry::MapDelta;

/// Why a delta is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It is of another cluster.
    #[error("the map sent is of cluster {0}, the one here of {1}")]
    Cluster(firn_wire::ids::ClusterId, firn_wire::ids::ClusterId),
    /// It is no newer than the map at hand.
    #[error("the map sent has version {0}, the one here has {1}")]
    NotNewer(firn_wire::ids::MapVersion, firn_wire::ids::MapVersion),
    /// It starts from a version that is not at hand: ask for the whole.
    #[error("the change starts from version {0}, the map here has {1}")]
    Base(firn_wire::ids::MapVersion, firn_wire::ids::MapVersion),
    /// What comes out is no map.
    #[error("the map sent is not one: {0}")]
    Invariant(String),
}

/// The map after a delta. A partition's row that is older than the one at hand is not taken: an uplink that was rebuilt does
/// not know all there was before this process has told it. The delta may start from an older version than `old` has: rows with the same change twice are the same.
pub fn merge(old: Option<&Map>, delta: MapDelta) -> Result<MapIndex, DeltaError> {
    if let Some(old) = old {
        if delta.cluster != old.cluster {
            return Err(DeltaError::Cluster(delta.cluster, old.cluster));
        }
        if delta.version <= old.version {
            return Err(DeltaError::NotNewer(delta.version, old.version));
        }
    }
    let base = match old {
        _ if delta.full => None,
        Some(old) if delta.from <= old.version => Some(old),
        other => {
            let here = other.map(|old| old.version).unwrap_or_default();
            return Err(DeltaError::Base(delta.from, here));
        }
    };
    MapIndex::new(put_together(old, base, delta)).map_err(DeltaError::Invariant)
}

/// Puts the rows at hand in place of older ones.
fn keep_newer(old: &Map, rows: &mut [Arc<PartitionRow>]) {
    for row in rows {
        let place = old.partitions.binary_search_by_key(&row.id, |known| known.id);
        let known = place.ok().map(|place| &old.partitions[place]);
        if let Some(known) = known.filter(|known| known.rev > row.rev) {
            *row = Arc::clone(known);
        }
    }
}

fn put_together(old: Option<&Map>, base: Option<&Map>, mut delta: MapDelta) -> Map {
    if let Some(old) = old {
        keep_newer(old, &mut delta.partitions);
    }
    let gone = &delta.removed;
    let seats_end = gone.seats_from.unwrap_or(u16::MAX);
    Map {
        cluster: delta.cluster,
        version: delta.version,
        format: delta.format,
        settings: delta.settings,
        workers: rows(
            base.map(|map| &map.workers),
            delta.workers,
            |row| row.name.clone(),
            |row| !gone.workers.contains(&row.name),
        ),
        seats: rows(
            base.map(|map| &map.seats),
            delta.seats,
            |row| row.number,
            |row| row.number < seats_end,
        ),
        groups: rows(
            base.map(|map| &map.groups),
            delta.groups,
            |row| row.id,
            |row| !gone.groups.contains(&row.id),
        ),
        partitions: rows(
            base.map(|map| &map.partitions),
            delta.partitions,
            |row| row.id,
            |row| !gone.groups.contains(&row.id.group),
        ),
        tables: rows(
            base.map(|map| &map.tables),
            delta.tables,
            |row| row.id,
            |row| !gone.tables.contains(&row.id),
        ),
    }
}

/// Old rows that stay and new rows, the new one where both have a key, by key.
fn rows<Row: Clone, Key: Ord>(
    old: Option<&Vec<Row>>,
    new: Vec<Row>,
    key: impl Fn(&Row) -> Key,
    stays: impl Fn(&Row) -> bool,
) -> Vec<Row> {
    let mut rows: Vec<Row> = old.into_iter().flatten().filter(|row| stays(row)).cloned().collect();
    for row in new {
        match rows.binary_search_by_key(&key(&row), &key) {
            Ok(place) => rows[place] = row,
            Err(place) => rows.insert(place, row),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use firn_wire::ids::{ClusterId, MapVersion, TableId};
    use firn_wire::registry::Removed;

    fn version(counter: u64) -> MapVersion {
        MapVersion { generation: 1, counter }
    }

    fn change(from: u64, to: u64) -> MapDelta {
        let whole = fixture::delta(&fixture::map(2, 4));
        MapDelta {
            version: version(to),
            from: version(from),
            full: false,
            workers: vec![],
            seats: vec![],
            groups: vec![],
            partitions: vec![],
            tables: vec![],
            ..whole
        }
    }

    #[test]
    fn rows_are_replaced_added_and_removed_by_their_keys() {
        let old = fixture::map(2, 4);
        let mut moved = old.partitions[2].clone();
        Arc::make_mut(&mut moved).primary = old.partitions[1].primary.clone();
        let mut table = old.tables[1].clone();
        (table.id, table.name) = (TableId(9), "new".parse().unwrap());
        let delta = MapDelta {
            partitions: vec![moved.clone()],
            tables: vec![table],
            removed: Removed {
                tables: vec![TableId(1)],
                workers: vec![old.workers[0].name.clone()],
                seats_from: Some(1),
                groups: vec![],
            },
            ..change(1, 2)
        };
        let new = merge(Some(&old), delta).unwrap();
        assert_eq!(new.version, version(2));
        assert_eq!(new.partitions[2], moved);
        assert_eq!(new.partitions[3], old.partitions[3]);
        assert_eq!(new.tables.iter().map(|row| row.id.0).collect::<Vec<_>>(), [0, 9]);
        assert_eq!((new.workers.len(), new.seats.len()), (1, 1));
    }

    #[test]
    fn a_whole_map_replaces_the_one_here() {
        let old = fixture::map(2, 4);
        let mut new = fixture::map(3, 8);
        new.version = version(7);
        assert_eq!(merge(Some(&old), fixture::delta(&new)).unwrap().map(), &new);
        assert_eq!(merge(None, fixture::delta(&new)).unwrap().map(), &new);
    }

    /// An uplink that was rebuilt from others' maps, which had not seen what this process has.
    #[test]
    fn a_row_that_is_older_than_the_one_here_is_not_taken() {
        let mut old = fixture::map(2, 4);
        old.row_mut(2).rev = version(5);
        old.version = version(5);
        let mut new = fixture::map(2, 4);
        new.version = MapVersion { generation: 2, counter: 1 };
        new.row_mut(3).rev = new.version;
        let merged = merge(Some(&old), fixture::delta(&new)).unwrap();
        let revs: Vec<MapVersion> = merged.partitions.iter().map(|row| row.rev).collect();
        assert_eq!(revs[2..], [version(5), new.version]);
        assert_eq!(merged.version, new.version);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let old = fixture::map(2, 4);
        let refused = |delta| merge(Some(&old), delta).unwrap_err();
        assert_eq!(refused(change(1, 1)), DeltaError::NotNewer(version(1), version(1)));
        assert_eq!(refused(change(2, 3)), DeltaError::Base(version(2), version(1)));
        assert_eq!(
            merge(None, change(2, 3)).unwrap_err(),
            DeltaError::Base(version(2), MapVersion::default())
        );
        let mut other = change(1, 2);
        other.cluster = ClusterId(99);
        assert_eq!(refused(other), DeltaError::Cluster(ClusterId(99), old.cluster));
        let mut hole = change(1, 2);
        hole.removed.groups = vec![old.groups[0].id];
        assert!(matches!(refused(hole), DeltaError::Invariant(_)));
    }
}
