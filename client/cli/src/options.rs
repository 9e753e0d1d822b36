//! What the commands of `firn` take on the command line, and how it is read.

use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use firn_config::SecretParser;
use firn_wire::exchange::Session;
use firn_wire::ids::{TableName, Version};
use firn_wire::limits::TTL_MS_MAX;
use firn_wire::secret::Secret;

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Where to ask for the cluster: URLs of the uplink or of any worker's http listener, tried in turn
    #[arg(
        long,
        global = true,
        env = "FIRN_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        default_values = ["http://127.0.0.1:4000", "http://127.0.0.1:4001"]
    )]
    pub(crate) server: Vec<String>,
    /// The secret the processes of the cluster share
    #[arg(
        long,
        global = true,
        env = "CLUSTER_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        value_parser = SecretParser
    )]
    pub(crate) cluster_secret: Option<Secret>,
    /// How long a request may take
    #[arg(
        long,
        global = true,
        env = "FIRN_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = timeout
    )]
    pub(crate) timeout: Duration,
    /// What a line of the shell can change
    #[command(flatten)]
    pub(crate) scope: Scope,
}

impl Global {
    /// The secret; none where none is given.
    pub(crate) fn secret(&self) -> Secret {
        self.cluster_secret.clone().unwrap_or_default()
    }
}

/// What every command on data takes, in the shell too.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scope {
    /// The table [default: default]
    #[arg(long, global = true, env = "FIRN_TABLE", value_name = "NAME")]
    table: Option<TableName>,
    /// Answer in JSON
    #[arg(long, global = true, env = "FIRN_JSON")]
    pub(crate) json: bool,
}

impl Scope {
    /// The table.
    pub(crate) fn table(&self) -> TableName {
        let default = || "default".parse().expect("a table may be called so");
        self.table.clone().unwrap_or_else(default)
    }

    /// Makes it another.
    pub(crate) fn set_table(&mut self, table: TableName) {
        self.table = Some(table);
    }
}

/// `firn get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The key
    #[arg(value_parser = key())]
    pub(crate) key: Key,
}

/// `firn put`.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The key
    #[arg(value_parser = key())]
    pub(crate) key: Key,
    /// The value; @FILE takes a file's bytes, - or nothing takes standard input
    #[arg(default_value = "-", value_parser = OsStringValueParser::new().map(Source::from))]
    pub(crate) value: Source,
    /// How long it lives, as 30s; the table's default if not given
    #[arg(long, value_name = "DURATION", value_parser = ttl_ms)]
    pub(crate) ttl: Option<u64>,
    /// What must hold
    #[command(flatten)]
    pub(crate) only: Only,
}

/// What must hold for a write.
#[derive(Debug, Clone, Copy, Default, Args)]
#[group(multiple = false)]
pub(crate) struct Only {
    /// Only if the key is not there
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Only if the key is there
    #[arg(long)]
    pub(crate) if_present: bool,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<Version>,
}

/// `firn del`.
#[derive(Debug, Args)]
pub(crate) struct Del {
    /// The keys
    #[arg(required = true, value_name = "KEY", value_parser = key())]
    pub(crate) keys: Vec<Key>,
}

/// `firn incr`.
#[derive(Debug, Args)]
pub(crate) struct Incr {
    /// The key
    #[arg(value_parser = key())]
    pub(crate) key: Key,
    /// What to add
    #[arg(long, value_name = "N", default_value_t = 1, allow_hyphen_values = true)]
    pub(crate) by: i64,
}

/// `firn scan`.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Only keys that start so
    #[arg(long, default_value = "", hide_default_value = true, value_parser = key())]
    pub(crate) prefix: Key,
    /// The most keys to list
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// List values too, after a tab
    #[arg(long)]
    pub(crate) values: bool,
}

/// `firn batch`.
#[derive(Debug, Args)]
pub(crate) struct Batch {
    /// The file; - or nothing reads standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
}

/// A key, or the start of one. Keys are bytes: an argument need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

impl From<OsString> for Key {
    fn from(text: OsString) -> Self {
        Self(text.into_vec())
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// These bytes.
    Given(Vec<u8>),
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl From<OsString> for Source {
    fn from(text: OsString) -> Self {
        match text.as_bytes() {
            b"-" => Self::Stdin,
            [b'@', path @ ..] => Self::File(OsStr::from_bytes(path).into()),
            _ => Self::Given(text.into_vec()),
        }
    }
}

fn key() -> impl clap::builder::TypedValueParser<Value = Key> {
    OsStringValueParser::new().map(Key::from)
}

/// Reads a time to live, in milliseconds.
pub(crate) fn ttl_ms(text: &str) -> Result<u64, String> {
    let ms = firn_config::duration(text)?.as_millis();
    match u64::try_from(ms) {
        Ok(0) => Err("it is less than a millisecond; leave it out for a value that stays".into()),
        Ok(ms) if ms <= TTL_MS_MAX => Ok(ms),
        _ => Err("it is longer than 100 years; leave it out for a value that stays".into()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = firn_config::duration(text)?;
    if timeout < Duration::from_millis(1) || timeout > Duration::from_secs(3_600) {
        return Err(format!("from 1ms to 1h; the default is {}s", Session::TIMEOUT.as_secs()));
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_neither_nothing_nor_for_ever() {
        assert_eq!(ttl_ms("30s"), Ok(30_000));
        for bad in ["0s", "10us", "-1s", "101y", "200000000000y", "soon"] {
            assert!(ttl_ms(bad).is_err(), "{bad}");
        }
    }
}
