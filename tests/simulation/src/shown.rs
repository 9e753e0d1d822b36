//! Messages as a reader of a trace wants them.

use firn_wire::record::Record;
use firn_wire::replica::{Batch, Item};

/// A batch: its items, records by their heads.
pub(crate) fn batch(batch: &Batch<'_>) -> String {
    let items: Vec<String> = batch.items.iter().map(item).collect();
    format!("shard {} to {:#x}: {}", batch.shard, batch.number, items.join("; "))
}

fn item(item: &Item<'_>) -> String {
    match item {
        Item::Records(bytes) => records(bytes),
        Item::Chunk { partition, table, from, to, entries } => format!(
            "chunk of {partition} table {} {from:#x}–{to:#x}: {} bytes",
            table.0,
            entries.len()
        ),
        Item::Tokens { partition, tokens } => format!("tokens of {partition}: {}", tokens.len()),
        other => format!("{other:?}"),
    }
}

fn records(mut bytes: &[u8]) -> String {
    let mut shown = Vec::new();
    while let Ok((record, rest)) = Record::read(bytes) {
        let head = &record.head;
        shown.push(format!("{} {}.{}", head.partition, head.epoch.0, head.sequence));
        bytes = rest;
    }
    format!("records {}", shown.join(", "))
}
