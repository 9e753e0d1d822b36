//! Bad input and bounds of the Redis door: every reply is clean, and the connection goes on or is closed as it should be.

use firn_tests::redis::{Talk, request, text};
use firn_tests::{Cluster, client, wait_until};
use firn_wire::limits::{KEY_BYTES_MAX, VALUE_BYTES_DEFAULT_MAX, VALUE_BYTES_HARD_MAX};

fn connect(cluster: &Cluster, worker: usize) -> Talk {
    Talk::connect(cluster.worker(worker).resp())
}

/// Asks in one line of words, and gives the reply as text.
#[track_caller]
fn ask(talk: &mut Talk, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    String::from_utf8_lossy(&talk.ask(&words)).into_owned()
}

#[test]
fn keys_and_values_beyond_their_limits_are_refused_in_words() {
    let cluster = Cluster::start(2);
    let mut talk = connect(&cluster, 0);
    let key = vec![b'k'; KEY_BYTES_MAX + 1];
    let value = vec![b'v'; VALUE_BYTES_DEFAULT_MAX + 1];
    // Each on eight keys, so that both workers refuse.
    for number in 0..8 {
        let name = format!("key:{number}").into_bytes();
        let long = [name.as_slice(), &key].concat();
        assert_eq!(talk.ask(&[b"SET", &name, &value[1..]]), b"+OK\r\n");
        let too_long = b"-ERR value is longer than the 1048576 bytes its table allows\r\n";
        assert_eq!(talk.ask(&[b"SET", &name, &value]), too_long);
        assert_eq!(talk.ask(&[b"APPEND", &name, b"x"]), too_long);
        assert_eq!(talk.ask(&[b"SETRANGE", &name, b"1048576", b"x"]), too_long);
        assert_eq!(talk.ask(&[b"STRLEN", &name]), b":1048576\r\n");
        assert_eq!(talk.ask(&[b"GET", &long]), b"-ERR key is longer than 4096 bytes\r\n");
        assert_eq!(talk.ask(&[b"SET", &long[..KEY_BYTES_MAX], &name]), b"+OK\r\n");
    }
    assert_eq!(talk.ask(&[b"SET", b"", b"v"]), b"-ERR key is empty\r\n");
    assert_eq!(talk.ask(&[b"MGET", b"a", b""]), b"-ERR key is empty\r\n");
    assert_eq!(talk.ask(&[b"PING"]), b"+PONG\r\n");
}

#[tokio::test]
async fn the_longest_value_and_a_long_pipeline_pass() {
    let cluster = Cluster::start(2);
    let table = cluster.worker(0).url("/v1/tables/default");
    let policy = format!("{{\"value_bytes_max\":{VALUE_BYTES_HARD_MAX}}}");
    let patched = client::http()
        .patch(table)
        .header("content-type", "application/merge-patch+json")
        .body(policy)
        .send()
        .await
        .expect("the worker answers");
    assert!(patched.status().is_success(), "{patched:?}");
    let value = vec![b'v'; VALUE_BYTES_HARD_MAX];
    for (number, worker) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
        let key = format!("long:{number}").into_bytes();
        wait_until("the new limit has come to every worker", firn_tests::DEADLINE, || {
            let reply = connect(&cluster, worker).ask(&[b"SET", &key, &value]);
            (reply == b"+OK\r\n").then_some(())
        });
        let reply = connect(&cluster, 1 - worker).ask(&[b"GET", &key]);
        assert!(text(&reply) == Some(&value), "{} bytes came back", reply.len());
        assert_eq!(connect(&cluster, 0).ask(&[b"DEL", &key]), b":1\r\n");
    }
    let mut talk = connect(&cluster, 0);
    let commands = (0..100_000).map(|number| {
        let key = format!("pipe:{}", number % 1_000);
        if number % 2 == 0 { request(&["SET", &key, "value"]) } else { request(&["STRLEN", &key]) }
    });
    talk.send(&commands.collect::<Vec<_>>().concat());
    for number in 0..100_000 {
        let reply = talk.reply();
        match number % 2 {
            0 => assert_eq!(reply, b"+OK\r\n", "reply {number}"),
            _ => assert!(reply == b":0\r\n" || reply == b":5\r\n", "reply {number}: {reply:?}"),
        }
    }
}

