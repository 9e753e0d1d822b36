//! Requests to the uplink: JSON over HTTP (docs/PROTOCOL.md, "Uplink"). A worker's http door answers for the map and the
//! tables in the same form, so that a program that knows only workers needs no uplink address.

mod operate;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use firn_wire::ids::{MapVersion, TableName, WorkerName};
use firn_wire::map::TablePolicy;
use firn_wire::registry::{
    Beaten, Heartbeat, KnownMap, MapDelta, MapTaken, Problem, Proposal, Register, Registered,
    SIGNATURE_HEADER, Signed, TableMade, Verdict,
};
use firn_wire::secret::Secret;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long a connection may take to come about, and with it an answer from an address that is gone.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take beyond what was asked to be waited for.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a whole map may take to be sent and taken down.
const TELL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer read, in bytes: the whole map of the largest cluster of one group, many times over.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The most addresses a list may have.
pub const URLS_MAX: usize = 64;

/// What became of a request, by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UplinkError {
    /// No address answered as an uplink does: try again later.
    #[error("{0}")]
    NoAnswer(String),
    /// What was named is not there.
    #[error("{}", .0.detail)]
    Absent(Problem),
    /// What is there is in the way: another policy, a name in use, another cluster.
    #[error("{}", .0.detail)]
    Conflict(Problem),
    /// The secret is missing or wrong.
    #[error("{}", .0.detail)]
    Denied(Problem),
    /// The request is wrong in itself.
    #[error("{}", .0.detail)]
    Refused(Problem),
}

/// Why proposals have no verdicts, by what is known of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// They reached no socket: nothing will come of them.
    #[error("{0}")]
    NotSent(String),
    /// They were sent and not answered: they may have been applied, or may be yet.
    #[error("{0}")]
    Unknown(String),
    /// The uplink refuses them as a whole: none was applied.
    #[error("{0}")]
    Refused(UplinkError),
}

/// Why there is no answer.
struct Failed {
    why: String,
    /// Whether some of the request may have reached an uplink.
    sent: bool,
}

/// A list of addresses that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrls {
    /// One does not read, or is not plain HTTP.
    #[error("{0:?} is not an http:// URL of an uplink or a worker: {1}")]
    Url(String, String),
    /// None, or too many.
    #[error("{0} URLs are given; 1 to {URLS_MAX} are possible")]
    Count(usize),
}

/// The uplink, at one or more addresses that are tried in turn. Names are looked up anew for each connection.
#[derive(Debug)]
pub struct Uplink {
    urls: Vec<reqwest::Url>,
    secret: Secret,
    http: reqwest::Client,
    /// The place in `urls` that answered last.
    last_good: AtomicUsize,
    /// When that was; None: never.
    heard: Mutex<Option<Instant>>,
}

impl Uplink {
    /// Addresses as a user gives them: `http://host:port`, several with commas. Nothing is connected yet.
    pub fn new(urls: &str, secret: Secret) -> Result<Self, BadUrls> {
        let given = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        let urls = given.map(read_url).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() || urls.len() > URLS_MAX {
            return Err(BadUrls::Count(urls.len()));
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .expect("a client without TLS needs nothing from the system");
        Ok(Self { urls, secret, http, last_good: AtomicUsize::new(0), heard: Mutex::default() })
    }

    /// How long ago one of the addresses last answered; None: never.
    pub fn heard(&self) -> Option<Duration> {
        self.heard.lock().expect("no holder panics").map(|at| at.elapsed())
    }

    /// A worker's start.
    pub async fn register(&self, worker: &Register) -> Result<Registered, UplinkError> {
        self.with_body(Method::POST, "/v1/workers", worker).await
    }

    /// The last map a worker has seen, for an uplink that has lost its own.
    pub async fn tell(
        &self,
        worker: &WorkerName,
        known: &KnownMap,
    ) -> Result<MapTaken, UplinkError> {
        let body = serde_json::to_vec(known).expect("our own types are JSON");
        let target = format!("/v1/workers/{worker}/map");
        self.ask(Method::POST, &target, Some(body), TELL_TIMEOUT).await?.read()
    }

    /// A worker lives, or says goodbye.
    pub async fn heartbeat(
        &self,
        worker: &WorkerName,
        beat: &Heartbeat,
    ) -> Result<Beaten, UplinkError> {
        self.with_body(Method::POST, &format!("/v1/workers/{worker}/heartbeat"), beat).await
    }

    /// What changed after a version; waits for a change up to `wait`. None: nothing did.
    pub async fn map(
        &self,
        after: MapVersion,
        wait: Duration,
    ) -> Result<Option<MapDelta>, UplinkError> {
        let target = format!("/v1/map?after={after}&wait={}ms", wait.as_millis());
        let answer = self.ask(Method::GET, &target, None, ANSWER_TIMEOUT + wait).await?;
        if matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(None);
        }
        let delta: MapDelta = answer.read()?;
        Ok((delta.version > after).then_some(delta))
    }

