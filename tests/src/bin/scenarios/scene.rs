//! What most scenarios begin and end with: a cluster full of keys, and every key read back.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use firn_tests::cluster::ClusterBuilder;

use crate::fill::{fill, missing};
use crate::ledger::{Key, Ledger};
use crate::load::{Load, Pace};
use crate::report::Report;
use crate::site::Site;
use crate::tally::Tally;

/// Bytes of a value.
const VALUE_BYTES: usize = 100;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Scene {
    name: &'static str,
    /// What is said about it.
    pub(crate) report: Report,
    /// The cluster.
    pub(crate) site: Site,
    /// The Redis listeners of the workers it began with.
    pub(crate) doors: Vec<SocketAddr>,
    /// What was written.
    pub(crate) ledger: Arc<Ledger>,
}

impl Scene {
    /// Starts a cluster and writes keys to it.
    pub(crate) fn start(name: &'static str, cluster: ClusterBuilder, keys: Key) -> Self {
        let (report, site) = (Report::new(name), Site::start(cluster));
        let ledger = Arc::new(Ledger::new(keys, VALUE_BYTES));
        let (doors, start) = (site.doors(), Instant::now());
        fill(&ledger, &doors);
        report
            .say(format_args!("{keys} keys of {VALUE_BYTES} B written in {:.1?}", start.elapsed()));
        Self { name, report, site, doors, ledger }
    }

    /// Starts clients.
    pub(crate) fn load(&self, doors: &[SocketAddr], pace: Pace) -> Load {
        Load::start(&self.ledger, doors, pace)
    }

    /// Counts what clients saw that cannot be.
    pub(crate) fn no_violations(&mut self, tally: &Tally) {
        let count = tally.violations.len() as u64;
        self.report.none_of("stale or impossible reads", count, &tally.violations);
    }

    /// Counts requests without the answer asked for, where each must have one.
    pub(crate) fn no_failures(&mut self, tally: &Tally) {
        self.report.none_of("failed requests", tally.failures(), &tally.reasons());
    }

    /// Reads every key back and gives the verdict.
    pub(crate) fn end(mut self, short: bool) -> ExitCode {
        let lost = missing(&self.ledger, &self.doors);
        self.report.none_of("acknowledged writes lost", lost.len() as u64, &lost);
        if self.report.is_broken() {
            let folder = self.site.keep_logs(self.name);
            self.report.say(format_args!("logs in {}", folder.display()));
        }
        self.report.verdict(short)
    }
}
