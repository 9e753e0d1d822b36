//! The commands of a connection's beginning and end.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use firn_wire::ids::TableId;

use super::client::check_name;
use super::conversation::{Conversation, Replies, database_name, database_number};
use super::number::integer;
use super::plan::{Plan, Steps};
use super::refusal::Refusal;
use super::words::Words;
use super::write::{self, Dialect};

type Planned<'a> = Result<Plan<'a>, Refusal>;

/// The version of redis-server that this door answers like.
pub(super) const REDIS_VERSION: &str = "7.0.15";

const WRONG_PASSWORD: Refusal =
    Refusal::new("WRONGPASS invalid username-password pair or user is disabled.");

/// No password is set: the user `default` needs none, and there is no other.
fn check_user(user: &[u8]) -> Result<(), Refusal> {
    if user == b"default" { Ok(()) } else { Err(WRONG_PASSWORD) }
}

pub(super) fn auth<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    match words.len() {
        2 => Err(Refusal::new(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        3 => check_user(words.at(1)).map(|()| Plan::OK),
        _ => Err(Refusal::SYNTAX),
    }
}

pub(super) fn hello<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let dialect = match words.get(1) {
        None => conversation.dialect,
        Some(version) => match integer(version) {
            Some(2) => Dialect::Resp2,
            Some(3) => Dialect::Resp3,
            Some(_) => return Err(Refusal::new("NOPROTO unsupported protocol version")),
            None => {
                let text = "ERR Protocol version is not an integer or out of range";
                return Err(Refusal::new(text));
            }
        },
    };
    let mut name = None;
    let mut rest = words.from(2);
    while let Some(word) = rest.next() {
        let wrong = || Refusal::quoting("ERR Syntax error in HELLO option '", word, "'");
        if word.eq_ignore_ascii_case(b"AUTH") {
            let (user, _) = rest.next().zip(rest.next()).ok_or_else(wrong)?;
            check_user(user)?;
        } else if word.eq_ignore_ascii_case(b"SETNAME") {
            let given = rest.next().ok_or_else(wrong)?;
            check_name(given)?;
            name = Some(given);
        } else {
            return Err(wrong());
        }
    }
    if let Some(name) = name {
        conversation.client.label(|labels| labels.name = name.to_vec());
    }
    conversation.speak(dialect);
    Ok(Plan::written(|out| write_hello(conversation, out)))
}

fn write_hello(conversation: &Conversation, out: &mut Vec<u8>) {
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        write::bulk(out, name.as_bytes());
        write::bulk(out, value.as_bytes());
    };
    write::map(out, conversation.dialect, 7);
    text(out, "server", "redis");
    text(out, "version", REDIS_VERSION);
    write::bulk(out, b"proto");
    write::integer(out, conversation.dialect.number());
    write::bulk(out, b"id");
    write::integer(out, conversation.client.id);
    text(out, "mode", "standalone");
    text(out, "role", "master");
    write::bulk(out, b"modules");
    write::array(out, 0);
}

pub(super) fn ping<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    match words.len() {
        1 => Ok(Plan::Answer(Cow::Borrowed(b"+PONG\r\n"))),
        2 => Ok(Plan::written(|out| write::bulk(out, words.at(1)))),
        _ => Err(Refusal::arity("ping")),
    }
}

pub(super) fn echo<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    Ok(Plan::written(|out| write::bulk(out, words.at(1))))
}

pub(super) fn quit<'a>(_: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    Ok(Plan::Close(Cow::Borrowed(b"+OK\r\n")))
}

pub(super) fn reset<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    conversation.end_transaction();
    conversation.watched.clear();
    conversation.use_database(0, TableId::DEFAULT);
    conversation.speak(Dialect::Resp2);
    conversation.client.label(|labels| labels.name.clear());
    conversation.replies = Replies::On;
    conversation.silent = false;
    Ok(Plan::Answer(Cow::Borrowed(b"+RESET\r\n")))
}

pub(super) fn select<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let number = database_number(words.at(1))?;
    match conversation.database(number) {
        Some(table) => {
            conversation.use_database(number, table);
            Ok(Plan::OK)
        }
        None => Ok(Plan::Run(Steps::Select { number })),
    }
}

impl Conversation {
    /// Changes to a database that the map in force lacks, if the uplink has it.
    pub(super) async fn select_new(&mut self, number: u32, out: &mut Vec<u8>) {
        match self.execute.find_table(&database_name(number)).await {
            Some(table) => {
                self.use_database(number, table);
                write::simple(out, "OK");
            }
            None => write::error(out, &Refusal::DATABASE.0),
        }
    }
}

pub(super) fn time<'a>(_: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Plan::written(|out| {
        write::array(out, 2);
        write::bulk(out, now.as_secs().to_string().as_bytes());
        write::bulk(out, now.subsec_micros().to_string().as_bytes());
    }))
}
