//! `firn status`: one sentence, what is amiss and what to do about it, then a table of the workers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firn_client::follow::POLL;
use firn_wire::map::{Map, WorkerState};
use firn_wire::status::{Standing, Status};
use serde::Deserialize;

use crate::cluster::{self, Fetched};
use crate::exit::{Exit, Problem};
use crate::options::Global;
use crate::output::{self, Object, Output};

/// `firn status`. A cluster in which some partition is not served is a problem.
pub(crate) async fn run(global: &Global, to: &mut Output<'_>) -> Result<(), Problem> {
    let Fetched { map, server, silent } = cluster::fetch(global).await?;
    let silence = silence(&server, global.timeout).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let status = Status::of(&map);
    let notes = notes(&status, &silent, silence, now_ms);
    if to.json {
        to.json(object(&map, &status, &notes).members())?;
    } else {
        to.line(&status)?;
        for note in &notes {
            to.line(format_args!("- {note}"))?;
        }
        to.line(workers(&status, now_ms))?;
    }
    match status.unserved {
        0 => Ok(()),
        n => Err(Problem::new(
            Exit::Unreachable,
            format_args!("{n} of {} partitions are not served", status.partitions),
        )),
    }
}

/// What is not as it should be, since when, and what to do.
fn notes(
    status: &Status<'_>,
    silent: &[String],
    silence: Option<String>,
    now_ms: u64,
) -> Vec<String> {
    let without =
        "start it again: reads and writes go on without it, changes of workers and tables wait";
    let servers = silent
        .iter()
        .map(|server| format!("no answer from {server}; if it is the uplink, {without}"));
    let uplink = silence.map(|silence| format!("{silence}; {without}"));
    let servers = servers.chain(uplink);
    let workers = status.workers.iter().filter_map(|worker| note(worker, now_ms));
    servers.chain(workers).collect()
}

fn note(standing: &Standing<'_>, now_ms: u64) -> Option<String> {
    let Standing { worker, seat, .. } = standing;
    let (name, since) = (&worker.name, since(worker.since_ms, now_ms));
    match (worker.state, standing.unserved()) {
        (WorkerState::Down, 0) => Some(format!("{name} is down since {since}; it leads nothing")),
        (WorkerState::Down, n) => Some(format!(
            "{name} is down since {since} and {n} partitions wait for it: start it again under its name"
        )),
        (_, n) if n > 0 => Some(format!(
            "{name} is back since {since} and has not taken over {n} partitions of its last run yet: wait, or read its log"
        )),
        (WorkerState::Leaving, _) => {
            let leads = standing.leads;
            Some(format!("{name} is leaving since {since}; it still leads {leads} partitions"))
        }
        (WorkerState::Up, _) if seat.is_none() => Some(format!(
            "{name} is a spare since {since}: it came after the partitions were dealt out, holds nothing and passes \
             requests on"
        )),
        (WorkerState::Up, _) => None,
    }
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

/// `2026-11-03T14:03:11Z (2m 3s ago)`.
fn since(since_ms: u64, now_ms: u64) -> String {
    format!("{} ({} ago)", time(since_ms), age(since_ms, now_ms))
}

fn time(unix_ms: u64) -> String {
    // RFC 3339 ends with the year 9999.
    if unix_ms >= 253_402_300_800_000 {
        return format!("{unix_ms} ms");
    }
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn age(since_ms: u64, now_ms: u64) -> String {
    let age = Duration::from_secs(now_ms.saturating_sub(since_ms) / 1_000);
    humantime::format_duration(age).to_string()
}

fn state(standing: &Standing<'_>) -> &'static str {
    match (standing.worker.state, standing.seat) {
        (WorkerState::Down, _) => "down",
        (WorkerState::Leaving, _) => "leaving",
        (WorkerState::Up, None) => "spare",
        (WorkerState::Up, Some(_)) => "up",
    }
}

fn workers(status: &Status<'_>, now_ms: u64) -> String {
    let rows = status.workers.iter().map(|standing| {
        let worker = standing.worker;
        let addresses = worker.addresses.iter().map(|(name, at)| format!("{name}={at}"));
        [
            worker.name.to_string(),
            state(standing).to_owned(),
            age(worker.since_ms, now_ms),
            standing.seat.map_or_else(|| "-".to_owned(), |seat| seat.to_string()),
            standing.leads.to_string(),
            worker.shards.to_string(),
            addresses.collect::<Vec<_>>().join(" "),
        ]
    });
    let header = ["WORKER", "STATE", "FOR", "SEAT", "LEADS", "SHARDS", "ADDRESSES"];
    output::columns(header, rows, 3..6)
}

fn object(map: &Map, status: &Status<'_>, notes: &[String]) -> Object {
    let workers = status.workers.iter().map(|standing| {
        let worker = standing.worker;
        let object = Object::default()
            .with("name", worker.name.as_str())
            .with("state", state(standing))
            .with("since_ms", worker.since_ms)
            .with("seat", standing.seat)
            .with("leads", standing.leads)
            .with("unserved", standing.unserved())
            .with("shards", worker.shards);
        let addresses = worker.addresses.iter().map(|(name, at)| (name.clone(), at.clone().into()));
        object.with("addresses", serde_json::Value::Object(addresses.collect())).into_value()
    });
    Object::default()
        .with("status", status.to_string())
        .with("well", status.is_well())
        .with("notes", notes)
        .with("cluster", map.cluster.to_string())
        .with("version", map.version.to_string())
        .with("partitions", status.partitions)
        .with("unserved", status.unserved)
        .with("workers", workers.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::{Incarnation, MapVersion};
    use firn_wire::map::WorkerRow;

    fn noted(state: WorkerState, seat: Option<u16>, leads: usize, owes: usize) -> Option<String> {
        let worker = WorkerRow {
            name: "w3".parse().unwrap(),
            incarnation: Incarnation(1),
            addresses: Default::default(),
            shards: 4,
            state,
            since_ms: 1_762_178_591_000,
            rev: MapVersion::default(),
        };
        let standing = Standing { worker: &worker, seat, leads, owes };
        note(&standing, worker.since_ms + 123_000)
    }

    #[test]
    fn what_is_amiss_is_named_with_since_when_and_what_to_do() {
        assert_eq!(noted(WorkerState::Up, Some(1), 4, 0), None);
        assert_eq!(
            noted(WorkerState::Down, Some(1), 4, 0).unwrap(),
            "w3 is down since 2025-11-03T14:03:11Z (2m 3s ago) and 4 partitions wait for it: start it again under its name"
        );
        let says = |note: Option<String>, words: &str| note.unwrap().contains(words);
        assert!(says(noted(WorkerState::Down, None, 0, 0), "leads nothing"));
        assert!(says(noted(WorkerState::Up, None, 0, 0), "is a spare"));
        assert!(says(noted(WorkerState::Up, Some(1), 0, 4), "not taken over 4 partitions"));
        assert!(says(noted(WorkerState::Leaving, Some(1), 4, 0), "still leads 4 partitions"));
    }

    #[test]
    fn times_no_clock_has_are_shown_all_the_same() {
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
        assert_eq!(age(5_000, 1_000), "0s");
    }
}
