//! The one gate: every request passes it before anything is done for it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, web::BytesMut};
use firn_wire::registry::SIGNATURE_HEADER;
use firn_wire::secret::Secret;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::problem::Refused;
use super::route::Route;
use super::signature::{Claim, Nonces};
use crate::owner::system_now_ms;

const URL_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// A body has this long, and a second more for each KiB that has come.
const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// What the gate knows.
#[derive(Debug)]
pub(crate) struct Gate {
    secret: Secret,
    nonces: Nonces,
    /// Without a secret and on loopback only: a browser can be made to send requests here under any host name (DNS
    /// rebinding), so only names nobody else can own are taken.
    only_local_hosts: bool,
}

/// A request that has passed.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) route: Route,
    /// The query as sent; empty when there is none.
    pub(super) query: String,
    pub(super) body: BytesMut,
    /// `If-None-Match`, when it is text.
    pub(super) if_none_match: Option<String>,
}

impl Gate {
    pub(crate) fn new(secret: Secret, address: SocketAddr) -> Self {
        let only_local_hosts = !secret.is_set() && address.ip().is_loopback();
        Self { secret, nonces: Nonces::default(), only_local_hosts }
    }

    pub(super) async fn pass(
        &self,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<Passed, Refused> {
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        check_sizes(target, request.headers())?;
        self.check_browser(request)?;
        let path = request.uri().path();
        let now_ms = system_now_ms();
        let needs_signature = self.secret.is_set() && path.starts_with("/v1");
        let claim = match needs_signature {
            true => Some(self.claim(request.headers(), now_ms)?),
            false => None,
        };
        let route = Route::read(request.method().as_str(), path);
        let bytes_max = route.as_ref().map_or(0, Route::body_bytes_max);
        let body = read_body(payload, bytes_max).await?;
        if let Some(claim) = claim {
            let signed = (request.method().as_str(), target, &body[..]);
            claim.check(&self.secret, &self.nonces, now_ms, signed).map_err(unsigned)?;
        }
        let if_none_match = request.headers().get(header::IF_NONE_MATCH);
        Ok(Passed {
            route: route?,
            query: request.uri().query().unwrap_or_default().to_owned(),
            body,
            if_none_match: if_none_match.and_then(|value| value.to_str().ok()).map(str::to_owned),
        })
    }

    fn claim<'a>(&self, headers: &'a HeaderMap, now_ms: u64) -> Result<Claim<'a>, Refused> {
        let header = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
        let header = header.ok_or_else(|| {
            unsigned(format!("this cluster has a secret: sign the request ({SIGNATURE_HEADER})"))
        })?;
        Claim::read(header, now_ms).map_err(unsigned)
    }

    /// No page in a browser has business here.
    fn check_browser(&self, request: &HttpRequest) -> Result<(), Refused> {
        if request.headers().contains_key(header::ORIGIN) {
            return Err(Refused::new(403, "foreign-origin", "requests of web pages are refused"));
        }
        let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
        if self.only_local_hosts && !host.is_none_or(is_local) {
            let detail = "without a cluster secret the host must be localhost or an IP address";
            return Err(Refused::new(403, "foreign-host", detail));
        }
        Ok(())
    }
}

fn unsigned(detail: String) -> Refused {
    Refused::new(401, "bad-signature", detail)
}

/// Whether a Host header names an IP address or this machine.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn check_sizes(target: &str, headers: &HeaderMap) -> Result<(), Refused> {
    if target.len() > URL_BYTES_MAX {
        let detail = format!("the URL has {} bytes, more than {URL_BYTES_MAX}", target.len());
        return Err(Refused::new(414, "long-url", detail));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        let detail =
            format!("more than {HEADERS_MAX} headers, or {HEADERS_BYTES_MAX} bytes of them");
        return Err(Refused::new(431, "many-headers", detail));
    }
    Ok(())
}

/// Reads a body, as long as it comes at a pace.
async fn read_body(mut payload: Payload, bytes_max: usize) -> Result<BytesMut, Refused> {
    let started = Instant::now();
    let mut body = BytesMut::new();
    loop {
        let deadline = started + BODY_PATIENCE + Duration::from_millis(body.len() as u64);
        let slow = |_| Refused::new(408, "slow-body", "the body comes too slowly");
        let Some(chunk) = timeout_at(deadline, payload.next()).await.map_err(slow)? else {
            return Ok(body);
        };
        let chunk = chunk.map_err(|error| Refused::bad_request(error.to_string()))?;
        if body.len() + chunk.len() > bytes_max {
            let detail = format!("the body has more than {bytes_max} bytes");
            return Err(Refused::new(413, "long-body", detail));
        }
        body.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_are_those_nobody_else_can_own() {
        for good in
            ["localhost", "LOCALHOST:4000", "127.0.0.1", "127.0.0.1:4000", "[::1]:4000", "[::1]"]
        {
            assert!(is_local(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "localhost.example.org:4000",
            "127.0.0.1.example.org",
            "localhost:x",
        ] {
            assert!(!is_local(bad.as_bytes()), "{bad}");
        }
    }
}
