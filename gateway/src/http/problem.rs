//! What went wrong, as `application/problem+json` (RFC 9457) for `/v1` and as `{"message":…}` for Smache.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_RANGE, ETAG, HeaderValue, RETRY_AFTER};
use firn_wire::ids::{TableName, Version};
use firn_wire::registry;
use firn_wire::reply::Failure;
use serde::Serialize;

use super::etag;

/// What a client that was refused for now should wait, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// The kinds of problems. Name, status and title are stable: clients may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Some part of the request does not read.
    InvalidRequest,
    /// A query parameter that is not known here.
    UnknownParameter,
    /// `?op=` names nothing we do, or nothing at all.
    UnknownOperation,
    /// A condition where the operation cannot honour one.
    ConditionNotSupported,
    /// A key of no bytes.
    KeyEmpty,
    /// A key above its limit.
    KeyTooLong,
    /// No time to live, or one out of bounds.
    InvalidTtl,
    /// A cursor that is not one of ours for this table.
    InvalidCursor,
    /// A table name outside its grammar.
    InvalidTableName,
    /// A body that is not the JSON wanted.
    InvalidJson,
    /// A body where none is expected.
    UnexpectedBody,
    /// A body that ended early or was framed badly.
    BrokenBody,
    /// Smache's null key.
    KeyNull,
    /// A change asked by a page of another site.
    ForeignOrigin,
    /// A `Host` that is not ours.
    ForeignHost,
    /// The role may not do this.
    NotAllowed,
    /// No such path.
    NoSuchResource,
    /// No such table.
    NoSuchTable,
    /// No such key.
    NoSuchKey,
    /// The path is there, the method not.
    MethodNotAllowed,
    /// The body came too slowly.
    RequestTimeout,
    /// The table is there with another policy.
    TableExists,
    /// Arithmetic on what is no number, or beyond its bounds.
    NotANumber,
    /// Keys of several partitions in one atomic step.
    CrossPartition,
    /// A condition did not hold.
    ConditionFailed,
    /// A value above its table's limit.
    ValueTooLong,
    /// A body above its limit.
    BodyTooLong,
    /// More operations than a batch may have.
    BatchTooLong,
    /// A path with query above its limit.
    UrlTooLong,
    /// No byte of the value is in the range.
    RangeNotSatisfiable,
    /// Some other bound is reached for now.
    TooMany,
    /// Too many headers, or too long ones.
    HeadersTooLong,
    /// A reply that does not fit the request: our mistake.
    Internal,
    /// Nobody can serve it now; nothing was changed.
    Unavailable,
    /// Fewer copies are in sync than an acknowledged write needs; nothing was changed.
    TooFewCopies,
    /// The copies do not keep up; nothing was changed.
    LogFull,
    /// It may or may not have been applied.
    OutcomeUnknown,
    /// Memory is full.
    MemoryFull,
    /// The disk fails; nothing was changed.
    DiskFailed,
}

impl Kind {
    /// Name, status, title.
    fn describe(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid-request", 400, "the request does not read"),
            Self::UnknownParameter => ("unknown-parameter", 400, "unknown query parameter"),
            Self::UnknownOperation => ("unknown-operation", 400, "unknown operation"),
            Self::ConditionNotSupported => {
                ("condition-not-supported", 400, "this operation takes no such condition")
            }
            Self::KeyEmpty => ("key-empty", 400, "the key is empty"),
            Self::KeyTooLong => ("key-too-long", 400, "the key is too long"),
            Self::InvalidTtl => ("invalid-ttl", 400, "no valid time to live"),
            Self::InvalidCursor => ("invalid-cursor", 400, "no cursor of this table"),
            Self::InvalidTableName => ("invalid-table-name", 400, "no valid table name"),
            Self::InvalidJson => ("invalid-json", 400, "not the JSON that is wanted"),
            Self::UnexpectedBody => ("unexpected-body", 400, "no body is expected here"),
            Self::BrokenBody => ("broken-body", 400, "the body is incomplete or framed badly"),
            Self::KeyNull => ("key-null", 403, "key cannot be null"),
            Self::ForeignOrigin => ("foreign-origin", 403, "pages of other sites may not do this"),
            Self::ForeignHost => ("foreign-host", 421, "this host name is not served here"),
            Self::NotAllowed => ("not-allowed", 403, "not allowed"),
            Self::NoSuchResource => ("no-such-resource", 404, "there is nothing at this path"),
            Self::NoSuchTable => ("no-such-table", 404, "there is no such table"),
            Self::NoSuchKey => ("no-such-key", 404, "there is no such key"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "not with this method"),
            Self::RequestTimeout => ("request-timeout", 408, "the body came too slowly"),
            Self::TableExists => ("table-exists", 409, "the table exists with another policy"),
            Self::NotANumber => ("not-a-number", 409, "the value is no number that allows this"),
            Self::CrossPartition => ("cross-partition", 409, "the keys are in several partitions"),
            Self::ConditionFailed => ("condition-failed", 412, "the condition does not hold"),
            Self::ValueTooLong => ("value-too-long", 413, "the value is too long for its table"),
            Self::BodyTooLong => ("body-too-long", 413, "the body is too long"),
            Self::BatchTooLong => ("batch-too-long", 413, "too many operations in one batch"),
            Self::UrlTooLong => ("url-too-long", 414, "the URL is too long"),
            Self::RangeNotSatisfiable => ("range-not-satisfiable", 416, "no byte is in the range"),
            Self::TooMany => ("too-many", 429, "a bound is reached for now"),
            Self::HeadersTooLong => {
                ("headers-too-long", 431, "the headers are too many or too long")
            }
            Self::Internal => ("internal", 500, "a reply did not fit its request"),
            Self::Unavailable => ("unavailable", 503, "nobody can serve this now"),
            Self::TooFewCopies => ("too-few-copies", 503, "too few copies are in sync"),
            Self::LogFull => ("log-full", 503, "the copies do not keep up"),
            Self::OutcomeUnknown => ("outcome-unknown", 504, "it may or may not have been applied"),
            Self::MemoryFull => ("memory-full", 507, "memory is full"),
            Self::DiskFailed => ("disk-failed", 507, "the disk takes nothing"),
        }
    }

    /// Its status.
    pub(super) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.describe().1).expect("every status above is one")
    }

    fn retry_after_ms(self) -> Option<u64> {
        let is_for_now =
            matches!(self, Self::TooMany | Self::Unavailable | Self::TooFewCopies | Self::LogFull);
        is_for_now.then_some(RETRY_AFTER_MS)
    }
}

