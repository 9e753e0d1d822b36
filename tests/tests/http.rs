//! The native interface, `/v1`, over a real cluster: what one worker takes all others give, and nothing bad gets in.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use firn_tests::{Answer, Cluster, DEADLINE, Http, Raw, wait_until};
use firn_wire::limits::{BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, VALUE_BYTES_HARD_MAX};
use serde_json::{Value, json};

const WORKERS: usize = 4;

/// A connection to each worker.
fn connect(cluster: &Cluster) -> Vec<Http> {
    cluster.workers().iter().map(|worker| Http::connect(worker.http())).collect()
}

/// One request on a connection of its own.
fn ask(cluster: &Cluster, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    Http::connect(cluster.worker(0).http()).ask(method, target, headers, body)
}

/// Everything that comes after these bytes, until the connection is closed.
fn raw(cluster: &Cluster, bytes: &[u8]) -> String {
    let mut raw = Raw::connect(cluster.worker(0).http());
    raw.offer(bytes);
    String::from_utf8_lossy(&raw.rest()).into_owned()
}

#[test]
fn what_one_worker_takes_every_worker_gives() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    let headers = "Content-Type: text/plain\r\nContent-Encoding: x\r\nX-Meta-By: me\r\n";
    for number in 0..64 {
        let target = format!("/v1/kv/default/key:{number}?ttl=1h");
        let put = workers[number % WORKERS].ask("PUT", &target, headers, number.to_string());
        assert_eq!(put.status, 201, "{put:?}");
        let target = format!("/v1/kv/default/key:{number}");
        for worker in &mut workers {
            let got = worker.ask("GET", &target, "", "");
            assert_eq!((got.status, got.text()), (200, &*number.to_string()));
            assert_eq!(got.header("etag"), put.header("etag"));
            let kept = ["content-type", "content-encoding", "x-meta-by"].map(|h| got.header(h));
            assert_eq!(kept, [Some("text/plain"), Some("x"), Some("me")]);
            let status = got.header("cache-status").and_then(|s| s.strip_prefix("firn; hit; ttl="));
            let ttl: u64 = status.expect("a time to live").parse().expect("seconds");
            assert!((3_500..=3_600).contains(&ttl), "{ttl}");
            let head = worker.ask("HEAD", &target, "", "");
            assert_eq!((head.status, head.header("etag")), (200, put.header("etag")));
            assert_eq!(head.header("content-length"), got.header("content-length"));
        }
        let tag = put.header("etag").expect("a tag");
        let other = &mut workers[(number + 1) % WORKERS];
        let same = other.ask("GET", &target, &format!("If-None-Match: {tag}\r\n"), "");
        assert_eq!((same.status, same.body.len()), (304, 0));
        let part = other.ask("GET", &target, "Range: bytes=0-0\r\n", "");
        assert_eq!((part.status, part.body.as_slice()), (206, &number.to_string().as_bytes()[..1]));
        let gone = other.ask("DELETE", &target, &format!("If-Match: {tag}\r\n"), "");
        assert_eq!(gone.status, 204, "{gone:?}");
        for worker in &mut workers {
            assert_eq!(worker.ask("GET", &target, "", "").problem(), "no-such-key");
        }
    }
}

/// Four clients add to a number through four workers by compare-and-set; no addition may be lost.
#[test]
fn compare_and_set_loses_nothing() {
    const ADDITIONS: u32 = 50;
    let cluster = Cluster::start(WORKERS);
    let target = "/v1/kv/default/counter";
    assert_eq!(ask(&cluster, "PUT", target, "If-None-Match: *\r\n", "0").status, 201);
    let again = ask(&cluster, "PUT", target, "If-None-Match: *\r\n", "0");
    assert_eq!((again.status, again.json()["etag"].is_string()), (412, true));
    thread::scope(|scope| {
        for mut worker in connect(&cluster) {
            scope.spawn(move || {
                let mut added = 0;
                while added < ADDITIONS {
                    let got = worker.ask("GET", target, "", "");
                    let number: u32 = got.text().parse().expect("a number");
                    let tag = got.header("etag").expect("a tag");
                    let condition = format!("If-Match: {tag}\r\n");
                    let put = worker.ask("PUT", target, &condition, (number + 1).to_string());
                    match put.status {
                        204 => added += 1,
                        412 => {}
                        _ => panic!("{put:?}"),
                    }
                }
            });
        }
    });
    let sum = (ADDITIONS * WORKERS as u32).to_string();
    assert_eq!(ask(&cluster, "GET", target, "", "").text(), sum);
}

