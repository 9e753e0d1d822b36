//! `firn drain`: empties a worker, and waits until it is empty.

use std::time::Duration;

use clap::Args;
use firn_client::uplink::Uplink;
use firn_wire::ids::WorkerName;
use firn_wire::map::WorkerState;
use firn_wire::registry::{Draining, Movement};
use tokio::time::{Instant, sleep};

use crate::exit::{Exit, Problem};
use crate::movement::to_go;
use crate::options::Global;
use crate::output::{Object, Output, bar};
use crate::since::now_ms;
use crate::uplink;

/// Between two looks at how far it is.
const POLL: Duration = Duration::from_millis(250);

/// `firn drain`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The worker
    worker: WorkerName,
    /// Do not wait until it is empty
    #[arg(long)]
    no_wait: bool,
}

/// Drains a worker; asked again it goes on waiting.
pub(crate) async fn run(
    options: &Options,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let (mut draining, _) = look(&options.worker, global).await?;
    if !options.no_wait {
        draining = wait(draining, global).await?;
    }
    if to.json {
        let object = Object::default()
            .with("worker", draining.worker.as_str())
            .with("state", serde_json::json!(draining.state))
            .with("leads", draining.leads)
            .with("in_sync", draining.in_sync)
            .with("empty", is_empty(&draining));
        return Ok(to.json(object.members())?);
    }
    Ok(to.line(sentence(&draining))?)
}

/// Says that it is to be drained, which says how far it is; and when the end may be, if the uplink can tell.
async fn look(
    worker: &WorkerName,
    global: &Global,
) -> Result<(Draining, Option<Movement>), Problem> {
    let question = async |uplink: &Uplink| {
        let draining = uplink.drain(worker).await?;
        Ok((draining, uplink.movement().await.ok()))
    };
    uplink::ask(global, question).await
}

/// Looks until nothing is left. An uplink that is away for a moment does not end it.
async fn wait(mut draining: Draining, global: &Global) -> Result<Draining, Problem> {
    let total = draining.in_sync as u64;
    let bar = bar(total, "draining {bar:30} {pos}/{len} {msg}");
    let mut heard = Instant::now();
    while !is_empty(&draining) {
        sleep(POLL).await;
        match look(&draining.worker, global).await {
            Ok((now, movement)) => {
                (draining, heard) = (now, Instant::now());
                bar.set_position(total.saturating_sub(draining.in_sync as u64));
                bar.set_message(movement.and_then(|it| to_go(&it, now_ms())).unwrap_or_default());
            }
            // It was stopped, and forgotten because nothing was left on it.
            Err(problem) if problem.exit == Exit::NotThere => {
                draining = Draining { state: WorkerState::Down, leads: 0, in_sync: 0, ..draining };
            }
            Err(problem) if problem.exit == Exit::Unreachable => {
                bar.set_message("the uplink does not answer");
                if heard.elapsed() > global.timeout {
                    return Err(given_up(&draining, &problem));
                }
            }
            Err(problem) => return Err(problem),
        }
    }
    bar.finish_and_clear();
    Ok(draining)
}

/// Whether it has nothing that is in use any more.
fn is_empty(draining: &Draining) -> bool {
    draining.leads == 0 && draining.in_sync == 0
}

fn given_up(draining: &Draining, problem: &Problem) -> Problem {
    let Draining { worker, in_sync, .. } = draining;
    let message = format!(
        "{problem}; {worker} is being drained all the same and had {in_sync} partitions left: run this again to wait on"
    );
    Problem::new(Exit::Unreachable, message)
}

fn sentence(draining: &Draining) -> String {
    let Draining { worker, state, leads, in_sync } = draining;
    match (is_empty(draining), state) {
        (true, WorkerState::Down) => {
            format!(
                "{worker} is down and had nothing left; `firn forget {worker}` takes it off the list"
            )
        }
        (true, _) => format!(
            "{worker} has nothing left: stop it when you like, then `firn forget {worker}` takes it off the list"
        ),
        (false, _) => format!(
            "{worker} is being drained: it still leads {leads} partitions and is an in-sync copy of {in_sync}; do not \
             stop it yet, `firn drain {worker}` waits until you may"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_when_the_worker_may_be_stopped() {
        let said = |state, leads, in_sync| {
            sentence(&Draining { worker: "w3".parse().unwrap(), state, leads, in_sync })
        };
        let draining = WorkerState::Draining;
        assert!(said(draining, 0, 0).starts_with("w3 has nothing left: stop it"));
        assert!(said(WorkerState::Down, 0, 0).starts_with("w3 is down and had nothing left"));
        // A copy without a lead is data that others may need.
        for (leads, in_sync) in [(1, 1), (0, 1)] {
            assert!(said(draining, leads, in_sync).contains("do not stop it yet"));
        }
    }
}
