//! How the binaries are told what to do, and what they say and end with when that cannot be done.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use firn_tests::process::Start;
use firn_tests::raw::http_status;
use firn_tests::{Cluster, DEADLINE, Process, Raw, binary, wait_until};
use serde_json::Value;

const BINARIES: [&str; 3] = ["firn-uplink", "firn-worker", "firn"];

/// A process that is killed if it has not ended: one that listens where it should not have must not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error says that it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a binary that should end by itself. What it writes must fit into a pipe.
#[track_caller]
fn run(binary: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary::path(binary));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().expect("a built binary can be started"));
    let status = wait_until(&format!("{binary} {arguments:?} ends"), DEADLINE, || {
        running.0.try_wait().expect("a child can be waited for")
    });
    let mut output = Output { status, stdout: vec![], stderr: vec![] };
    let (stdout, stderr) = (running.0.stdout.take(), running.0.stderr.take());
    stdout.expect("piped").read_to_end(&mut output.stdout).expect("a pipe");
    stderr.expect("piped").read_to_end(&mut output.stderr).expect("a pipe");
    output
}

/// What it wrote to stderr, after checking that it ended with `code` and kept stdout for answers.
#[track_caller]
fn refusal(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing on stdout");
    assert!(!error.is_empty(), "an error says something");
    assert!(!error.contains("panicked"), "{error}");
    error
}

fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Start {
    let text = |text: &&str| (*text).to_owned();
    Start {
        binary: "firn-worker",
        name: "alone".to_owned(),
        arguments: arguments.iter().map(text).collect(),
        listens: vec![],
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// A worker that is a cluster of one, ready.
fn worker(arguments: &[&str], environment: &[(&str, &str)], folder: &Path) -> Process {
    let mut worker = Process::spawn(start(arguments, environment), folder);
    worker.wait_addresses();
    worker
}

/// The only worker's row of the map it serves.
fn row(worker: &Process) -> Value {
    let mut http = Raw::connect(worker.http());
    http.send(b"GET /v1/map HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let reply = String::from_utf8(http.rest()).expect("a map is text");
    let (_, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    let body = body.get(body.find('{').expect("JSON")..=body.rfind('}').expect("JSON"));
    let map: Value = serde_json::from_str(body.expect("in order")).expect("a map is JSON");
    map["workers"][0].clone()
}

const HTTP_ANY: [&str; 2] = ["--listen", "http=127.0.0.1:0"];

#[test]
fn help_and_version_are_answers() {
    for binary in BINARIES {
        for flag in ["--help", "--version"] {
            let output = run(binary, &[flag], &[]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(0), "{binary} {flag}");
            assert!(text.contains("firn"), "{binary} {flag}: {text}");
            assert!(output.stderr.is_empty(), "{binary} {flag}");
        }
    }
    let help = run("firn-worker", &["--help"], &[]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for (flag, variable) in [
        ("--uplink", "UPLINK"),
        ("--name", "NAME"),
        ("--listen", "LISTEN"),
        ("--data", "DATA"),
        ("--shard-limit", "SHARD_LIMIT"),
        ("--print-addresses", "PRINT_ADDRESSES"),
        ("--advertise", "ADVERTISE"),
        ("--cluster-secret", "CLUSTER_SECRET"),
        ("--insecure-open", "INSECURE_OPEN"),
        ("--config", "CONFIG"),
    ] {
        assert!(help.contains(flag), "{flag}: {help}");
        assert!(help.contains(&format!("[env: {variable}")), "{variable}: {help}");
    }
}

#[test]
fn a_mistake_in_any_source_is_explained_and_ends_with_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |text: &str| {
        let path = folder.path().join("settings.json");
        std::fs::write(&path, text).expect("room for a file");
        path.display().to_string()
    };
    for binary in BINARIES {
        let error = refusal(&run(binary, &["--no-such-flag"], &[]), 2);
        assert!(error.contains("--no-such-flag"), "{binary}: {error}");
        let error = refusal(&run(binary, &["-c", "/nowhere/at/all"], &[]), 2);
        assert!(error.contains("/nowhere/at/all"), "{binary}: {error}");
        let error = refusal(&run(binary, &["-c", &file(r#"{"no-such-key": 1}"#)], &[]), 2);
        assert!(error.contains("no-such-key"), "{binary}: {error}");
    }
    for wrong in ["0", "-1", "four", "1e9", "100000"] {
        let flag = refusal(&run("firn-worker", &[&format!("--shard-limit={wrong}")], &[]), 2);
        let variable = refusal(&run("firn-worker", &[], &[("SHARD_LIMIT", wrong)]), 2);
        let path = file(&format!(r#"{{"shard-limit": "{wrong}"}}"#));
        let from_file = refusal(&run("firn-worker", &["-c", &path], &[]), 2);
        for error in [&flag, &variable, &from_file] {
            assert!(error.contains("--shard-limit") && error.contains(wrong), "{error}");
        }
        assert!(variable.contains("SHARD_LIMIT"), "{variable}");
        assert!(from_file.contains("settings.json"), "{from_file}");
    }
    for (wrong, why) in [
        ("127.0.0.1:0", "PROTOCOL=ADDRESS"),
        ("gopher=127.0.0.1:0", "gopher"),
        ("seppen=127.0.0.1:0", "seppen"),
        ("http=nowhere", "nowhere"),
        ("http=127.0.0.1:99999", "99999"),
    ] {
        let error = refusal(&run("firn-worker", &["--listen", wrong], &[]), 2);
        assert!(error.contains(why), "{wrong}: {error}");
    }
    let name = refusal(&run("firn-worker", &["--name", "not/a/name"], &[]), 2);
    assert!(name.contains("not/a/name"), "{name}");
    let secret = refusal(&run("firn-worker", &[], &[("CLUSTER_SECRET", "canary")]), 2);
    assert!(secret.contains("16") && !secret.contains("canary"), "{secret}");
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("settings.json");
    let settings = r#"{"shard-limit": 3, "name": "of-file", "listen": ["http=127.0.0.1:0"]}"#;
    std::fs::write(&path, settings).expect("room for a file");
    let path = path.display().to_string();
    let seen = |arguments: &[&str], environment: &[(&str, &str)]| {
        let row = row(&worker(arguments, environment, folder.path()));
        (row["name"].as_str().expect("a name").to_owned(), row["shards"].as_u64())
    };
    assert_eq!(seen(&HTTP_ANY, &[]).1, Some(4));
    assert_eq!(seen(&["-c", &path], &[]), ("of-file".to_owned(), Some(3)));
    let variables = [("SHARD_LIMIT", "2"), ("NAME", "of-environment")];
    assert_eq!(seen(&["-c", &path], &variables), ("of-environment".to_owned(), Some(2)));
    let flags = ["-c", &path, "--shard-limit", "1"];
    assert_eq!(seen(&flags, &variables), ("of-environment".to_owned(), Some(1)));
}

#[test]
fn listeners_are_a_list_that_replaces_the_defaults_and_a_peer_is_added() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let names = |process: &Process| process.addresses().keys().cloned().collect::<Vec<_>>();
    let flags = ["--listen", "http=127.0.0.1:0", "--listen", "winter=127.0.0.1:0"];
    let by_flags = worker(&flags, &[], folder.path());
    assert_eq!(names(&by_flags), ["http", "peer", "winter"]);
    let variable = [("LISTEN", "http=127.0.0.1:0,resp=127.0.0.1:0,peer=127.0.0.1:0")];
    let by_variable = worker(&[], &variable, folder.path());
    assert_eq!(names(&by_variable), ["http", "peer", "resp"]);
    for address in by_flags.addresses().values().chain(by_variable.addresses().values()) {
        assert!(address.ip().is_loopback() && address.port() != 0, "{address}");
    }
}

/// The addresses are printed once every listener can be used.
#[test]
fn a_worker_without_an_uplink_is_a_cluster_of_one() {
    let cluster = Cluster::alone();
    let worker = cluster.worker(0);
    assert_eq!(http_status(worker.http(), "/readyz"), Some(200));
    Raw::connect(worker.winter()).expect("CREATE t\nPUTNEW t k v\n", "created\nok\n");
    Raw::connect(worker.boutique()).expect("GET t k\n", "v\r\nOK\r\n");
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener has an address").to_string();
    let worker = format!("http={address}");
    for (binary, listen) in [("firn-worker", worker.as_str()), ("firn-uplink", &address)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().display().to_string();
        let error = refusal(&run(binary, &["--listen", listen, "--data", &data], &[]), 1);
        assert!(error.contains(&address) && error.contains("in use"), "{error}");
        let last = error.lines().last().expect("an error says something");
        assert!(last.starts_with(&format!("{binary}: ")), "{error}");
    }
}

#[test]
fn beyond_loopback_a_secret_or_a_clear_word_is_needed() {
    let error = refusal(&run("firn-worker", &["--listen", "http=0.0.0.0:0"], &[]), 2);
    assert!(error.contains("CLUSTER_SECRET") && error.contains("--insecure-open"), "{error}");
    let error = refusal(&run("firn-uplink", &["--listen", "0.0.0.0:0"], &[]), 2);
    assert!(error.contains("CLUSTER_SECRET") && error.contains("--insecure-open"), "{error}");
}

#[test]
fn sigterm_ends_every_process_with_0() {
    let mut cluster = Cluster::start(2);
    let mut open = Raw::connect(cluster.worker(0).resp());
    open.expect("PING\r\n", "+PONG\r\n");
    assert_eq!(cluster.worker_mut(0).terminate().code(), Some(0));
    assert_eq!(open.rest(), b"", "an idle connection is closed");
    assert_eq!(cluster.uplink_mut().terminate().code(), Some(0));
    // The uplink is gone: a worker stops all the same.
    assert_eq!(cluster.worker_mut(1).terminate().code(), Some(0));
}