#[test]
fn operations_are_done_once_for_their_token_through_any_worker() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    for number in 0..16 {
        let target = format!("/v1/kv/default/n{number}?op=incr&by=5");
        let token = format!("Idempotency-Key: token-{number}\r\n");
        for worker in &mut workers {
            assert_eq!(worker.ask("POST", &target, &token, "").text(), "5");
        }
        assert_eq!(workers[0].ask("POST", &target, "", "").text(), "10");
        let over = workers[1].ask(
            "POST",
            &format!("/v1/kv/default/n{number}?op=incr&by={}", i64::MAX),
            "",
            "",
        );
        assert_eq!(over.problem(), "not-a-number", "no wrap");
        let append = format!("/v1/kv/default/n{number}?op=append");
        assert_eq!(workers[2].ask("POST", &append, "", "x").text(), "3");
        assert_eq!(workers[3].ask("POST", &target, "", "").problem(), "not-a-number");
        let taken = format!("/v1/kv/default/n{number}?op=getdel");
        assert_eq!(workers[3].ask("POST", &taken, "", "").text(), "10x");
        assert_eq!(workers[0].ask("POST", &taken, "", "").status, 404);
    }
}

#[test]
fn entries_go_when_their_time_is_over() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    let target = "/v1/kv/default/short";
    assert_eq!(workers[0].ask("PUT", &format!("{target}?ttl=100ms"), "", "v").status, 201);
    wait_until("the entry is gone", DEADLINE, || {
        (workers[1].ask("GET", target, "", "").status == 404).then_some(())
    });
    assert_eq!(workers[2].ask("PUT", &format!("{target}?ttl=1h"), "", "v").status, 201);
    let never = format!("{target}?op=touch&ttl=never");
    assert_eq!(workers[3].ask("POST", &never, "", "").status, 204);
    let got = workers[0].ask("GET", target, "", "");
    assert_eq!((got.header("cache-status"), got.header("expires")), (Some("firn; hit"), None));
    let bad = ["0s", "-1s", "30", "", "101years", "99999999999999999999s", "1e3s", "soon"];
    for ttl in bad {
        let answer = workers[0].ask("PUT", &format!("{target}?ttl={ttl}"), "", "v");
        assert_eq!(answer.problem(), "invalid-ttl", "{ttl}");
        let answer = workers[0].ask("POST", &format!("{target}?op=touch&ttl={ttl}"), "", "");
        assert_eq!(answer.problem(), "invalid-ttl", "{ttl}");
    }
    for directive in ["max-age=0", "max-age=-1", "max-age=99999999999999", "max-age=x"] {
        let answer = workers[0].ask("PUT", target, &format!("Cache-Control: {directive}\r\n"), "v");
        assert_eq!(answer.problem(), "invalid-ttl", "{directive}");
    }
    assert_eq!(workers[0].ask("GET", target, "", "").header("etag"), got.header("etag"));
}

/// Lists all keys, each page through the next worker.
fn list(workers: &mut [Http], first: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut target = first.to_owned();
    for turn in 0.. {
        let page = workers[turn % WORKERS].ask("GET", &target, "", "");
        let body = page.json();
        let entries = body["entries"].as_array().expect("entries");
        keys.extend(entries.iter().map(|entry| entry["key"].as_str().expect("a key").to_owned()));
        match page.header("link") {
            None => break,
            Some(link) => {
                let end = link.find('>').expect("a link is in brackets");
                target = link[1..end].to_owned();
            }
        }
    }
    keys
}

#[test]
fn a_listing_finds_every_key_once() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    let mut batch = String::new();
    for number in 0..900 {
        let key = if number % 3 == 0 { format!("a:{number}") } else { format!("b:{number}") };
        batch += &format!("{}\n", json!({"op": "put", "key": key, "value": "v"}));
    }
    let answered = workers[0].ask("POST", "/v1/batch", "", &batch);
    assert!(answered.json_lines().iter().all(|line| line["status"] == 201), "{answered:?}");
    for (target, want) in [
        ("/v1/kv/default?limit=100", 900),
        ("/v1/kv/default?prefix=a%3A&limit=7", 300),
        ("/v1/kv/default?prefix=nothing", 0),
    ] {
        let keys = list(&mut workers, target);
        let once: BTreeSet<_> = keys.iter().collect();
        assert_eq!((keys.len(), once.len()), (want, want), "{target}");
    }
    let lines = workers[1].ask("GET", "/v1/kv/default", "Accept: application/x-ndjson\r\n", "");
    let keys: BTreeSet<_> = lines.json_lines().iter().map(|line| line["key"].to_string()).collect();
    assert_eq!(keys.len(), 900);
}

