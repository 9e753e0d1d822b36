//! Requests and answers of the two protocols `firn bench` speaks, as bytes.

use bytes::BufMut as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::load::Action;

/// The longest head of an HTTP answer we read, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What came back for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Written, or read and there.
    Done,
    /// Read and not there.
    Missing,
    /// Not done; the words of the server.
    Refused(String),
}

/// One of the protocols, with what does not change from request to request.
#[derive(Debug, Clone)]
pub(crate) enum Speech {
    /// `/v1/kv/{table}/…` over HTTP/1.1, pipelined.
    Http {
        /// `/v1/kv/{table}/`.
        path: String,
        /// The `Host` header.
        host: String,
    },
    /// GET and SET of the Redis protocol.
    Resp,
}

impl Speech {
    /// HTTP to a host, for a table.
    pub(crate) fn http(host: &str, table: &str) -> Self {
        let path = format!("/v1/kv/{}/", utf8_percent_encode(table, NON_ALPHANUMERIC));
        Self::Http { path, host: host.to_owned() }
    }

    /// Appends a request.
    pub(crate) fn request(&self, action: Action, value: &[u8], out: &mut Vec<u8>) {
        match (self, action) {
            (Self::Http { path, host }, Action::Get(key)) => {
                put_str(out, &format!("GET {path}key:{key} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            }
            (Self::Http { path, host }, Action::Put(key)) => {
                let length = value.len();
                put_str(
                    out,
                    &format!(
                        "PUT {path}key:{key} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
                    ),
                );
                out.put_slice(value);
            }
            (Self::Resp, Action::Get(key)) => {
                let key = format!("key:{key}");
                put_str(out, &format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()));
            }
            (Self::Resp, Action::Put(key)) => {
                let key = format!("key:{key}");
                let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n", key.len());
                put_str(out, &format!("{head}${}\r\n", value.len()));
                out.put_slice(value);
                put_str(out, "\r\n");
            }
        }
    }

    /// Reads the first answer of `input`: its length and what it says; None when it is not all there. An error is no
    /// answer of this protocol, and the connection of no more use.
    pub(crate) fn answer(&self, input: &[u8]) -> Result<Option<(usize, Answer)>, String> {
        match self {
            Self::Http { .. } => http_answer(input),
            Self::Resp => resp_answer(input),
        }
    }
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    out.put_slice(text.as_bytes());
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).escape_debug().to_string()
}

fn position(input: &[u8], wanted: &[u8]) -> Option<usize> {
    input.windows(wanted.len()).position(|window| window == wanted)
}

fn resp_answer(input: &[u8]) -> Result<Option<(usize, Answer)>, String> {
    let Some(end) = position(input, b"\r\n") else { return Ok(None) };
    let (line, after) = (&input[..end], end + 2);
    match line.first() {
        Some(b'+') => Ok(Some((after, Answer::Done))),
        Some(b'-') => Ok(Some((after, Answer::Refused(shown(&line[1..]))))),
        Some(b'_') => Ok(Some((after, Answer::Missing))),
        Some(b'$') if &line[1..] == b"-1" => Ok(Some((after, Answer::Missing))),
        Some(b'$') => {
            let length = decimal(&line[1..]).ok_or_else(|| no_answer("Redis protocol", input))?;
            Ok(after
                .checked_add(length)
                .and_then(|end| end.checked_add(2))
                .filter(|end| *end <= input.len())
                .map(|end| (end, Answer::Done)))
        }
        _ => Err(no_answer("Redis protocol", input)),
    }
}

fn http_answer(input: &[u8]) -> Result<Option<(usize, Answer)>, String> {
    let Some(head_end) = position(input, b"\r\n\r\n") else {
        return if input.len() > HEAD_BYTES_MAX { Err(no_answer("HTTP", input)) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&input[..head_end]).map_err(|_| no_answer("HTTP", input))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status: u16 = status
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| no_answer("HTTP", input))?;
    let length = match status {
        204 | 304 => 0,
        _ => content_length(lines).ok_or_else(|| no_answer("HTTP", input))?,
    };
    let body = head_end + 4;
    let Some(end) = body.checked_add(length).filter(|end| *end <= input.len()) else {
        return Ok(None);
    };
    let answer = match status {
        200 | 201 | 204 => Answer::Done,
        404 => Answer::Missing,
        _ => Answer::Refused(format!("{status} {}", shown(&input[body..end]))),
    };
    Ok(Some((end, answer)))
}

fn content_length<'a>(mut headers: impl Iterator<Item = &'a str>) -> Option<usize> {
    headers.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| decimal(value.trim().as_bytes()))?
    })
}

