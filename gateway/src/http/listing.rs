//! `GET /v1/kv/{table}`: the keys of a table, as one page of JSON or as a stream of lines (NDJSON).
//!
//! Every key that is there all the time is listed once; one that comes or goes meanwhile may be.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LINK};
use bytes::Bytes;
use firn_wire::command::{Command, Cursor, Filter, Scan};
use firn_wire::exchange::{Role, Session};
use firn_wire::ids::TableId;
use firn_wire::limits::{KEY_BYTES_MAX, SCAN_COUNT_MAX};
use firn_wire::reply::{Reply, Row};
use futures_util::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;

use super::ask::ask;
use super::call::Call;
use super::limits::{PAGE_ENTRIES_DEFAULT, PAGE_SCANS_MAX};
use super::object::NDJSON;
use super::problem::{Kind, Problem};
use super::{base64, cursor};
use crate::execute::Execute;

/// What is encoded of a prefix in a link: not the unreserved characters, so that a link stays about as short as the URL
/// it answers.
const PREFIX: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');

/// What is said of an entry.
#[derive(Serialize)]
struct Entry<'a> {
    /// The key, where it is UTF-8; otherwise the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    etag: String,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

impl<'a> Entry<'a> {
    fn of(row: &Row<'a>) -> Self {
        let key = std::str::from_utf8(row.key).ok();
        Self {
            key,
            key_base64: key.is_none().then(|| base64::encode(row.key)),
            etag: format!("\"{}\"", row.version),
            length: row.length,
            expires_at_ms: row.expires_at,
        }
    }
}

/// A walk through a table.
struct Walk {
    execute: Arc<dyn Execute>,
    session: Session,
    table: TableId,
    prefix: Vec<u8>,
    /// Where to go on; None: the table is through.
    from: Option<Cursor>,
    /// Entries still wanted; at 0 the walk pauses.
    left: usize,
}

impl Walk {
    fn of(call: &Call<'_>, table: TableId) -> Result<Self, Problem> {
        let params = call.params(&["prefix", "limit", "cursor"])?;
        let prefix = params.bytes("prefix").unwrap_or_default();
        if prefix.len() > KEY_BYTES_MAX {
            return Err(Problem::plain(Kind::KeyTooLong).limit(KEY_BYTES_MAX));
        }
        let limit = params.number("limit", "a number from 1")?;
        if limit == Some(0) {
            return Err(Problem::new(Kind::InvalidRequest, "the limit is 0; give 1 or more"));
        }
        let map = call.door.execute.map();
        let partitions = map.table_by_id(table).map_or(0, |row| map.partitions_of(row).end);
        let from = params.text("cursor")?.map(|text| cursor::read(text, table, partitions));
        Ok(Self {
            execute: Arc::clone(&call.door.execute),
            session: Session::new(call.session.id, Role::Admin),
            table,
            prefix: prefix.to_vec(),
            from: Some(from.transpose()?.unwrap_or_default()),
            left: limit.unwrap_or(usize::MAX),
        })
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.from.is_none()
    }

    /// Makes one scan and appends its entries, each followed by `separator`.
    async fn step(&mut self, separator: u8, out: &mut Vec<u8>) -> Result<(), Problem> {
        let Some(from) = self.from else { return Ok(()) };
        let filter =
            if self.prefix.is_empty() { Filter::All } else { Filter::Prefix(&self.prefix) };
        let count = self.left.min(SCAN_COUNT_MAX) as u32;
        let scan = Scan { from, count, filter, values: false };
        let command = Command::Scan { table: self.table, scan };
        let left = self.left;
        let read = |reply: Reply<'_>| match reply {
            Reply::Page { next, rows } => {
                let (taken, next) = cut(&rows, left, next);
                for row in &rows[..taken] {
                    serde_json::to_writer(&mut *out, &Entry::of(row)).expect("written to memory");
                    out.push(separator);
                }
                Ok((taken, next))
            }
            Reply::Failed(failure) => Err(Problem::from_failure(&failure)),
            _ => Err(Problem::odd_reply()),
        };
        let (taken, next) = ask(&*self.execute, &mut self.session, command, read).await?;
        self.left -= taken.min(self.left);
        self.from = next;
        Ok(())
    }

    fn next(&self) -> Option<String> {
        self.from.map(|cursor| cursor::write(self.table, cursor))
    }
}