#[test]
fn a_batch_over_all_workers_answers_in_order() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    let lines = |op: fn(usize) -> Value| -> String {
        (0..BATCH_OPERATIONS_MAX).map(|number| format!("{}\n", op(number))).collect()
    };
    let puts = lines(|n| json!({"op": "put", "key": format!("k{n}"), "value": n.to_string()}));
    let put = workers[0].ask("POST", "/v1/batch", "", puts);
    assert_eq!(put.json_lines().len(), BATCH_OPERATIONS_MAX);
    let gets = lines(|n| json!({"op": "get", "key": format!("k{n}")}));
    for worker in &mut workers {
        for (number, line) in
            worker.ask("POST", "/v1/batch", "", &gets).json_lines().iter().enumerate()
        {
            assert_eq!(line["value"], number.to_string(), "{line}");
        }
    }
    let more = gets + "{\"op\":\"get\",\"key\":\"k\"}\n";
    assert_eq!(ask(&cluster, "POST", "/v1/batch", "", &more).problem(), "batch-too-long");
    // Operations on one key keep their order within a batch.
    let same: String = (0..100).map(|_| "{\"op\":\"incr\",\"key\":\"n\"}\n").collect();
    let counted = workers[3].ask("POST", "/v1/batch", "", same).json_lines();
    let counted: Vec<_> =
        counted.iter().map(|line| line["value"].as_str().map(str::to_owned)).collect();
    let want: Vec<_> = (1..=100).map(|number: u32| Some(number.to_string())).collect();
    assert_eq!(counted, want);
}

#[test]
fn a_table_is_there_for_every_worker_at_once() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    for number in 0..40 {
        let table = format!("t{number}");
        let policy = json!({"value_bytes_max": 8}).to_string();
        let made =
            workers[number % WORKERS].ask("PUT", &format!("/v1/tables/{table}"), "", &policy);
        assert_eq!((made.status, made.json()["created"].as_bool()), (201, Some(true)), "{made:?}");
        let other = &mut workers[(number + 1) % WORKERS];
        let target = format!("/v1/kv/{table}/k");
        assert_eq!(other.ask("PUT", &target, "", "12345678").status, 201, "{table}");
        let long = other.ask("PUT", &target, "", "123456789");
        assert_eq!((long.problem().as_str(), &long.json()["limit"]), ("value-too-long", &json!(8)));
        let again = other.ask("PUT", &format!("/v1/tables/{table}"), "", &policy);
        assert_eq!((again.status, again.json()["created"].as_bool()), (200, Some(false)));
    }
    let patched = workers[0].ask("PATCH", "/v1/tables/t0", "", r#"{"value_bytes_max":null}"#);
    assert_eq!(patched.status, 200, "{patched:?}");
    assert!(patched.json()["table"]["policy"].get("value_bytes_max").is_none());
    wait_until("the policy is in force everywhere", DEADLINE, || {
        let mut all = workers.iter_mut();
        all.all(|w| w.ask("PUT", "/v1/kv/t0/k", "", "123456789").status < 300).then_some(())
    });
    assert_eq!(workers[0].ask("DELETE", "/v1/tables/t0", "", "").status, 204);
    assert_eq!(workers[0].ask("DELETE", "/v1/tables/t0", "", "").problem(), "no-such-table");
    wait_until("the table is gone everywhere", DEADLINE, || {
        let mut all = workers.iter_mut();
        all.all(|w| w.ask("GET", "/v1/kv/t0/k", "", "").problem() == "no-such-table").then_some(())
    });
}

