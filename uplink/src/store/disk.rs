//! The store in a folder: a sled database, and a lock so that one process has it.
//!
//! Three things sled does not do by itself: a `snap.*.generating` file that a kill left behind makes its open fail, so it
//! is removed first; its flush survives a killed process but not a power cut, so the files are fsynced too; its cache
//! would take up to a gigabyte.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sled::transaction::{ConflictableTransactionError, TransactionError};

use super::{Store, StoreError};
use crate::chunks::{Change, VERSION};

const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder that is a store. Its files are 0600, its folders 0700.
#[derive(Debug)]
pub struct Disk {
    database: sled::Db,
    folder: PathBuf,
    /// Held until the process ends.
    _lock: File,
}

fn failed<E: Error + Send + Sync + 'static>(what: &str, at: &Path) -> impl FnOnce(E) -> StoreError {
    let what = format!("{what} {}", at.display());
    move |error| StoreError::Failed { what, source: Box::new(error) }
}

impl Disk {
    /// Opens a folder, which is made if it is not there.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let files = folder.join("registry");
        make_folder(&files).map_err(failed("making the folder", &files))?;
        let lock = lock(folder)?;
        remove_unfinished_snapshots(&files).map_err(failed("tidying the folder", &files))?;
        let database = sled::Config::new()
            .path(&files)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|error| unreadable(folder, &error))?;
        let disk = Self { database, folder: folder.to_owned(), _lock: lock };
        disk.sync()?;
        Ok(disk)
    }

    fn files(&self) -> PathBuf {
        self.folder.join("registry")
    }

    /// Puts what is written onto the disk itself.
    fn sync(&self) -> Result<(), StoreError> {
        let at = self.files();
        self.database.flush().map_err(failed("flushing the database in", &at))?;
        sync_folder(&at).map_err(failed("fsync of the files in", &at))
    }
}

impl Store for Disk {
    fn load(&self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (name, value) = entry.map_err(|error| unreadable(&self.folder, &error))?;
            Ok((String::from_utf8_lossy(&name).into_owned(), value.to_vec()))
        };
        self.database.iter().map(read).collect()
    }

    fn compare_and_set(&mut self, change: &Change) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        change.deletes.iter().for_each(|name| batch.remove(name.as_bytes()));
        change
            .puts
            .iter()
            .for_each(|(name, value)| batch.insert(name.as_bytes(), value.as_slice()));
        let expected = change.expected.as_deref();
        let done = self.database.transaction(|tree| {
            let found = tree.get(VERSION)?;
            if found.as_deref() != expected {
                return Err(ConflictableTransactionError::Abort(found));
            }
            tree.apply_batch(&batch)?;
            Ok(())
        });
        match done {
            Ok(()) => self.sync(),
            Err(TransactionError::Abort(found)) => {
                Err(StoreError::conflict(expected, found.as_deref()))
            }
            Err(TransactionError::Storage(error)) => {
                Err(failed("writing to the database in", &self.files())(error))
            }
        }
    }
}

fn unreadable(folder: &Path, error: &sled::Error) -> StoreError {
    StoreError::Unreadable { folder: folder.to_owned(), why: error.to_string() }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Takes the folder's lock, which the system gives back when the process ends, however it ends.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let open = File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
    let file = open.map_err(failed("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("locking", &path)(error)),
    }
}

/// Only after the lock is held: a snapshot may be unfinished because another process is writing it.
fn remove_unfinished_snapshots(files: &Path) -> io::Result<()> {
    for entry in fs::read_dir(files)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            log::warn!("removing {}, which a kill has left unfinished", entry.path().display());
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Puts a folder, its files and the folders in it onto the disk, and sees to their modes. Symbolic links are refused.
fn sync_folder(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_symlink() {
            let text =
                format!("{} is a symbolic link, which a database does not have", path.display());
            return Err(io::Error::other(text));
        }
        if kind.is_dir() {
            sync_folder(&path)?;
            continue;
        }
        // The database replaces its snapshots as it goes: one may be gone by now.
        match sync_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    set_mode(&File::open(folder)?, FOLDER_MODE)?;
    File::open(folder)?.sync_all()
}

fn sync_file(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    set_mode(&file, FILE_MODE)?;
    file.sync_all()
}

fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_change() -> Change {
        let value = |text: &str| (text.to_owned(), text.as_bytes().to_vec());
        Change { expected: None, puts: [value(VERSION), value("a")].into(), deletes: vec![] }
    }

    fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
        let mut all = vec![(folder.to_owned(), fs::metadata(folder).unwrap().permissions().mode())];
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                all.extend(modes(&entry.path()));
            } else {
                all.push((entry.path(), entry.metadata().unwrap().permissions().mode()));
            }
        }
        all
    }

    #[test]
    fn what_was_stored_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data");
        let mut disk = Disk::open(&folder).unwrap();
        disk.compare_and_set(&first_change()).unwrap();
        drop(disk);
        assert_eq!(Disk::open(&folder).unwrap().load().unwrap(), first_change().puts);
        for (path, mode) in modes(&folder) {
            assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
        }
    }

    /// sled 0.34 takes a snapshot that was being written when its process was killed for corruption.
    #[test]
    fn an_unfinished_snapshot_does_not_stop_the_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(folder.path()).unwrap();
        disk.compare_and_set(&first_change()).unwrap();
        drop(disk);
        let planted = folder.path().join("registry/snap.00000000000000FF.generating");
        fs::write(&planted, b"half a snapshot").unwrap();
        let opened = Disk::open(folder.path()).unwrap();
        assert_eq!(opened.load().unwrap(), first_change().puts);
        assert!(!planted.exists());
    }

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Disk::open(folder.path()).unwrap();
        let second = Disk::open(folder.path()).unwrap_err();
        assert!(matches!(second, StoreError::InUse(_)), "{second}");
        assert!(second.to_string().contains("in use"), "{second}");
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        drop(Disk::open(folder.path()).unwrap());
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("registry/snap.0")).unwrap();
        assert!(Disk::open(folder.path()).is_err());
    }
}
