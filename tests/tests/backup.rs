//! Backups of real clusters, restored into others.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use firn_tests::{Choices, Cluster, DEADLINE, Http, binary, wait_until};
use serde_json::{Value, json};

/// What a command printed, after checking how it ended.
#[track_caller]
fn says(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(error.is_empty(), code == 0, "an error, and only an error, is on stderr: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn firn(cluster: &Cluster, code: i32, arguments: &[&str]) -> String {
    says(&cluster.firn(arguments), code)
}

#[track_caller]
fn firn_json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let text = firn(cluster, 0, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

/// The one line of an error.
#[track_caller]
fn error(cluster: &Cluster, code: i32, arguments: &[&str]) -> String {
    let output = cluster.firn(arguments);
    says(&output, code);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All entries of a table but their versions, which are each cluster's own.
#[track_caller]
fn entries(cluster: &Cluster, table: &str) -> Vec<String> {
    let text = firn(cluster, 0, &["scan", "--values", "--json", "--table", table]);
    let entry = |line: &str| {
        let mut entry: Value = serde_json::from_str(line).expect("a line of JSON");
        entry.as_object_mut().expect("an entry is an object").remove("version");
        entry.to_string()
    };
    let mut entries: Vec<String> = text.lines().map(entry).collect();
    entries.sort();
    entries
}

/// A text of about a length that does not get shorter when it is compressed.
fn value(seed: usize, length: usize) -> String {
    let mut choices = Choices(seed as u64);
    let words = (0..length.div_ceil(16)).map(|_| format!("{:016x}", choices.any()));
    format!("{seed}-{}", words.collect::<String>())
}

/// Writes `count` keys of about `length` bytes.
fn fill(cluster: &Cluster, table: &str, count: usize, length: usize) {
    let mut child = Command::new(binary::path("firn"))
        .args(["batch", "--table", table])
        .env("FIRN_SERVER", cluster.uplink().url(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a built binary can be started");
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || {
        for n in 0..count {
            let value = value(n, length);
            let line = json!({ "op": "put", "key": format!("key:{n}"), "value": value });
            writeln!(stdin, "{line}").expect("it reads all of its input");
        }
    });
    let answers = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic");
    assert!(answers.status.success());
}

/// Waits until every partition has its copies.
fn wait_well(cluster: &Cluster) {
    wait_until("all is well", DEADLINE, || {
        (firn_json(cluster, &["status"])["well"] == json!(true)).then_some(())
    });
}

fn file(cluster: &Cluster, name: &str) -> (PathBuf, String) {
    let path = cluster.folder().join(name);
    let text = path.display().to_string();
    (path, text)
}

#[test]
fn a_backup_is_restored_into_a_cluster_of_another_size() {
    let from = Cluster::builder(3).env("COPIES", 2).env("PARTITIONS", 64).start();
    firn(&from, 0, &["tables", "create", "pages", "--ttl", "1h", "--value-max", "2MiB"]);
    firn(&from, 0, &["tables", "create", "single", "--copies", "1"]);
    fill(&from, "default", 3_000, 20);
    fill(&from, "pages", 500, 10);
    firn(&from, 0, &["tables", "create", "dogs", "--placement", "name-ranges"]);
    fill(&from, "single", 300, 5_000);
    fill(&from, "dogs", 50, 10);
    firn(&from, 0, &["put", "short", "v", "--ttl", "3s"]);
    firn(&from, 0, &["put", "long", "v", "--ttl", "2h"]);
    let mut http = Http::connect(from.worker(0).http());
    let headers = "Content-Type: text/css\r\nX-Meta-Author: Ada\r\n";
    assert_eq!(http.ask("PUT", "/v1/kv/pages/style%FF", headers, b"a {}").status, 201);
    let big: Vec<u8> = (0..=255).cycle().take(1_500_000).collect();
    assert_eq!(http.ask("PUT", "/v1/kv/pages/big", "", &big).status, 201);

    let (path, backup) = file(&from, "all.firn");
    let taken = firn_json(&from, &["backup", &backup]);
    assert_eq!(taken["entries"], json!(3_000 + 2 + 500 + 2 + 300 + 50), "{taken}");
    assert!(error(&from, 2, &["backup", &backup]).contains("--force"));
    firn(&from, 0, &["backup", &backup, "--force", "--parallel", "1"]);
    assert!(!path.with_extension("firn.partial").exists());
    let verified = firn_json(&from, &["backup", "verify", &backup]);
    assert_eq!(verified["entries"], taken["entries"]);
    let pages = json!({ "name": "pages", "entries": 502 });
    assert!(verified["tables"].as_array().expect("tables").contains(&pages), "{verified}");
    assert!(firn(&from, 0, &["backup", "verify", &backup]).contains("whole: 3854 entries"));
    wait_until("the short entry has expired", DEADLINE, || {
        (from.firn(&["get", "short"]).status.code() == Some(1)).then_some(())
    });

    let into = Cluster::builder(2).env("PARTITIONS", 16).shards(1).start();
    let said = firn(&into, 0, &["restore", &backup]);
    assert!(said.contains("created: pages, single, dogs"), "{said}");
    assert!(said.contains("3853 entries written, 1 had expired"), "{said}");
    for table in ["default", "pages", "single", "dogs"] {
        assert!(entries(&into, table) == entries(&from, table), "{table} differs");
    }
    for table in ["pages", "single", "dogs"] {
        let policy = |cluster| firn_json(cluster, &["tables", "show", table])["policy"].clone();
        assert_eq!(policy(&into), policy(&from));
    }
    let mut http = Http::connect(into.worker(1).http());
    let answer = http.ask("GET", "/v1/kv/pages/style%FF", "", b"");
    assert_eq!((answer.status, answer.text()), (200, "a {}"));
    assert_eq!(answer.header("content-type"), Some("text/css"));
    assert_eq!(answer.header("x-meta-author"), Some("Ada"));
    assert_eq!(http.ask("GET", "/v1/kv/pages/big", "", b"").body, big);
    assert!(!path.with_extension("firn.restore").exists());

    firn(&into, 0, &["tables", "drop", "single"]);
    assert!(error(&into, 4, &["restore", &backup]).contains("--replace"));
    firn(&into, 1, &["tables", "show", "single"]);
    firn(&into, 0, &["put", "stranger", "v"]);
    firn(&into, 0, &["restore", &backup, "--replace", "--table", "default"]);
    assert!(entries(&into, "default") == entries(&from, "default"));
    assert!(error(&into, 1, &["restore", &backup, "--table", "none"]).contains("no table none"));
}

#[test]
fn one_table_goes_through_a_pipe() {
    let from = Cluster::builder(1).env("PARTITIONS", 16).start();
    firn(&from, 0, &["tables", "create", "users"]);
    fill(&from, "users", 200, 10);
    fill(&from, "default", 100, 10);
    let output = from.firn(&["backup", "-", "--table", "users"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("200 entries of 1 table,"));
    let (path, backup) = file(&from, "users.firn");
    fs::write(&path, &output.stdout).expect("room for a file");
    firn(&from, 0, &["tables", "drop", "users"]);
    firn(&from, 0, &["restore", &backup]);
    assert_eq!(entries(&from, "users").len(), 200);
    assert_eq!(entries(&from, "default").len(), 100);
    assert_eq!(
        error(&from, 1, &["backup", &backup, "--force", "--table", "none"]).lines().count(),
        1
    );
    assert!(path.exists(), "what was there stays when a backup fails");
}

/// Writers that change pairs of keys in one step each.
struct Traffic {
    stop: Arc<AtomicBool>,
    steps: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Traffic {
    fn start(cluster: &Cluster, writers: u64) -> Self {
        let (stop, steps) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let url = format!("redis://{}", cluster.worker(0).resp());
        let threads = (0..writers).map(|writer| {
            let (stop, steps, url) = (Arc::clone(&stop), Arc::clone(&steps), url.clone());
            std::thread::spawn(move || {
                let client = redis::Client::open(url).expect("a good url");
                let mut connection = client.get_connection().expect("it takes connections");
                for number in 0u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let tag = format!("{{{writer}-{}}}", number % 50);
                    let done = redis::pipe()
                        .atomic()
                        .set(format!("{tag}:a"), number)
                        .set(format!("pad:{tag}:{}", number % 7), "x".repeat(500))
                        .set(format!("{tag}:b"), number)
                        .exec(&mut connection);
                    // One whose worker ended may fail; it is done as a whole or not at all.
                    steps.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, steps, threads }
    }

    fn wait(&self, more: u64) {
        let until = self.steps.load(Ordering::Relaxed) + more;
        wait_until("steps are done", DEADLINE, || {
            (self.steps.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
}

/// The pairs of a cluster, each with its two numbers.
fn pairs(cluster: &Cluster) -> Vec<(String, String, String)> {
    let text = firn(cluster, 0, &["scan", "--values", "--prefix", "{"]);
    let all: std::collections::BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('\t')).collect();
    let firsts = all.iter().filter_map(|(key, value)| Some((key.strip_suffix(":a")?, *value)));
    let pair = |(tag, first): (&str, &str)| {
        let second = all.get(&*format!("{tag}:b")).copied().unwrap_or("nothing");
        (tag.to_owned(), first.to_owned(), second.to_owned())
    };
    let pairs: Vec<_> = firsts.map(pair).collect();
    assert_eq!(pairs.len() * 2, all.len(), "no second stands alone");
    pairs
}

/// No step is torn, whether there are copies, whose log the records are from, or only one, which keeps none otherwise, or
/// only until they are on disk.
#[test]
fn no_step_is_torn_by_a_backup_under_traffic() {
    for (copies, on_disk) in [(1, false), (2, false), (1, true)] {
        let builder = Cluster::builder(3).env("COPIES", copies).env("PARTITIONS", 4);
        let from = if on_disk { builder.data().start() } else { builder.start() };
        fill(&from, "default", 4_000, 400);
        let traffic = Traffic::start(&from, 4);
        traffic.wait(400);
        let (_, backup) = file(&from, "busy.firn");
        firn(&from, 0, &["backup", &backup]);
        traffic.wait(1);
        traffic.end();
        let into = Cluster::builder(2).env("PARTITIONS", 8).start();
        firn(&into, 0, &["restore", &backup]);
        let pairs = pairs(&into);
        assert_eq!(pairs.len(), 200);
        for (tag, first, second) in pairs {
            assert_eq!(first, second, "the pair of {tag}");
        }
        let verified = firn_json(&into, &["backup", "verify", &backup]);
        assert_eq!(verified["entries"], json!(entries(&into, "default").len()));
    }
}

/// The primary of some partitions ends while they are read and written to; the next one goes on.
#[test]
fn a_backup_outlives_a_worker() {
    let mut from = Cluster::builder(3).env("COPIES", 2).env("PARTITIONS", 8).start();
    fill(&from, "default", 20_000, 1_000);
    wait_well(&from);
    let traffic = Traffic::start(&from, 2);
    traffic.wait(100);
    let (path, backup) = file(&from, "survivor.firn");
    let child = start(&from, &["backup", &backup, "--parallel", "1"]);
    let partial = beside(&path, "partial");
    wait_until("the backup has begun", DEADLINE, || {
        fs::metadata(&partial).ok().filter(|partial| partial.len() > 0).map(drop)
    });
    from.worker_mut(2).kill();
    says(&child.wait_with_output().expect("it ends"), 0);
    traffic.wait(100);
    traffic.end();
    let into = Cluster::builder(1).env("PARTITIONS", 8).start();
    firn(&into, 0, &["restore", &backup]);
    assert_eq!(firn(&into, 0, &["scan", "--prefix", "key:"]).lines().count(), 20_000);
    let pairs = pairs(&into);
    assert!(pairs.len() > 50, "{} pairs", pairs.len());
    pairs.iter().for_each(|(tag, first, second)| assert_eq!(first, second, "the pair of {tag}"));
}

fn start(cluster: &Cluster, arguments: &[&str]) -> std::process::Child {
    Command::new(binary::path("firn"))
        .args(arguments)
        .env("FIRN_SERVER", cluster.uplink().url(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a built binary can be started")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

/// The frame a restore has noted.
fn noted(note: &Path) -> Option<u64> {
    let content: Value = serde_json::from_str(&fs::read_to_string(note).ok()?).ok()?;
    content["frame"].as_u64()
}

#[test]
fn a_restore_that_was_killed_goes_on() {
    let from = Cluster::builder(1).env("PARTITIONS", 16).start();
    fill(&from, "default", 60_000, 1_000);
    let (path, backup) = file(&from, "big.firn");
    firn(&from, 0, &["backup", &backup]);
    let into = Cluster::builder(2).env("PARTITIONS", 16).start();
    let note = beside(&path, "restore");
    let mut child = start(&into, &["restore", &backup]);
    wait_until("it has noted how far it is", DEADLINE, || noted(&note).filter(|frame| *frame > 0));
    child.kill().expect("it runs");
    let mut said = String::new();
    child.wait().expect("it ends");
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(!said.contains("restored"), "it was killed too late to tell anything: {said}");
    let frame = noted(&note).expect("the note stays");

    let other = Cluster::start(1);
    let said = error(&other, 4, &["restore", &backup]);
    assert!(said.contains("into another cluster") && said.contains("remove the file"), "{said}");
    let done = firn_json(&into, &["restore", &backup]);
    assert_eq!(done["resumed_from"], json!(frame));
    assert!(
        done["written"].as_u64().is_some_and(|written| (1..60_000).contains(&written)),
        "{done}"
    );
    assert!(entries(&into, "default") == entries(&from, "default"));
    assert!(!note.exists());
}

/// What was under way to a worker that ends is done again, with what followed it.
#[test]
fn a_restore_outlives_a_worker() {
    let from = Cluster::builder(1).env("PARTITIONS", 4).start();
    fill(&from, "default", 30_000, 500);
    let (path, backup) = file(&from, "big.firn");
    firn(&from, 0, &["backup", &backup]);
    let mut into = Cluster::builder(3).env("COPIES", 2).env("PARTITIONS", 16).start();
    wait_well(&into);
    let child = start(&into, &["restore", &backup]);
    let note = beside(&path, "restore");
    wait_until("it has begun", DEADLINE, || noted(&note));
    into.worker_mut(1).kill();
    says(&child.wait_with_output().expect("it ends"), 0);
    assert!(entries(&into, "default") == entries(&from, "default"));
}

#[test]
fn a_damaged_file_is_refused() {
    let cluster = Cluster::builder(1).env("PARTITIONS", 16).start();
    firn(&cluster, 0, &["tables", "create", "users"]);
    fill(&cluster, "users", 500, 100);
    let (path, backup) = file(&cluster, "good.firn");
    firn(&cluster, 0, &["backup", &backup, "--table", "users"]);
    firn(&cluster, 0, &["tables", "drop", "users"]);
    let whole = fs::read(&path).expect("it was written");
    let (bad_path, bad) = file(&cluster, "bad.firn");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let cases = [
        (flipped, "is damaged at byte"),
        (whole[..whole.len() - 1].to_vec(), "is cut short at byte"),
        (b"something else".to_vec(), "is no backup"),
        (Vec::new(), "is no backup"),
    ];
    for (bytes, why) in cases {
        fs::write(&bad_path, bytes).expect("room for a file");
        for command in [&["backup", "verify", &bad][..], &["restore", &bad]] {
            let said = error(&cluster, 1, command);
            assert!(said.contains(why) && said.lines().count() == 1, "{command:?}: {said}");
        }
    }
    assert!(error(&cluster, 2, &["restore", "/nowhere/at/all"]).contains("/nowhere/at/all"));
    firn(&cluster, 1, &["scan", "--table", "users"]);
}
