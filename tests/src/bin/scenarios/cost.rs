//! What a second copy costs: SET throughput of two workers, pipeline 16, with two copies over that with one.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use firn_tests::{Cluster, usage};

use crate::flood::writes_per_second;
use crate::report::{Goal, Report};
use crate::site::Site;
use crate::spread::Spread;

const WORKERS: usize = 2;

/// SET throughput with two copies over that with one
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// Rounds, each one copy then two
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// One short round
    #[arg(long)]
    short: bool,
}

/// One measurement of one cluster.
#[derive(Debug, Clone, Copy)]
struct Sample {
    writes_per_second: f64,
    /// Of the workers.
    cpu_seconds_per_million: f64,
}

impl Cost {
    /// Runs it.
    pub(crate) fn run(mut self) -> ExitCode {
        if self.short {
            (self.rounds, self.seconds) = (1, 1.0);
        }
        let mut report = Report::new("cost");
        let time = Duration::from_secs_f64(self.seconds);
        let sites =
            [1, 2].map(|copies| Site::start(Cluster::builder(WORKERS).env("COPIES", copies)));
        for site in &sites {
            measure(site, time / 5); // so that the first round finds every key there, too
        }
        let rounds: Vec<[Sample; 2]> = (0..self.rounds)
            .map(|_| sites.each_ref().map(|site| measure(site, time)))
            .inspect(|[one, two]| {
                report.say(format_args!("one copy {}; two copies {}", one.line(), two.line()));
            })
            .collect();
        let ratio = |figure: fn(&Sample) -> f64| {
            Spread::of_numbers("", rounds.iter().map(|[one, two]| figure(two) / figure(one)))
        };
        report.figure("processor time, two copies over one", &ratio(|s| s.cpu_seconds_per_million));
        let throughput = ratio(|sample| sample.writes_per_second);
        report.figure("SET throughput, two copies over one", &throughput);
        report.goal("the median ratio", throughput.median(), Goal::AtLeast(0.4));
        report.verdict(self.short)
    }
}

impl Sample {
    fn line(&self) -> String {
        let Self { writes_per_second, cpu_seconds_per_million } = self;
        format!("{writes_per_second:.0} SET/s, {cpu_seconds_per_million:.2} CPU s per million")
    }
}

fn measure(site: &Site, time: Duration) -> Sample {
    let cpu = || site.cluster.workers().iter().map(|w| usage::cpu_seconds(w.pid())).sum::<f64>();
    let before = cpu();
    let writes_per_second = writes_per_second(&site.doors(), time);
    let million = writes_per_second * time.as_secs_f64() / 1e6;
    Sample { writes_per_second, cpu_seconds_per_million: (cpu() - before) / million }
}