    /// Changes of partitions; one verdict each, in order.
    pub async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Verdict>, ProposeError> {
        let body = serde_json::to_vec(proposals).expect("our own types are JSON");
        let asked = self.first_answer(Method::POST, "/v1/map/changes", Some(body), ANSWER_TIMEOUT);
        let answer = asked.await.map_err(|failed| match failed.sent {
            true => ProposeError::Unknown(failed.why),
            false => ProposeError::NotSent(failed.why),
        })?;
        let answer = answer.or_problem().map_err(ProposeError::Refused)?;
        answer.read().map_err(|error| ProposeError::Unknown(error.to_string()))
    }

    /// Makes a table where there is none. `first_byte` is that of the name as its user wrote it.
    pub async fn put_table(
        &self,
        name: &TableName,
        first_byte: u8,
        policy: &TablePolicy,
    ) -> Result<TableMade, UplinkError> {
        let target = format!("/v1/tables/{name}?first_byte={first_byte}");
        self.with_body(Method::PUT, &target, policy).await
    }

    /// Changes a table's policy by a JSON merge patch (RFC 7396).
    pub async fn patch_table(
        &self,
        name: &TableName,
        patch: &str,
    ) -> Result<TableMade, UplinkError> {
        let body = patch.as_bytes().to_vec();
        let target = format!("/v1/tables/{name}");
        self.ask(Method::PATCH, &target, Some(body), ANSWER_TIMEOUT).await?.read()
    }

