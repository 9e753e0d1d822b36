//! The store in a folder: a sled database, and a lock so that one process has it.
//!
//! Six things sled does not do by itself: a `snap.*.generating` file that a kill left behind makes its open fail, so it
//! is removed first; its flush survives a killed process but not a power cut, so the files are fsynced too; its cache
//! would take up to a gigabyte; where its log is damaged it goes on from what was before, or from nothing, without a
//! word; a batch that fails may stay in part; and after a failed write it takes no more, and may wait for ever for what
//! was not written. A cluster must not begin anew or issue a version again, so a file beside the database, `stored`,
//! says which version was stored last; [`Shadow`] makes a change whole. On a disk that is nearly full nothing is written; a
//! database that has failed all the same is given up, and one with the values of before takes its place.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use firn_wire::ids::MapVersion;
use rustix::fs::{CWD, RenameFlags};

use super::shadow::{Shadow, Values};
use super::{Store, StoreError};
use crate::chunks::{Change, VERSION};

/// The database, within the folder.
const DATABASE: &str = "registry";
/// Where one is made that takes its place.
const RENEWED: &str = "registry.new";
/// The file beside it.
const STORED: &str = "stored";
/// One write within one sector: it is there or it is not.
const STORED_BYTES: usize = 64;
/// What a change may make the folder grow by, beside [`GROWTH`] times its own bytes: sled's log grows by 512 KiB at once.
const ROOM_BYTES: u64 = 1024 * 1024;
/// Databases that may fail before the process must be restarted: what each had in memory stays there.
const GIVEN_UP_MAX: usize = 8;
/// How often, and after what pause, a lock is tried that somebody is about to give back.
const RELEASE_TRIES: usize = 200;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);
/// sled writes whole pages of up to 16 values, and leaves old ones for later. Up to 3.8 was measured, with changes of 300 kB.
const GROWTH: u64 = 4;
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder that is a store. Its files are 0600, its folders 0700.
#[derive(Debug)]
pub struct Disk {
    /// None: it has failed, and is renewed when it is needed.
    database: Option<Shadow>,
    /// The values of one that has failed.
    kept: Values,
    /// Databases that have failed before.
    given_up: usize,
    folder: PathBuf,
    /// The last version stored, as JSON, padded.
    stored: File,
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
        let files = folder.join(DATABASE);
        make_folder(&files).map_err(failed("making the folder", &files))?;
        let lock = lock(folder)?;
        remove_folder(&folder.join(RENEWED))?;
        let database = Some(open_database(&files)?);
        let (kept, folder) = (Values::new(), folder.to_owned());
        let stored = open_file(&folder.join(STORED))?;
        Ok(Self { database, kept, given_up: 0, folder, stored, _lock: lock })
    }

    fn database(&mut self) -> Result<&mut Shadow, StoreError> {
        if self.database.is_none() {
            self.renew()?;
            self.database = Some(open_database(&self.folder.join(DATABASE))?);
        }
        Ok(self.database.as_mut().expect("it is open"))
    }

    fn give_up(&mut self, database: Shadow) -> Values {
        self.given_up += 1;
        database.give_up()
    }

    /// Puts a database with the values that were kept in the place of one that was given up.
    fn renew(&mut self) -> Result<(), StoreError> {
        if self.given_up > GIVEN_UP_MAX {
            let why = format!("it has failed {} times: restart the process", self.given_up);
            return Err(StoreError::Unreadable { folder: self.folder.clone(), why });
        }
        let (files, new) = (self.folder.join(DATABASE), self.folder.join(RENEWED));
        let all = Change { expected: None, puts: self.kept.clone(), deletes: Vec::new() };
        self.check_room(&all)?;
        remove_folder(&new)?;
        make_folder(&new).map_err(failed("making the folder", &new))?;
        let mut database = open_database(&new)?;
        let written = caught(|| database.change(&all));
        match written {
            Ok(()) => drop(database),
            Err(error) => {
                self.give_up(database);
                return Err(failed("writing to the database in", &new)(error));
            }
        }
        sync_folder(&new).map_err(failed("fsync of the files in", &new))?;
        exchange(&files, &new).map_err(failed("renewing", &files))?;
        // The one that was given up has its file open, which would keep the room it takes.
        let old = File::options().write(true).open(new.join("db"));
        old.and_then(|old| old.set_len(0)).map_err(failed("emptying", &new))?;
        remove_folder(&new)
    }

    /// Whether there is room for a change. Others may take it meanwhile.
    fn check_room(&self, change: &Change) -> Result<(), StoreError> {
        let bytes: u64 = change.puts.values().map(|value| value.len() as u64).sum();
        let needed = ROOM_BYTES + GROWTH * bytes;
        let space = rustix::fs::statvfs(&self.folder);
        let space = space.map_err(failed("looking for room in", &self.folder))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < needed {
            return Err(StoreError::Full { folder: self.folder.clone(), free, needed });
        }
        Ok(())
    }

    /// Moves what is stored in a folder into a new one within it, named by the time, which is given; None: nothing is stored.
    /// Within, since the folder itself may be where another file system begins.
    pub fn set_aside(folder: &Path) -> Result<Option<PathBuf>, StoreError> {
        if !folder.join(DATABASE).exists() {
            return Ok(None);
        }
        let _lock = lock(folder)?;
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let aside = folder.join(format!("set-aside-{}", now.replace(':', "")));
        make_folder(&aside).map_err(failed("making the folder", &aside))?;
        for name in [DATABASE, STORED] {
            let from = folder.join(name);
            if from.exists() {
                fs::rename(&from, aside.join(name)).map_err(failed("setting aside", &from))?;
            }
        }
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("fsync of", folder))?;
        Ok(Some(aside))
    }

    /// Whether the database has what was stored last. A change that was stored while the process was killed may not be
    /// in `stored` yet, so it may have more.
    fn check_complete(&self, values: &Values) -> Result<(), StoreError> {
        let path = self.folder.join(STORED);
        let bytes = fs::read(&path).map_err(failed("reading", &path))?;
        let Ok(last) = serde_json::from_slice::<MapVersion>(&bytes) else {
            // An empty store has none yet.
            if !values.is_empty() {
                log::warn!("{} names no version: its last write was cut off", path.display());
            }
            return Ok(());
        };
        let version = values.get(VERSION).and_then(|bytes| serde_json::from_slice(bytes).ok());
        if version.is_some_and(|version: MapVersion| version >= last) {
            return Ok(());
        }
        let found = version.map_or("nothing".to_owned(), |version| format!("version {version}"));
        let why = format!(
            "version {last} was stored and {found} is left: the disk has lost changes; restore a copy, start once with \
             --rebuild to take the cluster over from its workers, or remove the directory to begin a new one"
        );
        Err(StoreError::Unreadable { folder: self.folder.clone(), why })
    }

    fn note_stored(&mut self, change: &Change) -> io::Result<()> {
        let mut text = change.puts.get(VERSION).cloned().unwrap_or_default();
        text.resize(STORED_BYTES - 1, b' ');
        text.push(b'\n');
        self.stored.write_all_at(&text, 0)?;
        self.stored.sync_all()
    }

    fn write(&mut self, change: &Change) -> Result<(), StoreError> {
        let done = self.try_write(change);
        if matches!(done, Err(StoreError::Failed { .. }))
            && let Some(database) = self.database.take()
        {
            self.kept = self.give_up(database);
        }
        done
    }

    fn try_write(&mut self, change: &Change) -> Result<(), StoreError> {
        let (files, folder) = (self.folder.join(DATABASE), self.folder.clone());
        let database = self.database()?;
        let (expected, found) = (change.expected.as_deref(), database.values().get(VERSION));
        if found.map(Vec::as_slice) != expected {
            return Err(StoreError::conflict(expected, found.map(Vec::as_slice)));
        }
        caught(|| database.change(change)).map_err(failed("writing to the database in", &files))?;
        sync_folder(&files).map_err(failed("fsync of the files in", &files))?;
        self.note_stored(change).map_err(failed("noting the version in", &folder))
    }
}