/// How many rows of a page to take, and where to go on. Rows at one place are not torn apart, since a cursor cannot point
/// between them.
fn cut(rows: &[Row<'_>], limit: usize, next: Option<Cursor>) -> (usize, Option<Cursor>) {
    let Some(last) = limit.checked_sub(1).and_then(|at| rows.get(at)) else {
        return (rows.len(), next);
    };
    match rows.iter().skip(limit).position(|row| row.at != last.at) {
        Some(more) => (limit + more, Some(rows[limit + more].at)),
        None => (rows.len(), next),
    }
}

/// Answers with a page or a stream, as `Accept` says.
pub(super) async fn list(call: &mut Call<'_>, table: &str) -> Result<HttpResponse, Problem> {
    let id = call.door.table(table).await?;
    let walk = Walk::of(call, id)?;
    let answered = if wants_lines(call.request.headers()) {
        lines(walk).await
    } else {
        page(walk, table).await
    };
    answered.map_err(|problem| problem.table(table))
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|range| {
        let media = range.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case(NDJSON) || media.eq_ignore_ascii_case("application/ndjson")
    })
}

/// `{"entries":[…],"next":"…"}`; `next` is null when the table is through. A page may have fewer entries than asked for,
/// even none, and still a next one.
async fn page(mut walk: Walk, table: &str) -> Result<HttpResponse, Problem> {
    let wanted = walk.left;
    walk.left = match wanted {
        usize::MAX => PAGE_ENTRIES_DEFAULT,
        wanted => wanted.min(SCAN_COUNT_MAX),
    };
    let mut body = b"{\"entries\":[".to_vec();
    for _ in 0..PAGE_SCANS_MAX {
        walk.step(b',', &mut body).await?;
        if walk.is_over() {
            break;
        }
    }
    if body.last() == Some(&b',') {
        body.pop();
    }
    let next = walk.next();
    body.extend_from_slice(b"],\"next\":");
    serde_json::to_writer(&mut body, &next).expect("written to memory");
    body.push(b'}');
    let mut response = HttpResponse::Ok().content_type("application/json").body(body);
    if let Some(next) = next {
        let prefix = percent_encode(&walk.prefix, PREFIX);
        let limit = match wanted {
            usize::MAX => String::new(),
            limit => format!("&limit={limit}"),
        };
        let link = format!("</v1/kv/{table}?prefix={prefix}{limit}&cursor={next}>; rel=\"next\"");
        let link = HeaderValue::from_str(&link).expect("a table name, digits and percent signs");
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// An entry a line; at the end `{"next":"…"}` where `limit` stopped it, or a problem where something went wrong after
/// the status was sent.
async fn lines(mut walk: Walk) -> Result<HttpResponse, Problem> {
    let mut first = Vec::new();
    walk.step(b'\n', &mut first).await?;
    let rest = stream::unfold((Some(walk), first), |(walk, mut out)| async move {
        let mut walk = walk?;
        while out.is_empty() && !walk.is_over() {
            if let Err(problem) = walk.step(b'\n', &mut out).await {
                out = serde_json::to_vec(&problem.body()).expect("text and numbers serialise");
                out.push(b'\n');
                return Some((Ok(out.into()), (None, Vec::new())));
            }
        }
        if walk.is_over() {
            if let Some(next) = walk.next() {
                out.extend_from_slice(format!("{{\"next\":\"{next}\"}}\n").as_bytes());
            }
            return Some((Ok(out.into()), (None, Vec::new())));
        }
        Some((Ok::<Bytes, actix_web::Error>(out.into()), (Some(walk), Vec::new())))
    });
    let mut response = HttpResponse::Ok();
    Ok(response.insert_header((CONTENT_TYPE, NDJSON)).streaming(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::Version;

    #[test]
    fn a_page_is_cut_between_places_only() {
        let at = |position| Cursor { partition: 0, position };
        let row = |position| Row {
            at: at(position),
            key: b"k",
            version: Version(1),
            expires_at: None,
            length: 0,
            value: None,
            meta: b"",
        };
        let rows = [row(1), row(2), row(2), row(3)];
        let end = Some(at(9));
        assert_eq!(cut(&rows, 1, end), (1, Some(at(2))));
        assert_eq!(cut(&rows, 2, end), (3, Some(at(3))), "two at one place stay together");
        assert_eq!(cut(&rows, 3, end), (3, Some(at(3))));
        assert_eq!(cut(&rows, 4, end), (4, end));
        assert_eq!(cut(&rows, 9, None), (4, None));
        assert_eq!(cut(&[], 1, end), (0, end));
    }

    #[test]
    fn lines_are_sent_only_where_asked_for() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            wants_lines(&headers)
        };
        assert!(wants("application/x-ndjson") && wants("text/html, Application/NDJSON;q=1"));
        assert!(!wants("*/*") && !wants("application/json") && !wants_lines(&HeaderMap::new()));
    }
}
