//! The commands for who runs a cluster, and doing one of them. They ask the uplink, not the workers.

use clap::Subcommand;

use crate::exit::Problem;
use crate::options::Global;
use crate::output::Output;
use crate::{drain, forget, recover, settings, status};

/// What an operator asks for.
#[derive(Debug, Subcommand)]
pub(crate) enum Operate {
    /// Say how the cluster is
    Status,
    /// Empty a worker, so that it can be stopped for good
    Drain(drain::Options),
    /// Take a worker that is down off the list
    Forget(forget::Options),
    /// Go on without data whose workers do not come back
    Recover(recover::Options),
    /// Show and change the cluster's settings
    Settings(settings::Options),
}

/// Does it.
pub(crate) async fn run(
    operate: &Operate,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    match operate {
        Operate::Status => status::run(global, to).await,
        Operate::Drain(options) => drain::run(options, global, to).await,
        Operate::Forget(options) => forget::run(options, global, to).await,
        Operate::Recover(options) => recover::run(options, global, to).await,
        Operate::Settings(options) => settings::run(options, global, to).await,
    }
}