#[test]
fn a_longer_word_than_any_ends_the_connection() {
    let cluster = Cluster::alone();
    let mut talk = connect(&cluster, 0);
    talk.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", 66 * 1024 * 1024).as_bytes());
    assert_eq!(talk.rest(), b"-ERR Protocol error: invalid bulk length\r\n");
}

#[test]
fn requests_may_come_byte_by_byte_and_have_very_many_words() {
    let cluster = Cluster::start(2);
    let mut talk = connect(&cluster, 0);
    let requests = [request(&["SET", "k", "a\r\nb"]), b"GET k\r\n".to_vec()].concat();
    requests.chunks(1).for_each(|byte| talk.send(byte));
    assert_eq!(talk.reply(), b"+OK\r\n");
    assert_eq!(talk.reply(), b"$4\r\na\r\nb\r\n");
    let mut words = vec!["EXISTS".to_owned()];
    words.extend((0..200_000).map(|number| format!("many:{number}")));
    words.push("k".to_owned());
    talk.send(&request(&words));
    assert_eq!(talk.reply(), b":1\r\n");
}

#[test]
fn errors_quote_nothing_that_could_be_another_reply() {
    let cluster = Cluster::alone();
    let mut talk = connect(&cluster, 0);
    let nasty = b"x\r\n+OK\r\n\0y";
    for words in [
        &[nasty.as_slice()][..],
        &[b"CLIENT", nasty],
        &[b"HELLO", b"3", nasty],
        &[b"EXPIRE", b"k", b"1", nasty],
        &[b"CONFIG", b"SET", nasty, b"1"],
        &[b"CLIENT", b"KILL", b"USER", nasty],
        &[b"CLIENT", b"SETINFO", nasty, b"1"],
    ] {
        let reply = talk.ask(words);
        assert!(reply.starts_with(b"-ERR ") && !reply.contains(&0), "{}", reply.escape_ascii());
        assert_eq!(talk.ask(&[b"ECHO", b"next"]), b"$4\r\nnext\r\n");
    }
}

#[test]
fn what_must_be_together_says_how() {
    let cluster = Cluster::start(2);
    let mut talk = connect(&cluster, 0);
    let cure = "-ERR the keys are in different partitions; give them one {hash tag} to keep them together\r\n";
    assert_eq!(ask(&mut talk, "MSETNX a 1 b 2"), cure);
    assert_eq!(ask(&mut talk, "MSETNX {t}a 1 {t}b 2"), ":1\r\n");
    assert_eq!(ask(&mut talk, "WATCH a"), "+OK\r\n");
    assert_eq!(ask(&mut talk, "MULTI"), "+OK\r\n");
    assert_eq!(ask(&mut talk, "SET b 1"), "+QUEUED\r\n");
    assert_eq!(ask(&mut talk, "EXEC"), cure);
    assert_eq!(ask(&mut talk, "EXISTS a b"), ":0\r\n");
    for line in ["WATCH a", "MULTI", "SET a 1", "EXEC"] {
        ask(&mut talk, line);
    }
    assert_eq!(ask(&mut talk, "GET a"), "$1\r\n1\r\n");
}

/// Requests that ask whole tables, or bring a condition of their own, stand between the steps of one EXEC; the watched
/// keys are looked at before any of it.
#[test]
fn exec_runs_what_is_no_key_operation_in_its_place() {
    let cluster = Cluster::start(2);
    let (mut talk, mut other) = (connect(&cluster, 0), connect(&cluster, 1));
    let queue = [
        "SET {t}a 1",
        "DBSIZE",
        "SELECT 1",
        "DBSIZE",
        "MSETNX {t}a 1 {t}b 2",
        "SELECT 0",
        "KEYS *",
        "GET {t}a",
    ];
    let exec = |talk: &mut Talk| {
        ask(talk, "MULTI");
        queue.iter().for_each(|line| assert_eq!(ask(talk, line), "+QUEUED\r\n"));
        ask(talk, "EXEC")
    };
    let want = "*8\r\n+OK\r\n:1\r\n+OK\r\n:0\r\n:1\r\n+OK\r\n*1\r\n$4\r\n{t}a\r\n$1\r\n1\r\n";
    assert_eq!(exec(&mut talk), want);
    assert_eq!(ask(&mut talk, "WATCH {t}a"), "+OK\r\n");
    assert_eq!(ask(&mut other, "SET {t}a 2"), "+OK\r\n");
    assert_eq!(exec(&mut talk), "*-1\r\n");
    assert_eq!(ask(&mut talk, "GET {t}a"), "$1\r\n2\r\n");
}

