//! The `firn` command and its proxy, over real clusters.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use firn_tests::{Cluster, DEADLINE, Raw, binary, wait_until};
use serde_json::{Value, json};

/// What a command printed, after checking how it ended.
#[track_caller]
fn says(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(error.is_empty(), code == 0, "an error, and only an error, is on stderr: {error}");
    assert!(error.lines().count() <= 1 || code == 2, "one line: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn firn(cluster: &Cluster, code: i32, arguments: &[&str]) -> String {
    says(&cluster.firn(arguments), code)
}

#[track_caller]
fn firn_json(cluster: &Cluster, code: i32, arguments: &[&str]) -> Value {
    let output = cluster.firn(&[arguments, &["--json"]].concat());
    let text = says(&output, code);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

/// Runs `firn` with something on its standard input.
#[track_caller]
fn firn_reading(cluster: &Cluster, input: &[u8], code: i32, arguments: &[&str]) -> String {
    let mut child = Command::new(binary::path("firn"))
        .args(arguments)
        .env("FIRN_SERVER", cluster.uplink().url(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a built binary can be started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // The answers may fill their pipe while the input is still being written.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all of its input");
    says(&output, code)
}

fn error_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stderr).expect("with --json an error is JSON too")
}

#[test]
fn keys_are_written_read_counted_and_removed() {
    let cluster = Cluster::start(3);
    assert!(firn(&cluster, 0, &["put", "k", "v"]).starts_with("created, version "));
    assert_eq!(firn(&cluster, 0, &["get", "k"]), "v");
    assert!(firn(&cluster, 0, &["put", "k", "w"]).starts_with("replaced, version "));
    assert_eq!(firn(&cluster, 1, &["get", "nothing"]), "");
    assert_eq!(firn(&cluster, 0, &["incr", "n"]), "1\n");
    assert_eq!(firn(&cluster, 0, &["incr", "n", "--by", "-3"]), "-2\n");
    assert_eq!(firn(&cluster, 4, &["incr", "k"]), "");
    assert_eq!(firn(&cluster, 1, &["del", "k", "n", "nothing"]), "2 removed\n");
    assert_eq!(firn(&cluster, 1, &["del", "k"]), "0 removed\n");
    assert_eq!(firn(&cluster, 1, &["get", "k", "--table", "nowhere"]), "");
    assert_eq!(firn(&cluster, 2, &["put", "k", "v", "--ttl", "0s"]), "");
    assert_eq!(firn(&cluster, 4, &["put", "", "v"]), "");
    assert_eq!(firn(&cluster, 4, &["put", &"k".repeat(4_097), "v"]), "");
}

#[test]
fn any_bytes_pass_from_files_and_standard_input() {
    let cluster = Cluster::start(2);
    let value: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let path = cluster.folder().join("value");
    std::fs::write(&path, &value).expect("room for a file");
    firn(&cluster, 0, &["put", "file", &format!("@{}", path.display())]);
    firn_reading(&cluster, &value, 0, &["put", "stdin"]);
    firn_reading(&cluster, b"", 0, &["put", "empty", "-"]);
    assert_eq!(cluster.firn(&["get", "file"]).stdout, value);
    assert_eq!(cluster.firn(&["get", "stdin"]).stdout, value);
    assert_eq!(firn(&cluster, 0, &["get", "empty"]), "");
    let got = firn_json(&cluster, 0, &["get", "file"]);
    assert!(got["value"].is_null() && got["value_base64"].is_string(), "it is no UTF-8");
    assert_eq!(firn(&cluster, 2, &["put", "k", "@/nowhere/at/all"]), "");
}

#[test]
fn conditions_hold_or_nothing_is_written() {
    let cluster = Cluster::start(2);
    firn(&cluster, 1, &["put", "k", "v", "--if-present"]);
    firn(&cluster, 0, &["put", "k", "1", "--if-absent"]);
    firn(&cluster, 1, &["put", "k", "2", "--if-absent"]);
    let first = firn_json(&cluster, 0, &["get", "k"]);
    let version = first["version"].as_str().expect("a version is text");
    assert_eq!(
        (&first["value"], &first["table"], &first["expires_at_ms"]),
        (&json!("1"), &json!("default"), &Value::Null)
    );
    let second = firn_json(&cluster, 0, &["put", "k", "2", "--if-version", version]);
    assert_eq!(second["created"], json!(false));
    let refused = cluster.firn(&["put", "k", "3", "--if-version", version, "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    let refused = error_of(&refused);
    assert_eq!((&refused["error"], &refused["exit"]), (&json!("not-there"), &json!(1)));
    let now = second["version"].as_str().expect("a version is text");
    assert!(refused["message"].as_str().expect("words").contains(now), "{refused}");
    assert_eq!(firn(&cluster, 0, &["get", "k"]), "2");
}

#[test]
fn a_time_to_live_ends() {
    let cluster = Cluster::start(1);
    firn(&cluster, 0, &["put", "short", "v", "--ttl", "50ms"]);
    wait_until("the key is gone", DEADLINE, || {
        (cluster.firn(&["get", "short"]).status.code() == Some(1)).then_some(())
    });
    firn(&cluster, 0, &["put", "long", "v", "--ttl", "1h"]);
    assert!(firn_json(&cluster, 0, &["get", "long"])["expires_at_ms"].is_u64());
}

#[test]
fn a_batch_is_read_by_lines_and_a_scan_lists_all_of_it() {
    let cluster = Cluster::start(3);
    let line = |n: u32| format!("{{\"op\":\"put\",\"key\":\"user:{n:04}\",\"value\":\"v{n}\"}}\n");
    let lines: String = (0..2_500).map(line).collect();
    let answers = firn_reading(&cluster, lines.as_bytes(), 0, &["batch"]);
    assert_eq!(answers.lines().count(), 2_500);
    for answer in answers.lines() {
        let answer: Value = serde_json::from_str(answer).expect("a line of JSON");
        assert_eq!(answer["status"], json!(201));
    }

    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let all: Vec<_> = (0..2_500).map(|n| format!("user:{n:04}")).collect();
    assert_eq!(sorted(&firn(&cluster, 0, &["scan"])), all);
    let some = firn(&cluster, 0, &["scan", "--prefix", "user:24", "--values"]);
    assert_eq!(sorted(&some)[7], "user:2407\tv2407");
    assert_eq!(some.lines().count(), 100);
    assert_eq!(firn(&cluster, 0, &["scan", "--limit", "7"]).lines().count(), 7);
    assert_eq!(firn(&cluster, 0, &["scan", "--prefix", "nobody"]), "");
    let rows = firn(&cluster, 0, &["scan", "--prefix", "user:0001", "--values", "--json"]);
    let row: Value = serde_json::from_str(&rows).expect("one line of JSON");
    assert_eq!((&row["key"], &row["value"]), (&json!("user:0001"), &json!("v1")));
}

#[test]
fn a_batch_tells_what_was_not_done() {
    let cluster = Cluster::start(2);
    let path = cluster.folder().join("batch");
    let lines = [
        r#"{"op":"put","key":"k","value":"v"}"#,
        r#"{"op":"get","key":"k"}"#,
        "",
        r#"{"op":"get","key":"nothing"}"#,
    ];
    std::fs::write(&path, lines.join("\r\n")).expect("room for a file");
    let path = path.display().to_string();
    let answers = firn(&cluster, 1, &["batch", &path]);
    let statuses: Vec<_> = answers
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["status"].as_u64())
        .collect();
    assert_eq!(statuses, [Some(201), Some(200), Some(404)]);
    assert!(answers.contains("\"value\":\"v\""), "{answers}");
    firn_reading(&cluster, b"no JSON\n", 4, &["batch"]);
    firn_reading(&cluster, lines[1].as_bytes(), 1, &["batch", "--table", "nowhere"]);
    assert_eq!(firn_reading(&cluster, b"", 0, &["batch"]), "");
}

#[test]
fn tables_are_made_changed_and_dropped() {
    let cluster = Cluster::start(2);
    let create = ["tables", "create", "colors", "--ttl", "1h", "--value-max", "1KiB"];
    assert_eq!(firn(&cluster, 0, &create), "colors: created\n");
    assert_eq!(firn(&cluster, 0, &create), "colors: exists\n");
    firn(&cluster, 0, &["put", "sky", "blue", "--table", "colors"]);
    assert!(firn_json(&cluster, 0, &["get", "sky", "--table=colors"])["expires_at_ms"].is_u64());
    assert_eq!(firn(&cluster, 1, &["get", "sky"]), "", "tables are apart");
    firn(&cluster, 4, &["put", "long", &"x".repeat(1_025), "--table", "colors"]);
    firn(&cluster, 0, &["tables", "alter", "colors", "--value-max", "none", "--ttl", "2h"]);
    let policy = firn_json(&cluster, 0, &["tables", "show", "colors"])["policy"].clone();
    assert_eq!(policy, json!({ "ttl_ms": 7_200_000 }));
    firn(&cluster, 2, &["tables", "alter", "colors"]);
    let listed = firn(&cluster, 0, &["tables"]);
    assert!(listed.contains("\ncolors ") && listed.contains("\ndb15 "), "{listed}");
    assert_eq!(firn(&cluster, 0, &["tables", "drop", "colors"]), "colors: dropped\n");
    assert_eq!(firn(&cluster, 1, &["tables", "drop", "colors"]), "");
    assert_eq!(firn(&cluster, 1, &["tables", "show", "colors"]), "");
    assert_eq!(firn(&cluster, 2, &["tables", "create", "../x"]), "");
}

/// The status once it is as it should be. Its exit code is not looked at.
#[track_caller]
fn status_when(what: &str, cluster: &Cluster, holds: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, DEADLINE, || {
        let output = cluster.firn(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok().filter(&holds)
    })
}

/// A worker's row of a status.
fn row<'s>(status: &'s Value, name: &str) -> &'s Value {
    let rows = status["workers"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).unwrap_or(&Value::Null)
}

fn is_at_rest(status: &Value) -> bool {
    status["movement"]["left"] == 0 && status["unserved"] == 0 && status["single"] == 0
}

#[test]
fn status_is_one_sentence_then_what_is_amiss_then_the_workers() {
    let mut cluster = Cluster::start(4);
    status_when("every copy is made", &cluster, is_at_rest);
    let text = firn(&cluster, 0, &["status"]);
    let sentence = text.lines().next().expect("a first line");
    assert_eq!(sentence, "All 4 workers up, every partition has a primary");
    assert_eq!(text.lines().count(), 6, "no notes, a header and four workers: {text}");

    cluster.add_worker();
    let grown = status_when("the later worker has its share", &cluster, |status| {
        is_at_rest(status) && row(status, "w5")["leads"].as_u64() > Some(0)
    });
    let w5 = row(&grown, "w5");
    assert_eq!((&w5["state"], &w5["seat"]), (&json!("up"), &json!(4)));
    assert_eq!((&w5["in_sync"], grown["notes"].as_array()), (&w5["wanted"], Some(&vec![])));

    cluster.worker_mut(2).kill();
    let down = status_when("the uplink misses the worker", &cluster, |status| {
        row(status, "w3")["state"] == "down" && status["unserved"] == 0
    });
    let notes = down["notes"].to_string();
    assert!(notes.contains("w3 is down since ") && notes.contains("start it again"), "{notes}");
    let text = firn(&cluster, 0, &["status"]);
    assert!(text.starts_with("4 of 5 workers up, every partition has a primary\n"), "{text}");
}

/// Until a lost partition is served again or given up, status says so and what to do.
#[test]
fn what_only_a_dead_worker_had_is_given_up_only_if_its_loss_is_accepted() {
    let mut cluster = Cluster::builder(2).env("COPIES", 1).start();
    let put = |n: u32| format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"v\"}}\n");
    let lines: String = (0..100).map(put).collect();
    firn_reading(&cluster, lines.as_bytes(), 0, &["batch"]);
    let nothing = firn_json(&cluster, 0, &["recover", "--accept-data-loss"]);
    assert_eq!(nothing["recovered"], json!(0), "nothing is lost yet");

    cluster.worker_mut(1).kill();
    let lost = status_when("the uplink misses the worker", &cluster, |s| s["unserved"] == 512);
    let notes = lost["notes"].to_string();
    assert!(notes.contains("512 partitions cannot be served without w2"), "{notes}");
    assert!(notes.contains("`firn recover --accept-data-loss`"), "{notes}");
    firn(&cluster, 3, &["status"]);
    firn(&cluster, 4, &["forget", "w2"]);
    let told = cluster.firn(&["recover"]);
    assert_eq!(told.status.code(), Some(2));
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("512") && told.contains("w2"), "{told}");
    firn(&cluster, 3, &["status"]);

    let recovered = firn(&cluster, 0, &["recover", "--accept-data-loss", "--worker", "w2"]);
    assert!(recovered.starts_with("512 partitions start anew: 0/"), "{recovered}");
    let is_served = |status: &Value| status["unserved"] == 0;
    status_when("w1 has taken them up", &cluster, is_served);
    let left = firn(&cluster, 0, &["scan"]).lines().count();
    assert!((1..100).contains(&left), "{left} keys of 100 were on w1");
    firn_reading(&cluster, lines.as_bytes(), 0, &["batch"]);
    assert_eq!(firn(&cluster, 0, &["scan"]).lines().count(), 100);
}

