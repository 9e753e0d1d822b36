//! Firn beside the stores it wants to beat, in one interleaved run: what scripts/bench.sh starts.
//!
//! Reading order: [`contestant`] is a server and how it is started, [`load`] makes traffic and reads what it cost,
//! [`measure`] is one figure's worth of it, [`report`] puts figures into tables.
//!
//! Each round measures every contestant once per row (A B C, A B C, …), so that what else the machine does falls on all
//! of them. Only ratios within one run and CPU seconds per million operations are worth comparing with another run.

mod contestant;
mod load;
mod measure;
mod report;

use std::io::Write as _;
use std::path::PathBuf;

use clap::Parser;

use crate::contestant::Contestant;
use crate::measure::{Row, Samples};
use crate::report::Report;

/// Compares Firn with redis-server, memcached and, when they are on PATH, valkey-server and wrk's floor.
#[derive(Debug, Clone, Parser)]
struct Flags {
    /// Rounds; the median of them is shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Operations of a row at pipeline 16; a fifth of it at pipeline 1, twice as many at 64
    #[arg(long, default_value_t = 1_000_000)]
    operations: usize,
    /// Keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Connections of the load generator
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Seconds of each run of wrk
    #[arg(long, default_value_t = 5)]
    http_seconds: u64,
    /// Where the figures go as JSON
    #[arg(long, default_value = "target/compare.json")]
    json: PathBuf,
}

fn main() -> std::io::Result<()> {
    let flags = Flags::parse();
    eprintln!("memory: {} entries each", flags.keys);
    let memory = measure::memory(flags.keys);
    let contestants = Contestant::start_all();
    contestants.iter().for_each(|contestant| contestant.fill(flags.keys, load::KEY_DIGITS));
    let with_http = contestants.iter().any(|contestant| contestant.name() == "floor_http");
    let mut rows: Vec<_> =
        Row::all(with_http).into_iter().map(|row| (row, Samples::new())).collect();
    for round in 1..=flags.rounds {
        for (row, samples) in &mut rows {
            eprintln!("round {round} of {}: {}", flags.rounds, row.title());
            contestants.iter().for_each(|contestant| row.run(contestant, &flags, samples));
        }
    }
    let rows = rows.into_iter().map(|(row, samples)| (row.title(), samples)).collect();
    let report = Report { rows, memory };
    write!(std::io::stdout(), "{}", report.table())?;
    std::fs::write(&flags.json, report.json().to_string())?;
    eprintln!("the figures are in {}", flags.json.display());
    Ok(())
}
