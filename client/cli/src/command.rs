//! The command line of `firn`.

use clap::{Parser, Subcommand};

use crate::ask::Ask;
use crate::exit::EXIT_CODES;
use crate::options::Global;
use crate::{backup, bench, proxy};

/// Talk to a Firn cluster.
#[derive(Debug, Parser)]
#[command(name = "firn", version, after_help = EXIT_CODES)]
pub(crate) struct Firn {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Everything `firn` does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the shell has too.
    #[command(flatten)]
    Ask(Ask),
    /// Write tables to a file, each partition as it is at one moment, while they are in use
    Backup(backup::Options),
    /// Write what a backup holds into the tables of a cluster of any size; one that was stopped goes on
    Restore(backup::restore::Options),
    /// Measure throughput and latency
    Bench(bench::Options),
    /// Offer the cluster's listeners here without holding data
    Proxy(proxy::Options),
    /// Type commands
    Shell,
    /// Print a script that completes commands in your shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Incr, Source};
    use clap::CommandFactory as _;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    fn ask(line: &str) -> Ask {
        match Firn::try_parse_from(line.split(' ')).unwrap().command {
            Command::Ask(ask) => ask,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Firn::command().debug_assert();
    }

    #[test]
    fn values_come_from_where_they_say() {
        let value = |line: &str| match ask(line) {
            Ask::Put(put) => put.value,
            other => panic!("{other:?}"),
        };
        assert_eq!(value("firn put k v"), Source::Given(b"v".to_vec()));
        assert_eq!(value("firn put k"), Source::Stdin);
        assert_eq!(value("firn put k -"), Source::Stdin);
        assert_eq!(value("firn put k @a/b"), Source::File("a/b".into()));
    }

    #[test]
    fn keys_need_not_be_text() {
        let odd = OsString::from_vec(b"\xff\0k".to_vec());
        let args = [OsString::from("firn"), "del".into(), "a".into(), odd];
        match Firn::try_parse_from(args).unwrap().command {
            Command::Ask(Ask::Del(del)) => {
                assert_eq!((&*del.keys[0], &*del.keys[1]), (&b"a"[..], &b"\xff\0k"[..]));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_one_condition_is_taken() {
        assert!(Firn::try_parse_from("firn put k v --if-absent".split(' ')).is_ok());
        let two = "firn put k v --if-absent --if-version 1f";
        assert!(Firn::try_parse_from(two.split(' ')).is_err());
    }

    #[test]
    fn numbers_may_be_negative() {
        assert!(matches!(ask("firn incr k --by -3"), Ask::Incr(Incr { by: -3, .. })));
    }
}
