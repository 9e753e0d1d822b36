//! The flags of `firn bench`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use firn_wire::limits::VALUE_BYTES_HARD_MAX;

/// `firn bench`. Without `--rate` the loop is closed: each connection waits for room in its pipeline, so a slow server
/// is asked less. With it the loop is open: requests start at fixed times, and a latency counts from the time its
/// request was to start.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// What to speak
    #[arg(long, value_enum, default_value_t = Protocol::Resp)]
    pub(crate) protocol: Protocol,
    /// Where, instead of every worker that is up: HOST:PORT, several with commas; any server of the protocol will do
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// Connections, spread over the targets
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) connections: u64,
    /// Requests under way on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) pipeline: u64,
    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Requests a second over all connections: an open loop
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Bytes of each value, as 64 or 1KiB
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = value_bytes)]
    pub(crate) value_bytes: u64,
    /// Distinct keys, key:0 and so on; all are written before the measuring starts
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// The share of reads, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = ratio)]
    pub(crate) ratio: f64,
    /// Do not write the keys first
    #[arg(long)]
    pub(crate) no_fill: bool,
    /// What keys and mix are drawn from; the same seed asks the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What `firn bench` speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// `/v1/kv` over HTTP/1.1
    Http,
    /// GET and SET of the Redis protocol
    Resp,
}

impl Protocol {
    /// Its name in settings and in the map.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Resp => "resp",
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = firn_config::duration(text)?;
    let day = Duration::from_secs(24 * 3_600);
    if duration < Duration::from_millis(1) || duration > day {
        return Err("from 1ms to 24h".to_owned());
    }
    Ok(duration)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "requests a second, from 0.001 to 1000000000".to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "a share from 0 (only writes) to 1 (only reads)".to_owned())
}

fn value_bytes(text: &str) -> Result<u64, String> {
    match firn_config::size(text)? {
        bytes if bytes <= VALUE_BYTES_HARD_MAX as u64 => Ok(bytes),
        _ => Err(format!("no value is longer than {VALUE_BYTES_HARD_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_make_no_run_are_refused() {
        for bad in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["1.1", "-0.1", "NaN"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
        assert!(duration("0s").is_err() && duration("25h").is_err());
        assert!(value_bytes("65MiB").is_err());
    }
}
