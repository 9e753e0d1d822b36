//! SCAN and KEYS.

use firn_wire::command::{Command, Cursor, Filter, Scan};
use firn_wire::exchange::Session;
use firn_wire::limits::{SCAN_COUNT_MAX, STEP_REPLY_BYTES_MAX};
use firn_wire::reply::{Failure, Reply};

use super::conversation::Conversation;
use super::form::{Form, write_failure};
use super::number::{cursor, integer_or_refuse};
use super::plan::{Plan, Steps};
use super::refusal::Refusal;
use super::words::Words;
use super::write;
use crate::execute::run_one;

type Planned<'a> = Result<Plan<'a>, Refusal>;

/// The longest pattern, in bytes: a class of it is looked through once per character.
pub const PATTERN_BYTES_MAX: usize = 16 * 1024;

/// A pattern within its bound; one that takes everything is no filter.
fn filter(pattern: &[u8]) -> Result<Filter<'_>, Refusal> {
    if pattern.len() > PATTERN_BYTES_MAX {
        let text = format!("ERR pattern is longer than {PATTERN_BYTES_MAX} bytes");
        return Err(Refusal(text.into_bytes().into()));
    }
    Ok(if pattern == b"*" { Filter::All } else { Filter::Glob(pattern) })
}

pub(super) fn scan<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let from = cursor(words.at(1)).ok_or(Refusal::new("ERR invalid cursor"))?;
    let from = Cursor::from_u64(from);
    let mut scan = Scan { from, count: 10, filter: Filter::All, values: false };
    let mut strings = true;
    let mut rest = words.from(2);
    while let Some(word) = rest.next() {
        let value = rest.next().ok_or(Refusal::SYNTAX)?;
        if word.eq_ignore_ascii_case(b"COUNT") {
            scan.count = count(value)?;
        } else if word.eq_ignore_ascii_case(b"MATCH") {
            scan.filter = filter(value)?;
        } else if word.eq_ignore_ascii_case(b"TYPE") {
            strings = value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    if !strings {
        // There are only strings, so the scan of any other type is through.
        return Ok(Plan::Answer(b"*2\r\n$1\r\n0\r\n*0\r\n".into()));
    }
    Ok(Plan::Ask(Command::Scan { table: conversation.table, scan }, Form::Page))
}

fn count(text: &[u8]) -> Result<u32, Refusal> {
    match integer_or_refuse(text)? {
        ..1 => Err(Refusal::SYNTAX),
        count => Ok(u32::try_from(count).unwrap_or(u32::MAX).min(SCAN_COUNT_MAX as u32)),
    }
}

pub(super) fn keys<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let pattern = words.at(1);
    filter(pattern)?;
    Ok(Plan::Run(Steps::Keys { pattern: pattern.to_vec() }))
}

impl Conversation {
    /// Collects every key that matches, page by page, up to the bytes one step may answer with.
    pub(super) async fn keys(&mut self, pattern: &[u8], session: &mut Session, out: &mut Vec<u8>) {
        let filter = filter(pattern).unwrap_or(Filter::Glob(pattern));
        let mut from = Cursor::default();
        let (mut found, mut count) = (Vec::new(), 0);
        loop {
            let scan = Scan { from, count: SCAN_COUNT_MAX as u32, filter, values: false };
            let command = Command::Scan { table: self.table, scan };
            let reply = run_one(&*self.execute, session, command).await;
            let next = match reply.view() {
                Reply::Page { next, rows } => {
                    count += rows.len();
                    rows.iter().for_each(|row| write::bulk(&mut found, row.key));
                    next
                }
                Reply::Failed(failure) => return write_failure(&failure, out),
                _ => return write_failure(&Failure::Invalid("a page is none".into()), out),
            };
            if found.len() > STEP_REPLY_BYTES_MAX {
                let text = format!("more than {STEP_REPLY_BYTES_MAX} bytes of keys; use SCAN");
                return write_failure(&Failure::TooMuch(text.into()), out);
            }
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        write::array(out, count);
        out.append(&mut found);
    }
}
