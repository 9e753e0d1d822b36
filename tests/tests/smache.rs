//! Smache's interface over a real cluster, as its clients know it.

use std::process::Command;

use firn_tests::{Answer, Cluster, Http, Raw};
use serde_json::{Value, json};

const WORKERS: usize = 4;
const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// A connection to each worker.
fn connect(cluster: &Cluster) -> Vec<Http> {
    cluster.workers().iter().map(|worker| Http::connect(worker.http())).collect()
}

fn post(client: &mut Http, key: &Value, data: &Value) -> Answer {
    client.ask("POST", "/api", JSON, json!({ "key": key, "data": data }).to_string())
}

fn encode(key: &str) -> String {
    key.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Keys and their integers as the page of its interface has them.
const VECTORS: [(&str, &str); 8] = [
    ("a", "97"),
    ("aa", "24929"),
    ("aaa", "6381921"),
    ("abcd", "1633837924"),
    ("hello", "448378203247"),
    ("é", "50089"),
    ("hello world", "126207244316550804821666916"),
    ("-12345678901234567890123456789", "-12345678901234567890123456789"),
];

#[test]
fn a_value_posted_through_one_port_is_got_through_another() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    let colors = ["blue", "red", "green", "orange", "purple", "teal", "magenta"];
    for (key, color) in (1..).zip(colors) {
        let posted = post(&mut workers[key % WORKERS], &json!(key), &json!(color));
        assert_eq!((posted.status, posted.json()), (200, json!({ "data": color })));
        for worker in &mut workers {
            let got = worker.ask("GET", &format!("/api?key={key}"), "", "");
            let body = got.json();
            assert_eq!((&body["data"], &body["key"]), (&json!(color), &json!(key)));
        }
    }
}

#[test]
fn every_worker_tells_the_same_integer_and_node() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    for (key, integer) in VECTORS {
        let target = format!("/api?key={}", encode(key));
        let answers: Vec<_> =
            workers.iter_mut().map(|w| w.ask("GET", &target, "", "").text().to_owned()).collect();
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
        let start = format!("{{\"data\":null,\"key\":{integer},\"node\":\"w");
        assert!(answers[0].starts_with(&start), "{key}: {}", answers[0]);
    }
}

/// The rule of the system it replaces: the integer modulo the number of workers.
#[test]
fn with_literal_integers_the_owner_is_the_integer_modulo_the_workers() {
    let cluster = Cluster::builder(WORKERS).key_integer("literal").start();
    let mut client = Http::connect(cluster.worker(0).http());
    let mut node = |key: u32| {
        let got = client.ask("GET", &format!("/api?key={key}"), "", "");
        got.json()["node"].as_str().expect("a node").to_owned()
    };
    let seats: Vec<_> = (0..4).map(&mut node).collect();
    for key in 0..200 {
        assert_eq!(node(key), seats[key as usize % WORKERS], "{key}");
    }
    let mut names = seats.clone();
    names.sort();
    assert_eq!(names, ["w1", "w2", "w3", "w4"]);
}

#[test]
fn the_integer_is_not_the_identity_but_a_number_is_its_digits() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    post(&mut workers[0], &json!("aa"), &json!("letters"));
    post(&mut workers[1], &json!(24929), &json!("digits"));
    let mut get = |key: &str| workers[2].ask("GET", &format!("/api?key={key}"), "", "").json();
    let (letters, digits) = (get("aa"), get("24929"));
    assert_eq!((&letters["data"], &digits["data"]), (&json!("letters"), &json!("digits")));
    assert_eq!(letters["key"], digits["key"]);
    post(&mut workers[3], &json!("24929"), &json!("again"));
    let got = workers[0].ask("GET", "/api?key=24929", "", "").json();
    assert_eq!(got["data"], "again");
}

#[test]
fn any_json_is_kept_exactly() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    let values = [
        "null",
        "true",
        "12345678901234567890123456789.10",
        "1E+2",
        r#"{"b": 1, "a":[ {}, [] ]}"#,
        r#""plain""#,
        r#""caf\u00e9 \n \" \\ ""#,
        r#""""#,
    ];
    for (number, value) in values.into_iter().enumerate() {
        let body = format!("{{\"key\":\"v{number}\",\"data\":{value}}}");
        let posted = workers[0].ask("POST", "/api", JSON, body);
        let want: Value = serde_json::from_str(value).expect("JSON");
        assert_eq!((posted.status, &posted.json()["data"]), (200, &want), "{value}");
        let got = workers[1].ask("GET", &format!("/api?key=v{number}"), "", "");
        assert_eq!(got.json()["data"], want, "{value}");
        if !value.starts_with('"') {
            assert!(got.text().contains(&format!("\"data\":{value},")), "{}", got.text());
        }
    }
}

