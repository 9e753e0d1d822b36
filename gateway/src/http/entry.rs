//! `GET|HEAD|PUT|DELETE /v1/kv/{table}/{key}`.

use std::time::{Duration, UNIX_EPOCH};

use actix_web::body::SizedStream;
use actix_web::http::header::{
    AGE, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName,
    HeaderValue, IF_RANGE, RANGE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use firn_wire::command::{Command, Condition, Expiry, Op, Set};
use firn_wire::ids::Version;
use firn_wire::limits::ONCE_BYTES_MAX;
use firn_wire::reply::{Reply, Value};

use super::door::{At, Call, key};
use super::etag::{self, Preconditions, ReadVerdict};
use super::lifetime;
use super::limits::CONDITION_TRIES;
use super::meta::Meta;
use super::problem::{Kind, Problem};
use super::range::ByteRange;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

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

/// What became of a change.
pub(super) enum Outcome {
    /// Written.
    Written { version: Version, created: bool },
    /// Removed, with the value where it was asked for.
    Deleted(Option<Bytes>),
    /// There was nothing.
    Missing,
    /// The condition did not hold; what is there, None: nothing.
    NotMet(Option<Version>),
}

impl Outcome {
    fn of(reply: &Reply<'_>) -> Option<Self> {
        Some(match reply {
            Reply::Written { version, created, .. } => {
                Self::Written { version: *version, created: *created }
            }
            Reply::Deleted { old } => Self::Deleted(old.map(Bytes::copy_from_slice)),
            Reply::Nil => Self::Missing,
            Reply::NotMet { version, .. } => Self::NotMet(*version),
            _ => return None,
        })
    }
}

/// The token of `Idempotency-Key`; None: there is none.
pub(super) fn token(request: &HttpRequest) -> Result<Option<&[u8]>, Problem> {
    let Some(value) = request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let token = value.as_bytes();
    if token.is_empty() || token.len() > ONCE_BYTES_MAX {
        let detail = format!("an Idempotency-Key has 1 to {ONCE_BYTES_MAX} bytes");
        return Err(Problem::new(Kind::InvalidRequest, detail).limit(ONCE_BYTES_MAX));
    }
    Ok(Some(token))
}

/// A command of one operation, done at most once where there is a token.
pub(super) fn command<'a>(at: At<'a>, op: Op<'a>, token: Option<&'a [u8]>) -> Command<'a> {
    match token {
        Some(token) => Command::Once { token, op: at.op(op) },
        None => Command::Key(at.op(op)),
    }
}

/// Changes a key under the request's conditions. Where they name several versions the current one is looked at first and
/// the change made on condition that it is still there.
pub(super) async fn change<'a>(
    call: &mut Call<'_>,
    at: At<'a>,
    op: impl Fn(Condition<'static>) -> Op<'a>,
) -> Result<Outcome, Problem> {
    let request = call.request;
    let (conditions, token) = (Preconditions::of(request.headers())?, token(request)?);
    if let Some(condition) = conditions.as_condition() {
        let command = command(at, op(condition), token);
        return call.ask(command, Outcome::of).await;
    }
    if token.is_some() {
        let detail = "an Idempotency-Key goes with one strong entity tag or *, not with a list";
        return Err(Problem::new(Kind::ConditionNotSupported, detail));
    }
    for _ in 0..CONDITION_TRIES {
        let current = version_of(call, at).await?;
        if !conditions.allow_write(current) {
            return Ok(Outcome::NotMet(current));
        }
        let condition = current.map_or(Condition::Absent, Condition::Version);
        let outcome = call.ask(command(at, op(condition), None), Outcome::of).await?;
        if !matches!(outcome, Outcome::NotMet(_)) {
            return Ok(outcome);
        }
    }
    Err(Problem::new(Kind::Unavailable, "others keep writing this key; try again"))
}

/// The version of a key; None: it is absent.
async fn version_of(call: &mut Call<'_>, at: At<'_>) -> Result<Option<Version>, Problem> {
    let inspect = Command::Key(at.op(Op::Inspect));
    call.ask(inspect, |reply| match reply {
        Reply::Found(found) => Some(Some(found.version)),
        Reply::Nil => Some(None),
        _ => None,
    })
    .await
}

/// Answers PUT.
pub(super) async fn put(
    call: &mut Call<'_>,
    table: &str,
    raw: &str,
) -> Result<HttpResponse, Problem> {
    let params = call.params(&["ttl"])?;
    let key = key(raw)?;
    let at = At { table: call.door.table(table).await?, key: &key };
    let named = |problem: Problem| problem.table(table).key(&key);
    let headers = call.request.headers();
    let freshness = match headers.get(CACHE_CONTROL) {
        Some(value) => lifetime::cache_control(value.as_bytes())?,
        None => None,
    };
    let expiry = match (params.text("ttl")?, freshness) {
        (Some(text), _) => lifetime::ttl(text)?,
        (None, Some(freshness)) => freshness.expiry()?,
        (None, None) => Expiry::Default,
    };
    let meta = Meta::of(headers, call.door.execute.now_ms(), freshness).encode()?;
    let limit = call.door.value_bytes_limit(at.table);
    let value = call.body.read(limit, Kind::ValueTooLong).await.map_err(named)?;
    let set =
        |condition| Op::Set(Set { value: &value, meta: &meta, expiry, condition, want_old: false });
    match change(call, at, set).await.map_err(named)? {
        Outcome::Written { version, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
            let mut response = HttpResponse::new(status);
            response.headers_mut().insert(ETAG, etag::header(version));
            Ok(response)
        }
        Outcome::NotMet(version) => Err(named(Problem::condition_failed(version))),
        Outcome::Deleted(_) | Outcome::Missing => Err(Problem::odd_reply()),
    }
}

/// Answers DELETE.
pub(super) async fn delete(
    call: &mut Call<'_>,
    table: &str,
    raw: &str,
) -> Result<HttpResponse, Problem> {
    call.params(&[])?;
    match remove(call, table, raw, false).await? {
        Some(_) => Err(Problem::odd_reply()),
        None => Ok(HttpResponse::NoContent().finish()),
    }
}

/// Removes a key; gives its value where it is wanted.
pub(super) async fn remove(
    call: &mut Call<'_>,
    table: &str,
    raw: &str,
    want_old: bool,
) -> Result<Option<Bytes>, Problem> {
    let key = key(raw)?;
    let at = At { table: call.door.table(table).await?, key: &key };
    let named = |problem: Problem| problem.table(table).key(&key);
    let delete = |condition| Op::Delete { condition, want_old };
    match change(call, at, delete).await.map_err(named)? {
        Outcome::Deleted(old) => Ok(old),
        // RFC 9110 §13.2.1: what is not there is 404 whatever the condition.
        Outcome::Missing | Outcome::NotMet(None) => Err(named(Problem::plain(Kind::NoSuchKey))),
        Outcome::NotMet(version) => Err(named(Problem::condition_failed(version))),
        Outcome::Written { .. } => Err(Problem::odd_reply()),
    }
}
