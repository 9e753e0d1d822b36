//! `firn backup` and `firn restore`.
//!
//! [`frame`] is the file byte by byte, [`survey`] what is in it and whether it is whole; [`take`] writes one with
//! [`read`] for each partition, [`verify`] checks one, [`restore`] takes its entries back into the tables it has [`found`], with a
//! [`note`] of how far it is.

mod found;
mod frame;
mod note;
mod read;
pub(crate) mod restore;
mod survey;
mod take;
mod target;
mod verify;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Subcommand};
use firn_wire::ids::TableName;

use crate::exit::{Exit, Problem};
use crate::options::Global;
use crate::output::{Output, bar};
use frame::FileError;
use survey::Survey;

/// `firn backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    take: take::Take,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check that a backup is whole, and say what is in it
    Verify {
        /// The backup
        file: PathBuf,
    },
}

/// The tables a backup or a restore is of.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Tables {
    /// Only this table; may be given more than once [default: all]
    #[arg(
        id = "table",
        long = "table",
        value_name = "NAME",
        action = ArgAction::Append,
        value_parser = TableName::from_registry
    )]
    named: Vec<TableName>,
}

impl Tables {
    fn has(&self, name: &TableName) -> bool {
        self.named.is_empty() || self.named.contains(name)
    }

    /// The first that is named and is not among these.
    fn lacking<'t>(&'t self, names: &[&TableName]) -> Option<&'t TableName> {
        self.named.iter().find(|name| !names.contains(name))
    }
}

/// Does it.
pub(crate) async fn run(
    options: &Options,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    match &options.action {
        Some(Action::Verify { file }) => verify::run(file, to),
        None => take::run(&options.take, global, to).await,
    }
}

/// Opens a backup.
fn open(path: &Path) -> Result<(BufReader<File>, u64), Problem> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (bytes, file) = opened.map_err(|error| {
        Problem::usage(format_args!("{} cannot be read: {error}", path.display()))
    })?;
    Ok((BufReader::with_capacity(1024 * 1024, file), bytes))
}

/// Reads all of a backup and checks it.
fn survey(path: &Path) -> Result<Survey, Problem> {
    let (input, bytes) = open(path)?;
    let bar = bar(bytes, "checking {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left");
    let survey = Survey::of(input, |at| bar.set_position(at)).map_err(|error| bad(path, error))?;
    bar.finish_and_clear();
    Ok(survey)
}

/// `1 table`, `2 tables`.
fn tables_text(count: usize) -> String {
    format!("{count} {}", if count == 1 { "table" } else { "tables" })
}

/// A file that is no whole backup.
fn bad(path: &Path, error: FileError) -> Problem {
    let advice = match error {
        FileError::Cut(_) | FileError::Damaged { .. } => {
            "; nothing is restored from it: use another backup"
        }
        FileError::Io(_) | FileError::Foreign | FileError::Form(_) => "",
    };
    let exit = match error {
        FileError::Io(_) => Exit::Usage,
        _ => Exit::NotThere,
    };
    Problem::new(exit, format_args!("{}: {error}{advice}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Firn};
    use clap::Parser as _;

    fn parsed(line: &str) -> Result<Options, clap::Error> {
        let firn = Firn::try_parse_from(line.split(' '))?;
        match firn.command {
            Command::Backup(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_backup_is_of_all_tables_or_of_those_that_are_named() {
        let named = |line: &str| {
            let named = parsed(line).unwrap().take.tables.named;
            named.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named("firn backup f"), "");
        assert_eq!(named("firn backup f --table a --table __62 --json"), "a __62");
        assert_eq!(named("firn --table a backup f"), "a");
        assert_eq!(named("firn --table a backup f --table b --table c"), "b c");
    }

    #[test]
    fn verify_takes_a_file_and_no_other_flags() {
        let verify = parsed("firn backup verify f --json").unwrap();
        assert!(matches!(verify.action, Some(Action::Verify { file }) if file == Path::new("f")));
        for wrong in ["firn backup", "firn backup verify", "firn backup verify f --force"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
