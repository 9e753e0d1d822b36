//! `firn proxy`: the listeners of a worker over the client library, without data.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use firn_config::{Listen, check_reach};
use firn_gateway::bind::bind;
use firn_gateway::loops::Loops;
use firn_wire::secret::Secret;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;
use crate::exit::{Exit, Problem};
use crate::options::Global;

/// Between two tries to reach a cluster that is not there yet.
const RETRY: Duration = Duration::from_millis(500);

/// `firn proxy`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to listen, as http=127.0.0.1:4001; repeat it, or separate with commas. Protocols: http, resp, boutique,
    /// winter
    #[arg(
        long,
        env = "LISTEN",
        value_name = "PROTOCOL=ADDRESS",
        value_delimiter = ',',
        default_values = [
            "http=127.0.0.1:4001",
            "resp=127.0.0.1:6379",
            "boutique=127.0.0.1:4040",
            "winter=127.0.0.1:6060",
        ]
    )]
    listen: Vec<Listen>,
    /// Print the bound addresses as one line of JSON on standard output when ready
    #[arg(long, env = "PRINT_ADDRESSES")]
    print_addresses: bool,
    /// Listen beyond loopback without a cluster secret
    #[arg(long, env = "INSECURE_OPEN")]
    insecure_open: bool,
}

impl Options {
    /// Whether it may listen where it is told to.
    fn check(&self, secret: &Secret) -> Result<(), Problem> {
        if self.listen.iter().any(|listen| listen.protocol == firn_config::Protocol::Peer) {
            return Err(Problem::usage("a proxy has no peer listener: it holds no data"));
        }
        let addresses = self.listen.iter().map(|listen| listen.address);
        check_reach(addresses, secret, self.insecure_open).map_err(Problem::usage)
    }
}

/// Waits for a cluster that is not there yet: who starts all of it at once need not care for the order.
async fn connect(global: &Global) -> Result<Cluster, Problem> {
    loop {
        match Cluster::connect(global).await {
            Err(problem) if problem.exit == Exit::Unreachable => {
                log::warn!("{problem}; trying again");
                tokio::time::sleep(RETRY).await;
            }
            other => return other,
        }
    }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(options: &Options, global: &Global) -> Result<(), Problem> {
    options.check(&global.secret())?;
    let failed = |error: std::io::Error| Problem::new(Exit::Unreachable, error);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let bound = bind(&options.listen).await.map_err(failed)?;
    for (protocol, address) in bound.addresses() {
        log::info!("{protocol} on {address}");
    }
    let line = bound.address_line();
    let cluster = tokio::select! {
        cluster = connect(global) => Arc::new(cluster?),
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let loops = Loops::start()?;
    let serving = bound.serve(cluster, loops.lanes()).map_err(failed)?;
    if options.print_addresses {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    tokio::select! {
        _ = terminate.recv() => log::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => log::info!("SIGINT: stopping"),
    }
    serving.stop().await;
    loops.stop().await;
    Ok(())
}
