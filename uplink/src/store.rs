//! Where the registry's values survive: a few hundred named values, changed all at once or not at all.

mod disk;
mod shadow;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::chunks::{Change, VERSION};
use firn_wire::ids::MapVersion;

pub use disk::Disk;

/// Why a store cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the data directory {} is in use by another process; stop that one or choose another", .0.display())]
    InUse(PathBuf),
    /// What is stored is not what this process stored last: somebody else writes.
    #[error(
        "the stored version is {found} and not {expected}: somebody else has written to the store"
    )]
    Conflict {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// What is stored is neither what this process stored last nor what it tried to store.
    #[error(
        "what is stored is not map {0}, which was stored last; restore the data directory, or start once with --rebuild to \
         take the cluster over from its workers"
    )]
    Changed(MapVersion),
    /// What is stored cannot be read.
    #[error("the data in {} cannot be used: {why}", .folder.display())]
    Unreadable {
        /// Where it is.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk has too little room for a change, of which nothing was written.
    #[error(
        "no space left for a change in {}: {} KiB are free and it may take {}",
        .folder.display(), .free / 1024, .needed / 1024
    )]
    Full {
        /// Where.
        folder: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes a change may take.
        needed: u64,
    },
    /// The disk failed. Whether a change was stored [`Store::load`] tells, once it works again.
    #[error("{what} failed: {source}")]
    Failed {
        /// What was done.
        what: String,
        /// What the system or the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    fn conflict(expected: Option<&[u8]>, found: Option<&[u8]>) -> Self {
        let show = |version: Option<&[u8]>| match version {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "none".to_owned(),
        };
        Self::Conflict { expected: show(expected), found: show(found) }
    }
}

/// Named values that survive.
pub trait Store: Send {
    /// All values that are stored. After a change that failed: as they are found, with the change or without.
    fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError>;

    /// Applies a change if the stored version is the expected one. When this returns Ok the change survives whatever
    /// the store promises to survive; after an error it may have been stored or not.
    fn compare_and_set(&mut self, change: &Change) -> Result<(), StoreError>;
}

/// A store that survives nothing.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<String, Vec<u8>>);

impl Store for Memory {
    fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        Ok(self.0.clone())
    }

    fn compare_and_set(&mut self, change: &Change) -> Result<(), StoreError> {
        let found = self.0.get(VERSION).map(Vec::as_slice);
        if found != change.expected.as_deref() {
            return Err(StoreError::conflict(change.expected.as_deref(), found));
        }
        change.deletes.iter().for_each(|name| drop(self.0.remove(name)));
        self.0.extend(change.puts.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(expected: Option<&str>, puts: &[(&str, &str)], deletes: &[&str]) -> Change {
        Change {
            expected: expected.map(|text| text.as_bytes().to_vec()),
            puts: puts.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect(),
            deletes: deletes.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// One suite for every store.
    fn is_a_store(store: &mut dyn Store) {
        assert!(store.load().unwrap().is_empty());
        store
            .compare_and_set(&change(None, &[("version", "\"0.1\""), ("a", "x"), ("b", "y")], &[]))
            .unwrap();
        let refused =
            store.compare_and_set(&change(None, &[("version", "9")], &["a"])).unwrap_err();
        assert!(refused.to_string().contains("is \"0.1\" and not none"), "{refused}");
        store
            .compare_and_set(&change(
                Some("\"0.1\""),
                &[("version", "\"0.2\""), ("b", "z")],
                &["a"],
            ))
            .unwrap();
        let refused =
            store.compare_and_set(&change(Some("\"0.1\""), &[("b", "q")], &[])).unwrap_err();
        assert!(refused.to_string().contains("is \"0.2\" and not \"0.1\""), "{refused}");
        let loaded = store.load().unwrap();
        assert_eq!(loaded.keys().collect::<Vec<_>>(), ["b", "version"]);
        assert_eq!(
            (loaded["b"].as_slice(), loaded["version"].as_slice()),
            (&b"z"[..], &b"\"0.2\""[..])
        );
    }

    #[test]
    fn memory_is_a_store() {
        is_a_store(&mut Memory::default());
    }

    #[test]
    fn a_folder_is_a_store() {
        let folder = tempfile::tempdir().unwrap();
        is_a_store(&mut Disk::open(&folder.path().join("new/one")).unwrap());
    }
}
