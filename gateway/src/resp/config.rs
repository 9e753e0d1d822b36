//! The subcommands of CONFIG. Settings belong to the cluster and are changed there; what clients look for is shown, and
//! setting it to what it is passes.

use firn_wire::glob;

use super::conversation::Conversation;
use super::parse::BULK_BYTES_MAX;
use super::plan::Plan;
use super::refusal::Refusal;
use super::words::Words;
use super::write;
use crate::listen::CONNECTIONS_MAX;

type Planned<'a> = Result<Plan<'a>, Refusal>;

/// What is shown: names and values, by name.
fn settings() -> [(&'static str, String); 11] {
    let text = |value: &str| value.to_owned();
    [
        ("appendonly", text("no")),
        ("databases", text("16")),
        ("maxclients", CONNECTIONS_MAX.to_string()),
        ("maxmemory", text("0")),
        ("maxmemory-policy", text("noeviction")),
        ("notify-keyspace-events", text("")),
        ("proto-max-bulk-len", BULK_BYTES_MAX.to_string()),
        ("requirepass", text("")),
        ("save", text("")),
        ("slave-read-only", text("yes")),
        ("timeout", text("0")),
    ]
}

pub(super) fn get<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let patterns: Vec<Vec<u8>> = words.from(2).map(<[u8]>::to_ascii_lowercase).collect();
    let wanted =
        |name: &str| patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes()));
    let found: Vec<_> = settings().into_iter().filter(|(name, _)| wanted(name)).collect();
    Ok(Plan::written(|out| {
        write::map(out, conversation.dialect, found.len());
        for (name, value) in &found {
            write::bulk(out, name.as_bytes());
            write::bulk(out, value.as_bytes());
        }
    }))
}

pub(super) fn set<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    if !words.len().is_multiple_of(2) {
        return Err(Refusal::SYNTAX);
    }
    let settings = settings();
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = words.from(2);
    let mut refused = None;
    while let Some((name, value)) = rest.next().zip(rest.next()) {
        let known = settings.iter().find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(name));
        let Some((own, current)) = known else {
            let before = "ERR Unknown option or number of arguments for CONFIG SET - '";
            return Err(Refusal::quoting(before, name, "'"));
        };
        if seen.contains(own) {
            refused.get_or_insert((own, "duplicate parameter"));
        } else if !current.as_bytes().eq_ignore_ascii_case(value) {
            refused.get_or_insert((own, "can't set immutable config"));
        }
        seen.push(own);
    }
    let Some((name, why)) = refused else { return Ok(Plan::OK) };
    let before = "ERR CONFIG SET failed (possibly related to argument '";
    Err(Refusal::quoting(before, name.as_bytes(), &format!("') - {why}")))
}

pub(super) fn resetstat<'a>(_: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    Ok(Plan::OK)
}