fn decimal(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn no_answer(protocol: &str, input: &[u8]) -> String {
    format!("what came back is not {protocol}: \"{}\"", shown(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(speech: &Speech, action: Action) -> String {
        let mut out = Vec::new();
        speech.request(action, b"12345", &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What `answer` says, after checking that no shorter input says anything.
    fn answer(speech: &Speech, input: &[u8]) -> Answer {
        for end in 0..input.len() {
            assert_eq!(speech.answer(&input[..end]), Ok(None), "cut at {end}");
        }
        let more = [input, b"next"].concat();
        let (taken, answer) = speech.answer(&more).unwrap().unwrap();
        assert_eq!(taken, input.len());
        answer
    }

    #[test]
    fn requests_are_what_the_protocols_say() {
        let http = Speech::http("h:1", "default");
        assert_eq!(
            request(&http, Action::Put(7)),
            "PUT /v1/kv/default/key:7 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 5\r\n\r\n12345"
        );
        assert_eq!(
            request(&http, Action::Get(7)),
            "GET /v1/kv/default/key:7 HTTP/1.1\r\nHost: h:1\r\n\r\n"
        );
        assert_eq!(
            request(&Speech::Resp, Action::Put(7)),
            "*3\r\n$3\r\nSET\r\n$5\r\nkey:7\r\n$5\r\n12345\r\n"
        );
        assert_eq!(request(&Speech::Resp, Action::Get(70)), "*2\r\n$3\r\nGET\r\n$6\r\nkey:70\r\n");
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let resp = Speech::Resp;
        assert_eq!(answer(&resp, b"+OK\r\n"), Answer::Done);
        assert_eq!(answer(&resp, b"$5\r\na\r\nbc\r\n"), Answer::Done);
        assert_eq!(answer(&resp, b"$-1\r\n"), Answer::Missing);
        assert_eq!(answer(&resp, b"-ERR no\r\n"), Answer::Refused("ERR no".into()));
        let http = Speech::http("h:1", "t");
        assert_eq!(answer(&http, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"), Answer::Done);
        assert_eq!(answer(&http, b"HTTP/1.1 204 No Content\r\nETag: \"1\"\r\n\r\n"), Answer::Done);
        assert_eq!(
            answer(&http, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            Answer::Missing
        );
        assert_eq!(
            answer(&http, b"HTTP/1.1 507 Full\r\nContent-Length: 4\r\n\r\nfull"),
            Answer::Refused("507 full".into())
        );
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bad in [&b"HTTP/1.1 200 OK\r\n"[..], b"$x\r\n", b"$+1\r\n", b"\r\n"] {
            assert!(Speech::Resp.answer(bad).is_err(), "{}", shown(bad));
        }
        assert_eq!(Speech::Resp.answer(b"$18446744073709551615\r\n"), Ok(None));
        let http = Speech::http("h:1", "t");
        for bad in [
            &b"HTTP/1.0 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            b"+OK\r\n\r\n",
            &[b'x'; HEAD_BYTES_MAX + 1],
        ] {
            assert!(http.answer(bad).is_err(), "{}", shown(bad));
        }
    }
}
