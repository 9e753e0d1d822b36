//! `/livez`, `/readyz`, `/metrics`.

use std::fmt::{Display, Write as _};

use actix_web::HttpResponse;
use firn_wire::map::{Map, WorkerState};
use firn_wire::status::Status;

use super::door::Door;

const TEXT: &str = "text/plain; charset=utf-8";

/// The process runs: that it answers says it all.
pub(super) fn live() -> HttpResponse {
    HttpResponse::Ok().content_type(TEXT).body("ok\n")
}

/// Whether it can serve; otherwise what is missing.
pub(super) fn ready(door: &Door) -> HttpResponse {
    match door.execute.about().not_ready {
        None => live(),
        Some(missing) => {
            let mut response = HttpResponse::ServiceUnavailable();
            response.insert_header(("Retry-After", "1"));
            response.content_type(TEXT).body(format!("not ready: {missing}\n"))
        }
    }
}

/// Prometheus' text format, version 0.0.4.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        let written = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        written.expect("written to memory");
        self
    }

    /// `labels` is empty or `{name="value"}`; no value of a stranger ever stands there.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) -> &mut Self {
        writeln!(self.0, "{name}{labels} {value}").expect("written to memory");
        self
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) -> &mut Self {
        self.family(name, "gauge", help).sample(name, "", value)
    }
}

/// What is counted and measured here.
pub(super) fn metrics(door: &Door) -> HttpResponse {
    let (about, map) = (door.execute.about(), door.execute.map());
    let mut out = Exposition::default();
    out.gauge("firn_ready", "1 when it can serve.", u8::from(about.not_ready.is_none()))
        .gauge("firn_uptime_seconds", "Since the start.", about.uptime.as_secs())
        .gauge("firn_entries", "Entries held here.", about.entries)
        .gauge("firn_memory_bytes", "Bytes they take.", about.memory_bytes)
        .gauge("firn_shards", "Serialized writers.", about.shards)
        .gauge("firn_map_counter", "Counter of the map's version.", map.version.counter)
        .gauge("firn_tables", "Tables of the cluster.", map.tables.len());
    if let Some(heard) = about.uplink_heard {
        out.gauge("firn_uplink_heard_seconds", "Since its last answer.", heard.as_secs());
    }
    partitions(&map, &mut out);
    workers(&map, &mut out);
    out.family("firn_http_responses_total", "counter", "Responses of the http listener.");
    for (class, count) in door.responses() {
        out.sample("firn_http_responses_total", &format!("{{class=\"{class}xx\"}}"), count);
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(out.0)
}

fn partitions(map: &Map, out: &mut Exposition) {
    let orphans = map.partitions.iter().filter(|row| row.primary.is_none()).count();
    let status = Status::of(map);
    out.gauge("firn_partitions", "Partitions of the cluster.", status.partitions)
        .gauge("firn_partitions_without_primary", "Partitions nobody serves.", orphans)
        .gauge("firn_partitions_unserved", "Without a primary that beats.", status.unserved)
        .gauge("firn_partitions_unavailable", "Without any copy that beats.", status.unavailable)
        .gauge("firn_partitions_short", "With fewer copies than wanted.", status.short)
        .gauge("firn_partitions_on_one_copy", "With one of several copies.", status.single)
        .gauge("firn_partitions_moving", "Not yet where wanted.", status.moving);
}

fn workers(map: &Map, out: &mut Exposition) {
    out.family("firn_workers", "gauge", "Registered workers by state.");
    for (label, state) in [
        ("up", WorkerState::Up),
        ("leaving", WorkerState::Leaving),
        ("draining", WorkerState::Draining),
        ("down", WorkerState::Down),
    ] {
        let count = map.workers.iter().filter(|worker| worker.state == state).count();
        out.sample("firn_workers", &format!("{{state=\"{label}\"}}"), count);
    }
}
