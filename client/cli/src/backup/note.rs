//! How far a restore is, in a file beside the backup: one that was stopped goes on from there.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use firn_wire::ids::{ClusterId, TableId, TableName};
use serde::{Deserialize, Serialize};

use super::survey::json;
use super::target::{beside, write_whole};
use crate::exit::{Exit, Problem};

/// What stands behind the backup's name.
const SUFFIX: &str = "restore";
/// The longest note that is read, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

/// What is restored to where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The backup, by the id in its header.
    pub(crate) backup: String,
    /// Into which cluster.
    pub(crate) cluster: ClusterId,
    /// Into which tables: one that was dropped and made again is another.
    pub(crate) tables: Vec<(TableName, TableId)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    task: Task,
    /// Every frame before it is in the cluster.
    frame: u64,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Note {
    path: PathBuf,
    task: Task,
}

impl Note {
    /// Whether a restore of a backup is not done.
    pub(crate) fn is_there(backup: &Path) -> bool {
        beside(backup, SUFFIX).exists()
    }

    /// The note of a restore, and the frame to go on from; None: it begins.
    pub(crate) fn open(backup: &Path, task: Task) -> Result<(Self, Option<u64>), Problem> {
        let note = Self { path: beside(backup, SUFFIX), task };
        let shown = note.path.display();
        let text = match File::open(&note.path) {
            Ok(file) => io::read_to_string(file.take(BYTES_MAX))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((note, None)),
            Err(error) => return Err(Problem::usage(format_args!("{shown}: {error}"))),
        };
        match serde_json::from_str::<Content>(&text) {
            Ok(content) if content.task == note.task => Ok((note, Some(content.frame))),
            Ok(_) => Err(Problem::new(
                Exit::Refused,
                format_args!(
                    "{shown} is of a restore that is not done, into another cluster or other tables, or \
                     from another backup: finish that, or remove the file to begin anew"
                ),
            )),
            Err(error) => Err(Problem::new(
                Exit::Refused,
                format_args!("{shown} does not read ({error}): remove it to begin anew"),
            )),
        }
    }

    /// Notes that every frame before this one is in the cluster.
    pub(crate) fn write(&self, frame: u64) -> Result<(), Problem> {
        let content = Content { task: self.task.clone(), frame };
        write_whole(&self.path, &json(&content)).map_err(|error| {
            let shown = self.path.display();
            Problem::usage(format_args!(
                "{shown}, which notes how far this is, cannot be written: {error}; \
                 put the backup where you may write"
            ))
        })
    }

    /// It is done.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(cluster: u128) -> Task {
        let tables = vec![("users".parse().unwrap(), TableId(20))];
        Task { backup: "b1".to_owned(), cluster: ClusterId(cluster), tables }
    }

    #[test]
    fn a_restore_goes_on_where_it_was_and_only_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("b");
        let open = |cluster| Note::open(&backup, task(cluster));
        let (note, from) = open(1).unwrap();
        assert_eq!(from, None);
        note.write(0).unwrap();
        note.write(17).unwrap();
        assert_eq!(open(1).unwrap().1, Some(17));
        assert_eq!(open(2).unwrap_err().exit, Exit::Refused);
        fs::write(folder.path().join("b.restore"), "{").unwrap();
        assert_eq!(open(1).unwrap_err().exit, Exit::Refused);
        note.remove().unwrap();
        assert_eq!(open(1).unwrap().1, None);
    }
}
