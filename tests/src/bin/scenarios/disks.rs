//! A disk for each process of a cluster, whose power goes for all of them at one moment.

use std::path::Path;

use firn_tests::cluster::data_folder;
use tempfile::TempDir;

use crate::image::Image;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Disks {
    // Unmounted before the folder they are mounted in goes.
    images: Vec<Image>,
    folder: TempDir,
}

impl Disks {
    /// Makes one for each of these processes. An error says why this machine cannot.
    pub(crate) fn of(processes: &[String]) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount = |name: &String| Image::mounted_at(data_folder(folder.path(), name));
        let images = processes.iter().map(mount).collect::<Result<_, _>>()?;
        Ok(Self { images, folder })
    }

    /// What `ClusterBuilder::data_in` is to be given.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps what a cut now would leave. Every process stands still: so it does not matter which disk is first.
    pub(crate) fn cut(&self) {
        self.images.iter().for_each(Image::cut);
    }

    /// The power is back. Every process has ended.
    pub(crate) fn power_up(&mut self) {
        self.images.iter_mut().for_each(Image::power_up);
    }
}
