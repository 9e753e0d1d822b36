//! Reading a request's body: within a bound, at a least rate, never trusting its declared length.

use std::task::Poll;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::limits::{BODY_BYTES_PER_SECOND_MIN, BODY_GRACE};
use super::problem::{Kind, Problem};

/// What is allocated at once for a body of several chunks; more only as bytes arrive.
const FIRST_BYTES: usize = 64 * 1024;

/// The longest body that is read away when nobody wants it.
const SKIP_BYTES_MAX: u64 = 64 * 1024;

/// A request's body, not read yet.
pub(super) struct Body {
    payload: Payload,
    /// `Content-Length`; None where the body is chunked.
    declared: Option<u64>,
    left: bool,
}

impl Body {
    /// The body of a request.
    pub(super) fn new(payload: Payload, headers: &HeaderMap) -> Self {
        if matches!(payload, Payload::None) {
            return Self { payload, declared: None, left: false };
        }
        let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let declared = declared.and_then(|text| text.trim().parse().ok());
        Self { payload, declared, left: true }
    }

    /// Whether bytes of it may still come: then the connection cannot be used again.
    pub(super) fn is_left(&self) -> bool {
        self.left
    }

    /// Reads all of it; above `limit` bytes it is refused as `kind`.
    pub(super) async fn read(&mut self, limit: usize, kind: Kind) -> Result<Bytes, Problem> {
        let too_long =
            || Problem::new(kind, format!("the body is longer than {limit} bytes")).limit(limit);
        if self.declared.is_some_and(|declared| declared > limit as u64) {
            return Err(too_long());
        }
        let started = Instant::now();
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        while let Some(chunk) = self.next(started, first.len() + rest.len()).await? {
            if chunk.len() > limit - first.len() - rest.len() {
                return Err(too_long());
            }
            if first.is_empty() && rest.is_empty() {
                first = chunk;
                continue;
            }
            if rest.is_empty() {
                rest.reserve(FIRST_BYTES.max(first.len() + chunk.len()));
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&chunk);
        }
        self.left = false;
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }

    /// Reads a short body away that was refused unread, so that the connection can go on.
    pub(super) async fn skip(&mut self) {
        if self.left && self.declared.is_some_and(|declared| declared <= SKIP_BYTES_MAX) {
            let _ = self.read(usize::MAX, Kind::BodyTooLong).await; // what it leaves says the rest
        }
    }

    /// The next chunk; None at the end.
    async fn next(&mut self, started: Instant, received: usize) -> Result<Option<Bytes>, Problem> {
        if !self.left {
            return Ok(None);
        }
        let chunk = self.poll_next(started, received).await;
        if chunk.is_err() {
            self.declared = None; // not worth another try
        }
        chunk
    }

    /// A timer is set only when no chunk is at hand.
    async fn poll_next(
        &mut self,
        started: Instant,
        received: usize,
    ) -> Result<Option<Bytes>, Problem> {
        let chunk = match futures_util::poll!(self.payload.next()) {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => timeout_at(started + time_for(received), self.payload.next())
                .await
                .map_err(|_| too_slow())?,
        };
        chunk.transpose().map_err(|error| Problem::new(Kind::BrokenBody, error.to_string()))
    }
}

/// How long the next byte may take to come, from the start, after this many.
fn time_for(received: usize) -> Duration {
    BODY_GRACE + Duration::from_millis(received as u64 * 1_000 / BODY_BYTES_PER_SECOND_MIN)
}

fn too_slow() -> Problem {
    Problem::new(
        Kind::RequestTimeout,
        format!("the body came more slowly than {BODY_BYTES_PER_SECOND_MIN} bytes a second"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::error::PayloadError;
    use actix_web::http::header::HeaderValue;
    use futures_util::{Stream, stream};

    type Chunk = Result<Bytes, PayloadError>;

    fn payload(chunks: impl Stream<Item = Chunk> + 'static) -> Payload {
        Payload::Stream { payload: chunks.boxed_local() }
    }

    fn body(chunks: Vec<Chunk>) -> Body {
        Body::new(payload(stream::iter(chunks)), &HeaderMap::new())
    }

    fn chunk(text: &'static str) -> Chunk {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn chunks_become_one_body() {
        let cases = [(vec![], ""), (vec!["abc"], "abc"), (vec!["a", "", "bc", "d"], "abcd")];
        for (chunks, want) in cases {
            let mut body = body(chunks.into_iter().map(chunk).collect());
            assert_eq!(body.read(4, Kind::ValueTooLong).await.unwrap(), want);
            assert!(!body.is_left());
        }
        assert!(!Body::new(Payload::None, &HeaderMap::new()).is_left());
    }

    #[tokio::test]
    async fn more_than_the_limit_is_refused_as_it_comes_and_by_declaration() {
        let mut long = body(vec![chunk("abc"), chunk("de")]);
        let problem = long.read(4, Kind::ValueTooLong).await.unwrap_err();
        assert_eq!(problem.kind(), Kind::ValueTooLong);
        assert!(long.is_left());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("99999999999"));
        let never = payload(stream::pending());
        let problem = Body::new(never, &headers).read(4, Kind::BodyTooLong).await.unwrap_err();
        assert_eq!(problem.kind(), Kind::BodyTooLong);
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_refused() {
        let mut broken = body(vec![chunk("a"), Err(PayloadError::Incomplete(None))]);
        let problem = broken.read(9, Kind::ValueTooLong).await.unwrap_err();
        assert_eq!(problem.kind(), Kind::BrokenBody);
    }

    #[test]
    fn time_grows_with_what_came() {
        assert_eq!(time_for(0), BODY_GRACE);
        assert_eq!(time_for(10 * 1024), BODY_GRACE + Duration::from_secs(10));
    }
}
