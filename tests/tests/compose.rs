//! docker-compose.yml, really brought up: an uplink, three workers and the client, talked to through published ports.
//!
//! No image is pulled and nothing is compiled in a container: tests/docker/images.sh makes stand-ins for the two images
//! the Dockerfile names, out of this machine's programs and the binaries under test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use firn_tests::doors::{Answer, Ask, doors_at};
use firn_tests::raw::http_status;
use firn_tests::{Http, binary, outside, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const WORKERS: usize = 3;
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long partitions may take to where they should be, on a machine with other things to do.
const MOVE_DEADLINE: Duration = Duration::from_secs(240);
/// Values that are there before anything moves.
const KEYS: usize = 20_000;

/// Ports inside the containers, as the compose file has them.
const PORTS: [(&str, u16); 4] =
    [("http", 4000), ("resp", 6379), ("boutique", 4040), ("winter", 6060)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeed(mut command: Command) -> String {
    let output: Output = command.output().expect("a program on PATH can be started");
    assert!(output.status.success(), "{command:?}\n{}", text(&output.stderr));
    text(&output.stdout)
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

/// A project of docker-compose of this test's own; its containers, volumes and images go when it is dropped.
struct Compose {
    folder: TempDir,
    name: String,
}

impl Compose {
    /// None, after saying so, where no engine runs: only an administrator can change that.
    fn new() -> Option<Self> {
        if !docker(&["version"]).output().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no Docker engine answers");
            return None;
        }
        outside("docker-compose")?;
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("firntest{}x{number}", std::process::id());
        let compose = Self { folder: tempfile::tempdir().expect("a temporary folder"), name };
        let mut images = Command::new(root().join("tests/docker/images.sh"));
        images.arg(binary::path("firn-worker").parent().expect("a folder")).arg(&compose.name);
        succeed(images);
        let mut secret = Command::new(root().join("scripts/secret.sh"));
        secret.arg(compose.env_file());
        succeed(secret);
        Some(compose)
    }

    fn env_file(&self) -> PathBuf {
        self.folder.path().join(".env")
    }

    /// A command of docker-compose about this project, every port a free one.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker-compose");
        command.arg("--env-file").arg(self.env_file()).args(["--project-name", &self.name]);
        command.args(arguments).current_dir(root()).env("FIRN_IMAGE", &self.name);
        command.env("WORKERS", WORKERS.to_string()).env("SHARD_LIMIT", "7").env("UPLINK_PORT", "0");
        for door in ["HTTP", "RESP", "BOUTIQUE", "WINTER"] {
            command.env(format!("{door}_PORTS"), "0").env(format!("CLIENT_{door}_PORT"), "0");
        }
        command
    }

    fn up(&self) {
        self.scale(WORKERS);
    }

    /// Starts or stops workers until there are so many, and waits until what runs is healthy.
    fn scale(&self, workers: usize) {
        let scale = format!("worker={workers}");
        let options = ["--detach", "--no-build", "--no-recreate", "--scale", &scale];
        succeed(self.command(&[&["up"][..], &options].concat()));
        assert_eq!(self.containers(&["worker"]).len(), workers);
        for container in self.containers(&[]) {
            let what = format!("container {container} is healthy");
            wait_until(&what, START_DEADLINE, || {
                let format = "{{.State.Health.Status}}";
                let health = succeed(docker(&["inspect", "--format", format, &container]));
                (health.trim() == "healthy").then_some(())
            });
        }
    }

    /// The containers of a service, or all of them.
    fn containers(&self, services: &[&str]) -> Vec<String> {
        let ids = succeed(self.command(&[&["ps", "--quiet"], services].concat()));
        ids.lines().map(str::to_owned).collect()
    }

    fn uplink(&self) -> SocketAddr {
        published(&self.containers(&["uplink"])[0])[&4000]
    }

    /// The published ports of the workers and the client.
    fn stores(&self) -> Vec<BTreeMap<u16, SocketAddr>> {
        self.containers(&["worker", "client"]).iter().map(|id| published(id)).collect()
    }

    fn client(&self) -> Http {
        Http::connect(published(&self.containers(&["client"])[0])[&4000])
    }

    /// What `firn status --json` says in the client's container; an error of the command is an answer too.
    fn status(&self) -> Value {
        let client = &self.containers(&["client"])[0];
        let output = docker(&["exec", client, "firn", "status", "--json"]).output();
        let output = output.expect("docker is on PATH");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    }

    /// Waits until so many workers have partitions and no partition is left to be moved.
    fn wait_moved(&self, workers: usize) {
        wait_until(&format!("{workers} workers have it all"), MOVE_DEADLINE, || {
            let status = self.status();
            let rows = status["workers"].as_array()?;
            let holders = rows.iter().filter(|row| row["in_sync"].as_u64() > Some(0)).count();
            let at_rest = status["movement"]["left"] == 0 && status["unserved"] == 0;
            (at_rest && status["single"] == 0 && holders == workers).then_some(())
        });
    }

    /// The workers' names as a worker's map has them; each must run the shards it was told to.
    fn worker_names(&self) -> BTreeSet<String> {
        let mut http = Http::connect(published(&self.containers(&["worker"])[0])[&4000]);
        let map = http.ask("GET", "/v1/map", "", "").json();
        let rows = map["workers"].as_array().expect("rows of workers");
        assert!(rows.iter().all(|row| row["shards"] == 7), "{rows:?}");
        rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.command(&["logs", "--no-color", "--tail=50"]).output();
            eprintln!("--- logs\n{}", logs.map(|output| text(&output.stdout)).unwrap_or_default());
        }
        let _ = self.command(&["down", "--volumes", "--timeout", "10"]).output();
        let images = ["", "-built", "-builder", "-base"].map(|part| format!("{}{part}", self.name));
        let _ = docker(&["rmi"]).args(images).output();
    }
}