#[test]
fn the_cluster_tells_about_itself() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    for worker in &mut workers {
        let overview = worker.ask("GET", "/v1/cluster", "", "").json();
        assert_eq!(overview["summary"], "All 4 workers up, every partition has a primary");
        // A new cluster's map changes until every copy is there.
        wait_until("a map that has not changed is not sent again", DEADLINE, || {
            let map = worker.ask("GET", "/v1/map", "", "");
            assert_eq!(map.json()["full"], true);
            let tag = map.header("etag").expect("a tag");
            let same = worker.ask("GET", "/v1/map", &format!("If-None-Match: {tag}\r\n"), "");
            assert!([200, 304].contains(&same.status), "{same:?}");
            (same.status == 304).then_some(())
        });
        let metrics = worker.ask("GET", "/metrics", "", "");
        assert!(metrics.text().contains("\nfirn_workers{state=\"up\"} 4\n"), "{metrics:?}");
        assert_eq!(worker.ask("GET", "/livez", "", "").status, 200);
    }
    let rows = workers[0].ask("GET", "/v1/workers", "", "").json();
    let led = rows["workers"].as_array().expect("workers").iter();
    let led: u64 = led.map(|row| row["partitions_led"].as_u64().expect("a count")).sum();
    assert_eq!(led, 1_024);
    let mut owners = BTreeSet::new();
    for number in 0..64 {
        let target = format!("/v1/locate?key=key:{number}");
        let located: Vec<_> =
            workers.iter_mut().map(|worker| worker.ask("GET", &target, "", "").json()).collect();
        assert!(located.windows(2).all(|pair| pair[0]["worker"] == pair[1]["worker"]));
        owners.insert(located[0]["worker"].to_string());
    }
    assert_eq!(owners.len(), WORKERS);
    let located = workers[0].ask("GET", "/v1/locate?key=hello", "", "").json();
    assert_eq!((&located["slot"], &located["literal"]), (&json!(866), &json!("448378203247")));
}

/// Writes and reads a value through every worker.
fn pass(workers: &mut [Http], value: &[u8]) {
    for (number, worker) in workers.iter_mut().enumerate() {
        let put = worker.ask("PUT", "/v1/kv/long/k", "", value);
        assert!(matches!(put.status, 201 | 204), "{number}: {put:?}");
    }
    for worker in workers {
        let got = worker.ask("GET", "/v1/kv/long/k", "", "");
        assert!(got.body == value, "{} bytes", got.body.len());
    }
}

#[test]
fn the_longest_value_passes_and_its_memory_returns() {
    let cluster = Cluster::start(WORKERS);
    let policy = json!({"value_bytes_max": VALUE_BYTES_HARD_MAX}).to_string();
    assert_eq!(ask(&cluster, "PUT", "/v1/tables/long", "", &policy).status, 201);
    let value: Vec<u8> = (0..VALUE_BYTES_HARD_MAX).map(|at| (at % 251) as u8).collect();
    let mut workers = connect(&cluster);
    let resident = || cluster.workers().iter().map(|w| w.resident_bytes()).sum::<u64>();
    // A shorter one first: threads keep what buffers of common lengths took.
    pass(&mut workers, &value[..VALUE_BYTES_HARD_MAX / 8]);
    let before = resident();
    pass(&mut workers, &value);
    assert_eq!(workers[0].ask("DELETE", "/v1/kv/long/k", "", "").status, 204);
    wait_until("the memory returns", DEADLINE, || {
        // The allocator gives back as it goes on.
        workers.iter_mut().for_each(|w| drop(w.ask("GET", "/v1/kv/long/k", "", "")));
        (resident() < before + VALUE_BYTES_HARD_MAX as u64).then_some(())
    });
}