impl Store for Disk {
    fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let values = self.database()?.values().clone();
        self.check_complete(&values)?;
        Ok(values)
    }

    fn compare_and_set(&mut self, change: &Change) -> Result<(), StoreError> {
        self.check_room(change)?;
        self.write(change)
    }
}

/// sled panics at some of what it finds after a write that failed.
fn caught<T>(work: impl FnOnce() -> sled::Result<T>) -> sled::Result<T> {
    let panicked = |_| Err(sled::Error::ReportableBug("it panicked: see the log".to_owned()));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    // Until the names are on the disk a power cut leaves them as they were.
    one.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn remove_folder(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removing", folder)(error))
        }
        _ => Ok(()),
    }
}

fn open_database(files: &Path) -> Result<Shadow, StoreError> {
    remove_unfinished_snapshots(files).map_err(failed("tidying the folder", files))?;
    await_release(&files.join("db"));
    let config = sled::Config::new().path(files).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let opened = caught(|| {
        let database = config.open()?;
        database.flush()?;
        Shadow::open(database)
    });
    let shadow = opened.map_err(|error| StoreError::Unreadable {
        folder: files.to_owned(),
        why: error.to_string(),
    })?;
    sync_folder(files).map_err(failed("fsync of the files in", files))?;
    Ok(shadow)
}

