//! `firn recover`: partitions whose in-sync copies are all away start anew, if their loss is accepted.

use clap::Args;
use firn_wire::ids::WorkerName;
use firn_wire::registry::{Recover, Recovered};

use crate::exit::{Exit, Problem};
use crate::options::Global;
use crate::output::{Object, Output};
use crate::uplink;

/// Ranges of partitions shown in a line.
const SHOWN: usize = 8;

/// `firn recover`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Give up what only workers that are away have; without it the command tells what that is and changes nothing
    #[arg(long)]
    accept_data_loss: bool,
    /// Only partitions for which nobody but this worker is missed; every one that cannot be served if not given
    #[arg(long, value_name = "NAME")]
    worker: Option<WorkerName>,
}

/// Gives up, or tells what would be given up.
pub(crate) async fn run(
    options: &Options,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let recover =
        Recover { accept_data_loss: options.accept_data_loss, worker: options.worker.clone() };
    let asked = uplink::ask(global, async |uplink| uplink.recover(&recover).await).await;
    let Recovered { recovered, partitions, .. } = asked.map_err(|problem| match problem.exit {
        Exit::Refused if !recover.accept_data_loss => {
            Problem::usage(format_args!("{problem}; with --accept-data-loss this is done"))
        }
        _ => problem,
    })?;
    if to.json {
        let object = Object::default().with("recovered", recovered).with("partitions", partitions);
        return Ok(to.json(object.members())?);
    }
    Ok(match recovered {
        0 => to.line("nothing to give up: a worker that is up can serve every partition"),
        n => to.line(format_args!("{n} partitions start anew: {}", shown(&partitions))),
    }?)
}

fn shown(ranges: &[String]) -> String {
    let (first, more) = ranges.split_at(ranges.len().min(SHOWN));
    let more = match more.len() {
        0 => String::new(),
        n => format!(" and {n} more ranges"),
    };
    first.join(" ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ranges_are_cut_for_people() {
        let ranges: Vec<_> = (0..10).map(|n| format!("0/{}", 2 * n)).collect();
        assert_eq!(shown(&ranges[..2]), "0/0 0/2");
        assert_eq!(shown(&ranges), "0/0 0/2 0/4 0/6 0/8 0/10 0/12 0/14 and 2 more ranges");
    }
}
