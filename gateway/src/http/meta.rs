//! What is kept beside a value for HTTP: when it was written, its freshness, and the headers that come back as given.
//!
//! postcard (frozen: a new field is a new variant of [`Stored`]); an entry written by another door has none.

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use firn_wire::limits::META_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::lifetime::Freshness;
use super::problem::{Kind, Problem};

/// Names of headers that are kept start so.
const PREFIX: &str = "x-meta-";

#[derive(Serialize, Deserialize)]
enum Stored<'a> {
    V1(#[serde(borrow)] Meta<'a>),
}

/// What belongs to a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Meta<'a> {
    /// Unix milliseconds of the write; 0: not known.
    pub(super) written_at_ms: u64,
    /// `max-age` and `stale-while-revalidate` in seconds, if the writer gave them.
    pub(super) freshness: Option<(u64, u64)>,
    /// `Content-Type`.
    #[serde(borrow)]
    pub(super) content_type: Option<&'a [u8]>,
    /// `Content-Encoding`.
    #[serde(borrow)]
    pub(super) content_encoding: Option<&'a [u8]>,
    /// `X-Meta-*`, names in lower case.
    #[serde(borrow)]
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Meta<'a> {
    /// What a PUT's headers say.
    pub(super) fn of(headers: &'a HeaderMap, now_ms: u64, freshness: Option<Freshness>) -> Self {
        let value = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
        let kept = headers.iter().filter(|(name, _)| name.as_str().starts_with(PREFIX));
        Self {
            written_at_ms: now_ms,
            freshness: freshness.map(|fresh| (fresh.max_age_s, fresh.stale_s)),
            content_type: value(&CONTENT_TYPE),
            content_encoding: value(&CONTENT_ENCODING),
            headers: kept.map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        }
    }

    /// Its bytes, within their bound.
    pub(super) fn encode(self) -> Result<Vec<u8>, Problem> {
        let bytes = postcard::to_stdvec(&Stored::V1(self)).expect("metadata has no odd part");
        if bytes.len() > META_BYTES_MAX {
            let detail = "Content-Type, Content-Encoding and X-Meta-* are too long together";
            return Err(Problem::new(Kind::HeadersTooLong, detail).limit(META_BYTES_MAX));
        }
        Ok(bytes)
    }

    /// Reads what [`Self::encode`] wrote; none, or bytes that do not read, are no metadata.
    pub(super) fn decode(bytes: &'a [u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        match postcard::from_bytes(bytes) {
            Ok(Stored::V1(meta)) => meta,
            Err(_) => Self::default(),
        }
    }

    /// The headers that come back as given. A value that could not stand in a header is left out.
    pub(super) fn put_into(&self, headers: &mut HeaderMap) {
        let good = |value: &[u8]| HeaderValue::from_bytes(value).ok();
        if let Some(value) = self.content_encoding.and_then(good) {
            headers.insert(CONTENT_ENCODING, value);
        }
        if let Some(value) = self.content_type.and_then(good) {
            headers.insert(CONTENT_TYPE, value);
        }
        for (name, value) in &self.headers {
            let kept =
                name.starts_with(PREFIX).then(|| HeaderName::from_bytes(name.as_bytes()).ok());
            if let (Some(Some(name)), Some(value)) = (kept, good(value)) {
                headers.append(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_given() {
        let mut headers = HeaderMap::new();
        let lines = [
            ("content-type", &b"text/plain; charset=x"[..]),
            ("content-encoding", b"gzip"),
            ("x-meta-owner", b"caf\xe9"),
            ("x-meta-owner", b"second"),
        ];
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        headers.insert(HeaderName::from_static("authorization"), HeaderValue::from_static("s"));
        let fresh = Freshness { max_age_s: 3, stale_s: 4 };
        let bytes = Meta::of(&headers, 17, Some(fresh)).encode().unwrap();
        let meta = Meta::decode(&bytes);
        assert_eq!((meta.written_at_ms, meta.freshness), (17, Some((3, 4))));
        let mut back = HeaderMap::new();
        meta.put_into(&mut back);
        assert_eq!(back.len(), lines.len());
        assert!(back.get_all("x-meta-owner").eq(headers.get_all("x-meta-owner")));
    }

    /// CVE-2025-67733: bytes of the store must not end a header line, whoever wrote them.
    #[test]
    fn stored_line_ends_never_reach_a_header() {
        let meta = Meta {
            content_type: Some(b"a\r\nSet-Cookie: b"),
            headers: vec![("x-meta-a", b"\0"), ("set-cookie", b"c"), ("x-meta-b c", b"d")],
            ..Meta::default()
        };
        let bytes = meta.encode().unwrap();
        let mut back = HeaderMap::new();
        Meta::decode(&bytes).put_into(&mut back);
        assert!(back.is_empty(), "{back:?}");
    }

    #[test]
    fn bytes_that_do_not_read_are_no_metadata() {
        let bytes = Meta { written_at_ms: 5, ..Meta::default() }.encode().unwrap();
        for end in 0..bytes.len() {
            assert_eq!(Meta::decode(&bytes[..end]), Meta::default(), "cut at {end}");
        }
        assert_eq!(Meta::decode(b"\xff\xff"), Meta::default());
        let long = [b'a'; META_BYTES_MAX];
        assert!(Meta { content_type: Some(&long), ..Meta::default() }.encode().is_err());
    }
}
