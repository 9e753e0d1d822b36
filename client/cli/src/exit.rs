//! How a command ends: a code scripts can trust and one line for people.

use std::fmt;
use std::io;
use std::process::ExitCode;

use firn_wire::reply::Failure;

use crate::output::Object;

/// The exit codes of `firn`. They never change their meaning; where several hold, the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// The key or table is not there, the condition does not hold, or the backup is not whole. Nothing changed.
    NotThere = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The cluster, or the worker that was needed, cannot be reached. Nothing changed.
    Unreachable = 3,
    /// The store refuses the request as it is.
    Refused = 4,
    /// The answer did not come in time: a write may or may not have happened.
    Unknown = 5,
}

impl Exit {
    /// Its word in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotThere => "not-there",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The end of `firn --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the key or table is not there, the condition does not hold, or the backup is not whole
  2  the command line is wrong
  3  the cluster, or a worker that is needed, cannot be reached; nothing changed
  4  the store refuses the request
  5  no answer in time: a write may or may not have happened; look before writing again";

/// Why a command did not do what it was asked, on one line, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    /// The code to end with.
    pub(crate) exit: Exit,
    message: String,
}

impl Problem {
    /// A problem; line breaks in the message become spaces.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        let message = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { exit, message }
    }

    /// The command line, or a file it names, is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Ends with a code about which all has been said.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, message: String::new() }
    }

    /// Says it on stderr, in one line.
    pub(crate) fn print(&self, json: bool) {
        if self.message.is_empty() {
            return;
        }
        if json {
            let object = Object::default()
                .with("error", self.exit.as_str())
                .with("exit", self.exit as u8)
                .with("message", self.message.as_str());
            eprintln!("{}", object.into_value());
        } else {
            eprintln!("firn: {}", self.message);
        }
    }
}

impl From<Failure<'_>> for Problem {
    fn from(failure: Failure<'_>) -> Self {
        let exit = match &failure {
            Failure::NoSuchTable => Exit::NotThere,
            Failure::Unavailable(_)
            | Failure::NoUplink(_)
            | Failure::Moved(_)
            | Failure::NotHereYet(_)
            | Failure::TooFewCopies { .. }
            | Failure::LogFull(_) => Exit::Unreachable,
            Failure::Unknown => Exit::Unknown,
            _ => Exit::Refused,
        };
        let advice = match &failure {
            Failure::NoSuchTable => "; `firn tables` lists what there is",
            Failure::Unavailable(_) | Failure::Moved(_) | Failure::NotHereYet(_) => {
                "; `firn status` says what is down"
            }
            Failure::TooFewCopies { .. } | Failure::LogFull(_) => {
                "; `firn status` says which copies are missing"
            }
            Failure::NoUplink(_) => "; start it again, tables cannot be changed without it",
            Failure::Unknown => "; read the key before you write it again",
            Failure::ValueTooLong { .. } => {
                "; `firn tables alter TABLE --value-max SIZE` allows more"
            }
            Failure::MemoryFull { .. } => "; delete entries, or give the table more memory",
            Failure::DiskFailed(_) => "; give its disk space, writes go on by themselves then",
            _ => "",
        };
        Self::new(exit, format_args!("{failure}{advice}"))
    }
}

/// Errors of our own output and of files named on the command line.
impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The reader has gone, as `head` does: no reason to complain.
            io::ErrorKind::BrokenPipe => Self::silent(Exit::Done),
            _ => Self::new(Exit::Refused, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::{GroupId, PartitionId};

    #[test]
    fn each_failure_has_the_code_its_reader_acts_on() {
        let exit = |failure: Failure<'_>| Problem::from(failure).exit;
        assert_eq!(exit(Failure::NoSuchTable), Exit::NotThere);
        assert_eq!(exit(Failure::Unavailable("w1".into())), Exit::Unreachable);
        assert_eq!(exit(Failure::NoUplink("silent".into())), Exit::Unreachable);
        assert_eq!(
            exit(Failure::LogFull(PartitionId { group: GroupId(0), number: 1 })),
            Exit::Unreachable
        );
        assert_eq!(exit(Failure::NotInteger), Exit::Refused);
        assert_eq!(exit(Failure::Unknown), Exit::Unknown);
    }

    #[test]
    fn a_message_is_one_line() {
        let problem = Problem::from(Failure::Invalid("two\r\nlines".into()));
        assert_eq!(problem.to_string(), "two lines");
    }

    #[test]
    fn a_reader_that_went_away_is_no_problem() {
        let problem = Problem::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(problem, Problem::silent(Exit::Done));
        let other = Problem::from(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!((other.exit, other.message.is_empty()), (Exit::Refused, false));
    }
}