#[test]
fn a_drained_worker_has_nothing_left_and_can_be_forgotten() {
    let mut cluster = Cluster::start(3);
    let put = |n: u32| format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"v\"}}\n");
    let lines: String = (0..500).map(put).collect();
    firn_reading(&cluster, lines.as_bytes(), 0, &["batch"]);
    firn(&cluster, 1, &["drain", "w9"]);
    firn(&cluster, 4, &["forget", "w2"]);
    let begun = firn_json(&cluster, 0, &["drain", "w2", "--no-wait"]);
    assert_eq!((&begun["worker"], &begun["state"]), (&json!("w2"), &json!("draining")));
    let said = firn(&cluster, 0, &["drain", "w2"]);
    assert!(said.starts_with("w2 has nothing left: stop it when you like"), "{said}");
    let drained = firn_json(&cluster, 0, &["status"]);
    let w2 = row(&drained, "w2");
    assert_eq!((&w2["leads"], &w2["in_sync"], &w2["seat"]), (&json!(0), &json!(0), &Value::Null));
    assert_eq!(w2["state"], json!("draining"));

    cluster.worker_mut(1).kill();
    assert_eq!(firn(&cluster, 0, &["scan"]).lines().count(), 500, "nothing was on it");
    status_when("the uplink misses it", &cluster, |status| row(status, "w2")["state"] == "down");
    assert_eq!(firn(&cluster, 0, &["forget", "w2"]), "w2: forgotten\n");
    let text = firn(&cluster, 0, &["status"]);
    assert!(text.starts_with("All 2 workers up, every partition has a primary\n"), "{text}");
}

