//! The listener over real sockets, with a fake store behind it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use firn_tests::{Answer, Http, Raw};
use serde_json::{Value, json};

use super::fake::{Fake, NOW, SMALL};
use super::limits::{HEADER_BYTES_MAX, HEADERS_MAX, URL_BYTES_MAX};
use super::serve;

/// A listener of its own on a free port; it stops with this value.
struct Server {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let server = serve(listener, Fake::new(), Arc::default(), 1).unwrap();
                send.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { address, handle: receive.recv().unwrap() }
    }

    fn connect(&self) -> Http {
        Http::connect(self.address)
    }

    /// One request on a connection of its own.
    fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        self.connect().ask(method, target, headers, body)
    }

    /// Raw bytes on a connection of their own; everything that comes until it is closed.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut raw = Raw::connect(self.address);
        raw.offer(bytes);
        String::from_utf8_lossy(&raw.rest()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

#[test]
fn a_value_lives_its_life() {
    let server = Server::start();
    for key in ["near", "far"] {
        let path = format!("/v1/kv/default/{key}");
        let mut client = server.connect();
        assert_eq!(client.ask("GET", &path, "", "").problem(), "no-such-key");
        let headers = "Content-Type: text/plain\r\nContent-Encoding: x\r\nX-Meta-By: me\r\n";
        let put = client.ask("PUT", &format!("{path}?ttl=30s"), headers, "hello");
        assert_eq!((put.status, put.text()), (201, ""));
        let got = client.ask("GET", &path, "", "");
        assert_eq!((got.status, got.text()), (200, "hello"));
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(got.header("content-type"), Some("text/plain"));
        assert_eq!(got.header("content-encoding"), Some("x"));
        assert_eq!(got.header("x-meta-by"), Some("me"));
        assert_eq!(got.header("cache-status"), Some("firn; hit; ttl=30"));
        assert_eq!(got.header("age"), Some("0"));
        assert_eq!(got.header("expires"), Some("Tue, 14 Nov 2023 22:13:50 GMT"));
        let head = client.ask("HEAD", &path, "", "");
        assert_eq!((head.status, head.body.len()), (200, 0));
        for name in ["etag", "content-length", "content-type", "age", "cache-status", "expires"] {
            assert_eq!(head.header(name), got.header(name), "{name}");
        }
        assert_eq!(client.ask("PUT", &path, "", "x").status, 204);
        assert_eq!(client.ask("DELETE", &path, "", "").status, 204);
        assert_eq!(client.ask("DELETE", &path, "", "").problem(), "no-such-key");
        assert_eq!(client.ask("PUT", &path, "Content-Length: 0\r\n", "").status, 201);
        assert_eq!(client.ask("GET", &path, "", "").text(), "");
    }
    assert_eq!(NOW / 1_000, 1_700_000_000, "the dates above follow from it");
}

#[test]
fn freshness_comes_back_as_given() {
    let server = Server::start();
    let headers = "Cache-Control: max-age=30, stale-while-revalidate=60\r\n";
    assert_eq!(server.ask("PUT", "/v1/kv/default/k", headers, "v").status, 201);
    let got = server.ask("GET", "/v1/kv/default/k", "", "");
    assert_eq!(got.header("cache-control"), Some("max-age=30, stale-while-revalidate=60"));
    assert_eq!(got.header("cache-status"), Some("firn; hit; ttl=30"));
    let listed = server.ask("GET", "/v1/kv/default", "", "").json();
    assert_eq!(listed["entries"][0]["expires_at_ms"], NOW + 90_000, "it lives while it is stale");
}

#[test]
fn keys_are_decoded_once_and_never_normalised() {
    let server = Server::start();
    let mut client = server.connect();
    let paths = [
        "a/b",
        "a//b",
        "a%2Fb%2F",
        ".",
        "..",
        "../x",
        "%2e%2e%2f",
        "%252e",
        "%00",
        "%ff",
        "a+b",
        "?",
        "%3F",
    ];
    let keys: std::collections::BTreeSet<_> = paths
        .iter()
        .filter(|path| **path != "?")
        .map(|path| {
            let target = format!("/v1/kv/default/{path}");
            assert_eq!(client.ask("PUT", &target, "", path).status, 201, "{path}");
            assert_eq!(client.ask("GET", &target, "", "").text(), *path, "{path}");
            *path
        })
        .collect();
    let listed = client.ask("GET", "/v1/kv/default", "", "").json();
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(entries.len(), keys.len());
    let has = |name: &str, key: &str| entries.iter().any(|entry| entry[name] == key);
    for key in ["a/b", "a//b", "a/b/", ".", "..", "../x", "../", "%2e", "\0", "a+b", "?"] {
        assert!(has("key", key), "{key:?} in {listed}");
    }
    assert!(has("key_base64", "/w=="));
    for (path, problem) in
        [("", "key-empty"), ("%zz", "invalid-request"), ("%4", "invalid-request")]
    {
        let answer = client.ask("GET", &format!("/v1/kv/default/{path}"), "", "");
        assert_eq!((answer.status, answer.problem().as_str()), (400, problem), "{path}");
    }
    let longest = "k".repeat(4_096);
    assert_eq!(client.ask("PUT", &format!("/v1/kv/default/{longest}"), "", "v").status, 201);
    let longer = client.ask("PUT", &format!("/v1/kv/default/{longest}k"), "", "v");
    assert_eq!((longer.status, longer.json()["limit"].as_u64()), (400, Some(4_096)));
}

#[test]
fn conditions_hold_or_nothing_happens() {
    let server = Server::start();
    let mut client = server.connect();
    let path = "/v1/kv/default/k";
    assert_eq!(client.ask("PUT", path, "If-Match: *\r\n", "1").problem(), "condition-failed");
    let first = client.ask("PUT", path, "If-None-Match: *\r\n", "1");
    assert_eq!(first.status, 201);
    let tag = first.header("etag").unwrap().to_owned();
    let failed = client.ask("PUT", path, "If-None-Match: *\r\n", "2");
    assert_eq!((failed.status, failed.header("etag")), (412, Some(&*tag)));
    assert_eq!(failed.json()["etag"], tag);
    let second = client.ask("PUT", path, &format!("If-Match: {tag}\r\n"), "2");
    assert_eq!(second.status, 204);
    let new = second.header("etag").unwrap().to_owned();
    for stale in [
        format!("If-Match: {tag}\r\n"),
        format!("If-Match: W/{new}\r\n"),
        format!("If-None-Match: \"0\", {new}\r\n"),
    ] {
        assert_eq!(client.ask("PUT", path, &stale, "3").status, 412, "{stale}");
        assert_eq!(client.ask("DELETE", path, &stale, "").status, 412, "{stale}");
    }
    assert_eq!(client.ask("GET", path, "", "").text(), "2");
    let listed = format!("If-Match: {tag}, {new}\r\n");
    assert_eq!(client.ask("PUT", path, &listed, "3").status, 204);
    let last = client.ask("GET", path, "", "").header("etag").unwrap().to_owned();
    let same = client.ask("GET", path, &format!("If-None-Match: W/{last}\r\n"), "");
    assert_eq!((same.status, same.text(), same.header("etag")), (304, "", Some(&*last)));
    let other = client.ask("GET", path, &format!("If-Match: {new}\r\n"), "");
    assert_eq!((other.status, other.header("etag")), (412, Some(&*last)));
    let once = format!("If-Match: {tag}, {new}\r\nIdempotency-Key: a\r\n");
    assert_eq!(client.ask("PUT", path, &once, "4").problem(), "condition-not-supported");
    assert_eq!(client.ask("DELETE", path, &format!("If-Match: {last}\r\n"), "").status, 204);
    assert_eq!(client.ask("DELETE", path, &format!("If-Match: {last}\r\n"), "").status, 404);
}

#[test]
fn ranges_are_cut() {
    let server = Server::start();
    let mut client = server.connect();
    let path = "/v1/kv/default/k";
    let tag = client.ask("PUT", path, "", "0123456789").header("etag").unwrap().to_owned();
    let part = client.ask("GET", path, "Range: bytes=2-4\r\n", "");
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let outside = client.ask("GET", path, "Range: bytes=10-\r\n", "");
    assert_eq!((outside.status, outside.header("content-range")), (416, Some("bytes */10")));
    let ignored = client.ask("GET", path, "Range: bytes=0-1,3-4\r\n", "");
    assert_eq!((ignored.status, ignored.text()), (200, "0123456789"));
    let same = format!("Range: bytes=-1\r\nIf-Range: {tag}\r\n");
    assert_eq!(client.ask("GET", path, &same, "").text(), "9");
    let other = client.ask("GET", path, "Range: bytes=-1\r\nIf-Range: \"0\"\r\n", "");
    assert_eq!((other.status, other.text()), (200, "0123456789"));
}

#[test]
fn operations_do_what_they_say() {
    let server = Server::start();
    let mut client = server.connect();
    let mut post = |query: &str, headers: &str, body: &str| {
        client.ask("POST", &format!("/v1/kv/default/n?{query}"), headers, body)
    };
    assert_eq!(post("op=touch&ttl=1s", "", "").status, 404);
    assert_eq!(post("op=touch&ttl=never", "", "").status, 404);
    let counted = post("op=incr", "", "");
    assert_eq!((counted.status, counted.text()), (200, "1"));
    assert!(counted.header("etag").is_some());
    assert_eq!(post("op=incr&by=-5", "Idempotency-Key: t1\r\n", "").text(), "-4");
    assert_eq!(post("op=incr&by=-5", "Idempotency-Key: t1\r\n", "").text(), "-4", "once");
    let over = post("op=incr&by=-9223372036854775808", "", "");
    assert_eq!((over.status, over.problem().as_str()), (409, "not-a-number"));
    assert_eq!(post("op=append", "", "0").text(), "3");
    assert_eq!(post("op=touch&ttl=1s", "", "").status, 204);
    assert_eq!(post("op=touch&ttl=never", "", "").status, 204);
    assert_eq!(post("op=incr", "If-Match: *\r\n", "").problem(), "condition-not-supported");
    assert_eq!(post("op=getdel", "If-Match: \"0\"\r\n", "").status, 412);
    assert_eq!(post("op=getdel", "", "").text(), "-40");
    assert_eq!(post("op=getdel", "", "").status, 404);
    assert_eq!(post("op=frob", "", "").problem(), "unknown-operation");
    assert_eq!(post("op=incr&ttl=1s", "", "").problem(), "unknown-parameter");
    assert_eq!(post("op=incr", "Idempotency-Key: \r\n", "").status, 400);
    assert_eq!(
        server.ask("POST", "/v1/kv/default/n?op=incr", "", "x").problem(),
        "unexpected-body"
    );
}

#[test]
fn a_listing_is_paged_or_streamed() {
    let server = Server::start();
    let mut client = server.connect();
    for number in 0..25 {
        client.ask("PUT", &format!("/v1/kv/default/p{number:02}"), "", "v");
    }
    client.ask("PUT", "/v1/kv/default/q", "", "v");
    let mut keys = Vec::new();
    let mut target = "/v1/kv/default?prefix=p&limit=10".to_owned();
    loop {
        let page = client.ask("GET", &target, "", "");
        let entries = page.json()["entries"].as_array().unwrap().clone();
        assert!(entries.len() <= 10);
        keys.extend(entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()));
        let Some(link) = page.header("link") else {
            assert!(page.json()["next"].is_null());
            break;
        };
        let (next, relation) = link.split_once('>').unwrap();
        assert_eq!(relation, "; rel=\"next\"");
        target = next.strip_prefix('<').unwrap().to_owned();
    }
    let want: Vec<_> = (0..25).map(|number| format!("p{number:02}")).collect();
    assert_eq!(keys, want);
    let lines = client.ask("GET", "/v1/kv/default", "Accept: application/x-ndjson\r\n", "");
    assert_eq!(lines.text().lines().count(), 26);
    let some = client.ask("GET", "/v1/kv/default?limit=3", "Accept: application/x-ndjson\r\n", "");
    let some: Vec<Value> =
        some.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(some.len(), 4);
    let next = some[3]["next"].as_str().unwrap();
    let rest = client.ask("GET", &format!("/v1/kv/default?cursor={next}"), "", "").json();
    assert_eq!(rest["entries"].as_array().unwrap().len(), 23);
    let foreign = client.ask("GET", &format!("/v1/kv/small?cursor={next}"), "", "");
    assert_eq!((foreign.status, foreign.problem().as_str()), (400, "invalid-cursor"));
    for bad in ["limit=0", "limit=-1", "limit=x", "prefx=a", "cursor=0"] {
        assert_eq!(
            client.ask("GET", &format!("/v1/kv/default?{bad}"), "", "").status,
            400,
            "{bad}"
        );
    }
}

