//! How a reply of the store is written.

use firn_wire::limits::KEY_BYTES_MAX;
use firn_wire::reply::{Failure, Found, Part, Reply};

use super::number::integer;
use super::write::{self, Dialect};

/// A reply's form, and where it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) form: Form,
    pub(super) dialect: Dialect,
    /// `CLIENT REPLY OFF` or `SKIP`: not written at all.
    pub(super) silent: bool,
}

impl Shape {
    /// Appends a reply's bytes.
    pub(super) fn encode(&self, reply: Reply<'_>, out: &mut Vec<u8>) {
        if !self.silent {
            self.form.encode(self.dialect, reply, out);
        }
    }
}

/// The form of a command's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The value that is there, or was; null where there is none.
    Value,
    /// A part of a value; empty where there is none.
    Range,
    /// `+OK` when written, else null.
    Stored,
    /// 1 when something happened or is there, else 0.
    Flag,
    /// A count, a length or the result of an increment.
    Number,
    /// The result of a fraction's increment.
    Float,
    /// The length of the value.
    Length,
    /// `+OK`.
    Done,
    /// What is left of the time to live, or when it ends.
    Expiry(ExpiryForm),
    /// The name of the value's type.
    Type,
    /// `+OK`, or an error where there was nothing to rename.
    Rename,
    /// As [`Form::Flag`], or an error where there was nothing to rename.
    RenameNew,
    /// How the value would be held by redis-server.
    Encoding,
    /// References to the value; those of small integers are shared in redis-server.
    References,
    /// 0 where the key is there, else null.
    Idle,
    /// An error where the key is there, else null.
    Unless(&'static str),
    /// Bytes an entry takes.
    Memory,
    /// A cursor and keys.
    Page,
    /// The one key of a page, or null.
    RandomKey,
    /// Values, each as [`Form::Value`].
    Values,
    /// The sum of what [`Form::Flag`] writes for each.
    Sum,
    /// `+OK` when all are written.
    AllStored,
    /// 1 when all are written, 0 when none.
    AllOrNone,
}

/// What of an expiry is shown, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpiryForm {
    /// Seconds left.
    Seconds,
    /// Milliseconds left.
    Milliseconds,
    /// The Unix time in seconds.
    AtSeconds,
    /// The Unix time in milliseconds.
    AtMilliseconds,
}

impl ExpiryForm {
    fn of(self, found: &Found) -> i64 {
        let Some(at) = found.expires_at else { return -1 };
        let number = match self {
            Self::Seconds => (at.saturating_sub(found.now) + 500) / 1_000,
            Self::Milliseconds => at.saturating_sub(found.now),
            Self::AtSeconds => (at + 500) / 1_000,
            Self::AtMilliseconds => at,
        };
        i64::try_from(number).unwrap_or(i64::MAX)
    }
}

impl Form {
    /// Appends a reply's bytes.
    pub(super) fn encode(self, dialect: Dialect, reply: Reply<'_>, out: &mut Vec<u8>) {
        match (self, reply) {
            (_, Reply::Failed(failure)) => write_failure(&failure, out),
            (Self::Value | Self::Range, Reply::Value(value)) => write::bulk(out, value.bytes),
            (Self::Stored | Self::Done, Reply::Written { .. }) => write::simple(out, "OK"),
            (Self::AllOrNone, Reply::Aborted) => write::integer(out, 0),
            (Self::Values | Self::Sum | Self::AllStored | Self::AllOrNone, Reply::Many(parts)) => {
                self.encode_parts(dialect, &parts, out);
            }
            (Self::Page | Self::RandomKey, Reply::Page { next, rows }) => {
                let keys = rows.iter().map(|row| row.key);
                if self == Self::RandomKey {
                    optional(out, dialect, keys.into_iter().next());
                } else {
                    let cursor = next.map_or(0, |next| next.to_u64());
                    write::array(out, 2);
                    write::bulk(out, itoa::Buffer::new().format(cursor).as_bytes());
                    write::array(out, keys.len());
                    keys.for_each(|key| write::bulk(out, key));
                }
            }
            (form, reply) => form.encode_key(dialect, &reply, out),
        }
    }

