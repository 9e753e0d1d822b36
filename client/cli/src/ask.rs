//! The commands that ask the cluster something, and doing one of them.

use clap::Subcommand;

use crate::cluster::Cluster;
use crate::exit::Problem;
use crate::operate::{self, Operate};
use crate::options::{Batch, Del, Get, Global, Incr, Put, Scan, Scope};
use crate::output::Output;
use crate::store::Store;
use crate::{batch, keys, scan, tables};

/// What is asked of the cluster: on the command line, or as a line of the shell.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Print a key's value, byte for byte
    Get(Get),
    /// Write a key
    Put(Put),
    /// Remove keys
    Del(Del),
    /// Add to a key's integer
    Incr(Incr),
    /// List keys, in no order
    Scan(Scan),
    /// Run operations given as JSON, one a line, as POST /v1/batch takes them
    Batch(Batch),
    /// List, make and change tables
    Tables(tables::Options),
    /// What operators ask for.
    #[command(flatten)]
    Operate(Operate),
}

/// Does it, for the table and in the form `scope` says.
pub(crate) async fn run(
    ask: &Ask,
    cluster: &Cluster,
    global: &Global,
    scope: &Scope,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let store = &mut Store::new(cluster, scope.table(), global.timeout);
    match ask {
        Ask::Get(options) => keys::get(store, options, to).await,
        Ask::Put(options) => keys::put(store, options, to).await,
        Ask::Del(options) => keys::del(store, options, to).await,
        Ask::Incr(options) => keys::incr(store, options, to).await,
        Ask::Scan(options) => scan::run(store, options, to).await,
        Ask::Batch(options) => batch::run(store, options, to).await,
        Ask::Tables(options) => tables::run(store, options, to).await,
        Ask::Operate(operate) => operate::run(operate, global, to).await,
    }
}