#[test]
fn a_batch_answers_line_by_line() {
    let server = Server::start();
    let lines = [
        json!({"op": "put", "key": "a", "value": "1"}),
        json!({"op": "put", "key": "far", "value_base64": "/w==", "ttl": "1s"}),
        json!({"op": "incr", "key": "a", "by": 4}),
        json!({"op": "get", "key": "nope"}),
        json!({"op": "get", "key": "a", "table": "no-such"}),
        json!({"op": "get", "key": "a", "tabel": "x"}),
        json!({"op": "get", "key": "far"}),
        json!({"op": "append", "key": "a", "value": "0"}),
        json!({"op": "put", "key": "a", "value": "x", "if_none_match": "*"}),
        json!({"op": "put", "key": "b", "value": "x", "if_match": "*"}),
        json!({"op": "touch", "key": "a", "ttl": "never"}),
        json!({"op": "getdel", "key": "a"}),
        json!({"op": "delete", "key": "a"}),
        json!({"op": "delete", "key": "far"}),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let answer = server.ask("POST", "/v1/batch", "", &body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let got: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<_> = got.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 200, 404, 404, 400, 200, 200, 412, 412, 204, 200, 404, 204]);
    assert_eq!(got[2]["value"], "5");
    assert_eq!(got[4]["type"], "urn:firn:problem:no-such-table");
    assert_eq!(
        (&got[6]["value_base64"], &got[6]["expires_at_ms"]),
        (&json!("/w=="), &json!(NOW + 1_000))
    );
    assert_eq!((&got[7]["length"], &got[11]["value"]), (&json!(2), &json!("50")));
    let long = "{\"op\":\"get\",\"key\":\"k\"}\n".repeat(1_001);
    assert_eq!(server.ask("POST", "/v1/batch", "", &long).problem(), "batch-too-long");
    assert_eq!(server.ask("GET", "/v1/batch", "", "").header("allow"), Some("POST"));
}

