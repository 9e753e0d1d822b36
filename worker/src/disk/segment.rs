//! The files of a log: `g<generation>/s<shard>-<number>.log`, numbers counting up from 1.
//!
//! ```text
//!  0          8            12      14       16        24
//!  ┌──────────┬────────────┬───────┬────────┬─────────┬──────────┐
//!  │ firnlog1 │ generation │ shard │ shards │ number  │ frames … │   little-endian; frames: firn_store::disk
//!  │          │ u32        │ u16   │ u16    │ u64     │          │
//!  └──────────┴────────────┴───────┴────────┴─────────┴──────────┘
//! ```
//! Only the last file of a log may end within a frame.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::manifest::Generation;

const MAGIC: &[u8; 8] = b"firnlog1";
pub(super) const HEAD_BYTES: usize = 24;

/// One shard's log of a generation.
#[derive(Debug, Clone)]
pub(super) struct Place {
    folder: PathBuf,
    generation: u32,
    shard: u16,
    shards: u16,
}

impl Place {
    /// In the folder of all generations.
    pub(super) fn new(folder: &Path, generation: &Generation, shard: usize) -> Self {
        Self {
            folder: folder.join(format!("g{:08}", generation.number)),
            generation: generation.number,
            shard: shard as u16,
            shards: generation.first.len() as u16,
        }
    }

    /// Where all files of the generation are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}{number:016}.log", self.prefix()))
    }

    fn prefix(&self) -> String {
        format!("s{:03}-", self.shard)
    }

    /// The numbers of all files there are, ascending.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let number =
                name.strip_prefix(&self.prefix()).and_then(|rest| rest.strip_suffix(".log"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What a file begins with.
    pub(super) fn head(&self, number: u64) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&self.generation.to_le_bytes());
        head[12..14].copy_from_slice(&self.shard.to_le_bytes());
        head[14..16].copy_from_slice(&self.shards.to_le_bytes());
        head[16..].copy_from_slice(&number.to_le_bytes());
        head
    }

    /// Makes a new file, with its head, that is found again whatever happens.
    pub(super) fn create(&self, number: u64) -> io::Result<Segment> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.path(number);
        // One that a failed attempt left behind has nothing that counts.
        let file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        file.write_all_at(&self.head(number), 0)?;
        file.sync_all()?;
        sync_folder(&self.folder)?;
        self.folder.parent().map_or(Ok(()), sync_folder)?;
        let length = HEAD_BYTES as u64;
        Ok(Segment { file, path, number, length, synced: length })
    }

    /// Removes all files before one. What is left behind is removed the next time.
    pub(super) fn remove_before(&self, first: u64) {
        let numbers = self.numbers().unwrap_or_default();
        for number in numbers.into_iter().filter(|number| *number < first) {
            remove(&self.path(number));
        }
    }
}

/// Removes a file; one that stays is no harm but for its space.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        log::warn!("{} is not needed any more and stays: {error}", path.display());
    }
}

/// Removes a generation that does not count any more.
pub(super) fn remove_generation(folder: &Path, generation: &Generation) {
    let place = Place::new(folder, generation, 0);
    if let Err(error) = std::fs::remove_dir_all(place.folder())
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("{} is not needed any more and stays: {error}", place.folder().display());
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A file that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    pub(super) path: PathBuf,
    pub(super) number: u64,
    /// Up to here it is good.
    pub(super) length: u64,
    /// Up to here it is on the disk itself.
    synced: u64,
}

impl Segment {
    /// Appends all of it, or nothing that counts.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.length) {
            // What was written of it is overwritten by the next; a read of a file cut here sees a cut end.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts it onto the disk itself.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.length;
        Ok(())
    }

    /// Takes back what is not on the disk itself.
    pub(super) fn cut(&mut self) {
        if let Err(error) = self.file.set_len(self.synced) {
            log::error!("{} may have an end that does not read: {error}", self.path.display());
        }
        self.length = self.synced;
    }
}
