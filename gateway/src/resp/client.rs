//! The subcommands of CLIENT.

use std::borrow::Cow;
use std::sync::Arc;

use super::clients::Client;
use super::conversation::{Conversation, Replies};
use super::number::integer;
use super::plan::Plan;
use super::refusal::Refusal;
use super::words::Words;
use super::write;

type Planned<'a> = Result<Plan<'a>, Refusal>;

/// The longest name or version a connection gives itself, in bytes.
pub const LABEL_BYTES_MAX: usize = 1_024;

fn check_length(label: &[u8]) -> Result<(), Refusal> {
    if label.len() <= LABEL_BYTES_MAX {
        return Ok(());
    }
    let text = format!("ERR a connection's names are at most {LABEL_BYTES_MAX} bytes long");
    Err(Refusal(Cow::Owned(text.into_bytes())))
}

/// A name is of visible ASCII characters; empty takes it away.
pub(super) fn check_name(name: &[u8]) -> Result<(), Refusal> {
    check_length(name)?;
    let text = "ERR Client names cannot contain spaces, newlines or special characters.";
    if name.iter().all(u8::is_ascii_graphic) { Ok(()) } else { Err(Refusal::new(text)) }
}

pub(super) fn id<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    Ok(Plan::written(|out| write::integer(out, conversation.client.id)))
}

pub(super) fn getname<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    let name = conversation.client.labels().name;
    Ok(Plan::written(|out| match name.as_slice() {
        [] => write::null(out, conversation.dialect),
        name => write::bulk(out, name),
    }))
}

pub(super) fn setname<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    check_name(words.at(2))?;
    conversation.client.label(|labels| labels.name = words.at(2).to_vec());
    Ok(Plan::OK)
}

pub(super) fn setinfo<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let (what, value) = (words.at(2), words.at(3));
    let version = what.eq_ignore_ascii_case(b"LIB-VER");
    if !version && !what.eq_ignore_ascii_case(b"LIB-NAME") {
        return Err(Refusal::quoting("ERR Unrecognized option '", what, "'"));
    }
    check_length(value)?;
    if !value.iter().all(u8::is_ascii_graphic) {
        let option = if version { "lib-ver" } else { "lib-name" };
        let text = format!("ERR {option} cannot contain spaces, newlines or special characters.");
        return Err(Refusal(Cow::Owned(text.into_bytes())));
    }
    conversation.client.label(|labels| {
        *(if version { &mut labels.library_version } else { &mut labels.library }) = value.to_vec();
    });
    Ok(Plan::OK)
}

pub(super) fn info<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    let line = conversation.client.line(conversation.commands);
    Ok(Plan::written(|out| write::verbatim(out, conversation.dialect, &line)))
}

/// The kinds of connections redis-server knows. Here all are normal.
fn is_normal(kind: &[u8]) -> Result<bool, Refusal> {
    let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
    if is("normal") {
        Ok(true)
    } else if ["pubsub", "master", "replica", "slave"].into_iter().any(is) {
        Ok(false)
    } else {
        Err(Refusal::quoting("ERR Unknown client type '", kind, "'"))
    }
}

pub(super) fn list<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let mut all = conversation.clients.all();
    match words.get(2).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => {}
        Some(b"type") if words.len() == 4 => {
            let normal = is_normal(words.at(3))?;
            all.retain(|_| normal);
        }
        Some(b"id") if words.len() > 3 => {
            let number = |text| integer(text).ok_or(Refusal::new("ERR Invalid client ID"));
            let wanted: Vec<i64> = words.from(3).map(number).collect::<Result<_, _>>()?;
            all.retain(|client| wanted.iter().any(|id| u64::try_from(*id) == Ok(client.id)));
        }
        Some(_) => return Err(Refusal::SYNTAX),
    }
    let lines: Vec<u8> = all.iter().flat_map(|client| client.line(conversation.commands)).collect();
    Ok(Plan::written(|out| write::verbatim(out, conversation.dialect, &lines)))
}

/// `CLIENT NO-EVICT` and `NO-TOUCH`: what they turn off does not exist here.
pub(super) fn switch<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let how = words.at(2);
    let known = how.eq_ignore_ascii_case(b"ON") || how.eq_ignore_ascii_case(b"OFF");
    if known { Ok(Plan::OK) } else { Err(Refusal::SYNTAX) }
}

pub(super) fn reply<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let nothing = Plan::Answer(Cow::Borrowed(b""));
    match words.at(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            conversation.replies = Replies::On;
            conversation.silent = false;
            Ok(Plan::OK)
        }
        b"off" => {
            conversation.replies = Replies::Off;
            Ok(nothing)
        }
        b"skip" => {
            if conversation.replies != Replies::Off {
                conversation.replies = Replies::SkipNext;
            }
            Ok(nothing)
        }
        _ => Err(Refusal::SYNTAX),
    }
}

/// Which connections `CLIENT KILL` ends: those that pass every filter.
#[derive(Debug, Default)]
struct Filters<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    /// A kind none of ours is of.
    nobody: bool,
    spare_me: bool,
}

impl<'a> Filters<'a> {
    fn read(words: Words<'a, '_>) -> Result<Self, Refusal> {
        let mut filters = Self { spare_me: true, ..Self::default() };
        let mut rest = words.from(2);
        while let Some(word) = rest.next() {
            let value = rest.next().ok_or(Refusal::SYNTAX)?;
            match word.to_ascii_lowercase().as_slice() {
                b"id" => filters.id = Some(client_id(value)?),
                b"addr" => filters.address = Some(value),
                b"laddr" => filters.local = Some(value),
                b"type" => filters.nobody |= !is_normal(value)?,
                b"user" if value == b"default" => {}
                b"user" => return Err(Refusal::quoting("ERR No such user '", value, "'")),
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filters.spare_me = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filters.spare_me = false,
                _ => return Err(Refusal::SYNTAX),
            }
        }
        Ok(filters)
    }

    fn pass(&self, client: &Client, me: u64) -> bool {
        let is = |wanted: Option<&[u8]>, own: std::net::SocketAddr| {
            wanted.is_none_or(|wanted| wanted == own.to_string().as_bytes())
        };
        let spared = self.nobody || (self.spare_me && client.id == me);
        !spared
            && self.id.is_none_or(|id| id == client.id)
            && is(self.address, client.address)
            && is(self.local, client.local)
    }
}

fn client_id(text: &[u8]) -> Result<u64, Refusal> {
    integer(text)
        .and_then(|id| u64::try_from(id).ok())
        .filter(|id| *id > 0)
        .ok_or(Refusal::new("ERR client-id should be greater than 0"))
}

pub(super) fn kill<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let by_address = words.len() == 3;
    let filters = match by_address {
        true => Filters { address: Some(words.at(2)), ..Filters::default() },
        false => Filters::read(words)?,
    };
    let me = conversation.client.id;
    let all = conversation.clients.all();
    let killed: Vec<&Arc<Client>> = all.iter().filter(|one| filters.pass(one, me)).collect();
    if by_address && killed.is_empty() {
        return Err(Refusal::new("ERR No such client"));
    }
    killed.iter().filter(|client| client.id != me).for_each(|client| client.kill());
    let mut reply = Vec::new();
    match by_address {
        true => write::simple(&mut reply, "OK"),
        false => write::integer(&mut reply, killed.len()),
    }
    let reply = Cow::Owned(reply);
    // One's own end comes after one's own reply.
    let mine = killed.iter().any(|client| client.id == me);
    Ok(if mine { Plan::Close(reply) } else { Plan::Answer(reply) })
}
