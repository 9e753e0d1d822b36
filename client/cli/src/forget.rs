//! `firn forget`.

use clap::Args;
use firn_wire::ids::WorkerName;

use crate::exit::Problem;
use crate::options::Global;
use crate::output::{Object, Output};
use crate::uplink;

/// `firn forget`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The worker
    worker: WorkerName,
}

/// Takes a worker that is down out of the map. One that alone has some data is refused.
pub(crate) async fn run(
    options: &Options,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let worker = &options.worker;
    uplink::ask(global, async |uplink| uplink.forget(worker).await).await?;
    if to.json {
        let object = Object::default().with("worker", worker.as_str()).with("result", "forgotten");
        return Ok(to.json(object.members())?);
    }
    Ok(to.line(format_args!("{worker}: forgotten"))?)
}