/// A refused request: its kind, and what was wrong in this one.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    detail: Cow<'static, str>,
    table: Option<TableName>,
    key: Option<Vec<u8>>,
    limit: Option<u64>,
    /// The version that is there, where a condition failed; None also where nothing is.
    version: Option<Version>,
    allow: Option<&'static str>,
    /// Bytes of the value, where no range of it could be given.
    length: Option<usize>,
}

impl Problem {
    /// A problem with its detail: lower case, the value that was wrong, what to do.
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            table: None,
            key: None,
            limit: None,
            version: None,
            allow: None,
            length: None,
        }))
    }

    /// A problem that its title says all about.
    pub(super) fn plain(kind: Kind) -> Self {
        Self::new(kind, kind.describe().2)
    }

    /// A reply that does not fit its request.
    pub(super) fn odd_reply() -> Self {
        Self::plain(Kind::Internal)
    }

    /// A condition that did not hold, with the version that is there.
    pub(super) fn condition_failed(version: Option<Version>) -> Self {
        let mut problem = Self::plain(Kind::ConditionFailed);
        problem.0.version = version;
        problem
    }

    /// A method the path does not have, with those it has.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Self::new(Kind::MethodNotAllowed, format!("only {allow} here"));
        problem.0.allow = Some(allow);
        problem
    }

    /// A range outside a value of this many bytes.
    pub(super) fn range_not_satisfiable(length: usize) -> Self {
        let detail = format!("the value has {length} bytes");
        let mut problem = Self::new(Kind::RangeNotSatisfiable, detail);
        problem.0.length = Some(length);
        problem
    }

    /// Names the bound that was passed.
    pub(super) fn limit(mut self, limit: usize) -> Self {
        self.0.limit = Some(limit as u64);
        self
    }

    /// Names the table concerned, where none is named yet; a text that is no table's name is left out.
    pub(super) fn table(mut self, table: &str) -> Self {
        if self.0.table.is_none() {
            self.0.table = TableName::from_registry(table).ok();
        }
        self
    }

    /// Names the key concerned.
    pub(super) fn key(mut self, key: &[u8]) -> Self {
        self.0.key = Some(key.to_vec());
        self
    }

    /// Its kind.
    #[cfg(test)]
    pub(super) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The one mapping from what the store says.
    pub(super) fn from_failure(failure: &Failure<'_>) -> Self {
        let kind = match failure {
            Failure::KeyEmpty => Kind::KeyEmpty,
            Failure::KeyTooLong { .. } => Kind::KeyTooLong,
            Failure::ValueTooLong { .. } => Kind::ValueTooLong,
            Failure::TooMuch(_) => Kind::TooMany,
            Failure::NotInteger | Failure::NotFloat | Failure::Overflow | Failure::NotFinite => {
                Kind::NotANumber
            }
            Failure::NoSuchTable => Kind::NoSuchTable,
            Failure::CrossPartition => Kind::CrossPartition,
            Failure::Moved(_)
            | Failure::NotHereYet(_)
            | Failure::Unavailable(_)
            | Failure::NoUplink(_) => Kind::Unavailable,
            Failure::TooFewCopies { .. } => Kind::TooFewCopies,
            Failure::LogFull(_) => Kind::LogFull,
            Failure::Unknown => Kind::OutcomeUnknown,
            Failure::MemoryFull { .. } => Kind::MemoryFull,
            Failure::DiskFailed(_) => Kind::DiskFailed,
            Failure::Denied(_) => Kind::NotAllowed,
            Failure::Invalid(_) => Kind::InvalidRequest,
            Failure::TableExists => Kind::TableExists,
        };
        let mut problem = Self::new(kind, failure.to_string());
        match failure {
            Failure::KeyTooLong { limit } | Failure::ValueTooLong { limit } => {
                problem.0.limit = Some(*limit);
            }
            Failure::MemoryFull { table } => {
                problem.0.table = TableName::from_registry(table).ok();
            }
            _ => {}
        }
        problem
    }

    /// Its JSON object.
    pub(super) fn body(&self) -> Body<'_> {
        let parts = &*self.0;
        let (name, status, title) = parts.kind.describe();
        Body {
            problem: registry::Problem {
                kind: format!("urn:firn:problem:{name}"),
                title: title.to_owned(),
                status,
                detail: parts.detail.to_string(),
                table: parts.table.clone(),
            },
            key: parts.key.as_deref().map(String::from_utf8_lossy),
            limit: parts.limit,
            etag: parts.version.map(|version| format!("\"{version}\"")),
            retry_after_ms: parts.kind.retry_after_ms(),
        }
    }

    /// The response of a `/v1` request.
    pub(super) fn respond(&self) -> HttpResponse {
        let body = serde_json::to_vec(&self.body()).expect("text and numbers serialise");
        self.respond_with("application/problem+json", body)
    }

    /// The response of a Smache request.
    pub(super) fn respond_as_message(&self) -> HttpResponse {
        let message = serde_json::json!({ "message": self.0.detail });
        self.respond_with("application/json", message.to_string().into_bytes())
    }

    fn respond_with(&self, content_type: &'static str, body: Vec<u8>) -> HttpResponse {
        let mut response = HttpResponse::build(self.0.kind.status());
        response.content_type(content_type);
        if let Some(version) = self.0.version {
            response.insert_header((ETAG, etag::header(version)));
        }
        if let Some(ms) = self.0.kind.retry_after_ms() {
            response.insert_header((RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000))));
        }
        if let Some(allow) = self.0.allow {
            response.insert_header((ALLOW, HeaderValue::from_static(allow)));
        }
        if let Some(length) = self.0.length {
            response.insert_header((CONTENT_RANGE, format!("bytes */{length}")));
        }
        response.body(body)
    }
}

