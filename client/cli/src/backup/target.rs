//! Where a backup is written: beside its name until it is whole, or to standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::exit::Problem;

/// What stands behind a backup's name until it is whole.
const PARTIAL: &str = "partial";

/// The file a backup is to become.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    partial: PathBuf,
}

impl Target {
    /// Whether that is standard output.
    pub(crate) fn is_stdout(path: &Path) -> bool {
        path.as_os_str() == "-"
    }

    /// A file that is not there yet, or may be written over.
    pub(crate) fn new(path: &Path, force: bool) -> Result<Self, Problem> {
        let shown = path.display();
        if path.exists() && !force {
            return Err(Problem::usage(format_args!(
                "{shown} is there already; name another file, or write over it with --force"
            )));
        }
        if path.exists() && !path.is_file() {
            return Err(Problem::usage(format_args!("{shown} is no file; name another")));
        }
        Ok(Self { path: path.to_owned(), partial: beside(path, PARTIAL) })
    }

    /// Opens what is written to first.
    pub(crate) fn create(&self) -> Result<BufWriter<File>, Problem> {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(&self.partial);
        let file = opened.map_err(|error| {
            Problem::usage(format_args!("{} cannot be written: {error}", self.partial.display()))
        })?;
        Ok(BufWriter::with_capacity(1024 * 1024, file))
    }

    /// The backup is whole: it gets its name once the disk has it.
    pub(crate) fn keep(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        sync_folder_of(&self.path)
    }

    /// It will not be whole.
    pub(crate) fn discard(&self) {
        // What cannot be removed is written over by the next backup of this name.
        let _ = fs::remove_file(&self.partial);
    }
}

/// A path with something behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Writes a small file as a whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