#[test]
fn settings_are_shown_and_changed_for_all() {
    let cluster = Cluster::start(2);
    let shown = firn(&cluster, 0, &["settings"]);
    assert!(shown.contains("\nlease ") && shown.contains("\ncopies "), "{shown}");
    firn(&cluster, 0, &["settings", "set", "lease=800ms", "grant=1s", "copy-rate=unlimited"]);
    let set = firn_json(&cluster, 0, &["settings", "show"])["replication"].clone();
    let set = [&set["lease_ms"], &set["grant_ms"], &set["copy_bytes_per_second"]];
    assert_eq!(set, [&json!(800), &json!(1_000), &json!(0)]);
    let of_worker = ["settings", "--server", &cluster.worker(1).url("")];
    wait_until("the workers know", DEADLINE, || {
        (firn_json(&cluster, 0, &of_worker)["replication"]["lease_ms"] == 800).then_some(())
    });
    firn(&cluster, 4, &["settings", "set", "grant=100ms"]);
    firn(&cluster, 2, &["settings", "set", "copies=3"]);
    assert_eq!(firn_json(&cluster, 0, &["settings"])["replication"]["grant_ms"], json!(1_000));
}

/// A worker has the map and none of what an operator asks the uplink for.
#[test]
fn operators_are_told_where_no_uplink_answers() {
    let cluster = Cluster::start(1);
    let (worker, uplink) = (cluster.worker(0).url(""), cluster.uplink().url(""));
    let change = ["settings", "set", "lease=1s"];
    for command in [&["drain", "w1"][..], &["forget", "w1"], &["recover"], &change] {
        let refused = cluster.firn(&[command, &["--server", &worker]].concat());
        assert_eq!(refused.status.code(), Some(3), "{command:?}");
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains("no uplink"), "{error}");
    }
    let both = format!("{worker},{uplink}");
    firn(&cluster, 0, &[&change[..], &["--server", &both]].concat());
}

