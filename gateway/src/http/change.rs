//! `PUT|DELETE /v1/kv/{table}/{key}`, and what all changes of one key have in common: conditions and the token that makes
//! them happen once.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ETAG, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use firn_wire::command::{Command, Condition, Expiry, Op, Set};
use firn_wire::ids::Version;
use firn_wire::limits::ONCE_BYTES_MAX;
use firn_wire::reply::Reply;

use super::call::Call;
use super::condition::Preconditions;
use super::key::{At, key};
use super::limits::CONDITION_TRIES;
use super::meta::Meta;
use super::problem::{Kind, Problem};
use super::{etag, lifetime};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What became of a change.
enum Outcome {
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
async fn change<'a>(
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
