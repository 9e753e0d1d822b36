//! Doing one of the commands that ask the cluster something.

use crate::cluster::Cluster;
use crate::exit::Problem;
use crate::options::{Ask, Global, Scope};
use crate::output::Output;
use crate::store::Store;
use crate::{batch, keys, scan, status, tables};

/// Does it, for the table and in the form `scope` says.
pub(crate) async fn run(
    ask: &Ask,
    cluster: &Cluster,
    global: &Global,
    scope: &Scope,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let store = &mut Store::new(cluster, scope.table.clone(), global.timeout);
    match ask {
        Ask::Get(options) => keys::get(store, options, to).await,
        Ask::Put(options) => keys::put(store, options, to).await,
        Ask::Del(options) => keys::del(store, options, to).await,
        Ask::Incr(options) => keys::incr(store, options, to).await,
        Ask::Scan(options) => scan::run(store, options, to).await,
        Ask::Batch(options) => batch::run(store, options, to).await,
        Ask::Tables(options) => tables::run(store, options, to).await,
        Ask::Status => status::run(global, to).await,
    }
}
