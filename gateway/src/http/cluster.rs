//! What there is to say of the cluster: `/v1/cluster`, `/v1/workers`, `/v1/locate`, `/v1/map`.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use firn_wire::ids::{MapVersion, PartitionId, TableId, WorkerId};
use firn_wire::key;
use firn_wire::map::{MapIndex, PartitionRow, WorkerRow, WorkerState, shard_of};
use firn_wire::registry::MapDelta;
use firn_wire::status::{Finding, Roll, Status};
use serde_json::json;

use super::base64;
use super::call::Call;
use super::door::no_such_table;
use super::key::check_key;
use super::problem::{Kind, Problem};

/// How many workers are in a state.
fn count(map: &MapIndex, state: WorkerState) -> usize {
    map.workers.iter().filter(|worker| worker.state == state).count()
}

/// How many partitions have how many in-sync copies on workers that beat.
fn in_sync(map: &MapIndex) -> BTreeMap<usize, usize> {
    let roll = Roll::of(map);
    let mut counts = BTreeMap::new();
    for row in &map.partitions {
        *counts.entry(roll.copies(row)).or_default() += 1;
    }
    counts
}

/// `GET /v1/cluster`
pub(super) fn overview(call: &Call<'_>) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let (map, about) = (call.door.execute.map(), call.door.execute.about());
    let status = Status::of(&map);
    Ok(HttpResponse::Ok().json(json!({
        "summary": status.to_string(),
        "cluster": map.cluster,
        "version": map.version,
        "format": map.format,
        "settings": map.settings,
        "workers": {
            "up": count(&map, WorkerState::Up),
            "leaving": count(&map, WorkerState::Leaving),
            "draining": count(&map, WorkerState::Draining),
            "down": count(&map, WorkerState::Down),
        },
        "partitions": {
            "all": status.partitions,
            "with_primary": status.partitions - status.unserved,
            "in_sync": in_sync(&map),
            "unavailable": status.unavailable,
            "short": status.short,
            "on_one_copy": status.single,
            "moving": status.moving,
        },
        "findings": status.findings.iter().map(Finding::to_string).collect::<Vec<_>>(),
        "tables": map.tables.len(),
        "answered_by": about.name,
        "uplink_heard_ms": about.uplink_heard.map(|heard| heard.as_millis() as u64),
    })))
}

/// How many partitions a worker leads.
fn led_by(map: &MapIndex, worker: &WorkerRow) -> usize {
    let id = worker.id();
    map.partitions.iter().filter(|row| row.primary.as_ref() == Some(&id)).count()
}

/// How many partitions a worker has in sync, those it leads among them.
fn held_by(map: &MapIndex, worker: &WorkerRow) -> usize {
    let id = worker.id();
    map.partitions.iter().filter(|row| row.has_in_sync(&id)).count()
}

/// `GET /v1/workers`
pub(super) fn workers(call: &Call<'_>) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let map = call.door.execute.map();
    let rows = map.workers.iter().map(|worker| {
        json!({
            "name": worker.name,
            "incarnation": worker.incarnation,
            "state": worker.state,
            "since_ms": worker.since_ms,
            "shards": worker.shards,
            "addresses": worker.addresses,
            "partitions_led": led_by(&map, worker),
            "partitions_in_sync": held_by(&map, worker),
        })
    });
    let rows: Vec<_> = rows.collect();
    Ok(HttpResponse::Ok().json(json!({ "version": map.version, "workers": rows })))
}

/// The shard with which a worker serves a partition; None where the map does not know that run of it.
fn shard(map: &MapIndex, partition: PartitionId, worker: Option<&WorkerId>) -> Option<usize> {
    let worker = worker?;
    let row = map.worker(&worker.name).filter(|row| row.incarnation == worker.incarnation)?;
    Some(shard_of(partition, row.shards))
}

/// `GET /v1/locate?key=&table=`
pub(super) async fn locate(call: &mut Call<'_>) -> Result<HttpResponse, Problem> {
    let params = call.params(&["key", "table"])?;
    let table = params.text("table")?.unwrap_or("default");
    let key = params.bytes("key").unwrap_or_default();
    check_key(key)?;
    let id: TableId = call.door.table(table).await?;
    let map = call.door.execute.map();
    let partition = map.locate(id, key).ok_or_else(|| no_such_table(table))?;
    let row: &PartitionRow = map.partition(partition).expect("located in this map");
    let primary = row.primary.as_ref();
    let text = std::str::from_utf8(key).ok();
    let mut answer = json!({
        "table": table,
        "slot": key::slot(key),
        "literal": key::literal_text(key),
        "key_integer": map.settings.key_integer,
        "partition": partition,
        "epoch": row.epoch,
        "shard": shard(&map, partition, primary),
        "worker": primary.map(|worker| &worker.name),
        "copies": row.isr.iter().map(|worker| &worker.name).collect::<Vec<_>>(),
        "wanted": row.wanted,
        "version": map.version,
    });
    match text {
        Some(text) => answer["key"] = text.into(),
        None => answer["key_base64"] = base64::encode(key).into(),
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /v1/map`: the whole map, its version as the tag. As at the uplink `?after=VERSION` is answered with 204 when there
/// is nothing newer; unlike there at once, whatever `wait` says: who follows the map here asks again after a while.
pub(super) fn map(call: &Call<'_>) -> Result<HttpResponse, Problem> {
    let params = call.params(&["after", "wait"])?;
    let map = call.door.execute.map();
    let after: Option<MapVersion> = params.number("after", "a map version, as 1.5")?;
    if after.is_some_and(|after| after >= map.version) && !map.partitions.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    let tag = HeaderValue::from_str(&format!("\"{}\"", map.version)).expect("digits and a dot");
    if call.request.headers().get(IF_NONE_MATCH).is_some_and(|given| names(given, &tag)) {
        return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
    }
    if map.partitions.is_empty() {
        return Err(Problem::new(Kind::Unavailable, "no map has been published yet"));
    }
    let delta = MapDelta::whole(map.map().clone());
    Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(delta))
}

/// Whether `If-None-Match` names a tag; weak ones count (RFC 9110 §13.1.2).
fn names(given: &HeaderValue, tag: &HeaderValue) -> bool {
    let tag = tag.as_bytes();
    given
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list() {
        let tag = HeaderValue::from_static("\"1.5\"");
        for given in ["\"1.5\"", "W/\"1.5\"", "\"1.4\", \"1.5\"", "*"] {
            assert!(names(&HeaderValue::from_static(given), &tag), "{given}");
        }
        for given in ["1.5", "\"1.50\"", "\"1.4\""] {
            assert!(!names(&HeaderValue::from_static(given), &tag), "{given}");
        }
    }
}
