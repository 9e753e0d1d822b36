//! How a command ends: a code scripts can trust and one line for people.

use std::fmt;
use std::io;
use std::process::ExitCode;

use firn_wire::reply::Failure;

/// The exit codes of `firn`. They never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// The key or table is not there, or the condition does not hold. Nothing changed.
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
    pub const fn as_str(self) -> &'static str {
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
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the key or table is not there, or the condition does not hold
  2  the command line is wrong
  3  the cluster, or a worker that is needed, cannot be reached; nothing changed
  4  the store refuses the request
  5  no answer in time: a write may or may not have happened; look before writing again";

/// Why a command did not do what it was asked, on one line, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The code to end with.
    pub exit: Exit,
    message: String,
}

impl Problem {
    /// A problem; line breaks in the message become spaces.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        let message = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { exit, message }
    }

    /// The command line, or a file it names, is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The reader of our output has gone, as `head` does: no reason to complain.
    pub fn is_silent(&self) -> bool {
        self.message.is_empty()
    }
}

impl From<Failure<'_>> for Problem {
    fn from(failure: Failure<'_>) -> Self {
        let exit = match &failure {
            Failure::NoSuchTable => Exit::NotThere,
            Failure::Unavailable(_)
            | Failure::NoUplink(_)
            | Failure::Moved(_)
            | Failure::NotHereYet(_) => Exit::Unreachable,
            Failure::Unknown => Exit::Unknown,
            _ => Exit::Refused,
        };
        let advice = match &failure {
            Failure::NoSuchTable => "; `firn tables` lists what there is",
            Failure::Unavailable(_) | Failure::Moved(_) | Failure::NotHereYet(_) => {
                "; `firn status` says what is down"
            }
            Failure::NoUplink(_) => "; start it again, tables cannot be changed without it",
            Failure::Unknown => "; read the key before you write it again",
            Failure::ValueTooLong { .. } => {
                "; `firn tables alter TABLE --value-max SIZE` allows more"
            }
            Failure::MemoryFull { .. } => "; delete entries, or give the table more memory",
            _ => "",
        };
        Self::new(exit, format_args!("{failure}{advice}"))
    }
}

/// Errors of our own output and of files named on the command line.
impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { exit: Exit::Done, message: String::new() },
            _ => Self::new(Exit::Refused, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_code_its_reader_acts_on() {
        let exit = |failure: Failure<'_>| Problem::from(failure).exit;
        assert_eq!(exit(Failure::NoSuchTable), Exit::NotThere);
        assert_eq!(exit(Failure::Unavailable("w1".into())), Exit::Unreachable);
        assert_eq!(exit(Failure::NoUplink("silent".into())), Exit::Unreachable);
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
        assert!(problem.is_silent());
        assert_eq!(problem.exit, Exit::Done);
        assert!(!Problem::from(io::Error::from(io::ErrorKind::NotFound)).is_silent());
    }
}
