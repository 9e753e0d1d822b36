//! What is checked of every request before anything else: sizes, and the rules that keep other sites' pages out of a
//! browser's reach (CVE-2018-1098, CVE-2018-1099).

use std::net::{IpAddr, Ipv6Addr};

use actix_web::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use actix_web::http::{Method, Uri};
use firn_wire::map::MapIndex;

use super::limits::{HEADER_BYTES_MAX, HEADERS_MAX, URL_BYTES_MAX};
use super::problem::{Kind, Problem};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a head that is too long.
pub(super) fn check_sizes(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let url = uri.path_and_query().map_or(0, |both| both.as_str().len());
    if url > URL_BYTES_MAX {
        let detail = format!("the URL has {url} bytes, more than {URL_BYTES_MAX}");
        return Err(Problem::new(Kind::UrlTooLong, detail).limit(URL_BYTES_MAX));
    }
    let (mut lines, mut bytes) = (0, 0);
    for (name, value) in headers {
        lines += 1;
        bytes += name.as_str().len() + value.len();
    }
    if lines > HEADERS_MAX {
        let detail = format!("{lines} headers are more than {HEADERS_MAX}");
        return Err(Problem::new(Kind::HeadersTooLong, detail).limit(HEADERS_MAX));
    }
    if bytes > HEADER_BYTES_MAX {
        let detail = format!("{bytes} bytes of headers are more than {HEADER_BYTES_MAX}");
        return Err(Problem::new(Kind::HeadersTooLong, detail).limit(HEADER_BYTES_MAX));
    }
    Ok(())
}

/// Refuses a host name that is not ours (another site's name that was made to resolve to us), and changes asked by a
/// page of another origin.
pub(super) fn check_browser(
    method: &Method,
    headers: &HeaderMap,
    map: impl FnOnce() -> std::sync::Arc<MapIndex>,
) -> Result<(), Problem> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    if let Some(host) = host
        && !(is_plain_host(host) || is_advertised(&map(), host))
    {
        return Err(Problem::new(
            Kind::ForeignHost,
            "the Host header is no address, localhost or advertised name; use one, or --advertise",
        ));
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let foreign_origin = headers.get(ORIGIN).is_some_and(|origin| !is_same(origin, host));
    let foreign_site = headers
        .get(SEC_FETCH_SITE)
        .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    if foreign_origin || foreign_site {
        return Err(Problem::plain(Kind::ForeignOrigin));
    }
    Ok(())
}

fn is_same(origin: &HeaderValue, host: Option<&[u8]>) -> bool {
    let authority = origin.as_bytes().strip_prefix(b"http://");
    authority.is_some() && authority == host
}

/// The host without its port.
fn without_port(host: &[u8]) -> &[u8] {
    let port = host.iter().rposition(|b| *b == b':');
    match port {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    }
}

/// An address, `localhost`, or a name without dots: no public site has such a name.
fn is_plain_host(host: &[u8]) -> bool {
    let name = without_port(host);
    if let Some(inside) = name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        return std::str::from_utf8(inside).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    let label = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let address = || std::str::from_utf8(name).is_ok_and(|text| text.parse::<IpAddr>().is_ok());
    !name.is_empty() && (name.iter().all(label) || address())
}

/// A name under which some worker says its listeners can be reached.
fn is_advertised(map: &MapIndex, host: &[u8]) -> bool {
    let name = without_port(host);
    let mut addresses = map.workers.iter().flat_map(|worker| worker.addresses.values());
    addresses.any(|address| without_port(address.as_bytes()).eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fake;

    fn check(method: &Method, lines: &[(HeaderName, &'static str)]) -> Option<Kind> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        check_browser(method, &headers, || fake::map().into()).err().map(|problem| problem.kind())
    }

    #[test]
    fn hosts_that_could_be_another_sites_are_refused() {
        let good = [
            "localhost",
            "localhost:1234",
            "127.0.0.1:80",
            "[::1]:80",
            "[::1]",
            "worker-1:4000",
            "kv.example.org:9",
        ];
        for host in good {
            assert_eq!(check(&Method::GET, &[(HOST, host)]), None, "{host}");
        }
        for host in
            ["evil.example", "evil.example:4001", "", ":80", "a b", "127.0.0.1.evil.example"]
        {
            assert_eq!(check(&Method::GET, &[(HOST, host)]), Some(Kind::ForeignHost), "{host}");
        }
        assert_eq!(check(&Method::GET, &[]), None);
    }

    #[test]
    fn changes_by_pages_of_other_origins_are_refused() {
        let put = |origin| check(&Method::PUT, &[(HOST, "localhost:1"), (ORIGIN, origin)]);
        assert_eq!(put("http://localhost:1"), None);
        for origin in ["http://localhost:2", "https://localhost:1", "null", "http://evil.example"] {
            assert_eq!(put(origin), Some(Kind::ForeignOrigin), "{origin}");
        }
        let site = |method: Method, site| check(&method, &[(SEC_FETCH_SITE, site)]);
        assert_eq!(site(Method::POST, "cross-site"), Some(Kind::ForeignOrigin));
        assert_eq!(site(Method::POST, "same-origin"), None);
        assert_eq!(site(Method::GET, "cross-site"), None);
    }

    #[test]
    fn heads_above_the_bounds_are_refused() {
        let kind = |uri: String, headers: &HeaderMap| {
            check_sizes(&uri.parse().unwrap(), headers).err().map(|problem| problem.kind())
        };
        let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
        let mut headers = HeaderMap::new();
        assert_eq!(kind(path(URL_BYTES_MAX), &headers), None);
        assert_eq!(kind(path(URL_BYTES_MAX + 1), &headers), Some(Kind::UrlTooLong));
        let name = HeaderName::from_static("x-a");
        for _ in 0..HEADERS_MAX {
            headers.append(name.clone(), HeaderValue::from_static("1"));
        }
        assert_eq!(kind(path(1), &headers), None);
        headers.append(name.clone(), HeaderValue::from_static("1"));
        assert_eq!(kind(path(1), &headers), Some(Kind::HeadersTooLong));
        headers.clear();
        headers.insert(name, "a".repeat(HEADER_BYTES_MAX - 3).parse().unwrap());
        assert_eq!(kind(path(1), &headers), None);
        headers.insert(HOST, HeaderValue::from_static("h"));
        assert_eq!(kind(path(1), &headers), Some(Kind::HeadersTooLong));
    }
}
