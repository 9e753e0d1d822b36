//! Which files of the logs count: a value in a database of its own, changed at once or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use firn_uplink::chunks::{Change, VERSION};
use firn_uplink::store::{Disk, Store as _, StoreError};
use firn_wire::ids::{ClusterId, MapVersion};
use serde::{Deserialize, Serialize};

const NAME: &str = "manifest";
const FORMAT: u32 = 1;

/// Why the list cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in it.
    #[error(
        "the list of logs in {0} does not read: {1}; restore the folder, or move it away to be without its logs"
    )]
    Unreadable(PathBuf, String),
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    format: u32,
    /// The cluster it was written in.
    pub(crate) cluster: ClusterId,
    /// The seed of the hashes of keys.
    pub(crate) hash_seed: u64,
    /// Logs, to be read in this order; the last is written to.
    pub(crate) generations: Vec<Generation>,
}

/// The logs of all shards of a worker with so many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generation {
    pub(crate) number: u32,
    /// For each shard, the first file that counts; 0: there is none yet.
    pub(crate) first: Vec<u64>,
}

impl Generation {
    fn new(number: u32, shards: u16) -> Self {
        Self { number, first: vec![0; usize::from(shards)] }
    }
}

/// The list in its database.
#[derive(Debug)]
pub(crate) struct Manifest {
    folder: PathBuf,
    store: Disk,
    version: Option<MapVersion>,
    contents: Option<Contents>,
}

impl Manifest {
    /// Opens it, or makes an empty one.
    pub(crate) fn open(folder: &Path) -> Result<Self, ManifestError> {
        let mut store = Disk::open(folder)?;
        let values = store.load()?;
        let unreadable = |error: serde_json::Error| {
            ManifestError::Unreadable(folder.to_owned(), error.to_string())
        };
        let version = values.get(VERSION).map(|bytes| serde_json::from_slice(bytes));
        let contents = values.get(NAME).map(|bytes| serde_json::from_slice(bytes));
        let version = version.transpose().map_err(unreadable)?;
        let contents: Option<Contents> = contents.transpose().map_err(unreadable)?;
        if let Some(newer) = contents.as_ref().filter(|contents| contents.format > FORMAT) {
            let why = format!("it has format {} and this version knows {FORMAT}", newer.format);
            return Err(ManifestError::Unreadable(folder.to_owned(), why));
        }
        Ok(Self { folder: folder.to_owned(), store, version, contents })
    }

    /// The folder it is in, with the logs.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The list; None: nothing was ever written.
    pub(crate) fn contents(&self) -> Option<&Contents> {
        self.contents.as_ref()
    }

    /// A worker with so many shards will write: the last generation goes on, or a new one begins.
    pub(crate) fn begin(
        &mut self,
        cluster: ClusterId,
        hash_seed: u64,
        shards: u16,
    ) -> Result<(), ManifestError> {
        let mut contents = self.contents.clone().unwrap_or(Contents {
            format: FORMAT,
            cluster,
            hash_seed,
            generations: Vec::new(),
        });
        let last = contents.generations.last();
        if last.is_none_or(|last| last.first.len() != usize::from(shards)) {
            let number = last.map_or(1, |last| last.number + 1);
            contents.generations.push(Generation::new(number, shards));
        }
        self.write(contents)
    }

    /// The generation that is written to.
    ///
    /// # Panics
    /// Before [`Manifest::begin`].
    pub(crate) fn current(&self) -> &Generation {
        let contents = self.contents.as_ref().expect("it was begun");
        contents.generations.last().expect("begun with one")
    }

    /// From now on a shard's log begins with this file. Once all shards have begun anew, earlier generations do not count:
    /// returns those that do not any more.
    pub(crate) fn begin_with(
        &mut self,
        shard: usize,
        first: u64,
    ) -> Result<Vec<Generation>, ManifestError> {
        let mut contents = self.contents.clone().expect("it was begun");
        let last = contents.generations.last_mut().expect("begun with one");
        last.first[shard] = first;
        let mut gone = Vec::new();
        if last.first.iter().all(|first| *first > 0) {
            gone = contents.generations.drain(..contents.generations.len() - 1).collect();
        }
        self.write(contents)?;
        Ok(gone)
    }

    fn write(&mut self, contents: Contents) -> Result<(), ManifestError> {
        if self.contents.as_ref() == Some(&contents) {
            return Ok(());
        }
        let counter = self.version.map_or(1, |version| version.counter + 1);
        let version = MapVersion { generation: 1, counter };
        let puts: BTreeMap<String, Vec<u8>> =
            [(VERSION.to_owned(), json(&version)), (NAME.to_owned(), json(&contents))].into();
        let expected = self.version.map(|version| json(&version));
        self.store.compare_and_set(&Change { expected, puts, deletes: Vec::new() })?;
        (self.version, self.contents) = (Some(version), Some(contents));
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the list is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_ends_when_all_shards_have_begun_anew() {
        let scratch = tempfile::tempdir().unwrap();
        let open = || Manifest::open(scratch.path()).unwrap();
        let mut manifest = open();
        assert!(manifest.contents().is_none());
        manifest.begin(ClusterId(5), 7, 2).unwrap();
        assert_eq!(manifest.begin_with(0, 3).unwrap(), []);
        drop(manifest);

        let mut manifest = open();
        manifest.begin(ClusterId(5), 7, 2).unwrap();
        assert_eq!(manifest.current(), &Generation { number: 1, first: vec![3, 0] });
        manifest.begin(ClusterId(5), 7, 1).unwrap();
        assert_eq!(manifest.contents().unwrap().generations.len(), 2);
        let gone = manifest.begin_with(0, 1).unwrap();
        assert_eq!(gone, [Generation { number: 1, first: vec![3, 0] }]);
        drop(manifest);
        assert_eq!(open().contents().unwrap().generations.len(), 1);
    }
}