#[test]
fn tables_are_made_seen_and_dropped() {
    let server = Server::start();
    let mut client = server.connect();
    let made = client.ask("PUT", "/v1/tables/t", "", "{\"ttl_ms\":5}");
    assert_eq!((made.status, made.json()["created"].as_bool()), (201, Some(true)));
    assert_eq!(made.json()["table"]["policy"]["ttl_ms"], 5);
    assert_eq!(client.ask("PUT", "/v1/tables/t", "", "").status, 200);
    assert_eq!(client.ask("GET", "/v1/tables/t", "", "").json()["name"], "t");
    assert_eq!(
        client.ask("GET", "/v1/tables", "", "").json()["tables"].as_array().unwrap().len(),
        3
    );
    assert_eq!(client.ask("PATCH", "/v1/tables/t", "", "{\"ttl_ms\":6}").status, 503);
    assert_eq!(client.ask("DELETE", "/v1/tables/t", "", "").status, 204);
    let gone = client.ask("DELETE", "/v1/tables/t", "", "");
    assert_eq!((gone.problem().as_str(), &gone.json()["table"]), ("no-such-table", &json!("t")));
    assert_eq!(client.ask("PUT", "/v1/kv/t/k", "", "v").problem(), "no-such-table");
    for name in ["..", "%2e", "T", "a%00", "__x", "", "a/b", &"a".repeat(64)] {
        let answer = server.ask("PUT", &format!("/v1/tables/{name}"), "", "{}");
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-table-name"),
            "{name}"
        );
    }
    for body in
        ["[]", "{\"ttl\":5}", "{\"ttl_ms\":-1}", "{\"ttl_ms\":5,\"ttl_ms\":5}", "NaN", "{}{}"]
    {
        assert_eq!(client.ask("PUT", "/v1/tables/t", "", body).problem(), "invalid-json", "{body}");
    }
}