/// Waits while the database's file is still locked although the folder is ours: sled's threads hold it for a moment after a
/// database is dropped, and the system while it ends a process whose other files it has closed. Opening says what is wrong
/// where it stays locked.
fn await_release(file: &Path) {
    for _ in 0..RELEASE_TRIES {
        let locked = File::open(file).map(|file| file.try_lock());
        if !matches!(locked, Ok(Err(TryLockError::WouldBlock))) {
            return;
        }
        thread::sleep(RELEASE_PAUSE);
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

fn open_file(path: &Path) -> Result<File, StoreError> {
    let open = File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(path);
    open.map_err(failed("opening", path))
}

/// Takes the folder's lock, which the system gives back when the process ends, however it ends.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = open_file(&path)?;
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
    use firn_tests::{DEADLINE, SmallDisk, wait_until};

    fn change(expected: Option<&str>, version: &str) -> Change {
        let json = |text: &str| format!("{text:?}").into_bytes();
        let puts = [(VERSION.to_owned(), json(version)), ("a".to_owned(), json(version))].into();
        Change { expected: expected.map(json), puts, deletes: vec![] }
    }

    fn first_change() -> Change {
        change(None, "1.9")
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
        let mut opened = Disk::open(folder.path()).unwrap();
        assert_eq!(opened.load().unwrap(), first_change().puts);
        assert!(!planted.exists());
    }

    /// sled 0.34 drops a damaged tail of its log in silence, down to an empty database.
    #[test]
    fn a_database_that_has_lost_changes_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
        let mut disk = Disk::open(&data).unwrap();
        disk.compare_and_set(&change(None, "1.9")).unwrap();
        drop(disk);
        copy_folder(&data.join("registry"), &copy);
        let mut disk = Disk::open(&data).unwrap();
        disk.compare_and_set(&change(Some("1.9"), "1.10")).unwrap();
        assert_eq!(disk.load().unwrap(), change(None, "1.10").puts);
        drop(disk);

        let why = |data: &Path| Disk::open(data).unwrap().load().unwrap_err().to_string();
        fs::remove_dir_all(data.join("registry")).unwrap();
        copy_folder(&copy, &data.join("registry"));
        assert!(
            why(&data).contains("version 1.10 was stored and version 1.9 is left"),
            "{}",
            why(&data)
        );
        fs::remove_dir_all(data.join("registry")).unwrap();
        assert!(why(&data).contains("nothing is left"), "{}", why(&data));
    }

    /// A kill between the change of the database and the note of it.
    #[test]
    fn a_database_may_be_ahead_of_the_note() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(folder.path()).unwrap();
        disk.compare_and_set(&change(None, "1.9")).unwrap();
        let note = fs::read(folder.path().join("stored")).unwrap();
        disk.compare_and_set(&change(Some("1.9"), "1.10")).unwrap();
        drop(disk);
        for note in [note.as_slice(), b"", b"\"1.", &[0; STORED_BYTES]] {
            fs::write(folder.path().join("stored"), note).unwrap();
            let loaded = Disk::open(folder.path()).unwrap().load().unwrap();
            assert_eq!(loaded, change(None, "1.10").puts);
        }
    }

    fn big_change(number: usize, values: usize) -> Change {
        let expected = (number > 1).then(|| format!("1.{}", number - 1));
        let mut change = change(expected.as_deref(), &format!("1.{number}"));
        let big = |at| (format!("big/{at}"), vec![number as u8; 15_000]);
        change.puts.extend((0..values).map(big));
        change
    }

    /// What a process would find that begins now.
    fn found_after_a_restart(data: &Path) -> BTreeMap<String, Vec<u8>> {
        let scratch = tempfile::tempdir().unwrap();
        copy_folder(data, scratch.path());
        Disk::open(scratch.path()).unwrap().load().unwrap()
    }

    /// What sled 0.34 does on a full disk differs with what it was about to write: a piece of its log, or a large page in a
    /// file of its own, after which dropping the database, or using another one, waits for ever. What it has written of a
    /// batch stays.
    #[test]
    fn after_a_full_disk_the_database_has_the_change_or_has_it_not() {
        // Small changes never fill what is left over: the database writes where it has written before.
        for (values, left) in [(0, 0), (20, 0), (20, 100_000), (20, 200_000), (20, 400_000)] {
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join("disk");
            let Some(small) = SmallDisk::mount(&path, 16) else { return };
            let data = path.join("data");
            let mut disk = Disk::open(&data).unwrap();
            let mut stored = 0;
            while stored < 8 {
                stored += 1;
                disk.compare_and_set(&big_change(stored, values)).unwrap();
            }

            small.fill_but(left);
            let full = disk.compare_and_set(&big_change(stored + 1, values)).unwrap_err();
            assert!(matches!(full, StoreError::Full { .. }), "{full}");
            if let Ok(loaded) = disk.load() {
                assert!(loaded == big_change(stored, values).puts, "{values} {left}");
            }
            // Somebody else has filled it after it was looked at.
            let failed = loop {
                match disk.write(&big_change(stored + 1, values)) {
                    Ok(()) => stored += 1,
                    Err(failed) => break failed,
                }
            };
            assert!(failed.to_string().to_lowercase().contains("no space left"), "{failed}");
            assert!(matches!(disk.load(), Err(StoreError::Full { .. })));
            let whole = [big_change(stored, values).puts, big_change(stored + 1, values).puts];
            assert!(whole.contains(&found_after_a_restart(&data)), "{values} {left}");

            small.free();
            let loaded = wait_until("it is opened anew", DEADLINE, || disk.load().ok());
            let found = whole.iter().position(|whole| *whole == loaded);
            let found = stored + found.expect("it is whole");
            disk.compare_and_set(&big_change(found + 1, values)).unwrap();
            assert!(found_after_a_restart(&data) == big_change(found + 1, values).puts);
            drop(disk);
            let again = Disk::open(&data).unwrap().load().unwrap();
            assert!(again == big_change(found + 1, values).puts, "{values} {left}");
        }
    }

    fn copy_folder(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => copy_folder(&entry.path(), &to.join(entry.file_name())),
                // A database that is at work may have taken it away.
                false => drop(fs::copy(entry.path(), to.join(entry.file_name()))),
            }
        }
    }

    #[test]
    fn what_is_set_aside_is_kept_and_the_folder_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Disk::set_aside(folder.path()).unwrap(), None);
        let mut disk = Disk::open(folder.path()).unwrap();
        disk.compare_and_set(&first_change()).unwrap();
        assert!(matches!(Disk::set_aside(folder.path()), Err(StoreError::InUse(_))));
        drop(disk);
        let aside = Disk::set_aside(folder.path()).unwrap().unwrap();
        assert_eq!(aside.parent(), Some(folder.path()));
        assert!(Disk::open(folder.path()).unwrap().load().unwrap().is_empty());
        assert_eq!(Disk::open(&aside).unwrap().load().unwrap(), first_change().puts);
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
    fn a_lock_of_the_database_that_is_about_to_be_given_back_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        drop(Disk::open(folder.path()).unwrap());
        let file = File::open(folder.path().join("registry/db")).unwrap();
        file.lock().unwrap();
        let holder = thread::spawn(move || {
            thread::sleep(RELEASE_PAUSE * 10);
            drop(file);
        });
        Disk::open(folder.path()).unwrap();
        holder.join().unwrap();
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        drop(Disk::open(folder.path()).unwrap());
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("registry/snap.0")).unwrap();
        assert!(Disk::open(folder.path()).is_err());
    }
}