/// Sizes: part 1 of the list of bad input.
#[test]
fn what_is_too_long_is_refused_by_name() {
    let cluster = Cluster::start(WORKERS);
    let long = |bytes: usize| "k".repeat(bytes);
    let cases = [
        ("PUT", "/v1/kv/default/".to_owned(), String::new(), 400, "key-empty"),
        (
            "PUT",
            format!("/v1/kv/default/{}", long(KEY_BYTES_MAX + 1)),
            String::new(),
            400,
            "key-too-long",
        ),
        ("GET", format!("/v1/kv/default/k?{}", long(8 * 1024)), String::new(), 414, "url-too-long"),
        ("GET", "/v1/cluster".to_owned(), "X-A: b\r\n".repeat(64), 431, "headers-too-long"),
        (
            "GET",
            "/v1/cluster".to_owned(),
            format!("X-A: {}\r\n", long(16 * 1024)),
            431,
            "headers-too-long",
        ),
        (
            "PUT",
            "/v1/kv/default/k".to_owned(),
            format!("X-Meta-A: {}\r\n", long(4 * 1024)),
            431,
            "headers-too-long",
        ),
        (
            "PUT",
            "/v1/kv/default/k".to_owned(),
            format!("Idempotency-Key: {}\r\n", long(257)),
            400,
            "invalid-request",
        ),
    ];
    for (method, target, headers, status, problem) in cases {
        let answer = ask(&cluster, method, &target, &headers, "");
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{answer:?}");
    }
    let longest = format!("/v1/kv/default/{}", long(KEY_BYTES_MAX));
    assert_eq!(ask(&cluster, "PUT", &longest, "", "v").status, 201);
    let value = long(1024 * 1024 + 1);
    assert_eq!(ask(&cluster, "PUT", "/v1/kv/default/k", "", &value).problem(), "value-too-long");
    assert_eq!(ask(&cluster, "PUT", "/v1/kv/default/k", "", &value[1..]).status, 201);
}

