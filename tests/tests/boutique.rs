//! D-Boutique's door, to the byte (docs/PROTOCOL.md).

use firn_tests::{Cluster, Raw};
use firn_wire::limits::{KEY_BYTES_MAX, VALUE_BYTES_DEFAULT_MAX, VALUE_BYTES_HARD_MAX};

const SESSION: &[(&str, &str)] = &[
    ("GET shoes red\r\n", "NOT FOUND\r\n"),
    ("PUT shoes red 7\r\n", "NOT FOUND\r\n"),
    ("DELETE shoes red\r\n", "NOT FOUND\r\n"),
    ("CREATE shoes\r\n", "OK\r\n"),
    ("CREATE shoes\r\n", "OK\r\n"),
    ("GET shoes red\r\n", "\r\nOK\r\n"),
    ("PUT shoes red 7\r\n", "OK\r\n"),
    ("GET shoes red\r\n", "7\r\nOK\r\n"),
    ("PUT shoes red 8\n", "OK\r\n"),
    ("GET shoes red\n", "8\r\nOK\r\n"),
    ("  GET\tshoes \x0b red \r\n", "8\r\nOK\r\n"),
    ("DELETE shoes red\r\n", "OK\r\n"),
    ("DELETE shoes red\r\n", "OK\r\n"),
    ("GET shoes red\r\n", "\r\nOK\r\n"),
    ("\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("get shoes red\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("GET shoes\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("PUT shoes red\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("PUT shoes red 7 8\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("CREATE\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("CREATE a b\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("DELETE shoes\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
    ("STATUS\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
];

/// The session with a bucket of the test's own, as one text of lines and one of replies.
fn session(bucket: &str) -> (String, String) {
    let lines: String = SESSION.iter().map(|(line, _)| line.replace("shoes", bucket)).collect();
    (lines, SESSION.iter().map(|(_, reply)| *reply).collect())
}

#[test]
fn a_session_is_the_same_on_every_worker_however_its_bytes_arrive() {
    let cluster = Cluster::start(4);
    for (number, worker) in cluster.workers().iter().enumerate() {
        let mut boutique = Raw::connect(worker.boutique());
        for (line, reply) in SESSION {
            boutique.expect(line.replace("shoes", &format!("shoes{number}")), reply);
        }
        let (lines, replies) = session(&format!("hats{number}"));
        boutique.expect(lines, replies);
        let (lines, replies) = session(&format!("coats{number}"));
        for byte in lines.bytes() {
            boutique.send(&[byte]);
        }
        boutique.expect("", replies);
    }
}

/// The first byte of a bucket's name says where it is: every range of the alphabet, and what no range has.
#[test]
fn buckets_of_any_name_work_through_any_worker() {
    let cluster = Cluster::start(3);
    let mut boutiques: Vec<_> =
        cluster.workers().iter().map(|worker| Raw::connect(worker.boutique())).collect();
    for name in [
        "apple", "gold", "hat", "nut", "oil", "up", "van", "zoo", "Zoo", "7up", "é", "../x",
        "%2e%2e", "\0",
    ] {
        boutiques[0].expect(format!("CREATE {name}\n"), "OK\r\n");
        for number in 0..30 {
            boutiques[1].expect(format!("PUT {name} k{number} {name}{number}\n"), "OK\r\n");
            let reply = format!("{name}{number}\r\nOK\r\n");
            boutiques[2].expect(format!("GET {name} k{number}\n"), reply);
        }
    }
}

#[test]
fn replies_keep_the_order_of_ten_thousand_lines_sent_ahead() {
    let cluster = Cluster::start(4);
    let mut boutique = Raw::connect(cluster.worker(3).boutique());
    boutique.expect("CREATE one\r\nCREATE two\r\n", "OK\r\nOK\r\n");
    let (mut lines, mut replies) = (String::new(), String::new());
    for number in 0..2_500 {
        let table = ["one", "two"][number % 2];
        lines +=
            &format!("PUT {table} k{} {number}\r\nGET {table} k{}\r\n", number % 50, number % 50);
        replies += &format!("OK\r\n{number}\r\nOK\r\n");
        lines += &format!("GET three k\r\nGET {table} none{number}\r\n");
        replies += "NOT FOUND\r\n\r\nOK\r\n";
    }
    boutique.expect(lines, replies);
}

#[test]
fn what_is_too_long_is_refused_and_only_a_line_beyond_all_bounds_ends_the_connection() {
    let cluster = Cluster::start(2);
    let mut boutique = Raw::connect(cluster.worker(0).boutique());
    boutique.expect("CREATE b\n", "OK\r\n");
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    boutique.expect(format!("PUT b {key} v\n"), "ERROR the key is longer than 4096 bytes\r\n");
    boutique.expect(format!("GET b {key}\n"), "ERROR the key is longer than 4096 bytes\r\n");
    boutique.expect(format!("PUT b {} v\n", &key[1..]), "OK\r\n");
    let value = "v".repeat(VALUE_BYTES_DEFAULT_MAX + 1);
    let refused = "ERROR the value is longer than the 1048576 bytes its table allows\r\n";
    boutique.expect(format!("PUT b k {value}\n"), refused);
    boutique.expect("GET b k\n", "\r\nOK\r\n");
    boutique.expect(format!("PUT b k {}\n", &value[1..]), "OK\r\n");
    boutique.expect("GET b k\n", format!("{}\r\nOK\r\n", &value[1..]));
    boutique.expect(format!("{value}\n"), "COMMAND NOT IMPLEMENTED\r\n");

    boutique.send(b"PUT b k ");
    // The door may stop taking it once it is too long.
    let _ = boutique.offer(&vec![b'x'; VALUE_BYTES_HARD_MAX + 128 * 1024]);
    assert_eq!(
        String::from_utf8_lossy(&boutique.rest()),
        format!("ERROR the line is longer than {} bytes\r\n", VALUE_BYTES_HARD_MAX + 64 * 1024)
    );
    Raw::connect(cluster.worker(0).boutique()).expect("GET b none\n", "\r\nOK\r\n");
}

#[test]
fn a_request_for_a_web_server_gets_nothing_done() {
    let cluster = Cluster::start(1);
    let mut boutique = Raw::connect(cluster.worker(0).boutique());
    boutique.send(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nCREATE trap\r\n");
    let replies = String::from_utf8(boutique.rest()).expect("replies are text");
    assert_eq!(replies, "COMMAND NOT IMPLEMENTED\r\n".repeat(2));
    let mut boutique = Raw::connect(cluster.worker(0).boutique());
    boutique.expect("GET trap k\r\n", "NOT FOUND\r\n");
}
