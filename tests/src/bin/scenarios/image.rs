//! A disk whose power can be cut: a file system in an image, mounted over a loop device. What its files were not synced is
//! not in the image yet, so a copy of the image is what a cut would leave. Needs root.
//!
//! It is a disk that has no cache of its own, and it is cut between two requests to it: what reached it stays.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const MEBIBYTES: u64 = 96;
/// How often the system writes by itself, in seconds: never within a round. So nothing is kept by luck, and nothing is
/// written while the image is copied.
const COMMIT_S: u32 = 300;

/// A mounted image.
#[derive(Debug)]
pub(crate) struct Image {
    folder: TempDir,
    path: PathBuf,
    mounted: bool,
}

impl Image {
    /// Makes one and mounts it at a folder, which is made. An error says why this machine cannot.
    pub(crate) fn mounted_at(path: PathBuf) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut image = Self { folder, path, mounted: false };
        let size = format!("{MEBIBYTES}M");
        run("truncate", &["-s".as_ref(), size.as_ref(), &image.file()])?;
        let whole = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q".as_ref(), "-E".as_ref(), whole.as_ref(), &image.file()])?;
        std::fs::create_dir(&image.path).map_err(|error| error.to_string())?;
        image.mount()?;
        Ok(image)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn left(&self) -> PathBuf {
        self.folder.path().join("left")
    }

    fn mount(&mut self) -> Result<(), String> {
        let options = format!("loop,commit={COMMIT_S}");
        run("mount", &["-o".as_ref(), options.as_ref(), &self.file(), &self.path])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        self.mounted = false;
        run("umount", &[&self.path])
    }

    /// Keeps what a cut now would leave. Nobody may be writing.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub(crate) fn cut(&self) {
        let copied = run("cp", &["--sparse=always".as_ref(), &self.file(), &self.left()]);
        copied.expect("the image is copied");
    }

    /// The power is back: what the cut left is mounted. Nobody may use what was there.
    ///
    /// # Panics
    /// When it does not mount.
    pub(crate) fn power_up(&mut self) {
        self.unmount().expect("nobody uses it");
        std::fs::rename(self.left(), self.file()).expect("it was cut before");
        self.mount().expect("a file system recovers");
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _ = run("umount", &["--lazy".as_ref(), &self.path]);
        }
    }
}

fn run(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
