//! The uplink over HTTP, within this process: long polls, signatures, the gate, restarts.

#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use firn_client::uplink::{Uplink, UplinkError};
use firn_uplink::settings::Wishes;
use firn_uplink::{Config, Error, Running, start};
use firn_wire::ids::{Epoch, Incarnation, MapVersion};
use firn_wire::map::{Map, TablePolicy};
use firn_wire::registry::{
    Heartbeat, MapDelta, Problem, Proposal, Register, SIGNATURE_HEADER, Signed, Verdict,
};
use firn_wire::secret::Secret;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Less than the longest poll: what is answered within it was not answered because a poll ended.
const AT_ONCE: Duration = Duration::from_secs(15);

fn config() -> Config {
    let settings = Wishes { partitions: Some(8), ..Wishes::default() };
    Config { settings, threads: 2, ..Config::default() }
}

async fn run(config: Config) -> Running {
    start(config, TcpListener::bind("127.0.0.1:0").unwrap()).await.unwrap()
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap()
}

/// A client and where to send to.
struct Curl(Client, SocketAddr);

impl Curl {
    fn new(uplink: &Running) -> Self {
        Self(client(), uplink.address())
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.1)
    }

    fn get(&self, target: &str) -> RequestBuilder {
        self.0.get(self.url(target))
    }

    fn post(&self, target: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.0.post(self.url(target)).body(body)
    }

    fn put(&self, target: &str) -> RequestBuilder {
        self.0.put(self.url(target))
    }

    async fn register(&self, name: &str, run: u64) -> Response {
        let body = serde_json::to_vec(&registration(name, run)).unwrap();
        self.post("/v1/workers", body).send().await.unwrap()
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("firn_uplink_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until so many requests wait for a newer map.
    async fn polls_wait(&self, count: u64) {
        while self.metric("map_polls_waiting").await < count {
            tokio::task::yield_now().await;
        }
    }
}

fn registration(name: &str, run: u64) -> Register {
    Register {
        name: name.parse().unwrap(),
        incarnation: Incarnation(run),
        addresses: [("peer".to_owned(), format!("{name}:1"))].into(),
        shards: 4,
        cluster: None,
    }
}

async fn status_of(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// The problem of a refused request, its status checked.
async fn problem(request: RequestBuilder, status: u16) -> Problem {
    let response = request.send().await.unwrap();
    let (got, kind) = (response.status().as_u16(), response.headers()["content-type"].clone());
    let text = response.text().await.unwrap();
    assert_eq!((got, kind.to_str().unwrap()), (status, "application/problem+json"), "{text}");
    let problem: Problem = serde_json::from_str(&text).unwrap();
    assert_eq!(problem.status, status);
    problem
}

#[tokio::test]
async fn a_change_reaches_everyone_who_waits_at_once() {
    let uplink = run(config()).await;
    let curl = Curl::new(&uplink);
    assert_eq!(curl.get("/v1/map").send().await.unwrap().status(), StatusCode::NO_CONTENT);

    // Before the first map: it comes when the worker does.
    let first = tokio::spawn(curl.get("/v1/map?wait=25s").send());
    curl.polls_wait(1).await;
    assert_eq!(curl.register("w1", 1).await.status(), StatusCode::CREATED);
    let first = timeout(AT_ONCE, first).await.unwrap().unwrap().unwrap();
    assert_eq!(first.headers()["etag"], "\"1.1\"");
    let first: MapDelta = first.json().await.unwrap();
    assert!(first.full && first.partitions.len() == 8);

    let polls: Vec<_> =
        (0..100).map(|_| tokio::spawn(curl.get("/v1/map?after=1.1&wait=25s").send())).collect();
    curl.polls_wait(100).await;
    assert_eq!(curl.put("/v1/tables/colors").send().await.unwrap().status(), StatusCode::CREATED);
    for poll in polls {
        let response = timeout(AT_ONCE, poll).await.unwrap().unwrap().unwrap();
        let delta: MapDelta = response.json().await.unwrap();
        assert_eq!((delta.full, delta.from.to_string()), (false, "1.1".to_owned()));
        assert_eq!((delta.partitions.len(), delta.workers.len(), delta.tables.len()), (0, 0, 1));
    }
    uplink.stop().await;
}

#[tokio::test]
async fn the_map_by_version_and_by_etag() {
    let uplink = run(config()).await;
    let curl = Curl::new(&uplink);
    curl.register("w1", 1).await;
    let whole: MapDelta = curl.get("/v1/map").send().await.unwrap().json().await.unwrap();
    let version = whole.version.to_string();
    assert_eq!(status_of(curl.get(&format!("/v1/map?after={version}"))).await, 204);
    assert_eq!(status_of(curl.get("/v1/map?after=0.0")).await, 200);
    let tagged = |tag: String| curl.get("/v1/map").header("If-None-Match", tag);
    assert_eq!(status_of(tagged(format!("\"{version}\""))).await, 304);
    assert_eq!(status_of(tagged(format!("\"0.9\", W/\"{version}\""))).await, 304);
    assert_eq!(status_of(tagged("\"9.9\"".to_owned())).await, 200);

    let ahead = problem(curl.get("/v1/map?after=1.99"), 409).await;
    assert_eq!(ahead.kind, "urn:firn:problem:version-ahead");
    for bad in [
        "after=1",
        "after=-1.0",
        "after=",
        "wait=5",
        "wait=-1s",
        "after=1.1&after=1.1",
        "ater=1.1",
        "=",
    ] {
        let refused = problem(curl.get(&format!("/v1/map?{bad}")), 400).await;
        assert_eq!(refused.kind, "urn:firn:problem:bad-request", "{bad}");
    }
    uplink.stop().await;
}

#[tokio::test]
async fn a_stop_sends_away_who_waits() {
    let uplink = run(config()).await;
    let curl = Curl::new(&uplink);
    curl.register("w1", 1).await;
    let poll = tokio::spawn(curl.get("/v1/map?after=1.1&wait=25s").send());
    curl.polls_wait(1).await;
    timeout(AT_ONCE, uplink.stop()).await.unwrap();
    let response = timeout(AT_ONCE, poll).await.unwrap().unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn tables_and_workers_by_curl() {
    let uplink = run(config()).await;
    let curl = Curl::new(&uplink);
    let waiting = problem(curl.put("/v1/tables/colors"), 503).await;
    assert_eq!(waiting.kind, "urn:firn:problem:no-map-yet");
    curl.register("w1", 1).await;
    let made = curl.put("/v1/tables/colors").body(r#"{"ttl_ms":60000}"#).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(status_of(curl.put("/v1/tables/colors")).await, 200);
    let row: Value = curl.get("/v1/tables/colors").send().await.unwrap().json().await.unwrap();
    assert_eq!((&row["id"], &row["policy"]), (&json!(16), &json!({ "ttl_ms": 60_000 })));
    let patch = curl.0.patch(curl.url("/v1/tables/colors")).body(r#"{"ttl_ms":null}"#);
    let made: Value = patch.send().await.unwrap().json().await.unwrap();
    assert_eq!((&made["created"], &made["table"]["policy"]), (&json!(false), &json!({})));
    let rows: Value = curl.get("/v1/tables").send().await.unwrap().json().await.unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 17);
    let delete = || curl.0.delete(curl.url("/v1/tables/colors"));
    assert_eq!(status_of(delete()).await, 200);
    assert_eq!(problem(delete(), 404).await.table.unwrap().as_str(), "colors");
    let absent = problem(curl.get("/v1/tables/colors"), 404).await;
    assert_eq!(absent.kind, "urn:firn:problem:no-such-table");

    // 110 and 122 are n and z: the name's own first byte, or that of the word behind it.
    let placed = |target: &'static str| curl.put(target).body(r#"{"placement":"name-ranges"}"#);
    let made: Value = placed("/v1/tables/nuts").send().await.unwrap().json().await.unwrap();
    assert_eq!(made["table"]["pinned"], json!(1));
    let made: Value =
        placed("/v1/tables/__5a?first_byte=122").send().await.unwrap().json().await.unwrap();
    assert_eq!(made["table"]["pinned"], json!(3));
    assert_eq!(status_of(placed("/v1/tables/x?first_byte=256")).await, 400);
    assert_eq!(status_of(placed("/v1/tables/x?first=1")).await, 400);

    curl.register("w2", 1).await;
    let cluster: Value = curl.get("/v1/cluster").send().await.unwrap().json().await.unwrap();
    assert_eq!(cluster["workers_up"], json!(2));
    assert!(cluster["status"].as_str().unwrap().starts_with("All 2 workers up"), "{cluster}");
    let workers: Value = curl.get("/v1/workers").send().await.unwrap().json().await.unwrap();
    assert_eq!((&workers[0]["seat"], &workers[0]["leads"]), (&json!(0), &json!(12)));
    assert_eq!((&workers[1]["name"], &workers[1]["seat"]), (&json!("w2"), &Value::Null));
    assert_eq!(
        problem(curl.post("/v1/workers/w1/drain", ""), 409).await.kind,
        "urn:firn:problem:still-in-use"
    );
    assert_eq!(
        problem(curl.post("/v1/workers/w9/drain", ""), 404).await.kind,
        "urn:firn:problem:unknown-worker"
    );
    assert_eq!(
        problem(curl.0.delete(curl.url("/v1/workers/w2")), 409).await.kind,
        "urn:firn:problem:still-in-use"
    );
    let goodbye = json!({ "incarnation": "0000000000000001", "goodbye": true }).to_string();
    assert_eq!(status_of(curl.post("/v1/workers/w2/heartbeat", goodbye)).await, 200);
    assert_eq!(status_of(curl.0.delete(curl.url("/v1/workers/w2"))).await, 200);
    let again = curl.register("w1", 2).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert!(again.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 3);
    uplink.stop().await;
}

/// Waits until so many workers have a seat.
async fn seats_are(curl: &Curl, count: usize) -> Map {
    let seated = async {
        loop {
            let map = whole_map(curl).await;
            if map.seats.iter().filter(|seat| seat.worker.is_some()).count() == count {
                return map;
            }
            curl.get(&format!("/v1/map?after={}&wait=1s", map.version)).send().await.unwrap();
        }
    };
    timeout(AT_ONCE, seated).await.unwrap()
}

#[tokio::test]
async fn a_cluster_grows_shrinks_and_recovers_by_curl() {
    let settings = Wishes { worker_lease: Some(AT_ONCE), ..config().settings };
    let uplink = run(Config { settings, ..config() }).await;
    let curl = Curl::new(&uplink);
    let json_of = async |request: RequestBuilder| -> Value {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    let goodbye = async |name: &str, run: &str| {
        let body = json!({ "incarnation": run, "goodbye": true }).to_string();
        status_of(curl.post(&format!("/v1/workers/{name}/heartbeat"), body)).await
    };
    problem(curl.post("/v1/recover", "{}"), 503).await;
    curl.register("w1", 1).await;
    curl.register("w2", 1).await;
    seats_are(&curl, 2).await;
    let movement = json_of(curl.get("/v1/movement")).await;
    assert_eq!((&movement["left"], &movement["total"]), (&json!(4), &json!(4)), "{movement}");
    assert_eq!(movement["ends_in_ms"], Value::Null);
    assert_eq!(curl.metric("partitions_moving").await, 4);

    let drained = json_of(curl.post("/v1/workers/w2/drain", "")).await;
    let nothing = json!({ "worker": "w2", "state": "draining", "leads": 0, "in_sync": 0 });
    assert_eq!(drained, nothing);
    assert_eq!(json_of(curl.get("/v1/movement")).await["left"], json!(0));
    assert_eq!(curl.metric("workers_draining").await, 1);
    assert_eq!(goodbye("w2", "0000000000000001").await, 200);
    assert_eq!(status_of(curl.0.delete(curl.url("/v1/workers/w2"))).await, 200);

    assert_eq!(goodbye("w1", "0000000000000001").await, 200);
    let refused = problem(curl.post("/v1/recover", "{}"), 400).await;
    assert_eq!(refused.kind, "urn:firn:problem:data-loss");
    assert!(refused.detail.contains("8 partitions (0/0-7)"), "{}", refused.detail);
    let accept = r#"{"accept_data_loss":true}"#;
    let nobody = problem(curl.post("/v1/recover", accept), 503).await;
    assert_eq!(nobody.kind, "urn:firn:problem:nobody-up");
    let cluster = json_of(curl.get("/v1/cluster")).await;
    assert_eq!(cluster["partitions_unavailable"], json!(8));
    assert!(cluster["findings"][0]["says"].as_str().unwrap().contains("without w1"), "{cluster}");
    curl.register("w2", 2).await;
    seats_are(&curl, 2).await;
    let recovered = json_of(curl.post("/v1/recover", accept)).await;
    assert_eq!((&recovered["recovered"], &recovered["partitions"]), (&json!(8), &json!(["0/0-7"])));
    assert_eq!(json_of(curl.post("/v1/recover", accept)).await["recovered"], json!(0));
    let led = |row: &std::sync::Arc<firn_wire::map::PartitionRow>| {
        row.primary.as_ref().unwrap().name.as_str() == "w2"
    };
    assert!(whole_map(&curl).await.partitions.iter().all(led));

    let patch = |body: &'static str| curl.0.patch(curl.url("/v1/settings")).body(body);
    let fast = r#"{"replication":{"lease_ms":800,"grant_ms":1000}}"#;
    let settings = json_of(patch(fast)).await;
    assert_eq!(settings["replication"]["lease_ms"], json!(800));
    assert_eq!(json_of(curl.get("/v1/settings")).await, settings);
    assert_eq!(whole_map(&curl).await.settings.replication.grant_ms, 1_000);
    let short = problem(patch(r#"{"replication":{"grant_ms":300}}"#), 400).await;
    assert_eq!(short.kind, "urn:firn:problem:bad-setting");
    assert_eq!(problem(patch(r#"{"copies":2}"#), 409).await.kind, "urn:firn:problem:fixed-setting");
    problem(patch("[]"), 400).await;
    problem(curl.post("/v1/recover", r#"{"accept":true}"#), 400).await;
    problem(curl.post("/v1/recover", ""), 400).await;
    uplink.stop().await;
}

#[tokio::test]
async fn bodies_and_requests_that_are_wrong() {
    let uplink = run(config()).await;
    let curl = Curl::new(&uplink);
    curl.register("w1", 1).await;
    let good = serde_json::to_string(&registration("w2", 1)).unwrap();
    let bodies = [
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("{good} x"),
        format!("{good}{good}"),
        good.replace("\"shards\":4", "\"shards\":-1"),
        good.replace("\"shards\":4", "\"shards\":65536"),
        good.replace("\"shards\":4", "\"shards\":1e999"),
        good.replace("\"shards\":4", "\"shards\":4,\"shards\":4"),
        good.replace("\"shards\":4", "\"shards\":4,\"more\":1"),
        good.replace("\"w2\"", "\"w 2\""),
        good.replace("\"w2\"", "\"\""),
        good.replace("0000000000000001", "1"),
        good.replace("w2:1", "w2:1\\ud800"),
    ];
    for body in bodies {
        problem(curl.post("/v1/workers", body.clone()), 400).await;
    }
    let beat = r#"{"incarnation":"0000000000000001"}"#;
    problem(curl.post("/v1/workers/w1/heartbeat?x=1", beat), 400).await;
    problem(curl.post("/v1/workers/w9/heartbeat", beat), 404).await;
    problem(curl.post("/v1/workers/w1/heartbeat", beat.replace('1', "2")), 409).await;
    problem(curl.get("/v1/tables").body("{}"), 400).await;
    problem(curl.put("/v1/tables/t").body("[]"), 400).await;
    problem(curl.put("/v1/tables/t").body(r#"{"mode":"everywhere"}"#), 400).await;
    problem(curl.put("/v1/tables/t%2e"), 400).await;
    problem(curl.put("/v1/tables/T"), 400).await;
    problem(curl.post("/v1/map/changes", "{}"), 400).await;
    problem(curl.post("/v1/workers", vec![b' '; 64 * 1024 + 1]), 413).await;
    problem(curl.get(&format!("/v1/map?after={}", "1".repeat(8 * 1024))), 414).await;
    let many = (0..65).fold(curl.get("/livez"), |all, n| all.header(format!("x-{n}"), "1"));
    problem(many, 431).await;
    problem(curl.get("/livez").header("x", "1".repeat(16 * 1024)), 431).await;
    problem(curl.get("/livez").header("Origin", "http://127.0.0.1"), 403).await;
    problem(curl.get("/livez").header("Host", "firn.example.org"), 403).await;
    assert_eq!(status_of(curl.get("/livez").header("Host", "localhost:4000")).await, 200);
    let refused = curl.0.put(curl.url("/v1/workers")).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["allow"]),
        (405, &"GET, POST".parse().unwrap())
    );
    problem(curl.get("/v1/nothing"), 404).await;
    // After all that, what is right still works.
    assert_eq!(status_of(curl.post("/v1/workers", good)).await, 201);
    uplink.stop().await;
}

fn secret(text: &str) -> Secret {
    text.parse().unwrap()
}

fn now_ms() -> u64 {
    firn_uplink::owner::system_now_ms()
}

#[tokio::test]
async fn with_a_secret_only_signed_requests_pass() {
    let uplink = run(Config { secret: secret("the secret of this test"), ..config() }).await;
    let curl = Curl::new(&uplink);
    let paths = [
        ("GET", "/v1/cluster"),
        ("GET", "/v1/workers"),
        ("POST", "/v1/workers"),
        ("POST", "/v1/workers/w1/heartbeat"),
        ("POST", "/v1/workers/w1/drain"),
        ("DELETE", "/v1/workers/w1"),
        ("POST", "/v1/recover"),
        ("GET", "/v1/movement"),
        ("GET", "/v1/settings"),
        ("PATCH", "/v1/settings"),
        ("GET", "/v1/map"),
        ("POST", "/v1/map/changes"),
        ("GET", "/v1/tables"),
        ("GET", "/v1/tables/t"),
        ("PUT", "/v1/tables/t"),
        ("PATCH", "/v1/tables/t"),
        ("DELETE", "/v1/tables/t"),
        ("GET", "/v1"),
        ("GET", "/v1/nothing"),
        ("OPTIONS", "/v1/map"),
    ];
    for (method, path) in paths {
        let request = || curl.0.request(method.parse().unwrap(), curl.url(path));
        assert_eq!(problem(request(), 401).await.kind, "urn:firn:problem:bad-signature", "{path}");
        problem(request().header(SIGNATURE_HEADER, "1 2 3"), 401).await;
    }
    for open in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(status_of(curl.get(open)).await, 200, "{open}");
    }
    assert_eq!(curl.metric("unsigned_total").await, 2 * paths.len() as u64);

    let url = curl.url("");
    let other = Uplink::new(&url, secret("the secret of another")).unwrap();
    let denied = other.register(&registration("w1", 1)).await.unwrap_err();
    assert!(matches!(denied, UplinkError::Denied(_)), "{denied}");
    let mine = Uplink::new(&url, secret("the secret of this test")).unwrap();
    let registered = mine.register(&registration("w1", 1)).await.unwrap();
    assert_eq!(registered.version.to_string(), "1.1");
    let map = mine.map(MapVersion::default(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(map.cluster, registered.cluster);
    assert!(
        mine.put_table(&"colors".parse().unwrap(), b'c', &TablePolicy::default())
            .await
            .unwrap()
            .created
    );

    // The same bytes once more are a replay; a host of any name may be behind a signature.
    let target = "/v1/cluster";
    let (time_ms, nonce) = (now_ms(), "0123456789abcdef0123456789abcdef");
    let signed = Signed { time_ms, nonce, method: "GET", target, body: b"" };
    let header = signed.header(&secret("the secret of this test"));
    let send = || curl.get(target).header(SIGNATURE_HEADER, &header).header("Host", "uplink:4000");
    assert_eq!(status_of(send()).await, 200);
    assert!(problem(send(), 401).await.detail.contains("used before"));
    uplink.stop().await;
}

async fn whole_map(curl: &Curl) -> Map {
    let delta: MapDelta = curl.get("/v1/map").send().await.unwrap().json().await.unwrap();
    firn_client::delta::merge(None, delta).unwrap().map().clone()
}

fn at(folder: &Path) -> Config {
    Config { data: Some(folder.to_owned()), ..config() }
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let uplink = run(at(folder.path())).await;
    let curl = Curl::new(&uplink);
    curl.register("w1", 1).await;
    let url = curl.url("");
    let beat = Heartbeat { incarnation: Incarnation(1), goodbye: true, leaving: false };
    curl.put("/v1/tables/colors").send().await.unwrap();
    let api = Uplink::new(&url, Secret::default()).unwrap();
    api.heartbeat(&"w1".parse().unwrap(), &beat).await.unwrap();
    let before = whole_map(&curl).await;

    let second = start(at(folder.path()), TcpListener::bind("127.0.0.1:0").unwrap()).await;
    assert!(matches!(&second, Err(Error::Store(error)) if error.to_string().contains("in use")));
    uplink.stop().await;

    let other = Wishes { partitions: Some(16), ..Wishes::default() };
    let other = Config { settings: other, ..at(folder.path()) };
    let refused = start(other, TcpListener::bind("127.0.0.1:0").unwrap()).await;
    let Err(Error::Settings(why)) = refused else { panic!("16 partitions were taken") };
    assert!(why.contains("8") && why.contains("16"), "{why}");

    // Nothing need be said again.
    let uplink = run(Config { settings: Wishes::default(), ..at(folder.path()) }).await;
    let curl = Curl::new(&uplink);
    assert_eq!(whole_map(&curl).await, before);
    assert_eq!(curl.register("w1", 2).await.status(), StatusCode::CREATED);

    // The claim waits for the first second to be over instead of being refused.
    let by = registration("w1", 2);
    let by = firn_wire::ids::WorkerId { name: by.name, incarnation: by.incarnation };
    let claim = |row: &std::sync::Arc<firn_wire::map::PartitionRow>| Proposal {
        by: by.clone(),
        partition: row.id,
        rev: row.rev,
        epoch: Epoch(row.epoch.0 + 1),
        primary: by.clone(),
        isr: vec![by.clone()],
        kept: None,
    };
    let claims: Vec<_> = before.partitions.iter().map(claim).collect();
    let api = Uplink::new(&curl.url(""), Secret::default()).unwrap();
    let verdicts = api.propose(&claims).await.unwrap();
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Applied(_))), "{verdicts:?}");
    let after = whole_map(&curl).await;
    assert_eq!(
        (after.cluster, after.version.generation),
        (before.cluster, before.version.generation)
    );
    assert_eq!(after.version.counter, before.version.counter + 2);
    assert!(after.partitions.iter().all(|row| row.primary.as_ref() == Some(&by)));
    uplink.stop().await;
}

#[tokio::test]
async fn within_a_worker_a_restart_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let within = |name: &str| Config { within: Some(name.parse().unwrap()), ..at(folder.path()) };
    let uplink = run(within("w1")).await;
    Curl::new(&uplink).register("w1", 1).await;
    Curl::new(&uplink).register("w2", 1).await;
    uplink.stop().await;
    // No goodbye, and no lease has run out: the process was killed.
    let uplink = run(within("w1")).await;
    let curl = Curl::new(&uplink);
    assert_eq!(curl.register("w2", 2).await.status(), StatusCode::CONFLICT);
    assert_eq!(curl.register("w1", 2).await.status(), StatusCode::CREATED);
    uplink.stop().await;
}