#[test]
fn the_cluster_can_be_asked() {
    let server = Server::start();
    let mut client = server.connect();
    let overview = client.ask("GET", "/v1/cluster", "", "");
    let overview = overview.json();
    assert_eq!(overview["summary"], "All 4 workers up, every partition has a primary");
    assert_eq!(overview["partitions"]["in_sync"], json!({ "1": 1_024 }));
    assert_eq!(overview["findings"], json!([]));
    assert_eq!(
        client.ask("GET", "/v1/workers", "", "").json()["workers"][3]["partitions_led"],
        256
    );
    let located = client.ask("GET", "/v1/locate?key=foo", "", "").json();
    // redis-server's CLUSTER KEYSLOT foo; 12182 / 16 = partition 761 = 4 * 190 + 1.
    assert_eq!((&located["slot"], &located["literal"]), (&json!(12_182), &json!("6713199")));
    assert_eq!((&located["partition"]["number"], &located["worker"]), (&json!(761), &json!("w1")));
    assert_eq!((&located["copies"], &located["wanted"]), (&json!(["w1"]), &json!(["w1"])));
    let map = client.ask("GET", "/v1/map", "", "");
    assert_eq!((map.json()["full"].as_bool(), map.header("etag")), (Some(true), Some("\"1.5\"")));
    assert_eq!(client.ask("GET", "/v1/map", "If-None-Match: \"1.5\"\r\n", "").status, 304);
    assert_eq!(client.ask("GET", "/livez", "", "").text(), "ok\n");
    assert_eq!(client.ask("GET", "/readyz", "", "").status, 200);
    let metrics = client.ask("GET", "/metrics", "", "");
    assert!(
        metrics.text().contains("\nfirn_http_responses_total{class=\"3xx\"} 1\n"),
        "{metrics:?}"
    );
    assert_eq!(client.ask("GET", "/v1/nothing", "", "").problem(), "no-such-resource");
    assert_eq!(client.ask("PUT", "/v1/cluster", "", "").header("allow"), Some("GET, HEAD"));
}

