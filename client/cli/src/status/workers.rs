//! The workers, a row each.

use firn_wire::map::WorkerState;
use firn_wire::status::{Standing, Status};
use serde_json::Value;

use super::holdings::Holdings;
use crate::output::{self, Object};
use crate::since::age;

/// As a table for people.
pub(super) fn table(status: &Status<'_>, holdings: &Holdings<'_>, now_ms: u64) -> String {
    let rows = status.workers.iter().map(|standing| {
        let worker = standing.worker;
        let addresses = worker.addresses.iter().map(|(name, at)| format!("{name}={at}"));
        [
            worker.name.to_string(),
            state(standing).to_owned(),
            age(worker.since_ms, now_ms),
            standing.seat.map_or_else(|| "-".to_owned(), |seat| seat.to_string()),
            standing.leads.to_string(),
            holdings.in_sync(worker).to_string(),
            holdings.wanted(worker).to_string(),
            worker.shards.to_string(),
            addresses.collect::<Vec<_>>().join(" "),
        ]
    });
    let header =
        ["WORKER", "STATE", "FOR", "SEAT", "LEADS", "IN SYNC", "WANTED", "SHARDS", "ADDRESSES"];
    output::columns(header, rows, 3..8)
}

/// In JSON.
pub(super) fn objects(status: &Status<'_>, holdings: &Holdings<'_>) -> Vec<Value> {
    let object = |standing: &Standing<'_>| {
        let worker = standing.worker;
        let addresses = worker.addresses.iter().map(|(name, at)| (name.clone(), at.clone().into()));
        Object::default()
            .with("name", worker.name.as_str())
            .with("state", state(standing))
            .with("since_ms", worker.since_ms)
            .with("seat", standing.seat)
            .with("leads", standing.leads)
            .with("in_sync", holdings.in_sync(worker))
            .with("wanted", holdings.wanted(worker))
            .with("unserved", standing.unserved())
            .with("shards", worker.shards)
            .with("addresses", Value::Object(addresses.collect()))
            .into_value()
    };
    status.workers.iter().map(object).collect()
}

fn state(standing: &Standing<'_>) -> &'static str {
    match standing.worker.state {
        WorkerState::Up => "up",
        WorkerState::Leaving => "leaving",
        WorkerState::Draining => "draining",
        WorkerState::Down => "down",
    }
}