    /// Appends the bytes of what came of one key.
    fn encode_key(self, dialect: Dialect, reply: &Reply<'_>, out: &mut Vec<u8>) {
        match (self, reply) {
            (Self::Value, _) if old_value(reply).is_some() => {
                optional(out, dialect, old_value(reply).flatten());
            }
            (Self::Range, Reply::Nil) => write::bulk(out, b""),
            (Self::Stored, Reply::NotMet { .. }) => write::null(out, dialect),
            (Self::Flag, reply) if happened(reply).is_some() => {
                write::integer(out, u8::from(happened(reply) == Some(true)));
            }
            (Self::Number, Reply::Number { value, .. }) => write::integer(out, *value),
            (Self::Number, Reply::Length { length: number, .. } | Reply::Count(number)) => {
                write::integer(out, *number);
            }
            (Self::Float, Reply::Text { value, .. }) => write::bulk(out, value),
            (Self::Length, Reply::Nil) => write::integer(out, 0),
            (Self::Length, Reply::Found(found)) => write::integer(out, found.length),
            (Self::Done, Reply::Count(_)) => write::simple(out, "OK"),
            (Self::Expiry(_), Reply::Nil) => write::integer(out, -2),
            (Self::Expiry(form), Reply::Found(found)) => write::integer(out, form.of(found)),
            (Self::Type, Reply::Nil) => write::simple(out, "none"),
            (Self::Type, Reply::Found(_)) => write::simple(out, "string"),
            (Self::Rename | Self::RenameNew, reply) => self.encode_rename(reply, out),
            (_, Reply::Nil) => write::null(out, dialect),
            (Self::Encoding, Reply::Value(value)) => {
                write::bulk(out, encoding(value.bytes).as_bytes());
            }
            (Self::References, Reply::Value(value)) => {
                write::integer(out, references(value.bytes));
            }
            (Self::Idle, Reply::Found(_)) => write::integer(out, 0),
            (Self::Unless(text), Reply::Found(_)) => write::error(out, text.as_bytes()),
            (Self::Memory, Reply::Found(found)) => write::integer(out, found.memory),
            _ => write_unexpected(out),
        }
    }

    fn encode_rename(self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        match (self, reply) {
            (_, Reply::Nil) => write::error(out, b"ERR no such key"),
            (Self::Rename, Reply::Done(_) | Reply::Found(_)) => write::simple(out, "OK"),
            // A key renamed to itself: the new name is taken.
            (_, Reply::Found(_)) => write::integer(out, 0),
            (_, Reply::Done(done)) => write::integer(out, u8::from(*done)),
            _ => write_unexpected(out),
        }
    }

    /// Appends the bytes of what came of many keys. One failure is the whole reply.
    pub(super) fn encode_parts(self, dialect: Dialect, parts: &[Part<'_>], out: &mut Vec<u8>) {
        let start = out.len();
        if self == Self::Values {
            write::array(out, parts.len());
        }
        let mut sum = 0u64;
        for part in parts {
            match part.reply() {
                Reply::Failed(failure) => {
                    out.truncate(start);
                    return write_failure(&failure, out);
                }
                reply if self == Self::Values => Self::Value.encode(dialect, reply, out),
                reply => sum += u64::from(happened(&reply) == Some(true)),
            }
        }
        match self {
            Self::Sum => write::integer(out, sum),
            Self::AllStored => write::simple(out, "OK"),
            Self::AllOrNone => write::integer(out, 1),
            _ => {}
        }
    }
}

fn optional(out: &mut Vec<u8>, dialect: Dialect, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => write::bulk(out, bytes),
        None => write::null(out, dialect),
    }
}

