//! `GET|HEAD /v1/kv/{table}/{key}`.

use std::time::{Duration, UNIX_EPOCH};

use actix_web::body::SizedStream;
use actix_web::http::header::{
    AGE, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName,
    HeaderValue, IF_RANGE, RANGE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use firn_wire::command::{Command, Op};
use firn_wire::ids::Version;
use firn_wire::reply::{Reply, Value};

use super::call::Call;
use super::condition::{Preconditions, ReadVerdict};
use super::etag;
use super::key::{At, key};
use super::meta::Meta;
use super::problem::{Kind, Problem};
use super::range::ByteRange;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What a GET asks of a value beyond its bytes.
struct Wanted<'r> {
    conditions: Preconditions,
    range: Option<ByteRange>,
    /// The range holds only for this value; else all of it is wanted.
    if_range: Option<&'r HeaderValue>,
    /// HEAD: the bytes stay where they are.
    head: bool,
}

impl<'r> Wanted<'r> {
    fn of(request: &'r HttpRequest) -> Result<Self, Problem> {
        let headers = request.headers();
        let head = request.method() == Method::HEAD;
        let range = headers.get(RANGE).filter(|_| !head);
        Ok(Self {
            conditions: Preconditions::of(headers)?,
            range: range.and_then(|value| ByteRange::read(value.as_bytes())),
            if_range: headers.get(IF_RANGE),
            head,
        })
    }

    /// Takes out of a value what the answer needs.
    fn take(&self, value: &Value<'_>, version: Version) -> Seen {
        let verdict = self.conditions.for_read(version);
        let for_this =
            self.if_range.is_none_or(|tag| etag::strongly_matches(tag.as_bytes(), version));
        let length = value.bytes.len();
        let part = match (verdict, self.range.filter(|_| for_this)) {
            (ReadVerdict::Failed, _) => return Seen::Failed(version),
            (ReadVerdict::NotModified, _) => Part::None,
            (ReadVerdict::Send, _) if self.head => Part::Length,
            (ReadVerdict::Send, None) => Part::All(Bytes::copy_from_slice(value.bytes)),
            (ReadVerdict::Send, Some(range)) => match range.within(length) {
                None => return Seen::OutOfRange(length),
                Some(range) => Part::Some(range.start, Bytes::copy_from_slice(&value.bytes[range])),
            },
        };
        Seen::Hit(Hit {
            part,
            length,
            meta: Bytes::copy_from_slice(value.meta),
            version,
            expires_at: value.expires_at,
            now: value.now,
        })
    }
}

/// What was found of a key.
enum Seen {
    Missing,
    Failed(Version),
    OutOfRange(usize),
    Hit(Hit),
}

/// Which bytes of a value the answer carries.
enum Part {
    /// None: 304.
    None,
    /// None, but their number: HEAD.
    Length,
    All(Bytes),
    /// Those from here on: 206.
    Some(usize, Bytes),
}

struct Hit {
    part: Part,
    length: usize,
    meta: Bytes,
    version: Version,
    expires_at: Option<u64>,
    now: u64,
}

impl Hit {
    fn respond(self) -> HttpResponse {
        let (meta, version) = (self.meta, self.version);
        let (expires_at, now, length) = (self.expires_at, self.now, self.length);
        let mut response = match self.part {
            Part::None => HttpResponse::new(StatusCode::NOT_MODIFIED),
            Part::Length => {
                let nothing = futures_util::stream::empty::<Result<Bytes, std::io::Error>>();
                HttpResponse::Ok().body(SizedStream::new(length as u64, nothing))
            }
            Part::All(bytes) => HttpResponse::Ok().body(bytes),
            Part::Some(first, bytes) => {
                let last = first + bytes.len() - 1;
                let mut response = HttpResponse::PartialContent();
                response.insert_header((CONTENT_RANGE, format!("bytes {first}-{last}/{length}")));
                response.body(bytes)
            }
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, etag::header(version));
        put_headers(headers, &Meta::decode(&meta), expires_at, now);
        response
    }
}

/// Everything an answer says of a value besides its tag (RFC 9111 §5.1, §5.3; RFC 9211).
fn put_headers(headers: &mut HeaderMap, meta: &Meta<'_>, expires_at: Option<u64>, now: u64) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    meta.put_into(headers);
    if meta.written_at_ms > 0 {
        headers.insert(AGE, HeaderValue::from(now.saturating_sub(meta.written_at_ms) / 1_000));
    }
    let fresh_until = meta.freshness.map(|(max_age_s, stale_s)| {
        let told = format!("max-age={max_age_s}, stale-while-revalidate={stale_s}");
        let told = HeaderValue::from_str(&told).expect("digits and directives");
        headers.insert(CACHE_CONTROL, told);
        meta.written_at_ms.saturating_add(max_age_s.saturating_mul(1_000))
    });
    let until = match (fresh_until, expires_at) {
        (Some(fresh), Some(gone)) => Some(fresh.min(gone)),
        (fresh, gone) => fresh.or(gone),
    };
    let status = match until {
        None => HeaderValue::from_static("firn; hit"),
        Some(until) => {
            if let Some(time) = UNIX_EPOCH.checked_add(Duration::from_millis(until))
                && until < 253_402_300_800_000
            {
                let date = httpdate::fmt_http_date(time);
                headers.insert(EXPIRES, HeaderValue::from_str(&date).expect("an HTTP date"));
            }
            let ttl = (until as i64).saturating_sub(now as i64).div_euclid(1_000);
            HeaderValue::from_str(&format!("firn; hit; ttl={ttl}")).expect("digits")
        }
    };
    headers.insert(CACHE_STATUS, status);
}

/// Answers GET and HEAD.
pub(super) async fn get(
    call: &mut Call<'_>,
    table: &str,
    raw: &str,
) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    let key = key(raw)?;
    let at = At { table: call.door.table(table).await?, key: &key };
    let wanted = Wanted::of(call.request)?;
    let seen = call
        .ask(Command::Key(at.op(Op::Get)), |reply| match reply {
            Reply::Nil => Some(Seen::Missing),
            Reply::Value(value) => Some(wanted.take(value, value.version?)),
            _ => None,
        })
        .await;
    let named = |problem: Problem| problem.table(table).key(&key);
    match seen.map_err(named)? {
        Seen::Hit(hit) => Ok(hit.respond()),
        Seen::Missing => Err(named(Problem::plain(Kind::NoSuchKey))),
        Seen::Failed(version) => Err(named(Problem::condition_failed(Some(version)))),
        Seen::OutOfRange(length) => Err(named(Problem::range_not_satisfiable(length))),
    }
}
