//! `firn status`: one sentence, what moves, what is amiss and what to do about it, then a table of the workers.

#[cfg(test)]
mod fixture;
mod holdings;
mod notes;
mod workers;

use std::time::Duration;

use firn_client::follow::POLL;
use firn_client::uplink::Uplink;
use firn_wire::registry::Movement;
use firn_wire::status::Status;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::cluster::{self, Fetched};
use crate::exit::{Exit, Problem};
use crate::movement;
use crate::options::Global;
use crate::output::{Object, Output};
use crate::since::{age, now_ms};
use holdings::Holdings;
use notes::Notes;

/// `firn status`. A cluster in which some partition is not served is a problem.
pub(crate) async fn run(global: &Global, to: &mut Output<'_>) -> Result<(), Problem> {
    let Fetched { map, server, silent } = cluster::fetch(global).await?;
    let (status, holdings) = (Status::of(&map), Holdings::of(&map));
    let movement = moving(&server, global, status.moving).await;
    let silence = silence(&server, global.timeout).await;
    let now_ms = now_ms();
    let amiss = Notes { status: &status, holdings: &holdings, movement: movement.as_ref(), now_ms };
    let mut notes = servers(&silent, silence);
    notes.extend(amiss.sentences());
    if to.json {
        let object = Object::default()
            .with("status", status.to_string())
            .with("well", status.is_well())
            .with("notes", notes)
            .with("cluster", map.cluster.to_string())
            .with("version", map.version.to_string())
            .with("partitions", status.partitions)
            .with("unserved", status.unserved)
            .with("unavailable", status.unavailable)
            .with("single", status.single)
            .with("movement", json!(movement))
            .with("workers", workers::objects(&status, &holdings));
        to.json(object.members())?;
    } else {
        to.line(&status)?;
        if let Some(line) = movement.as_ref().and_then(|it| movement::line(it, now_ms)) {
            to.line(line)?;
        }
        for note in &notes {
            to.line(format_args!("- {note}"))?;
        }
        to.line(workers::table(&status, &holdings, now_ms))?;
    }
    verdict(&status)
}

fn verdict(status: &Status<'_>) -> Result<(), Problem> {
    match status.unserved {
        0 => Ok(()),
        n => Err(Problem::new(
            Exit::Unreachable,
            format_args!("{n} of {} partitions are not served", status.partitions),
        )),
    }
}

/// What moves, if the server that gave the map is the uplink. What is left is what is left in that map: the uplink may
/// be further by now, and one answer is of one moment.
async fn moving(server: &str, global: &Global, left: usize) -> Option<Movement> {
    let uplink = Uplink::new(server, global.secret()).ok()?;
    let told = timeout(global.timeout, uplink.movement()).await.ok()?.ok()?;
    Some(Movement { left, total: told.total.max(left), ..told })
}

/// What there is to say of servers that do not answer, and of an uplink a worker does not hear.
fn servers(silent: &[String], silence: Option<String>) -> Vec<String> {
    let without =
        "start it again: reads and writes go on without it, changes of workers and tables wait";
    let servers = silent
        .iter()
        .map(|server| format!("no answer from {server}; if it is the uplink, {without}"));
    let uplink = silence.map(|silence| format!("{silence}; {without}"));
    servers.chain(uplink).collect()
}

/// What the server that gave the map says of an uplink it does not hear; None when it hears one, or is one.
async fn silence(server: &str, timeout: Duration) -> Option<String> {
    #[derive(Deserialize)]
    struct Overview {
        answered_by: String,
        uplink_heard_ms: Option<u64>,
    }
    let client = reqwest::Client::builder().no_proxy().timeout(timeout).build().ok()?;
    let url = format!("{}/v1/cluster", server.trim_end_matches('/'));
    let overview: Overview = client.get(url).send().await.ok()?.json().await.ok()?;
    let name = overview.answered_by;
    // A worker beats every second or so; a proxy only waits for changes.
    let quiet = if name == "proxy" { 2 * POLL } else { Duration::from_secs(5) };
    match overview.uplink_heard_ms {
        None => Some(format!("{name} has not heard from the uplink since it started")),
        Some(ms) if ms > quiet.as_millis() as u64 => {
            Some(format!("{name} has not heard from the uplink for {}", age(0, ms)))
        }
        Some(_) => None,
    }
}
