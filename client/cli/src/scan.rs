//! `firn scan`.

use std::io;

use firn_wire::command::{Command, Cursor, Filter, Scan};
use firn_wire::limits::SCAN_COUNT_MAX;
use firn_wire::reply::{Reply, Row};

use crate::exit::Problem;
use crate::options;
use crate::output::{Object, Output};
use crate::store::{Store, odd};

/// Entries asked for at once: a page of values of 1 KiB is about a message between workers.
const PAGE: u64 = 1_000;
const _: () = assert!(PAGE <= SCAN_COUNT_MAX as u64);

/// Lists page by page; each page is printed before the next is asked for.
pub(crate) async fn run(
    store: &mut Store<'_>,
    options: &options::Scan,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let table = store.table_id().await?;
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut from = Cursor::default();
    while left > 0 {
        let filter = match &*options.prefix {
            b"" => Filter::All,
            prefix => Filter::Prefix(prefix),
        };
        let count = left.min(PAGE) as u32;
        let scan = Scan { from, count, filter, values: options.values };
        let reply = store.ask(Command::Scan { table, scan }).await?;
        let Reply::Page { next, rows } = reply.view() else { return Err(odd(&reply.view())) };
        for row in rows.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            print(row, to)?;
        }
        to.out.flush()?;
        left = left.saturating_sub(rows.len() as u64);
        match next {
            None => break,
            Some(next) => from = next,
        }
    }
    Ok(())
}

fn print(row: &Row<'_>, to: &mut Output<'_>) -> io::Result<()> {
    if to.json {
        let mut object = Object::default().with_bytes("key", row.key);
        if let Some(value) = row.value {
            object = object.with_bytes("value", value);
        }
        let object = object
            .with("length", row.length)
            .with("version", row.version.to_string())
            .with("expires_at_ms", row.expires_at);
        return to.json(object.members());
    }
    to.out.write_all(row.key)?;
    if let Some(value) = row.value {
        to.out.write_all(b"\t")?;
        to.out.write_all(value)?;
    }
    to.out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::Version;

    fn printed(value: Option<&[u8]>, json: bool) -> Vec<u8> {
        let row = Row {
            at: Cursor::default(),
            key: b"k\xff",
            version: Version(0x1f),
            expires_at: None,
            length: 1,
            value,
            meta: b"",
        };
        let mut out = Vec::new();
        print(&row, &mut Output { out: &mut out, json, terminal: false }).unwrap();
        out
    }

    #[test]
    fn rows_are_lines() {
        assert_eq!(printed(None, false), b"k\xff\n");
        assert_eq!(printed(Some(b"v"), false), b"k\xff\tv\n");
        assert_eq!(
            printed(Some(b"v"), true),
            br#"{"expires_at_ms":null,"key_base64":"a/8=","length":1,"value":"v","version":"1f"}
"#
        );
    }
}