    /// Removes a table; false when there was none.
    pub async fn delete_table(&self, name: &TableName) -> Result<bool, UplinkError> {
        let target = format!("/v1/tables/{name}");
        match self.ask(Method::DELETE, &target, None, ANSWER_TIMEOUT).await {
            Ok(_) => Ok(true),
            Err(UplinkError::Absent(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn with_body<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, UplinkError> {
        let body = serde_json::to_vec(body).expect("our own types are JSON");
        self.ask(method, target, Some(body), ANSWER_TIMEOUT).await?.read()
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Answer, UplinkError> {
        let answer = self.first_answer(method, target, body, timeout).await;
        answer.map_err(|failed| UplinkError::NoAnswer(failed.why))?.or_problem()
    }

    /// Tries the addresses in turn, from the one that answered last.
    async fn first_answer(
        &self,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Answer, Failed> {
        let first = self.last_good.load(Ordering::Relaxed);
        let mut all = Failed { why: String::new(), sent: false };
        for at in (0..self.urls.len()).map(|n| (first + n) % self.urls.len()) {
            match self.ask_one(&self.urls[at], &method, target, body.clone(), timeout).await {
                Err(Failed { why, sent }) => {
                    let separator = if all.why.is_empty() { "" } else { "; " };
                    write!(all.why, "{separator}{}: {why}", self.urls[at])
                        .expect("a string takes all");
                    all.sent |= sent;
                }
                Ok(answer) => {
                    self.last_good.store(at, Ordering::Relaxed);
                    *self.heard.lock().expect("no holder panics") = Some(Instant::now());
                    return Ok(answer);
                }
            }
        }
        Err(all)
    }

    /// An error here is of the address, not of the request.
    async fn ask_one(
        &self,
        url: &reqwest::Url,
        method: &Method,
        target: &str,
        body: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Answer, Failed> {
        let unsent = |why: String| Failed { why, sent: false };
        let sent = |why: String| Failed { why, sent: true };
        let full = url.join(target).map_err(|error| unsent(error.to_string()))?;
        let mut request = self.http.request(method.clone(), full).timeout(timeout);
        if self.secret.is_set() {
            let body = body.as_deref().unwrap_or_default();
            let signature = sign(&self.secret, method.as_str(), target, body).map_err(unsent)?;
            request = request.header(SIGNATURE_HEADER, signature);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        // Without a connection nothing was written.
        let failed =
            |error: reqwest::Error| Failed { why: root_cause(&error), sent: !error.is_connect() };
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(sent(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_server_error() || status.is_redirection() && status != 304 {
            return Err(sent(format!("answers {status}{}", detail(&bytes))));
        }
        Ok(Answer { status, bytes })
    }
}

/// What a problem says, behind its status.
fn detail(bytes: &[u8]) -> String {
    let problem = serde_json::from_slice(bytes).map(|problem: Problem| problem.detail);
    problem.map(|detail| format!(": {detail}")).unwrap_or_default()
}

fn read_url(text: &str) -> Result<reqwest::Url, BadUrls> {
    let bad = |why: String| BadUrls::Url(text.to_owned(), why);
    let url = reqwest::Url::parse(text).map_err(|error| bad(error.to_string()))?;
    if url.scheme() != "http" || url.host().is_none() {
        return Err(bad("only http:// with a host is possible".to_owned()));
    }
    Ok(url)
}

fn sign(secret: &Secret, method: &str, target: &str, body: &[u8]) -> Result<String, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| format!("no random bytes: {error}"))?;
    let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Ok(Signed { time_ms, nonce: &nonce, method, target, body }.header(secret))
}

/// The innermost reason, which is what a person can do something about ("connection refused").
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

struct Answer {
    status: StatusCode,
    bytes: Vec<u8>,
}

impl Answer {
    fn or_problem(self) -> Result<Self, UplinkError> {
        if !self.status.is_client_error() {
            return Ok(self);
        }
        let problem = serde_json::from_slice(&self.bytes).unwrap_or_else(|_| Problem {
            title: self.status.to_string(),
            status: self.status.as_u16(),
            detail: format!("the uplink answers {}", self.status),
            ..Problem::default()
        });
        Err(match self.status {
            StatusCode::NOT_FOUND => UplinkError::Absent(problem),
            StatusCode::CONFLICT => UplinkError::Conflict(problem),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => UplinkError::Denied(problem),
            _ => UplinkError::Refused(problem),
        })
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, UplinkError> {
        let unread = |error| UplinkError::NoAnswer(format!("the answer does not read: {error}"));
        serde_json::from_slice(&self.bytes).map_err(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each connection in turn with one of `answers`, and gives what was asked.
    async fn stub(answers: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
                    assert!(socket.read_buf(&mut bytes).await.unwrap() > 0);
                }
                asked.push(String::from_utf8(bytes).unwrap());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (url, task)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn the_next_address_is_tried_and_the_good_one_kept() {
        let body = serde_json::to_string(&fixture::delta(&fixture::map(2, 4))).unwrap();
        let (good, asked) =
            stub(vec![answer("200 OK", &body), answer("304 Not Modified", "")]).await;
        let (broken, _task) = stub(vec![answer("503 Service Unavailable", "")]).await;
        let secret: Secret = "0123456789abcdef".parse().unwrap();
        let uplink = Uplink::new(&format!("{broken}, {good}"), secret.clone()).unwrap();
        let delta = uplink.map(MapVersion::default(), Duration::ZERO).await.unwrap().unwrap();
        assert!(delta.full);
        assert_eq!(uplink.map(delta.version, Duration::ZERO).await, Ok(None));
        let asked = asked.await.unwrap();
        assert!(asked[1].starts_with("GET /v1/map?after=1.1&wait=0ms HTTP/1.1\r\n"));
        assert!(uplink.heard().is_some());
        let header = asked[1].lines().find_map(|line| line.strip_prefix("firn-signature: "));
        let header = header.expect("a signature");
        let (time, rest) = header.split_once(' ').unwrap();
        let signed = Signed {
            time_ms: time.parse().unwrap(),
            nonce: rest.split_once(' ').unwrap().0,
            method: "GET",
            target: "/v1/map?after=1.1&wait=0ms",
            body: b"",
        };
        assert!(signed.check(&secret, header));
    }

    #[tokio::test]
    async fn errors_say_what_to_do_next() {
        let problem = r#"{"type":"urn:firn:problem:x","title":"t","status":409,"detail":"taken"}"#;
        let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n";
        let (url, _task) = stub(vec![
            answer("409 Conflict", problem),
            answer("404 Not Found", "what?"),
            answer("200 OK", "{"),
            elsewhere.to_owned(),
            answer("507 Insufficient Storage", &problem.replace("taken", "full")),
        ])
        .await;
        let uplink = Uplink::new(&url, Secret::default()).unwrap();
        let beat = Heartbeat { incarnation: Default::default(), goodbye: false, leaving: false };
        let name: WorkerName = "w1".parse().unwrap();
        let error = uplink.heartbeat(&name, &beat).await.unwrap_err();
        assert!(matches!(&error, UplinkError::Conflict(p) if p.detail == "taken"), "{error:?}");
        assert_eq!(uplink.delete_table(&"t".parse().unwrap()).await, Ok(false));
        for what in ["a broken answer", "a redirect", "an uplink's trouble", "a closed port"] {
            let error = uplink.heartbeat(&name, &beat).await.unwrap_err();
            assert!(matches!(error, UplinkError::NoAnswer(_)), "{what}: {error:?}");
            let says = error.to_string().contains("507 Insufficient Storage: full");
            assert_eq!(says, what == "an uplink's trouble", "{error}");
        }
    }

    #[tokio::test]
    async fn proposals_that_reached_nobody_are_known_not_to_count() {
        let (url, task) = stub(vec![
            answer("200 OK", "[]"),
            answer("503 Service Unavailable", ""),
            answer("200 OK", "[{"),
            answer("400 Bad Request", "no"),
        ])
        .await;
        let uplink = Uplink::new(&url, Secret::default()).unwrap();
        assert_eq!(uplink.propose(&[]).await, Ok(Vec::new()));
        for what in ["an error of the server", "a broken answer"] {
            let error = uplink.propose(&[]).await.unwrap_err();
            assert!(matches!(error, ProposeError::Unknown(_)), "{what}: {error:?}");
        }
        assert!(matches!(uplink.propose(&[]).await, Err(ProposeError::Refused(_))));
        task.await.unwrap(); // and with it the port is closed
        assert!(matches!(uplink.propose(&[]).await, Err(ProposeError::NotSent(_))));
    }

    #[test]
    fn lists_of_addresses_are_checked() {
        for bad in ["", ",", "https://a:1", "a:1", "http://", "ftp://a"] {
            assert!(Uplink::new(bad, Secret::default()).is_err(), "{bad:?}");
        }
        assert!(Uplink::new("http://a:1,http://b:2/", Secret::default()).is_ok());
    }
}