/// Where the engine has published a container's ports.
fn published(container: &str) -> BTreeMap<u16, SocketAddr> {
    let lines = succeed(docker(&["port", container]));
    let ports = lines.lines().map(|line| {
        let (inside, outside) = line.split_once("/tcp -> ").expect("docker port prints such lines");
        (inside.parse().expect("a port"), outside.trim().parse().expect("an address"))
    });
    ports.collect()
}

/// Every door of a container writes what every door of the next one reads.
fn expect_one_store(stores: &[BTreeMap<u16, SocketAddr>], run: &str) {
    let port = |protocol: &str| PORTS.iter().find(|(name, _)| *name == protocol).expect("a door").1;
    let mut doors_of: Vec<_> =
        stores.iter().map(|ports| doors_at(|protocol| ports[&port(protocol)])).collect();
    for number in 0..doors_of.len() {
        for door in 0..doors_of[number].len() {
            let writer = &mut doors_of[number][door];
            let (key, value) = (format!("{run}:{number}:{}", writer.name()), format!("v{number}"));
            let written = writer.ask("default", Ask::Write(key.as_bytes(), value.as_bytes()));
            assert_eq!(written, Some(Answer::Done), "{key}");
            let next = (number + 1) % doors_of.len();
            for reader in &mut doors_of[next] {
                let read = reader.ask("default", Ask::Get(key.as_bytes()));
                let wanted = Some(Answer::Value(value.clone().into_bytes()));
                assert_eq!(read, wanted, "{key} through {} of container {next}", reader.name());
            }
        }
    }
}

/// No root, no capabilities, no way to get them, nothing to write to but its volume.
fn expect_confined(container: &str) {
    let inside = |words: &[&str]| {
        docker(&["exec", container]).args(words).output().expect("docker is on PATH")
    };
    let status = text(&inside(&["cat", "/proc/1/status"]).stdout);
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        line.unwrap_or_else(|| panic!("no {name} in {status:?}")).to_owned()
    };
    assert_eq!(value("Uid:"), "10001\t10001\t10001\t10001");
    assert_eq!(value("CapEff:"), "0000000000000000");
    assert_eq!(value("NoNewPrivs:"), "1");
    for path in ["/new", "/usr/local/bin/new", "/tmp/new"] {
        assert!(!inside(&["mkdir", path]).status.success(), "{path} can be written");
    }
}

