//! `firn-uplink` as a process: what curl sees, kill -9, bad input, exit codes.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use firn_tests::client::http;
use firn_tests::process::Start;
use firn_tests::{DEADLINE, Process, SmallDisk, binary, wait_until};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An uplink of its own, ready; its data survive it when `with_data`.
struct Uplink {
    process: Process,
    folder: TempDir,
    http: Client,
}

impl Uplink {
    fn start(with_data: bool, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(folder, with_data, arguments)
    }

    fn start_in(folder: TempDir, with_data: bool, arguments: &[&str]) -> Self {
        let mut arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        if with_data {
            arguments
                .extend(["--data".to_owned(), folder.path().join("data").display().to_string()]);
        }
        let start = Start {
            binary: "firn-uplink",
            name: "uplink".to_owned(),
            arguments,
            listens: vec!["127.0.0.1:0".to_owned()],
            environment: Default::default(),
        };
        let mut process = Process::spawn(start, folder.path());
        process.wait_addresses();
        Self { process, folder, http: http() }
    }

    fn kill_and_restart(&mut self) {
        self.process.kill();
        self.restart();
    }

    /// With a new client: the old one's connections have ended with the process.
    fn restart(&mut self) {
        self.process.restart();
        self.http = http();
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, self.process.url(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the uplink answers");
        let status = response.status();
        let text = response.text().await.expect("a whole answer");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn register(&self, name: &str, run: u64, port: u16) -> (StatusCode, Value) {
        self.send("POST", "/v1/workers", Some(registration(name, run, port))).await
    }
}

fn registration(name: &str, run: u64, port: u16) -> Value {
    let peer = format!("127.0.0.1:{port}");
    json!({ "name": name, "incarnation": format!("{run:016x}"), "addresses": { "peer": peer }, "shards": 4 })
}

#[tokio::test]
async fn killed_and_started_again_it_is_the_same_cluster() {
    let mut uplink = Uplink::start(true, &["--expect-workers", "2", "--partitions", "64"]);
    assert_eq!(uplink.register("w1", 1, 1).await.0, 201);
    assert_eq!(uplink.register("w2", 1, 2).await.0, 201);
    for table in ["one", "two", "three"] {
        assert_eq!(uplink.send("PUT", &format!("/v1/tables/{table}"), None).await.0, 201);
    }
    assert_eq!(uplink.send("DELETE", "/v1/tables/two", None).await.0, 200);
    let before = uplink.get("/v1/map").await;

    // What was answered is there, however often the process is killed, and versions only grow.
    for killed in 1..=5 {
        uplink.kill_and_restart();
        let now = uplink.get("/v1/map").await;
        assert_eq!(now["cluster"], before["cluster"]);
        assert_eq!(now["partitions"], before["partitions"]);
        let (status, made) = uplink.send("PUT", &format!("/v1/tables/t{killed}"), None).await;
        assert_eq!(status, 201, "{made}");
        // one, two and three were 16, 17 and 18; two's id is not given again.
        assert_eq!(made["table"]["id"], json!(18 + killed));
    }
    let names = uplink.get("/v1/tables").await;
    assert_eq!(names.as_array().expect("a list").len(), 16 + 2 + 5, "{names}");
    assert!(uplink.process.terminate().success());
    assert!(uplink.folder.path().join("data/registry").is_dir());
}

#[tokio::test]
async fn killed_while_it_stores_it_keeps_what_it_has_answered() {
    let mut uplink = Uplink::start(true, &[]);
    uplink.register("w1", 1, 1).await;
    for round in 0..3 {
        let (url, client) = (uplink.process.url(""), uplink.http.clone());
        let writer = tokio::spawn(async move {
            let mut answered = Vec::new();
            for number in 0.. {
                let name = format!("r{round}-{number}");
                let sent = client.put(format!("{url}/v1/tables/{name}")).send().await;
                match sent {
                    Ok(response) if response.status() == 201 => answered.push(name),
                    _ => return answered,
                }
            }
            unreachable!("the uplink is killed before there are 2^31 tables")
        });
        // In the middle of the writer's work, wherever that is.
        while uplink.get("/v1/tables").await.as_array().expect("a list").len()
            < 16 + 20 * (round + 1)
        {
            tokio::task::yield_now().await;
        }
        uplink.process.kill();
        let answered = writer.await.expect("the writer ends with the uplink");
        uplink.restart();
        let tables = uplink.get("/v1/tables").await.to_string();
        let lost: Vec<_> =
            answered.iter().filter(|name| !tables.contains(&format!("\"{name}\""))).collect();
        assert!(lost.is_empty(), "answered and lost: {lost:?}");
    }
}

#[tokio::test]
async fn on_a_full_disk_it_refuses_changes_and_takes_them_again_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), 8) else { return };
    let mut uplink = Uplink::start_in(folder, true, &[]);
    uplink.register("w1", 1, 1).await;
    let beat = json!({ "incarnation": "0000000000000001" });
    let path = "/v1/workers/w1/heartbeat";
    for round in 1..=2 {
        let table = format!("/v1/tables/t{round}");
        disk.fill_but(0);
        let before = uplink.get("/v1/map").await;
        for _ in 0..50 {
            let (status, refused) = uplink.send("PUT", &table, None).await;
            assert_eq!(status, 507, "{refused}");
            assert_eq!(refused["type"], json!("urn:firn:problem:not-stored"));
            let detail = refused["detail"].as_str().expect("text");
            assert!(detail.contains("no space left") && detail.contains("make room"), "{detail}");
            let (status, beaten) = uplink.send("POST", path, Some(beat.clone())).await;
            assert_eq!((status.as_u16(), &beaten["version"]), (200, &before["version"]));
        }
        assert_eq!(uplink.get("/v1/map").await, before);
        assert_eq!(uplink.get("/readyz").await, json!("ok\n"));

        disk.free();
        let made = tokio::time::timeout(DEADLINE, async {
            while uplink.send("PUT", &table, None).await.0 != 201 {
                uplink.send("POST", path, Some(beat.clone())).await;
            }
        });
        made.await.expect("changes are taken again");
        let log = uplink.process.log();
        for says in ["the map does not change before", "works again: the map is"] {
            assert_eq!(log.matches(says).count(), round, "{log}");
        }
    }
    uplink.kill_and_restart();
    assert_eq!(uplink.get("/v1/tables/t1").await["name"], json!("t1"));
    assert_eq!(uplink.get("/v1/tables/t2").await["name"], json!("t2"));
    assert!(uplink.process.terminate().success());
    drop(disk);
}

