//! A disk whose power can be cut: a file system in an image, mounted over a loop device. What its files were not synced is
//! not in the image yet, so a copy of the image is what a cut would leave, last writes torn and all. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const MEBIBYTES: u64 = 96;

/// A mounted image.
#[derive(Debug)]
pub(crate) struct Image {
    folder: TempDir,
    mounted: bool,
}

impl Image {
    /// Makes and mounts one. An error says why this machine cannot.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut image = Self { folder, mounted: false };
        let size = format!("{MEBIBYTES}M");
        run("truncate", &["-s".as_ref(), size.as_ref(), &image.file()])?;
        run("mkfs.ext4", &["-q".as_ref(), &image.file()])?;
        std::fs::create_dir(image.path()).map_err(|error| error.to_string())?;
        image.mount()?;
        Ok(image)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.file(), &self.path()])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        self.mounted = false;
        run("umount", &[&self.path()])
    }

    /// Keeps what a cut now would leave. Nobody may be writing.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub(crate) fn cut(&self) {
        let left = self.folder.path().join("left");
        run("cp", &["--sparse=always".as_ref(), &self.file(), &left]).expect("the image is copied");
    }

    /// The power is back: what the cut left is mounted. Nobody may use what was there.
    ///
    /// # Panics
    /// When it does not mount.
    pub(crate) fn power_up(&mut self) {
        self.unmount().expect("nobody uses it");
        let left = self.folder.path().join("left");
        std::fs::rename(left, self.file()).expect("it was cut before");
        self.mount().expect("a file system recovers");
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _ = run("umount", &["--lazy".as_ref(), &self.path()]);
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