/// The stand-in for the builder compiles nothing, so it would not miss a crate that the engine is not given.
#[test]
fn the_image_is_built_from_every_crate() {
    let read = |file| std::fs::read_to_string(root().join(file)).expect("the file is there");
    let (manifest, given) = (read("Cargo.toml"), read(".dockerignore"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = "));
    let members: Vec<String> =
        serde_json::from_str(members.expect("one line")).expect("a list of folders");
    assert!(members.contains(&"wire".to_owned()), "{members:?}");
    for member in members {
        let folder = member.split('/').next().expect("a folder's name");
        assert!(given.lines().any(|line| line == format!("!{folder}")), "{member} is left out");
    }
}

#[test]
fn the_compose_file_is_a_cluster() {
    let Some(compose) = Compose::new() else { return };
    compose.up();
    assert_eq!(compose.stores().len(), WORKERS + 1);
    expect_one_store(&compose.stores(), "first");
    assert_eq!(http_status(compose.uplink(), "/readyz"), Some(200));
    compose.containers(&[]).iter().for_each(|container| expect_confined(container));

    let names = compose.worker_names();
    assert_eq!(names.len(), WORKERS, "{names:?}");
    // New containers, new host names, the same workers: what --scale numbers keeps its seat.
    succeed(compose.command(&["down", "--timeout", "20"]));
    compose.up();
    assert_eq!(compose.worker_names(), names);
    expect_one_store(&compose.stores(), "second");
}

/// One line of `POST /v1/batch` for each number of a range.
fn lines(numbers: std::ops::Range<usize>, line: impl Fn(usize) -> String) -> String {
    numbers.map(|number| line(number) + "\n").collect()
}

fn batch(http: &mut Http, body: &str) -> Vec<Value> {
    http.ask("POST", "/v1/batch", "", body).json_lines()
}

fn write_all(http: &mut Http) {
    let put = |n| format!(r#"{{"op":"put","key":"still:{n}","value":"v{n}"}}"#);
    for start in (0..KEYS).step_by(1_000) {
        let answers = batch(http, &lines(start..start + 1_000, put));
        assert!(answers.iter().all(|answer| answer["status"] == 201), "{answers:?}");
    }
}

/// Every key of a kind below a number has its value.
fn expect_all(http: &mut Http, kind: &str, count: usize) {
    for start in (0..count).step_by(1_000) {
        let numbers = start..count.min(start + 1_000);
        let get = |n| format!(r#"{{"op":"get","key":"{kind}:{n}"}}"#);
        let answers = batch(http, &lines(numbers.clone(), get));
        assert_eq!(answers.len(), numbers.len());
        for (number, answer) in numbers.zip(answers) {
            assert_eq!(answer["value"], format!("v{number}"), "{kind}:{number}: {answer}");
        }
    }
}

/// Sets a flag when it is dropped, also by a panic: a writer nobody stops would keep a test from ending.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes one key after the other until told to stop; gives how many. Each must be acknowledged: no request may fail.
fn write_until(stop: &AtomicBool, http: &mut Http) -> usize {
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let target = format!("/v1/kv/default/moving:{written}");
        let answer = http.ask("PUT", &target, "", format!("v{written}"));
        assert_eq!(answer.status, 201, "moving:{written}: {answer:?}");
        written += 1;
    }
    written
}

/// What an operator does with `--scale`, with data and under writes: two workers come, then both are stopped at once.
#[test]
fn scaling_up_and_down_loses_nothing() {
    let Some(compose) = Compose::new() else { return };
    compose.up();
    write_all(&mut compose.client());
    let (stop, mut writer) = (AtomicBool::new(false), compose.client());
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write_until(&stop, &mut writer));
        let end = SetAtEnd(&stop);
        compose.wait_moved(3);
        compose.scale(5);
        compose.wait_moved(5);
        expect_all(&mut compose.client(), "still", KEYS);
        compose.scale(3);
        expect_all(&mut compose.client(), "still", KEYS);
        compose.wait_moved(3);
        drop(end);
        writing.join().expect("every write is acknowledged")
    });
    assert!(written > 0, "there was no traffic");
    for ports in compose.stores() {
        let mut http = Http::connect(ports[&4000]);
        expect_all(&mut http, "still", KEYS);
        expect_all(&mut http, "moving", written);
    }
}
