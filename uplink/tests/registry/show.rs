//! Answers, maps and changes in short, for golden scripts.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use firn_uplink::registry::{Answer, Refusal};
use firn_wire::ids::{TableId, WorkerId};
use firn_wire::map::{GroupRow, GroupRule, Map, PartitionRow, SeatRow, TableRow, WorkerRow};
use firn_wire::registry::{MapDelta, Verdict};
use firn_wire::status::{Finding, Status};

pub(crate) fn answer(answered: Result<Answer, Refusal>) -> String {
    match answered {
        Ok(Answer::Registered(registered, new)) => {
            let what = if new { "registered" } else { "registered before" };
            format!("{what}, map {}, beat every {} ms", registered.version, registered.heartbeat_ms)
        }
        Ok(Answer::Told(taken)) => {
            let names: Vec<&str> = taken.waits_for.iter().map(|name| name.as_str()).collect();
            format!("told, map {}, waits for {}", taken.version, names.join(","))
        }
        Ok(Answer::Beaten(beaten)) => format!("heard, map {}", beaten.version),
        Ok(Answer::Verdicts(verdicts)) => lines(verdicts.iter().map(|verdict| match verdict {
            Verdict::Applied(version) => format!("applied, rev {version}"),
            Verdict::Refused(why) => format!("refused: {why}"),
        })),
        Ok(Answer::Table(made)) => {
            let what = if made.created { "created" } else { "there" };
            format!("{what}: {} (map {})", table(&made.table), made.version)
        }
        Ok(Answer::Draining(left)) => {
            let state = format!("{:?}", left.state).to_lowercase();
            format!("{} {state}, leads {}, in sync with {}", left.worker, left.leads, left.in_sync)
        }
        Ok(Answer::Recovered(recovered)) => {
            let which = recovered.partitions.join(" ");
            format!("recovered {}: {which} (map {})", recovered.recovered, recovered.version)
        }
        Ok(Answer::Settings(settings)) => {
            serde_json::to_string(&settings.replication).expect("settings are plain data")
        }
        Ok(Answer::Gone(version)) => format!("gone, map {version}"),
        Ok(Answer::Nothing) => String::new(),
        Err(refusal) => {
            let retry = refusal.retry_after_ms.map(|ms| format!(", again in {ms} ms"));
            let kind = refusal.kind.name();
            format!(
                "{} {kind}{}: {}",
                refusal.kind.status(),
                retry.unwrap_or_default(),
                refusal.detail
            )
        }
    }
}

pub(crate) fn map(map: &Map) -> String {
    let mut text = format!("version {}\n", map.version);
    rows(&mut text, &map.workers, &map.seats, &map.groups, &map.partitions, &map.tables);
    text
}

pub(crate) fn partitions(map: &Map) -> String {
    lines(map.partitions.iter().map(partition))
}

/// The sentence on a cluster's health, and one for each thing amiss.
pub(crate) fn status(map: &Map) -> String {
    let status = Status::of(map);
    let since = |finding: &Finding| match finding.since_ms {
        Some(ms) => format!("- {finding} (since {ms})"),
        None => format!("- {finding}"),
    };
    lines(std::iter::once(status.to_string()).chain(status.findings.iter().map(since)))
}

pub(crate) fn delta(delta: &MapDelta) -> String {
    let what = if delta.full { "the whole".to_owned() } else { format!("from {}", delta.from) };
    let mut text = format!("version {}, {what}\n", delta.version);
    let d = delta;
    rows(&mut text, &d.workers, &d.seats, &d.groups, &d.partitions, &d.tables);
    for name in &delta.removed.workers {
        let _ = writeln!(text, "no more: worker {name}");
    }
    if let Some(first) = delta.removed.seats_from {
        let _ = writeln!(text, "no more: seats from {first}");
    }
    for id in &delta.removed.tables {
        let _ = writeln!(text, "no more: table #{}", id.0);
    }
    text
}

/// Tables that always exist are left out while nobody has touched them.
fn rows(
    text: &mut String,
    workers: &[WorkerRow],
    seats: &[SeatRow],
    groups: &[GroupRow],
    partitions: &[Arc<PartitionRow>],
    tables: &[TableRow],
) {
    let touched = |row: &&TableRow| row.id >= TableId(16) || row.rev.counter > 1;
    text.push_str(&lines(
        (workers.iter().map(worker))
            .chain(seats.iter().map(seat))
            .chain(groups.iter().map(group))
            .chain(partitions.iter().map(partition))
            .chain(tables.iter().filter(touched).map(|row| format!("table {}", table(row)))),
    ));
}

fn lines(all: impl Iterator<Item = String>) -> String {
    all.map(|line| line + "\n").collect()
}

fn id(id: &WorkerId) -> String {
    format!("{}@{:x}", id.name, id.incarnation.0)
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(",")
}

fn worker(row: &WorkerRow) -> String {
    let state = format!("{:?}", row.state).to_lowercase();
    let peer = &row.addresses["peer"];
    format!("worker {} {state} since {} peer={peer} rev {}", id(&row.id()), row.since_ms, row.rev)
}

fn seat(row: &SeatRow) -> String {
    let who = row.worker.as_ref().map_or("nobody".to_owned(), ToString::to_string);
    format!("seat {} {who} rev {}", row.number, row.rev)
}

fn group(row: &GroupRow) -> String {
    let rule = match row.rule {
        GroupRule::Keys => "keys",
        GroupRule::NameRanges => "name-ranges",
    };
    format!(
        "group {} {rule} copies={} partitions={} rev {}",
        row.id.0, row.copies, row.partitions, row.rev
    )
}

fn partition(row: &Arc<PartitionRow>) -> String {
    let primary = row.primary.as_ref().map_or("nobody".to_owned(), id);
    let (isr, wanted) = (list(&row.isr, id), list(&row.wanted, |name| name.to_string()));
    let epoch = row.epoch.0;
    let released = if row.released { " released" } else { "" };
    format!(
        "{} epoch {epoch}{released} primary {primary} isr {isr} wanted {wanted} rev {}",
        row.id, row.rev
    )
}

fn table(row: &TableRow) -> String {
    let pinned = row.pinned.map(|number| format!("/{number}")).unwrap_or_default();
    let policy = serde_json::to_string(&row.policy).expect("a policy is plain data");
    let name: &dyn Display = &row.name;
    format!("{name} #{} in {}{pinned} {policy} rev {}", row.id.0, row.group.0, row.rev)
}
