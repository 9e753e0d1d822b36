//! What a refused request is told: RFC 9457 problems.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use firn_wire::ids::TableName;
use firn_wire::registry::Problem;

use super::route::NoRoute;
use crate::owner::NotDone;
use crate::registry::Refusal;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    name: &'static str,
    detail: String,
    table: Option<TableName>,
    allow: Option<&'static str>,
    retry_after_ms: Option<u64>,
}

impl Refused {
    pub(super) fn new(status: u16, name: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, name, detail, table: None, allow: None, retry_after_ms: None }
    }

    /// The request is not what it should be.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad-request", detail)
    }

    /// Names the table concerned.
    pub(super) fn about(self, table: &TableName) -> Self {
        Self { table: Some(table.clone()), ..self }
    }

    /// Whether it is for want of a good signature.
    pub(super) fn is_unsigned(&self) -> bool {
        self.status == 401
    }

    pub(super) fn response(self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).expect("statuses are written in this crate");
        let mut response = HttpResponse::build(status);
        response.content_type("application/problem+json");
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if let Some(after_ms) = self.retry_after_ms {
            response.insert_header((header::RETRY_AFTER, after_ms.div_ceil(1_000).to_string()));
        }
        if self.is_unsigned() {
            response.insert_header((header::WWW_AUTHENTICATE, "Firn-Signature"));
        }
        let problem = Problem {
            kind: format!("urn:firn:problem:{}", self.name),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status,
            detail: self.detail,
            table: self.table,
        };
        response.json(problem)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            retry_after_ms: refusal.retry_after_ms,
            ..Self::new(refusal.kind.status(), refusal.kind.name(), refusal.detail)
        }
    }
}

impl From<NotDone> for Refused {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Refused(refusal) => refusal.into(),
            NotDone::Busy => Self {
                retry_after_ms: Some(1_000),
                ..Self::new(503, "busy", "too many requests wait for the registry; try again")
            },
            NotDone::NotStored { why, maybe } => Self::not_stored(&why, maybe),
            NotDone::Stopped => Self::stopped(),
        }
    }
}

impl Refused {
    pub(super) fn stopped() -> Self {
        let detail = "the uplink stops; look whether the change was made, and try again";
        Self { retry_after_ms: Some(1_000), ..Self::new(503, "stopped", detail) }
    }

    fn not_stored(why: &str, maybe: bool) -> Self {
        let done = match maybe {
            true => "whether this change was made is not known: look once it does",
            false => "this change was not made",
        };
        let detail = format!(
            "the uplink's disk takes no changes: {why}; make room there, or mend it: the uplink goes on by itself; {done}"
        );
        Self { retry_after_ms: Some(1_000), ..Self::new(507, "not-stored", detail) }
    }
}

impl From<NoRoute> for Refused {
    fn from(no_route: NoRoute) -> Self {
        match no_route {
            NoRoute::Path => Self::new(404, "no-such-path", "docs/PROTOCOL.md lists the paths"),
            NoRoute::Method(allow) => Self {
                allow: Some(allow),
                ..Self::new(405, "no-such-method", format!("this path has {allow}"))
            },
            NoRoute::Name(detail) => Self::bad_request(detail),
        }
    }
}
