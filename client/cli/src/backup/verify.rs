//! `firn backup verify FILE`.

use std::path::Path;

use serde_json::json;

use super::survey::Survey;
use super::tables_text;
use crate::exit::Problem;
use crate::output::{self, Object, Output};
use crate::since::time;

/// Checks a backup and says what is in it.
pub(crate) fn run(path: &Path, to: &mut Output<'_>) -> Result<(), Problem> {
    let survey = super::survey(path)?;
    if to.json {
        return Ok(to.json(object(&survey).with("file", path.to_string_lossy()).members())?);
    }
    to.line(sentence(path, &survey))?;
    let rows = tables(&survey).map(|(name, entries)| [name.to_owned(), entries.to_string()]);
    Ok(to.line(output::columns(["TABLE", "ENTRIES"], rows, 1..2))?)
}

fn sentence(path: &Path, survey: &Survey) -> String {
    let Survey { header, footer, bytes, entries, .. } = survey;
    format!(
        "{}: whole: {} entries of {}, {} bytes in {bytes}, taken from cluster {} from {} to {} \
         by firn {}",
        path.display(),
        entries.iter().sum::<u64>(),
        tables_text(header.tables.len()),
        footer.raw_bytes,
        header.cluster,
        time(header.taken_at_ms),
        time(footer.ended_at_ms),
        header.firn,
    )
}

fn object(survey: &Survey) -> Object {
    let Survey { header, footer, bytes, entries, .. } = survey;
    let table = |(name, entries)| json!({ "name": name, "entries": entries });
    Object::default()
        .with("backup", header.backup.as_str())
        .with("cluster", header.cluster.to_string())
        .with("key_integer", header.key_integer.to_string())
        .with("firn", header.firn.as_str())
        .with("taken_at_ms", header.taken_at_ms)
        .with("ended_at_ms", footer.ended_at_ms)
        .with("tables", tables(survey).map(table).collect::<Vec<_>>())
        .with("entries", entries.iter().sum::<u64>())
        .with("raw_bytes", footer.raw_bytes)
        .with("bytes", *bytes)
}

fn tables(survey: &Survey) -> impl Iterator<Item = (&str, u64)> {
    let names = survey.header.tables.iter().map(|table| table.name.as_str());
    names.zip(survey.entries.iter().copied())
}
