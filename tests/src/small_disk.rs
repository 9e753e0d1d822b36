//! A disk that can be filled: a tmpfs of its own. No process is started for it: between its start and its program it would
//! hold the locks of the one that started it, and with it those of other tests.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::outside::skip;

/// What the file that fills it is called.
const BALLAST: &str = "ballast";

/// A file system of a few MiB, until this is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it on a folder, which is made. None after saying that the test skips: that needs root.
    ///
    /// # Panics
    /// As [`skip`] does.
    #[track_caller]
    pub fn mount(path: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(path).expect("a folder can be made");
        let size = CString::new(format!("size={mebibytes}m")).expect("it has no zero byte");
        if mount("tmpfs", path, "tmpfs", MountFlags::empty(), size.as_c_str()).is_err() {
            skip("mounting a small file system needs root");
            return None;
        }
        Some(Self(path.to_owned()))
    }

    /// Takes so many bytes.
    ///
    /// # Panics
    /// When they are not there.
    pub fn take(&self, bytes: usize) {
        std::fs::write(self.0.join(BALLAST), vec![1; bytes]).expect("there is room for that");
    }

    /// Takes all but so many bytes, in pages of the machine.
    ///
    /// # Panics
    /// When no file can be made.
    pub fn fill_but(&self, left: u64) {
        let open = OpenOptions::new().create(true).append(true).open(self.0.join(BALLAST));
        let mut ballast = open.expect("a file can be made");
        for block in [65_536, 1] {
            while ballast.write_all(&vec![1; block]).is_ok() {}
        }
        let taken = ballast.metadata().expect("it is there").len();
        ballast.set_len(taken.saturating_sub(left)).expect("a file can be cut");
    }

    /// Gives back what was taken.
    ///
    /// # Panics
    /// When nothing was.
    pub fn free(&self) {
        std::fs::remove_file(self.0.join(BALLAST)).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
