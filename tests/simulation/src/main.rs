//! `firn-sim`: runs seeds, and says which fail.
#![allow(clippy::print_stdout)] // it is for people

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use firn_simulation::law::{Law, Mutation};
use firn_simulation::search::{find, run, run_all};
use firn_simulation::world::Report;

/// Runs simulations of a whole cluster, each from one seed.
#[derive(Parser)]
struct Arguments {
    /// Seeds to run, `A..B`.
    #[arg(long, default_value = "0..2000", value_parser = range)]
    seeds: Range<u64>,
    /// One seed to run.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// With --seed: prints everything that happened.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// A rule to take out, by its name.
    #[arg(long, value_parser = mutation)]
    without: Option<Mutation>,
    /// Looks, for each rule, for a seed that fails without it.
    #[arg(long)]
    mutations: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Stops after so many failures.
    #[arg(long, default_value_t = 20)]
    stop_at: usize,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let bad = || format!("{text:?} is not FROM..TO");
    let (from, to) = text.split_once("..").ok_or_else(bad)?;
    Ok(from.parse().map_err(|_| bad())?..to.parse().map_err(|_| bad())?)
}

fn mutation(text: &str) -> Result<Mutation, String> {
    let names = || Mutation::all().into_iter().map(Mutation::name).collect::<Vec<_>>().join(", ");
    Mutation::named(text).ok_or_else(|| format!("{text:?} is none of {}", names()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let law = Law { without: arguments.without };
    // What panics is a failure of its seed, which is printed with it.
    std::panic::set_hook(Box::new(|_| {}));
    let is_well = match arguments.seed {
        Some(seed) => one(seed, law, arguments.trace),
        None if arguments.mutations => mutations(&arguments),
        None => many(&arguments, law),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, law: Law, trace: bool) -> bool {
    let report = run(seed, law, trace);
    report.lines.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}: {}; trace {:016x}", report.tally, report.hash);
    report.broken.iter().for_each(|what| println!("seed {seed}: {what}"));
    report.broken.is_empty()
}

fn many(arguments: &Arguments, law: Law) -> bool {
    let tell = |seed, report: &Report| match report.broken.first() {
        None => println!("seed {seed}: {}", report.tally),
        Some(what) => println!("seed {seed}: VIOLATION {what}"),
    };
    let sum = run_all(arguments.seeds.clone(), law, arguments.threads, arguments.stop_at, tell);
    sum.failed.iter().for_each(|(seed, what)| println!("seed {seed}: {what}"));
    let (seeds, gave_up, failed) = (sum.seeds, sum.gave_up, sum.failed.len());
    println!("{seeds} seeds: {}; {gave_up} keys given up, {failed} violations", sum.tally);
    sum.failed.is_empty()
}

/// The first seed that fails without each rule.
fn mutations(arguments: &Arguments) -> bool {
    let mut all_found = true;
    let all = Mutation::all().into_iter();
    let asked = |mutation: &Mutation| arguments.without.is_none_or(|only| only == *mutation);
    for mutation in all.filter(asked) {
        let name = mutation.name();
        match find(arguments.seeds.clone(), mutation, arguments.threads) {
            Ok((seed, what)) => println!("{name} {seed}: {what}"),
            Err(seeds) => {
                println!("{name}: not found in {seeds} seeds");
                all_found = false;
            }
        }
    }
    all_found
}