/// Framing: part 2. RFC 9112 §6, §7.1; CVE-2021-32714, CVE-2021-32715.
#[test]
fn what_could_be_framed_in_two_ways_is_refused_and_closed() {
    let cluster = Cluster::start(WORKERS);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases = [
        ("Content-Length: +5\r\n".to_owned(), "hello"),
        ("Content-Length: -5\r\n".to_owned(), "hello"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n".to_owned(), "hello"),
        (format!("Content-Length: 5\r\n{chunked}"), "5\r\nhello\r\n0\r\n\r\n"),
        (format!("{chunked}Content-Length: 5\r\n"), "5\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "5\nhello\r\n0\r\n\r\n"),
    ];
    for (headers, body) in cases {
        let request = format!(
            "PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}\
             GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        let answer = raw(&cluster, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
        assert!(!answer.contains("HTTP/1.1 2"), "{request:?}: {answer}");
    }
    assert_eq!(ask(&cluster, "GET", "/v1/kv/default/k", "", "").status, 404, "nothing was written");
    let mut lenient = Http::connect(cluster.worker(0).http());
    lenient.raw().send(b"GET /livez HTTP/1.1\nHost: localhost\n\n"); // RFC 9112 §2.2 allows it
    assert_eq!(lenient.answer("GET").status, 200);
    let preface = raw(&cluster, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(preface.starts_with("HTTP/1.1 400 "), "{preface}");
}

/// Slowness: part 3. The listener's own tests have every form; these two show that a worker is so configured.
#[test]
fn slow_peers_are_given_up() {
    let cluster = Cluster::start(1);
    thread::scope(|scope| {
        let head = "PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n";
        for bytes in [head.to_owned(), format!("{head}Content-Length: 9\r\n\r\nhalf")] {
            let cluster = &cluster;
            scope.spawn(move || {
                let answer = raw(cluster, bytes.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 408 "), "{bytes:?}: {answer}");
            });
        }
    });
}

/// A client that stops reading must not stop others, nor grow the worker.
#[test]
fn a_slow_reader_holds_nobody_up() {
    let cluster = Cluster::start(1);
    let value = "x".repeat(1024 * 1024);
    assert_eq!(ask(&cluster, "PUT", "/v1/kv/default/k", "", &value).status, 201);
    let before = cluster.worker(0).resident_bytes();
    let mut slow = Raw::connect(cluster.worker(0).http());
    let get = "GET /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n\r\n";
    slow.stream().set_write_timeout(Some(Duration::from_secs(1))).expect("not zero");
    slow.offer(get.repeat(2_000).as_bytes());
    for _ in 0..20 {
        assert_eq!(ask(&cluster, "GET", "/v1/kv/default/k", "", "").body.len(), value.len());
    }
    let grown = cluster.worker(0).resident_bytes().saturating_sub(before);
    assert!(grown < 256 * 1024 * 1024, "{grown} bytes for one that does not read");
}

/// JSON: part 6, where it is read: tables and batches.
#[test]
fn what_is_no_strict_json_is_refused() {
    let cluster = Cluster::start(WORKERS);
    let deep = format!("{{\"ttl_ms\":{}{}}}", "[".repeat(65), "]".repeat(65));
    let bad = [
        "NaN",
        "{\"ttl_ms\":Infinity}",
        "{\"ttl_ms\":1e999}",
        "{\"ttl_ms\":5,\"ttl_ms\":6}",
        "{\"ttl_ms\":-1}",
        "{\"ttl\":5}",
        "{\"\\ud800\":5}",
        "{} {}",
        "[]",
        &deep,
    ];
    let mut client = Http::connect(cluster.worker(0).http());
    for body in bad {
        assert_eq!(client.ask("PUT", "/v1/tables/t", "", body).problem(), "invalid-json", "{body}");
        let line = client.ask("POST", "/v1/batch", "", format!("{body}\n")).json_lines();
        assert_eq!(line[0]["type"], "urn:firn:problem:invalid-json", "{body}");
    }
    assert_eq!(client.ask("PUT", "/v1/tables/t", "", b"{\"a\xff\":1}").problem(), "invalid-json");
    assert_eq!(client.ask("GET", "/v1/tables/t", "", "").problem(), "no-such-table");
}

/// Names: part 7.
#[test]
fn only_names_of_tables_are_taken_for_one() {
    let cluster = Cluster::start(WORKERS);
    let mut client = Http::connect(cluster.worker(0).http());
    for name in ["..", "%2e%2e", "T", "a%00", "a.b", "-a", "a%20b", &"a".repeat(64), ""] {
        for (method, target) in [
            ("PUT", format!("/v1/tables/{name}")),
            ("PUT", format!("/v1/kv/{name}/k")),
            ("GET", format!("/v1/kv/{name}")),
            ("DELETE", format!("/v1/tables/{name}")),
        ] {
            let answer = client.ask(method, &target, "", "");
            assert_eq!(answer.problem(), "invalid-table-name", "{method} {target}");
        }
    }
    assert_eq!(client.ask("PUT", "/v1/tables/__x", "", "").problem(), "invalid-table-name");
    assert_eq!(client.ask("PUT", "/v1/kv/../etc/passwd", "", "x").problem(), "invalid-table-name");
    assert_eq!(client.ask("GET", "/v1/kv/default/../../x", "", "").problem(), "no-such-key");
}

/// Cursors: part 8.
#[test]
fn a_forged_cursor_is_refused() {
    let cluster = Cluster::start(WORKERS);
    let mut client = Http::connect(cluster.worker(0).http());
    for key in ["a", "b", "c"] {
        assert_eq!(client.ask("PUT", &format!("/v1/kv/default/{key}"), "", "v").status, 201);
    }
    let page = client.ask("GET", "/v1/kv/default?limit=1", "", "").json();
    let cursor = page["next"].as_str().expect("three keys are not one page").to_owned();
    let mut forged = cursor.clone().into_bytes();
    forged[12] = if forged[12] == b'0' { b'1' } else { b'0' };
    let forged = String::from_utf8(forged).expect("digits");
    for bad in ["0", "", "x", &cursor[1..], &forged, &"f".repeat(32), &"9".repeat(400)] {
        let answer = client.ask("GET", &format!("/v1/kv/default?cursor={bad}"), "", "");
        assert_eq!(answer.problem(), "invalid-cursor", "{bad}");
    }
    let other = client.ask("GET", &format!("/v1/kv/db1?cursor={cursor}"), "", "");
    assert_eq!(other.problem(), "invalid-cursor", "another table's");
    assert_eq!(client.ask("GET", &format!("/v1/kv/default?cursor={cursor}"), "", "").status, 200);
}

/// Security: the browser's part.
#[test]
fn pages_of_other_sites_change_nothing() {
    let cluster = Cluster::start(WORKERS);
    for origin in ["http://evil.example", "null", "https://localhost"] {
        let origin = format!("Origin: {origin}\r\n");
        let answer = ask(&cluster, "PUT", "/v1/kv/default/k", &origin, "v");
        assert_eq!(answer.problem(), "foreign-origin");
        assert_eq!(ask(&cluster, "POST", "/api?key=k&data=v", &origin, "").status, 403);
    }
    let got = ask(&cluster, "GET", "/v1/kv/default/k", "Origin: http://evil.example\r\n", "");
    assert_eq!(got.problem(), "no-such-key");
    assert!(!got.headers.keys().any(|name| name.starts_with("access-control")), "{got:?}");
    let rebound = b"GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let rebound = raw(&cluster, rebound);
    assert!(rebound.starts_with("HTTP/1.1 421 "), "{rebound}");
}
