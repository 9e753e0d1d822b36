//! Faults at random over real processes: what scripts/chaos.sh starts. See [`firn_tests::chaos`].

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use firn_tests::chaos::plant::Plant;
use firn_tests::chaos::{Options, run};

/// Kills, stops, cuts off and delays the processes of a cluster while clients read and write, then judges what they saw.
#[derive(Debug, Parser)]
struct Flags {
    /// Minutes of faults; parts of one are fine
    #[arg(default_value_t = 5.0)]
    minutes: f64,
    /// What everything is drawn from [default: any]
    #[arg(long)]
    seed: Option<u64>,
    /// Workers at the start
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=8))]
    workers: u16,
    /// Copies of each partition
    #[arg(long, default_value_t = 2)]
    copies: u8,
    /// Partitions
    #[arg(long, default_value_t = 256)]
    partitions: u16,
    /// Operations a second that the clients try
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..1_000_000))]
    rate: u64,
    /// Make nothing fail
    #[arg(long)]
    quiet: bool,
    /// Spoil answers on purpose: the run must find it
    #[arg(long)]
    plant: Option<Plant>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let seed = flags.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ since_epoch());
    let options = Options {
        seed,
        time: Duration::from_secs_f64(flags.minutes * 60.0),
        workers: usize::from(flags.workers),
        copies: flags.copies,
        partitions: flags.partitions,
        rate: flags.rate,
        faults: !flags.quiet,
        plant: flags.plant,
        ..Options::default()
    };
    let mut out = std::io::stdout();
    // A reader that has gone away is no reason to stop.
    let report = run(&options, |text| drop(writeln!(out, "seed {seed}  {text}")));
    drop(writeln!(std::io::stdout(), "{report}"));
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seconds, for a seed that nobody chose.
fn since_epoch() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |time| time.as_secs())
}
