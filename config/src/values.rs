//! What flags are given, read: for clap's `value_parser`.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use firn_wire::secret::Secret;

/// Reads a duration with its unit: `30s`, `250ms`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|e| format!("{e}; write a number with its unit, as 30s or 250ms"))
}

/// Reads a number of bytes: `1048576`, `64MiB`, `1.5GB`.
pub fn size(text: &str) -> Result<u64, String> {
    let size: bytesize::ByteSize =
        text.parse().map_err(|e| format!("{e}; write a number of bytes, as 1048576 or 64MiB"))?;
    Ok(size.as_u64())
}

/// Reads the cluster secret. Unlike clap's own parsers it keeps the wrong value out of the error, which ends up in logs.
#[derive(Debug, Clone, Copy)]
pub struct SecretParser;

impl TypedValueParser for SecretParser {
    type Value = Secret;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Secret, Error> {
        let text = value.to_str().ok_or_else(|| "the cluster secret is not UTF-8".to_owned());
        text.and_then(str::parse)
            .map_err(|message| command.clone().error(ErrorKind::ValueValidation, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_to_make_sense() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1024"), Ok(1024));
        for bad in ["", "30", "-1s", "30 parsecs"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "-1", "12 elephants", "MiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }
}