#[test]
fn status_names_an_uplink_that_is_gone() {
    let mut cluster = Cluster::start(2);
    let servers = format!("{},{}", cluster.uplink().url(""), cluster.worker(1).url(""));
    cluster.uplink_mut().kill();
    let status = firn(&cluster, 0, &["status", "--server", &servers]);
    assert!(status.starts_with("All 2 workers up, every partition has a primary\n"), "{status}");
    assert!(status.contains("no answer from http://"), "{status}");
    assert_eq!(firn(&cluster, 1, &["get", "k", "--server", &servers]), "");
    firn(&cluster, 3, &["tables", "create", "t", "--server", &servers]);
}

#[test]
fn a_cluster_that_cannot_be_reached_is_code_3() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary::path("firn"));
        // Port 1 is reserved (tcpmux) and nobody listens there.
        command.args(["--server", "http://127.0.0.1:1", "--timeout", "300ms"]).args(arguments);
        command.output().expect("a built binary can be started")
    };
    for arguments in [&["get", "k"][..], &["status"], &["tables"], &["scan"], &["bench"]] {
        assert_eq!(says(&run(arguments), 3), "", "{arguments:?}");
    }
    let error = error_of(&run(&["get", "k", "--json"]));
    assert_eq!((&error["error"], &error["exit"]), (&json!("unreachable"), &json!(3)));
    let bad = run(&["--server", "ftp://127.0.0.1", "get", "k"]);
    assert_eq!(bad.status.code(), Some(2));
}