#[test]
fn queues_watches_patterns_and_names_are_bounded() {
    let cluster = Cluster::alone();
    let mut talk = connect(&cluster, 0);
    assert_eq!(ask(&mut talk, "MULTI"), "+OK\r\n");
    talk.send(&b"PING\r\n".repeat(100_001));
    (0..100_000).for_each(|_| assert_eq!(talk.reply(), b"+QUEUED\r\n"));
    assert!(talk.reply().starts_with(b"-ERR MULTI queues at most 100000 requests"));
    assert!(ask(&mut talk, "EXEC").starts_with("-EXECABORT"));
    let watch: Vec<String> =
        std::iter::once("WATCH".to_owned()).chain((0..=10_000).map(|n| n.to_string())).collect();
    talk.send(&request(&watch));
    assert_eq!(talk.reply(), b"-ERR a connection watches at most 10000 keys\r\n");
    let pattern = "a".repeat(16 * 1024 + 1);
    let refused = "-ERR pattern is longer than 16384 bytes\r\n";
    assert_eq!(ask(&mut talk, &format!("KEYS {pattern}")), refused);
    assert_eq!(ask(&mut talk, &format!("SCAN 0 MATCH {pattern}")), refused);
    let refused = "-ERR a connection's names are at most 1024 bytes long\r\n";
    assert_eq!(ask(&mut talk, &format!("CLIENT SETNAME {pattern}")), refused);
    assert_eq!(ask(&mut talk, "CLIENT GETNAME"), "$-1\r\n");
}

#[test]
fn times_beyond_a_hundred_years_are_refused() {
    let cluster = Cluster::alone();
    let mut talk = connect(&cluster, 0);
    assert_eq!(ask(&mut talk, "SET k v EX 3155760000"), "+OK\r\n");
    for (line, command) in [
        ("SET k w EX 3200000000", "set"),
        ("SET k w PXAT 9223372036854775807", "set"),
        ("PSETEX k 9223372036854775807 w", "psetex"),
        ("EXPIREAT k 9999999999", "expireat"),
        ("GETEX k PX 3200000000000", "getex"),
    ] {
        let want = format!("-ERR invalid expire time in '{command}' command\r\n");
        assert_eq!(ask(&mut talk, line), want, "{line}");
    }
    assert_eq!(ask(&mut talk, "GET k"), "$1\r\nv\r\n");
}

#[test]
fn connections_are_listed_and_ended() {
    let cluster = Cluster::alone();
    let (mut one, mut other) = (connect(&cluster, 0), connect(&cluster, 0));
    ask(&mut other, "CLIENT SETNAME other");
    ask(&mut other, "CLIENT SETINFO LIB-NAME library");
    let id = ask(&mut other, "CLIENT ID");
    let id = id.trim_start_matches(':').trim_end();
    let line = ask(&mut one, &format!("CLIENT LIST ID {id}"));
    for part in ["name=other ", "cmd=client|id ", "lib-name=library ", "resp=2 "] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    assert_eq!(ask(&mut one, &format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert_eq!(other.rest(), b"");
    wait_until("the connection is no longer listed", firn_tests::DEADLINE, || {
        (!ask(&mut one, "CLIENT LIST").contains("name=other ")).then_some(())
    });
    let me = ask(&mut one, "CLIENT INFO");
    let address = me.split(' ').find_map(|field| field.strip_prefix("addr=")).expect("an address");
    one.send(&request(&["CLIENT", "KILL", address]));
    assert_eq!(one.rest(), b"+OK\r\n");
}
