//! What a map says that is new to somebody who has read an earlier one. While partitions move there are many maps, each
//! with few rows that are not of the last.

use crate::ids::MapVersion;
use crate::map::{Map, PartitionRow};

/// How far somebody has read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    version: MapVersion,
    workers: usize,
}

/// Which rows say something new. A row that has not changed does when a worker has: what follows from it may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// All.
    All,
    /// Those that have changed since a version.
    Since(MapVersion),
}

impl Reading {
    /// The last version read.
    pub fn version(&self) -> MapVersion {
        self.version
    }

    /// Reads a map that is no older than the last.
    pub fn read(&mut self, map: &Map) -> News {
        let before = std::mem::replace(&mut self.version, map.version);
        let gone = std::mem::replace(&mut self.workers, map.workers.len()) > map.workers.len();
        let workers_changed = gone || map.workers.iter().any(|worker| worker.rev > before);
        if workers_changed || before == MapVersion::default() {
            News::All
        } else {
            News::Since(before)
        }
    }
}

impl News {
    /// Whether a row is among them.
    pub fn has(self, row: &PartitionRow) -> bool {
        match self {
            Self::All => true,
            Self::Since(version) => row.rev > version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::map as map_of;

    fn at(counter: u64) -> MapVersion {
        MapVersion { generation: 1, counter }
    }

    #[test]
    fn only_newer_rows_are_news_until_a_worker_changes_or_goes() {
        let mut map = map_of(&["a", "b"]);
        map.version = at(7);
        let mut reading = Reading::default();
        assert_eq!(reading.read(&map), News::All);
        (map.version, map.row_mut(1).rev) = (at(8), at(8));
        let news = reading.read(&map);
        let new: Vec<_> = map.partitions.iter().filter(|row| news.has(row)).collect();
        assert_eq!((new.len(), new[0].id.number, reading.version()), (1, 1, at(8)));
        (map.version, map.workers[0].rev) = (at(9), at(9));
        assert_eq!(reading.read(&map), News::All);
        map.version = at(10);
        assert_eq!(reading.read(&map), News::Since(at(9)));
        map.workers.pop();
        map.version = at(11);
        assert_eq!(reading.read(&map), News::All);
    }
}
