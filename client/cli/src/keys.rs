//! `firn get`, `put`, `del` and `incr`.

use std::fs::File;
use std::io::{self, Read};

use firn_wire::command::{Command, Condition, Expiry, KeyOp, Op, Set};
use firn_wire::limits::VALUE_BYTES_HARD_MAX;
use firn_wire::reply::Reply;

use crate::exit::{Exit, Problem};
use crate::options::{Del, Get, Incr, Only, Put, Source};
use crate::output::{Object, Output};
use crate::store::{Store, odd};

/// A key as it stands in a message.
fn shown(key: &[u8]) -> String {
    format!("\"{}\"", key.escape_ascii())
}

/// `firn get`.
pub(crate) async fn get(
    store: &mut Store<'_>,
    get: &Get,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let reply = store.key(&get.key, Op::Get).await?;
    let value = match reply.view() {
        Reply::Value(value) => value,
        Reply::Nil => {
            let (key, table) = (shown(&get.key), &store.table);
            let message = format!("there is no key {key} in table {table}");
            return Err(Problem::new(Exit::NotThere, message));
        }
        other => return Err(odd(&other)),
    };
    if !to.json {
        return Ok(to.raw(value.bytes)?);
    }
    let object = Object::default()
        .with("table", store.table.as_str())
        .with_bytes("key", &get.key)
        .with_bytes("value", value.bytes)
        .with("version", value.version.map(|version| version.to_string()))
        .with("expires_at_ms", value.expires_at);
    Ok(to.json(object.members())?)
}

/// `firn put`.
pub(crate) async fn put(
    store: &mut Store<'_>,
    put: &Put,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let value = read(&put.value)?;
    let set = Set {
        expiry: put.ttl.map_or(Expiry::Default, Expiry::After),
        condition: condition(put.only),
        ..Set::plain(&value)
    };
    let reply = store.key(&put.key, Op::Set(set)).await?;
    match reply.view() {
        Reply::Written { version, created, .. } if to.json => {
            let object = Object::default()
                .with("table", store.table.as_str())
                .with_bytes("key", &put.key)
                .with("created", created)
                .with("version", version.to_string());
            Ok(to.json(object.members())?)
        }
        Reply::Written { version, created, .. } => {
            let what = if created { "created" } else { "replaced" };
            Ok(to.line(format_args!("{what}, version {version}"))?)
        }
        Reply::NotMet { version, .. } => {
            let key = shown(&put.key);
            let found = match version {
                Some(version) => format!("the key {key} is there with version {version}"),
                None => format!("the key {key} is not there"),
            };
            Err(Problem::new(Exit::NotThere, format_args!("nothing was written: {found}")))
        }
        other => Err(odd(&other)),
    }
}

fn condition(only: Only) -> Condition<'static> {
    match only {
        Only { if_absent: true, .. } => Condition::Absent,
        Only { if_present: true, .. } => Condition::Present,
        Only { if_version: Some(version), .. } => Condition::Version(version),
        _ => Condition::Always,
    }
}

/// A value's bytes; never more than any table allows.
fn read(source: &Source) -> Result<Vec<u8>, Problem> {
    let from: Box<dyn Read> = match source {
        Source::Given(bytes) => return Ok(bytes.clone()),
        Source::Stdin => Box::new(io::stdin()),
        Source::File(path) => Box::new(File::open(path).map_err(|error| {
            Problem::usage(format_args!("the file {} cannot be read: {error}", path.display()))
        })?),
    };
    let mut value = Vec::new();
    from.take(VALUE_BYTES_HARD_MAX as u64 + 1).read_to_end(&mut value)?;
    if value.len() > VALUE_BYTES_HARD_MAX {
        let message = format!("the value is longer than {VALUE_BYTES_HARD_MAX} bytes");
        return Err(Problem::new(Exit::Refused, message));
    }
    Ok(value)
}

/// `firn del`.
pub(crate) async fn del(
    store: &mut Store<'_>,
    del: &Del,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let table = store.table_id().await?;
    let op = Op::Delete { condition: Condition::Always, want_old: false };
    let ops = del.keys.iter().map(|key| KeyOp { table, key, op }).collect();
    let reply = store.ask(Command::Many { guards: Vec::new(), ops }).await?;
    let Reply::Many(parts) = reply.view() else { return Err(odd(&reply.view())) };
    let (mut removed, mut missing) = (0u64, Vec::new());
    for (part, key) in parts.into_iter().zip(&del.keys) {
        match part.reply() {
            Reply::Deleted { .. } => removed += 1,
            Reply::Nil => missing.push(shown(key)),
            Reply::Failed(failure) => return Err(failure.into()),
            other => return Err(odd(&other)),
        }
    }
    if to.json {
        to.json(Object::default().with("removed", removed).members())?;
    } else {
        to.line(format_args!("{removed} removed"))?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (table, missing) = (&store.table, missing.join(", "));
    Err(Problem::new(Exit::NotThere, format_args!("not in table {table}: {missing}")))
}

/// `firn incr`.
pub(crate) async fn incr(
    store: &mut Store<'_>,
    incr: &Incr,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let reply = store.key(&incr.key, Op::Increment { by: incr.by }).await?;
    match reply.view() {
        Reply::Number { value, version } if to.json => {
            let object = Object::default()
                .with("table", store.table.as_str())
                .with_bytes("key", &incr.key)
                .with("value", value)
                .with("version", version.to_string());
            Ok(to.json(object.members())?)
        }
        Reply::Number { value, .. } => Ok(to.line(value)?),
        other => Err(odd(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_value_is_a_files_bytes() {
        let path = std::env::temp_dir().join(format!("firn-keys-test-{}", std::process::id()));
        File::create(&path).unwrap().write_all(b"\0\xff\n").unwrap();
        let value = read(&Source::File(path.clone()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(value.unwrap(), b"\0\xff\n");
        let missing = read(&Source::File(path)).unwrap_err();
        assert_eq!(missing.exit, Exit::Usage);
    }

    #[test]
    fn a_key_in_a_message_cannot_end_it() {
        assert_eq!(shown(b"a\r\n\"\xff"), r#""a\r\n\"\xff""#);
    }
}
