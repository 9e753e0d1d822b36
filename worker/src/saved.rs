//! What a worker keeps on disk: the last map, so that it finds its peers again when no uplink answers.
//!
//! One file, `map`: the CRC-32 of the rest as 8 hex digits, a line feed, JSON. It is replaced by renaming a written and
//! fsynced one over it. The folder is 0700, its files 0600, and locked against a second process.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use firn_wire::map::Map;
use serde::{Deserialize, Serialize};

const FILE: &str = "map";
const FILE_NEW: &str = "map.new";
const LOCK: &str = "lock";

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The seed of the cluster's table hashes.
    pub(crate) hash_seed: u64,
    /// The last map.
    pub(crate) map: Map,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Another process has it.
    #[error("the data folder {0} is in use by another process")]
    InUse(PathBuf),
    /// The disk says no.
    #[error("the data folder {0} cannot be used: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// A worker's data folder, locked.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError::Io(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = private(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept; None when there is nothing, or it is damaged (which is logged: the uplink has the map).
    pub(crate) fn load(&self) -> Option<Saved> {
        let path = self.path.join(FILE);
        let bytes = std::fs::read(&path).ok()?;
        let saved = decode(&bytes);
        if saved.is_none() {
            log::warn!("{} is damaged and left aside; the uplink has the map", path.display());
        }
        saved
    }

    /// Keeps a map in place of the last one.
    pub(crate) fn save(&self, saved: &Saved) -> io::Result<()> {
        let new = self.path.join(FILE_NEW);
        let mut file = private(&new)?;
        file.set_len(0)?;
        file.write_all(&encode(saved))?;
        file.sync_all()?;
        std::fs::rename(&new, self.path.join(FILE))?;
        File::open(&self.path)?.sync_all()
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

fn encode(saved: &Saved) -> Vec<u8> {
    let json = serde_json::to_vec(saved).expect("a map has no unserialisable part");
    let mut bytes = format!("{:08x}\n", crc32fast::hash(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Saved> {
    let (head, json) = (bytes.get(..9)?, bytes.get(9..)?);
    let head = std::str::from_utf8(head).ok()?.strip_suffix('\n')?;
    let crc = u32::from_str_radix(head, 16).ok()?;
    if crc != crc32fast::hash(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::{ClusterId, MapVersion};
    use firn_wire::key::KeyInteger;
    use firn_wire::map::{FORMAT, Placement, Settings};

    fn saved() -> Saved {
        let settings = Settings {
            key_integer: KeyInteger::Crc16,
            partitions: 1024,
            placement: Placement::Modulo,
            copies: 1,
            expect_workers: 1,
            name_ranges: Vec::new(),
            worker_lease_ms: 2_500,
            replication: Default::default(),
        };
        let map = Map {
            cluster: ClusterId(3),
            version: MapVersion { generation: 1, counter: 2 },
            format: FORMAT,
            settings,
            workers: Vec::new(),
            seats: Vec::new(),
            groups: Vec::new(),
            partitions: Vec::new(),
            tables: Vec::new(),
        };
        Saved { hash_seed: 7, map }
    }

    #[test]
    fn a_map_comes_back_and_a_damaged_one_does_not() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        let folder = Folder::open(&path).unwrap();
        assert!(matches!(Folder::open(&path), Err(FolderError::InUse(_))));
        assert_eq!(folder.load(), None);
        folder.save(&saved()).unwrap();
        assert_eq!(folder.load(), Some(saved()));

        let bytes = encode(&saved());
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // Only the case of the checksum's own digits may change without harm.
            let is_checksum = bit / 8 < 8;
            assert!(decode(&bad).is_none_or(|same| is_checksum && same == saved()), "bit {bit}");
        }
    }
}