#[test]
fn other_doors_see_plain_text() {
    let cluster = Cluster::start(WORKERS);
    let mut workers = connect(&cluster);
    post(&mut workers[0], &json!("greeting"), &json!("hello"));
    assert_eq!(workers[1].ask("GET", "/v1/kv/default/greeting", "", "").text(), "hello");
    let mut redis = Raw::connect(cluster.worker(2).resp());
    redis.expect("GET greeting\r\n", "$5\r\nhello\r\n");
    redis.expect("*3\r\n$3\r\nSET\r\n$8\r\ngreeting\r\n$7\r\n{\"a\":1}\r\n", "+OK\r\n");
    let got = workers[3].ask("GET", "/api?key=greeting", "", "").json();
    assert_eq!(got["data"], "{\"a\":1}", "what another door wrote is a string");
    let json = "Content-Type: application/json\r\n";
    workers[0].ask("PUT", "/v1/kv/default/greeting", json, "{\"a\":1}");
    assert_eq!(workers[1].ask("GET", "/api?key=greeting", "", "").json()["data"], json!({"a": 1}));
    workers[0].ask("PUT", "/v1/kv/default/greeting", json, b"{\"a\xff");
    let got = workers[1].ask("GET", "/api?key=greeting", "", "").json();
    assert_eq!(got["data"], "{\"a\u{fffd}", "marked as JSON, but none");
}

#[test]
fn forms_and_queries_do_as_well() {
    let cluster = Cluster::start(WORKERS);
    let mut client = Http::connect(cluster.worker(0).http());
    let form = client.ask("POST", "/api", FORM, "key=sky&data=light+blue%21");
    assert_eq!(form.json(), json!({"data": "light blue!"}));
    assert_eq!(
        client.ask("POST", "/api?key=sea&data=teal", "", "").json(),
        json!({"data": "teal"})
    );
    assert_eq!(client.ask("GET", "/api?key=sky", "", "").json()["data"], "light blue!");
    assert_eq!(client.ask("GET", "/api?key=sea", "", "").json()["data"], "teal");
    for path in ["/", "/healthcheck"] {
        let answer = client.ask("GET", path, "", "");
        assert_eq!((answer.status, answer.text()), (200, "{}"), "{path}");
    }
}

#[test]
fn bad_requests_get_their_status_and_a_message() {
    let cluster = Cluster::start(WORKERS);
    let mut client = Http::connect(cluster.worker(0).http());
    let deep = format!("{{\"key\":1,\"data\":{}{}}}", "[".repeat(65), "]".repeat(65));
    let cases = [
        (JSON, r#"{"key":null,"data":1}"#, 403),
        (FORM, "key&data=1", 403),
        (JSON, r#"{"data":1}"#, 400),
        (JSON, r#"{"key":1}"#, 400),
        (JSON, r#"{"key":"","data":1}"#, 400),
        (JSON, r#"{"key":1.5,"data":1}"#, 400),
        (JSON, r#"{"key":{},"data":1}"#, 400),
        (JSON, r#"{"key":1,"data":"#, 400),
        (JSON, r#"{"key":1,"data":NaN}"#, 400),
        (JSON, r#"{"key":1,"data":1e999}"#, 400),
        (JSON, r#"{"key":1,"data":1,"data":2}"#, 400),
        (JSON, r#"{"key":1,"data":"\ud800"}"#, 400),
        (JSON, r#"{"key":1,"data":1} x"#, 400),
        (JSON, &deep, 400),
        (JSON, "", 400),
    ];
    for (content_type, body, status) in cases {
        let answer = client.ask("POST", "/api", content_type, body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.json()["message"].is_string(), "{body}: {answer:?}");
    }
    let null = client.ask("GET", "/api?key", "", "");
    assert_eq!((null.status, null.json()), (403, json!({"message": "key cannot be null"})));
    assert_eq!(client.ask("GET", "/api", "", "").status, 400);
    assert_eq!(client.ask("POST", "/api", JSON, b"{\"key\":\"\xff\",\"data\":1}").status, 400);
    let long = json!({"key": 1, "data": "x".repeat(1024 * 1024 + 1)}).to_string();
    assert_eq!(Http::connect(cluster.worker(1).http()).ask("POST", "/api", JSON, long).status, 413);
    let longest = json!({"key": 1, "data": "x".repeat(1024 * 1024)}).to_string();
    assert_eq!(client.ask("POST", "/api", JSON, longest).status, 200);
}

/// The scripts it came with do their work against any worker.
#[test]
fn its_scripts_post_and_get() {
    if firn_tests::outside("curl").is_none() {
        return;
    }
    let cluster = Cluster::start(WORKERS);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");
    let run = |script: &str, worker: usize| {
        let port = cluster.worker(worker).http().port().to_string();
        let output = Command::new(format!("{root}/{script}")).arg(port).output().expect("a script");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    run("curl.post.sh", 0);
    let got = run("curl.get.sh", 3);
    for color in ["blue", "red", "green", "orange", "purple", "teal", "magenta"] {
        assert!(got.contains(&format!("\"data\":\"{color}\"")), "{color} in {got}");
    }
}