#[test]
fn smache_answers_as_it_did() {
    let server = Server::start();
    let mut client = server.connect();
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
    for path in ["/", "/healthcheck"] {
        assert_eq!(client.ask("GET", path, "", "").text(), "{}");
    }
    let miss = client.ask("GET", "/api?key=hello", "", "").text().to_owned();
    assert_eq!(miss, r#"{"data":null,"key":448378203247,"node":"w2"}"#);
    let posted = client.ask("POST", "/api", json, r#"{"key":1,"data":{"b": [1.50,null]}}"#);
    assert_eq!((posted.status, posted.text()), (200, r#"{"data":{"b": [1.50,null]}}"#));
    let got = client.ask("GET", "/api?key=1", "", "").json();
    assert_eq!((&got["data"], &got["key"]), (&json!({"b": [1.5, null]}), &json!(1)));
    client.ask("POST", "/api", form, "key=1&data=blue+sky");
    assert_eq!(client.ask("GET", "/api?key=1", "", "").json()["data"], "blue sky");
    assert_eq!(client.ask("GET", "/v1/kv/default/1", "", "").text(), "blue sky");
    assert_eq!(client.ask("POST", "/api?key=far&data=x", "", "").text(), r#"{"data":"x"}"#);
    assert_eq!(client.ask("GET", "/api?key=far", "", "").json()["data"], "x");
    let refused: [(&str, &str, u16); 9] = [
        (json, r#"{"key":null,"data":1}"#, 403),
        (form, "key&data=1", 403),
        (json, r#"{"data":1}"#, 400),
        (json, r#"{"key":1}"#, 400),
        (json, r#"{"key":1,"data":"#, 400),
        (json, r#"{"key":1,"data":1,"data":2}"#, 400),
        (json, r#"{"key":1,"data":1e999}"#, 400),
        ("Content-Type: text/plain\r\n", "x", 400),
        (form, "key=%zz&data=1", 400),
    ];
    for (content_type, body, status) in refused {
        let answer = client.ask("POST", "/api", content_type, body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.json()["message"].is_string());
    }
    let null = client.ask("GET", "/api?key", "", "");
    assert_eq!((null.status, null.text()), (403, r#"{"message":"key cannot be null"}"#));
    assert_eq!(client.ask("GET", "/api", "", "").status, 400);
    let long = format!(r#"{{"key":1,"data":"{}"}}"#, "a".repeat(1024 * 1024 + 1));
    assert_eq!(server.ask("POST", "/api", json, &long).status, 413);
}

#[test]
fn values_beyond_the_limit_of_their_table_are_refused() {
    let server = Server::start();
    let longest = "x".repeat(SMALL as usize);
    assert_eq!(server.ask("PUT", "/v1/kv/small/k", "", &longest).status, 201);
    let longer = server.ask("PUT", "/v1/kv/small/k", "", &(longest.clone() + "x"));
    assert_eq!((longer.status, longer.header("connection")), (413, None));
    let body = longer.json();
    assert_eq!(
        (&body["limit"], &body["table"], &body["key"]),
        (&json!(8), &json!("small"), &json!("k"))
    );
    let chunked = server.raw(
        b"PUT /v1/kv/small/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\naaaaa\r\n5\r\nbbbbb\r\n0\r\n\r\n",
    );
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    let declared = server.raw(
        b"PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999999\r\n\r\nx",
    );
    assert!(declared.starts_with("HTTP/1.1 413 "), "{declared}");
    let answer = server.ask("PUT", "/v1/kv/small/k?tlt=30s", "", "v");
    assert_eq!(answer.problem(), "unknown-parameter");
    for ttl in ["0s", "-1s", "101years", "99999999999999999999s", "30", ""] {
        let answer = server.ask("PUT", &format!("/v1/kv/small/k?ttl={ttl}"), "", "v");
        assert_eq!(answer.problem(), "invalid-ttl", "{ttl}");
    }
}

/// RFC 9112 §6, §7.1; CVE-2021-32714, CVE-2021-32715.
#[test]
fn what_could_be_framed_in_two_ways_is_refused_and_closed() {
    let server = Server::start();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases = [
        ("Content-Length: +5\r\n".to_owned(), "hello"),
        ("Content-Length: -5\r\n".to_owned(), "hello"),
        ("Content-Length: 5, 5\r\n".to_owned(), "hello"),
        ("Content-Length: 0x5\r\n".to_owned(), "hello"),
        ("Content-Length: \r\n".to_owned(), "hello"),
        ("Content-Length: 99999999999999999999\r\n".to_owned(), "hello"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n".to_owned(), "hello"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n".to_owned(), "hello"),
        (format!("Content-Length: 5\r\n{chunked}"), "5\r\nhello\r\n0\r\n\r\n"),
        (format!("{chunked}Content-Length: 5\r\n"), "5\r\nhello\r\n0\r\n\r\n"),
        (format!("{chunked}{chunked}"), "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n".to_owned(), "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\n".to_owned(), "hello"),
        ("Transfer-Encoding: \x0bchunked\r\n".to_owned(), "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n".to_owned(), "5\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "5\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "+5\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "0x5\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "5 5\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "5;a=\n\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "5\r\nhelloX\r\n0\r\n\r\n"),
        (chunked.to_owned(), "5\r\nhello\n0\r\n\r\n"),
        (chunked.to_owned(), "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        (chunked.to_owned(), "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("Host: other\r\n".to_owned(), ""),
        (" folded: x\r\n".to_owned(), ""),
        ("a b: x\r\n".to_owned(), ""),
        ("a: \0\r\n".to_owned(), ""),
    ];
    for (headers, body) in cases {
        let request = format!(
            "PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}\
             GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        let answer = server.raw(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
        assert!(
            !answer.contains("HTTP/1.1 2"),
            "nothing is answered after it: {request:?}: {answer}"
        );
    }
    assert_eq!(server.ask("GET", "/v1/kv/default/k", "", "").status, 404, "nothing was written");
}

#[test]
fn what_is_framed_oddly_but_clearly_is_taken() {
    let server = Server::start();
    let mut client = server.connect();
    let requests: [&[u8]; 3] = [
        b"PUT /v1/kv/default/k HTTP/1.1\nHost: localhost\nContent-Length: 5\n\nhello", // RFC 9112 §2.2
        b"PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n\
          2;x=\"y\"\r\nhe\r\n003\r\nllo\r\n0\r\nTrailer: x\r\n\r\n",
        b"PUT http://localhost/v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    ];
    for request in requests {
        client.raw().send(request);
        let status = client.answer("PUT").status;
        assert!(matches!(status, 201 | 204), "{status}: {}", String::from_utf8_lossy(request));
        assert_eq!(client.ask("GET", "/v1/kv/default/k", "", "").text(), "hello");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    let mut requests = String::new();
    for number in 0..100 {
        let key = if number % 2 == 0 { "near" } else { "far" };
        requests += &format!(
            "PUT /v1/kv/default/{key}{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx\
             GET /v1/kv/default/{key}{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
    }
    client.raw().send(requests.as_bytes());
    for number in 0..100 {
        assert_eq!(client.answer("PUT").status, 201, "{number}");
        assert_eq!(client.answer("GET").text(), "x", "{number}");
    }
}

#[test]
fn other_protocols_are_refused() {
    let server = Server::start();
    let preface = server.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(preface.starts_with("HTTP/1.1 400 "), "{preface}");
    let redis = server.raw(b"*1\r\n$4\r\nPING\r\n");
    assert!(redis.starts_with("HTTP/1.1 400 "), "{redis}");
    let socket = server.raw(
        b"GET /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
          Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n",
    );
    assert!(socket.starts_with("HTTP/1.1 400 "), "{socket}");
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.ask("GET", "/v1/kv/default/k", "", "x").problem(), "unexpected-body");
    }
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let server = Server::start();
    let long = format!("/v1/kv/default/k?{}", "a".repeat(URL_BYTES_MAX));
    assert_eq!(server.ask("GET", &long, "", "").problem(), "url-too-long");
    let many = "X-A: b\r\n".repeat(HEADERS_MAX - 1); // and Host
    assert_eq!(server.ask("GET", "/livez", &many, "").status, 200);
    let more = server.ask("GET", "/livez", &format!("{many}X-A: b\r\n"), "");
    assert_eq!((more.status, more.problem().as_str()), (431, "headers-too-long"));
    let wide = format!("X-A: {}\r\n", "b".repeat(HEADER_BYTES_MAX));
    assert_eq!(server.ask("GET", "/livez", &wide, "").status, 431);
    let wide = format!("X-A: {}\r\n", "b".repeat(200 * 1024));
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{wide}").as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let server = Server::start();
    let path = "/v1/kv/default/k";
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let answer = server.ask("PUT", path, &format!("Origin: {origin}\r\n"), "v");
        assert_eq!((answer.status, answer.problem().as_str()), (403, "foreign-origin"), "{origin}");
        let form = server.ask("POST", "/api?key=k&data=v", &format!("Origin: {origin}\r\n"), "");
        assert_eq!(form.status, 403, "{origin}");
    }
    assert_eq!(server.ask("GET", path, "", "").status, 404);
    assert_eq!(server.ask("PUT", path, "Origin: http://localhost\r\n", "v").status, 201);
    let got = server.ask("GET", path, "Origin: http://evil.example\r\n", "");
    assert!(!got.headers.keys().any(|name| name.starts_with("access-control")), "{got:?}");
    let rebound = server
        .raw(b"GET /v1/kv/default/k HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 421 "), "{rebound}");
}

/// Each is given its few seconds; all wait at once.
#[test]
fn slow_peers_are_given_up() {
    let server = Server::start();
    let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
    let put = "PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n";
    let cases = [
        ("a first head", head.to_owned(), "HTTP/1.1 408 "),
        ("a body", format!("{put}Content-Length: 9\r\n\r\nhalf"), "HTTP/1.1 408 "),
        (
            "chunks",
            format!("{put}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
            "HTTP/1.1 408 ",
        ),
        ("a trailer", format!("{put}Transfer-Encoding: chunked\r\n\r\n0\r\nx: "), "HTTP/1.1 408 "),
        (
            "a body nobody reads",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
            "HTTP/1.1 400 ",
        ),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect();
            assert_eq!(client.ask("GET", "/livez", "", "").status, 200);
            client.raw().send(head.as_bytes());
            let answer = client.raw().rest();
            assert!(answer.starts_with(b"HTTP/1.1 408 "), "a later head: {answer:?}");
        });
        for (what, bytes, want) in &cases {
            let server = &server;
            scope.spawn(move || {
                let answer = server.raw(bytes.as_bytes());
                assert!(answer.starts_with(want), "{what}: {answer}");
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: {answer}");
            });
        }
    });
    assert_eq!(server.ask("GET", "/v1/kv/default/k", "", "").status, 404, "nothing was written");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::start();
    let mut client = server.connect();
    let head = b"PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    client.raw().send(head);
    assert_eq!(client.answer("PUT").status, 100);
    client.raw().send(b"x");
    assert_eq!(client.answer("PUT").status, 201);
}

#[test]
fn a_pipeline_behind_a_long_value_waits_its_turn() {
    let server = Server::start();
    let mut client = server.connect();
    let long = "x".repeat(1024 * 1024);
    assert_eq!(client.ask("PUT", "/v1/kv/default/k", "", &long).status, 201);
    let get = "GET /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.raw().send(get.repeat(32).as_bytes());
    for number in 0..32 {
        assert_eq!(client.answer("GET").body.len(), long.len(), "{number}");
    }
}