/// The value a change has found, for replies that can carry one.
fn old_value<'a>(reply: &Reply<'a>) -> Option<Option<&'a [u8]>> {
    match reply {
        Reply::Nil => Some(None),
        Reply::Written { old, .. } | Reply::NotMet { old, .. } | Reply::Deleted { old } => {
            Some(*old)
        }
        _ => None,
    }
}

/// Whether something happened or is there, for replies that say so.
fn happened(reply: &Reply<'_>) -> Option<bool> {
    match reply {
        Reply::Nil | Reply::NotMet { .. } => Some(false),
        Reply::Written { .. } | Reply::Deleted { .. } | Reply::Found(_) => Some(true),
        Reply::Done(done) => Some(*done),
        _ => None,
    }
}

/// What redis-server 7 says of a value that was written whole: it holds short strings and integers apart.
fn encoding(value: &[u8]) -> &'static str {
    match value {
        value if integer(value).is_some() => "int",
        value if value.len() <= 44 => "embstr",
        _ => "raw",
    }
}

/// Integers below 10,000 are shared in redis-server, which shows as this count.
fn references(value: &[u8]) -> i32 {
    if integer(value).is_some_and(|number| (0..10_000).contains(&number)) { i32::MAX } else { 1 }
}

/// A reply that does not belong to what was asked: from a peer that is not of our mind.
fn write_unexpected(out: &mut Vec<u8>) {
    write::error(out, b"ERR another worker's reply does not answer the request");
}

/// Why something was not done, in redis' own words where it has some.
pub(super) fn write_failure(failure: &Failure<'_>, out: &mut Vec<u8>) {
    let text = match failure {
        Failure::KeyEmpty => "ERR key is empty".to_owned(),
        Failure::KeyTooLong { .. } => format!("ERR key is longer than {KEY_BYTES_MAX} bytes"),
        Failure::ValueTooLong { limit } => {
            format!("ERR value is longer than the {limit} bytes its table allows")
        }
        Failure::NotInteger => "ERR value is not an integer or out of range".to_owned(),
        Failure::NotFloat => "ERR value is not a valid float".to_owned(),
        Failure::Overflow => "ERR increment or decrement would overflow".to_owned(),
        Failure::NotFinite => "ERR increment would produce NaN or Infinity".to_owned(),
        Failure::MemoryFull { .. } => format!("OOM {failure}"),
        // The prefix of Redis for a snapshot that cannot be saved.
        Failure::DiskFailed(_) => format!("MISCONF {failure}"),
        Failure::Denied(_) => format!("NOPERM {failure}"),
        Failure::Unknown => format!("UNKNOWN {failure}"),
        // Redis' own words for `min-replicas-to-write`, and the prefix its clients know.
        Failure::TooFewCopies { .. } => {
            format!("NOREPLICAS Not enough good replicas to write: {failure}")
        }
        Failure::LogFull(_) => format!("TRYAGAIN {failure}"),
        Failure::Moved(_)
        | Failure::NotHereYet(_)
        | Failure::Unavailable(_)
        | Failure::NoUplink(_) => format!("UNAVAILABLE {failure}"),
        Failure::TooMuch(_)
        | Failure::NoSuchTable
        | Failure::CrossPartition
        | Failure::Invalid(_)
        | Failure::TableExists => format!("ERR {failure}"),
    };
    write::error(out, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients of Redis go by the first word: they know both of these, and that nothing was done.
    #[test]
    fn missing_and_slow_copies_have_words_that_clients_know() {
        let few = Failure::TooFewCopies { partition: Default::default(), in_sync: 1, needed: 2 };
        let cases = [
            (few, "-NOREPLICAS Not enough good replicas to write: "),
            (Failure::LogFull(Default::default()), "-TRYAGAIN the log is full"),
            (Failure::DiskFailed("no space".into()), "-MISCONF nothing that is to survive"),
            (Failure::Unknown, "-UNKNOWN "),
        ];
        for (failure, start) in cases {
            let mut out = Vec::new();
            write_failure(&failure, &mut out);
            assert!(out.starts_with(start.as_bytes()), "{failure}");
        }
    }
}
