//! What a worker keeps on disk of what it holds.
//!
//! Each shard has a log in files of its own ([`segment`]), written by a thread of its own ([`writer`]) from what the shard
//! hands out, and synced in a [`rhythm`], so that no request waits for a disk unless its table says so. Which files count
//! is in a small database ([`manifest`]). At the start all are read back ([`load`]), whatever number of shards wrote them.

mod bell;
mod load;
mod manifest;
mod rhythm;
mod segment;
mod synced;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use firn_wire::ids::ClusterId;

use crate::shards::Shards;

pub(crate) use bell::Bells;
use load::Ended;
use manifest::{Manifest, ManifestError};
pub(crate) use synced::Synced;
use writer::Writer;

/// The folder in the data folder.
const FOLDER: &str = "log";

/// Why what is on disk cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// The list of files.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// A file is not what was written.
    #[error(
        "{path} is damaged at byte {at}: {why}. Restore it from a copy of the disk; or, if other workers have copies \
         of all this one had, move {folder} away and start again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        why: String,
        /// The folder it is in.
        folder: PathBuf,
    },
    /// It was written in another cluster.
    #[error(
        "{folder} is of cluster {kept} and the uplink's is {found}; point --data or --uplink elsewhere"
    )]
    Cluster {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        kept: ClusterId,
        /// Whose it should be.
        found: ClusterId,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |error| DiskError::Io(path, error)
}

/// A folder with logs, before anything is written to it.
#[derive(Debug)]
pub(crate) struct Logs {
    manifest: Manifest,
    ended: Ended,
}

impl Logs {
    /// Opens the logs in a data folder, which are made if there are none.
    pub(crate) fn open(data: &Path) -> Result<Self, DiskError> {
        let manifest = Manifest::open(&data.join(FOLDER))?;
        Ok(Self { manifest, ended: Ended::default() })
    }

    /// The seed of the hashes by which entries were written; None: there are none.
    pub(crate) fn hash_seed(&self) -> Option<u64> {
        self.manifest.contents().map(|contents| contents.hash_seed)
    }

    /// Reads everything back into empty shards.
    pub(crate) fn load(&mut self, shards: &Shards) -> Result<(), DiskError> {
        self.ended = load::load(&self.manifest, shards)?;
        Ok(())
    }

    /// Begins to write what the shards have from now on.
    pub(crate) fn start(
        mut self,
        cluster: ClusterId,
        hash_seed: u64,
        shards: &Arc<Shards>,
    ) -> Result<Disks, DiskError> {
        if let Some(contents) = self.manifest.contents()
            && contents.cluster != cluster
        {
            let (folder, kept) = (self.manifest.folder().to_owned(), contents.cluster);
            return Err(DiskError::Cluster { folder, kept, found: cluster });
        }
        self.manifest.begin(cluster, hash_seed, shards.count())?;
        let manifest = Arc::new(std::sync::Mutex::new(self.manifest));
        let ended = self.ended;
        let mut threads = Vec::new();
        for number in 0..usize::from(shards.count()) {
            ended.tell(number, shards);
            let writer = Writer::open(number, Arc::clone(shards), Arc::clone(&manifest))?;
            let thread = std::thread::Builder::new().name(format!("firn-disk-{number}"));
            let run = thread.spawn(move || writer.run());
            threads.push(run.map_err(failed(Path::new("a thread")))?);
        }
        shards.bells().hang(threads.iter().map(|thread| thread.thread().clone()).collect());
        Ok(Disks { shards: Arc::clone(shards), threads })
    }
}

/// The threads that write.
#[derive(Debug)]
pub(crate) struct Disks {
    shards: Arc<Shards>,
    threads: Vec<JoinHandle<()>>,
}

impl Disks {
    /// Lets them write what there is, and end.
    pub(crate) fn stop(self) {
        self.shards.bells().close();
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread that writes to disk has failed");
            }
        }
    }
}