/// A problem's members.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    #[serde(flatten)]
    problem: registry::Problem,
    /// The key concerned; bytes that are no UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    /// The bound that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// The tag of what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// How long to wait before the next try.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_status() {
        let cases = [
            (Failure::KeyTooLong { limit: 4096 }, 400),
            (Failure::ValueTooLong { limit: 7 }, 413),
            (Failure::TooMuch("x".into()), 429),
            (Failure::Overflow, 409),
            (Failure::NoSuchTable, 404),
            (Failure::Unavailable("w2 is down".into()), 503),
            (Failure::NoUplink("refused".into()), 503),
            (Failure::TooFewCopies { partition: Default::default(), in_sync: 1, needed: 2 }, 503),
            (Failure::LogFull(Default::default()), 503),
            (Failure::Unknown, 504),
            (Failure::MemoryFull { table: "t".into() }, 507),
            (Failure::DiskFailed("no space".into()), 507),
            (Failure::Denied("x".into()), 403),
            (Failure::TableExists, 409),
        ];
        for (failure, status) in cases {
            let response = Problem::from_failure(&failure).respond();
            assert_eq!(response.status().as_u16(), status, "{failure}");
            let waits = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(waits, matches!(status, 429 | 503), "{failure}");
        }
    }

    #[test]
    fn a_problem_names_what_was_wrong() {
        let problem = Problem::condition_failed(Some(Version(0x1f))).table("t").key(b"k\n\xff");
        let body = serde_json::to_value(problem.body()).unwrap();
        let want = serde_json::json!({
            "type": "urn:firn:problem:condition-failed",
            "title": "the condition does not hold",
            "status": 412,
            "detail": "the condition does not hold",
            "table": "t",
            "key": "k\n\u{fffd}",
            "etag": "\"1f\"",
        });
        assert_eq!(body, want);
        assert_eq!(problem.respond().headers().get(ETAG).unwrap(), "\"1f\"");
        let full = Problem::from_failure(&Failure::MemoryFull { table: "t".into() });
        assert_eq!(serde_json::to_value(full.body()).unwrap()["table"], "t");
    }
}