/// limits-and-security.md, bad input, 10.
#[tokio::test]
async fn bad_input_changes_nothing() {
    let uplink = Uplink::start(false, &[]);
    uplink.register("w1", 1, 1).await;
    let before = uplink.get("/v1/map").await;
    let own = uplink.process.http().port();

    let (status, taken) = uplink.register("w1", 2, 2).await;
    assert_eq!((status.as_u16(), &taken["type"]), (409, &json!("urn:firn:problem:name-in-use")));
    let (status, taken) = uplink.register("w2", 1, own).await;
    assert_eq!((status.as_u16(), &taken["type"]), (409, &json!("urn:firn:problem:own-address")));
    let (status, _) = uplink.register("w2", 1, 1).await;
    assert_eq!(status, 409, "another worker's address");
    // A storm of address changes: none is taken, so nothing is stored or told.
    for port in 2..500 {
        let (status, refused) = uplink.register("w1", 1, port).await;
        assert_eq!(status, 409, "{refused}");
    }
    for (member, value) in [
        ("shards", json!(-1)),
        ("shards", json!(0)),
        ("shards", json!(1e300)),
        ("shards", json!("4")),
        ("incarnation", json!(1)),
        ("incarnation", json!("-000000000000001")),
        ("name", json!("../w2")),
        ("name", json!("w".repeat(64))),
        ("addresses", json!({})),
        ("addresses", json!({ "peer": "127.0.0.1:-1" })),
        ("addresses", json!({ "peer": 1 })),
        ("cluster", json!("00000000000000000000000000000000")),
        ("version", json!("1.1")),
    ] {
        let mut body = registration("w2", 1, 2);
        body[member] = value.clone();
        let (status, refused) = uplink.send("POST", "/v1/workers", Some(body)).await;
        assert!(status == 400 || status == 409, "{member} {value}: {status} {refused}");
    }
    for after in ["9.9", "2.0"] {
        let (status, refused) = uplink.send("GET", &format!("/v1/map?after={after}"), None).await;
        assert_eq!(status, 409, "{refused}");
    }
    for after in ["-1.1", "1.-1", "1", "1.99999999999999999999", "x"] {
        let (status, refused) = uplink.send("GET", &format!("/v1/map?after={after}"), None).await;
        assert_eq!(status, 400, "{refused}");
    }
    let id = "w1@0000000000000001";
    let row = &before["partitions"][0];
    let claim = json!([{ "by": id, "partition": row["id"], "rev": "1.9", "epoch": 2, "primary": id, "isr": [id] }]);
    let (status, verdicts) = uplink.send("POST", "/v1/map/changes", Some(claim.clone())).await;
    assert_eq!(status, 200);
    assert!(verdicts[0]["refused"].is_string(), "{verdicts}");
    for (member, value) in
        [("epoch", json!(-1)), ("rev", json!("1")), ("isr", json!([1])), ("by", json!("w1"))]
    {
        let mut body = claim.clone();
        body[0][member] = value;
        assert_eq!(uplink.send("POST", "/v1/map/changes", Some(body)).await.0, 400, "{member}");
    }
    // It may have been busy for longer than w1's lease, without a beat of it.
    let mut after = uplink.get("/v1/map").await;
    for (member, value) in before.as_object().expect("an object") {
        if !["version", "workers"].contains(&member.as_str()) {
            assert_eq!(after[member].take(), *value, "{member}");
        }
    }
    let workers = after["workers"].as_array().expect("a list");
    assert_eq!((workers.len(), &workers[0]["addresses"]["peer"]), (1, &json!("127.0.0.1:1")));
}