/// The secret comes from any source, is needed by every command and by the proxy, and is in no message.
#[test]
fn a_cluster_with_a_secret_is_reached_with_it_only() {
    const SECRET: &str = "canary-0123456789";
    let mut cluster = Cluster::builder(2).secret(SECRET).start();
    firn(&cluster, 0, &["put", "k", "v"]);
    firn(&cluster, 0, &["tables", "create", "colors"]);
    let resp = cluster.add_proxy().resp();
    Raw::connect(resp).expect("GET k\r\n", "$1\r\nv\r\n");

    let server = cluster.uplink().url("");
    let file = cluster.folder().join("firn.json");
    let settings = json!({ "cluster-secret": SECRET, "server": server, "table": "nowhere" });
    std::fs::write(&file, settings.to_string()).expect("room for a file");
    let file = file.display().to_string();
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(binary::path("firn"));
        command.args(arguments).env_clear().envs(environment.iter().copied());
        command.output().expect("a built binary can be started")
    };
    assert_eq!(says(&run(&["-c", &file, "get", "k"], &[]), 1), "");
    let of_environment = [("FIRN_TABLE", "default")];
    assert_eq!(says(&run(&["-c", &file, "get", "k"], &of_environment), 0), "v");
    let wrong = [("FIRN_TABLE", "default"), ("CLUSTER_SECRET", "another-0123456789")];
    for (environment, code) in [(&wrong[..], 4), (&[("CLUSTER_SECRET", "short-canary")], 2)] {
        let refused = run(&["-c", &file, "get", "k"], environment);
        assert_eq!(refused.status.code(), Some(code));
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(!error.contains("canary") && !error.contains("another-"), "{error}");
    }
    assert_eq!(says(&run(&["get", "k", "--server", &server], &[]), 4), "");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut command = Command::new(binary::path("firn"));
        let output = command.args(["completions", shell]).output().expect("it can be started");
        let script = says(&output, 0);
        assert!(["scan", "tables", "bench"].iter().all(|word| script.contains(word)), "{shell}");
    }
}