#[tokio::test]
async fn a_silent_worker_is_down_and_its_name_free() {
    let uplink = Uplink::start(false, &["--worker-lease", "200ms"]);
    uplink.register("w1", 1, 1).await;
    let changed = uplink.get("/v1/map?after=1.1&wait=25s").await;
    assert_eq!(changed["workers"][0]["state"], json!("down"), "{changed}");
    // A primary may still trust what the silent one granted: until that has run out the name is taken.
    let (status, taken) = uplink.register("w1", 2, 2).await;
    assert_eq!((status.as_u16(), &taken["type"]), (409, &json!("urn:firn:problem:name-in-use")));
    let registered = tokio::time::timeout(DEADLINE, async {
        loop {
            let (status, registered) = uplink.register("w1", 2, 2).await;
            if status == 201 {
                break registered;
            }
            assert_eq!(status, 409, "{registered}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let registered = registered.await.expect("the name is free once the grant has run out");
    assert_eq!(registered["heartbeat_ms"], json!(40));
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary::path("firn-uplink"));
    command.env_clear().args(arguments);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("a built binary can be started");
    wait_until("firn-uplink ends by itself", DEADLINE, || {
        child.try_wait().expect("a child can be waited for")
    });
    child.wait_with_output().expect("its output can be read")
}

/// Ends with this code and says this.
#[track_caller]
fn ends(arguments: &[&str], code: i32, says: &[&str]) {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    for part in says {
        assert!(error.contains(part), "{arguments:?} does not say {part:?}: {error}");
    }
}

#[test]
fn wrong_settings_end_with_2() {
    ends(
        &["--partitions", "1000", "--listen", "127.0.0.1:0"],
        2,
        &["PARTITIONS is 1000", "power of two"],
    );
    ends(&["--copies", "0", "--listen", "127.0.0.1:0"], 2, &["COPIES is 0"]);
    ends(&["--placement", "random"], 2, &["neither modulo nor sticky"]);
    ends(&["--key-integer", "md5"], 2, &["neither crc16 nor literal"]);
    ends(&["--name-ranges", "g-a", "--listen", "127.0.0.1:0"], 2, &["g-a"]);
    ends(&["--listen", "0.0.0.0:0"], 2, &["CLUSTER_SECRET", "--insecure-open"]);
    ends(&["--cluster-secret", "short"], 2, &["5 bytes"]);
    ends(&["--no-such-flag"], 2, &["--no-such-flag"]);
}

#[test]
fn what_the_world_refuses_ends_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    ends(&["--listen", &address], 1, &[&address, "--listen"]);

    let mut uplink = Uplink::start(true, &[]);
    let data = uplink.folder.path().join("data").display().to_string();
    ends(&["--listen", "127.0.0.1:0", "--data", &data], 1, &["in use", &data]);
    assert!(uplink.process.terminate().success());
    ends(
        &["--listen", "127.0.0.1:0", "--data", &data, "--copies", "3"],
        2,
        &["COPIES is 2", "cannot become 3"],
    );
    let file = uplink.folder.path().join("file");
    std::fs::write(&file, "").expect("a file can be written");
    let file = file.display().to_string();
    ends(&["--listen", "127.0.0.1:0", "--data", &file], 1, &[&file]);
}

#[tokio::test]
async fn it_stops_cleanly_while_someone_waits() {
    for signal in ["TERM", "INT"] {
        let mut uplink = Uplink::start(true, &[]);
        uplink.register("w1", 1, 1).await;
        // The lease runs out meanwhile: the poll asks again from the version it got.
        let (url, client) = (uplink.process.url("/v1/map"), uplink.http.clone());
        let poll = tokio::spawn(async move {
            let mut after = "1.1".to_owned();
            loop {
                let url = format!("{url}?after={after}&wait=25s");
                match client.get(url).timeout(Duration::from_secs(60)).send().await {
                    Ok(response) if response.status() == 200 => {
                        let delta: Value = response.json().await.expect("a change");
                        after = delta["version"].as_str().expect("a version").to_owned();
                    }
                    other => return other.map(|response| response.status().as_u16()),
                }
            }
        });
        while !uplink.get("/metrics").await.to_string().contains("map_polls_waiting 1\\n") {
            tokio::task::yield_now().await;
        }
        uplink.process.signal(signal);
        let status = wait_until("the uplink ends", DEADLINE, || uplink.process.exited());
        assert_eq!(status.code(), Some(0), "{signal}: {}", uplink.process.log());
        assert_eq!(poll.await.expect("no panic").expect("an answer"), 503, "{signal}");
    }
}