#[test]
fn bench_measures_both_protocols_in_both_loops() {
    let cluster = Cluster::start(2);
    let common = ["--duration", "300ms", "--connections", "4", "--keys", "100", "--ratio", "0.5"];
    for protocol in ["resp", "http"] {
        for pace in [&["--pipeline", "8"][..], &["--rate", "200"]] {
            let arguments = [&["bench", "--protocol", protocol][..], &common, pace].concat();
            let report = firn_json(&cluster, 0, &arguments);
            let count = |name: &str| report[name].as_u64().expect("a count");
            assert!(count("answered") > 0 && count("refused") == 0, "{arguments:?}: {report}");
            assert_eq!((count("unanswered"), count("missing")), (0, 0), "{report}");
            for kind in ["get", "put", "all"] {
                let (p50, max) = (&report[kind]["p50_us"], &report[kind]["max_us"]);
                assert!(p50.as_f64() > Some(0.0) && max.as_f64() >= p50.as_f64(), "{report}");
            }
            if pace[0] == "--rate" {
                assert_eq!(count("answered"), 60, "an open loop sends what was planned: {report}");
            }
        }
    }
    let report = firn(&cluster, 0, &[&["bench"][..], &common].concat());
    assert!(report.starts_with("resp, 4 connections, pipeline 1, closed loop"), "{report}");
    firn(&cluster, 3, &["bench", "--target", "127.0.0.1:1"]);
    firn(&cluster, 2, &["bench", "--table", "colors"]);
    let absent = ["bench", "--table", "colors", "--protocol", "http"];
    firn(&cluster, 4, &[&absent[..], &common].concat());
}

#[test]
fn the_shell_runs_lines() {
    let cluster = Cluster::start(2);
    let lines =
        "put 'a key' \"a value\"\nget 'a key'\n# a comment\nuse db3\njson on\nincr n\nexit\nget n";
    let said = firn_reading(&cluster, lines.as_bytes(), 0, &["shell"]);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("created, version "), "{said}");
    assert!(lines[1].starts_with("a value{"), "values are byte for byte: {said}");
    assert!(lines[1].contains(r#""table":"db3""#) && lines.len() == 2, "{said}");
    assert_eq!(firn_reading(&cluster, b"get nothing\n", 1, &["shell"]), "");
}

#[test]
fn a_proxy_offers_the_doors_without_data() {
    let mut cluster = Cluster::start(3);
    let proxy = cluster.add_proxy();
    let mut redis = Raw::connect(proxy.resp());
    redis.expect("SET k v\r\nGET k\r\n", "+OK\r\n$1\r\nv\r\n");
    let mut winter = Raw::connect(proxy.winter());
    let mut boutique = Raw::connect(proxy.boutique());
    boutique.expect("CREATE b\r\nPUT b k w\r\n", "OK\r\nOK\r\n");
    winter.expect("GET b k\n", "w\n");
    let mut http = Raw::connect(proxy.http());
    http.send(b"GET /v1/kv/default/k HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    assert!(String::from_utf8_lossy(&http.rest()).ends_with("\r\n\r\nv"));
    let url = proxy.url("");
    assert_eq!(firn(&cluster, 0, &["get", "k"]), "v");
    assert_eq!(firn(&cluster, 0, &["get", "k", "--server", &url]), "v");
    assert!(firn(&cluster, 0, &["status", "--server", &url]).starts_with("All 3 workers up"));
}

/// Who starts a whole cluster at once need not care for the order.
#[test]
fn a_proxy_waits_for_its_cluster_and_stops_cleanly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = format!("resp={}", taken.local_addr().expect("it is bound"));
    let proxy = |listen: &str| {
        Command::new(binary::path("firn"))
            .args(["--server", "http://127.0.0.1:1", "--timeout", "200ms", "proxy", "--listen"])
            .args([listen, "--print-addresses"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("log")).expect("room for a file"))
            .spawn()
            .expect("a built binary can be started")
    };
    let log = || std::fs::read_to_string(folder.path().join("log")).expect("made at start");

    let status = proxy(&listen).wait().expect("it ends");
    assert_eq!(status.code(), Some(3), "{}", log());
    assert!(log().contains(&listen.replace('=', " on ")), "{}", log());
    for wrong in ["peer=127.0.0.1:0", "http=0.0.0.0:0"] {
        let status = proxy(wrong).wait().expect("it ends");
        assert_eq!(status.code(), Some(2), "{wrong}: {}", log());
    }

    let mut waiting = proxy("http=127.0.0.1:0");
    wait_until("it has tried", DEADLINE, || log().contains("trying again").then_some(()));
    assert_eq!(waiting.try_wait().expect("a child can be asked"), None);
    firn_tests::process::signal_process(waiting.id(), "TERM");
    let status = wait_until("it ends", Duration::from_secs(10), || {
        waiting.try_wait().expect("a child can be asked")
    });
    assert_eq!(status.code(), Some(0), "{}", log());
}
