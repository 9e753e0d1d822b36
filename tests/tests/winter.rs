//! Winter's door, to the byte (docs/PROTOCOL.md).

use std::fs;
use std::path::Path;

use firn_tests::{Cluster, DEADLINE, Raw, wait_until};
use firn_wire::limits::{KEY_BYTES_MAX, TTL_MS_MAX, VALUE_BYTES_DEFAULT_MAX};

const SESSION: &[(&str, &str)] = &[
    ("PUTNEW snow k v\n", "missing table\n"),
    ("GET snow k\n", "missing table\n"),
    ("DELETE snow k\n", "missing table\n"),
    ("CREATE snow\r\n", "created\n"),
    ("CREATE snow\n", "already created\n"),
    ("GET snow k\n", "nil\n"),
    ("DELETE snow k\n", "ok\n"),
    ("PUTNEW snow k  the  first \r\n", "ok\n"),
    ("PUTNEW snow k the second\n", "ok\n"),
    ("GET snow k\n", " the  first \n"),
    ("DELETE snow k\n", "ok\n"),
    ("PUTNEW snow k the second EXPIRE 3155760000000\n", "ok\n"),
    ("GET snow k\n", "the second\n"),
    ("PUTNEW snow e \n", "ok\n"),
    ("GET snow e\n", "\n"),
    ("PUTNEW snow x EXPIRE 5\n", "ok\n"),
    ("GET snow x\n", "EXPIRE 5\n"),
    ("\r\n", "\n"),
    ("\n", "\n"),
    ("MELT snow\n", "unrecognized command MELT\n"),
    ("create snow\n", "unrecognized command create\n"),
    ("me\rl\0t\x1b[2J snow\n", "unrecognized command me?l?t?[2J\n"),
    ("GET\n", "error missing arguments: GET table key\n"),
    ("GET snow\n", "error missing arguments: GET table key\n"),
    ("DELETE snow\n", "error missing arguments: DELETE table key\n"),
    ("PUTNEW snow k\n", "error missing arguments: PUTNEW table key data\n"),
    ("CREATE\n", "error missing arguments: CREATE table\n"),
    ("PUTNEW snow  v\n", "error the key is empty\n"),
    ("GET snow \n", "error the key is empty\n"),
];

#[test]
fn a_session_is_the_same_on_every_worker_however_its_bytes_arrive() {
    let cluster = Cluster::start(4);
    let replies: String = SESSION.iter().map(|(_, reply)| *reply).collect();
    for worker in cluster.workers() {
        let of =
            |line: &str, table: &str| line.replace("snow", &format!("{table}_{}", worker.name()));
        let lines = |table| SESSION.iter().map(|(line, _)| of(line, table)).collect::<String>();
        let mut winter = Raw::connect(worker.winter());
        for (line, reply) in SESSION {
            winter.expect(of(line, "snow"), reply);
        }
        winter.expect(lines("rain"), &replies);
        for byte in lines("hail").bytes() {
            winter.send(&[byte]);
        }
        winter.expect("", &replies);
    }
}

#[test]
fn of_writers_on_all_workers_one_wins_and_all_hear_ok() {
    let cluster = Cluster::start(4);
    Raw::connect(cluster.worker(0).winter()).expect("CREATE race\n", "created\n");
    std::thread::scope(|scope| {
        for worker in cluster.workers() {
            scope.spawn(|| {
                let mut winter = Raw::connect(worker.winter());
                for number in 0..200 {
                    winter.expect(format!("PUTNEW race k{number} {}\n", worker.name()), "ok\n");
                }
            });
        }
    });
    let mut winters: Vec<_> =
        cluster.workers().iter().map(|worker| Raw::connect(worker.winter())).collect();
    for number in 0..200 {
        let mut read = winters.iter_mut().map(|winter| {
            winter.send(format!("GET race k{number}\n").as_bytes());
            winter.line()
        });
        let first = read.next().expect("four workers");
        assert!(first.starts_with('w'), "{first:?}");
        assert!(read.all(|other| other == first), "k{number}");
    }
}

#[test]
fn an_expired_value_is_gone_and_a_stale_time_takes_no_newer_value_with_it() {
    let cluster = Cluster::start(2);
    let mut winter = Raw::connect(cluster.worker(0).winter());
    winter.expect("CREATE t\n", "created\n");
    winter.expect("PUTNEW t kept old EXPIRE 100\nDELETE t kept\n", "ok\nok\n");
    winter.expect("PUTNEW t kept new\n", "ok\n");
    // It goes later than the removed value would have gone.
    winter.expect("PUTNEW t goes v EXPIRE 200\n", "ok\n");
    let mut other = Raw::connect(cluster.worker(1).winter());
    wait_until("the value is gone", DEADLINE, || {
        other.send(b"GET t goes\n");
        (other.line() == "nil\n").then_some(())
    });
    other.expect("GET t kept\n", "new\n");
    other.expect("PUTNEW t goes again\nGET t goes\n", "ok\nagain\n");
}

#[test]
fn a_time_that_is_none_is_refused_and_nothing_is_written() {
    let cluster = Cluster::start(1);
    let mut winter = Raw::connect(cluster.worker(0).winter());
    winter.expect("CREATE t\n", "created\n");
    let beyond = (TTL_MS_MAX + 1).to_string();
    for time in ["0", "-1", "-9223372036854775809", "18446744073709551616", &beyond] {
        winter.send(format!("PUTNEW t k v EXPIRE {time}\n").as_bytes());
        let reply = winter.line();
        assert!(reply.starts_with(&format!("error {time} is no time to live: ")), "{reply:?}");
        winter.expect("GET t k\n", "nil\n");
    }
    winter.expect("PUTNEW t k v EXPIRE soon\nGET t k\n", "ok\nv EXPIRE soon\n");
}

#[test]
fn what_is_too_long_is_refused_and_the_connection_goes_on() {
    let cluster = Cluster::start(2);
    let mut winter = Raw::connect(cluster.worker(1).winter());
    winter.expect("CREATE t\n", "created\n");
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    for line in
        [format!("PUTNEW t {key} v\n"), format!("GET t {key}\n"), format!("DELETE t {key}\n")]
    {
        winter.expect(line, "error the key is longer than 4096 bytes\n");
    }
    let value = "v".repeat(VALUE_BYTES_DEFAULT_MAX + 1);
    let refused = "error the value is longer than the 1048576 bytes its table allows\n";
    winter.expect(format!("PUTNEW t k {value}\n"), refused);
    winter.expect(format!("PUTNEW t k {}\n", &value[1..]), "ok\n");
    winter.expect("GET t k\n", format!("{}\n", &value[1..]));
    let word = "w".repeat(100_000);
    winter.expect(format!("{word}\n"), format!("unrecognized command {}\n", &word[..300]));
}

/// A client that asks and does not read stops being answered, instead of filling the worker's memory.
#[test]
fn replies_nobody_takes_do_not_pile_up() {
    const REPLIES: usize = 400;
    let cluster = Cluster::start(1);
    let worker = cluster.worker(0);
    let mut winter = Raw::connect(worker.winter());
    let value = "v".repeat(VALUE_BYTES_DEFAULT_MAX);
    winter.expect(format!("CREATE t\nPUTNEW t k {value}\n"), "created\nok\n");
    let before = worker.resident_bytes();
    winter.send("GET t k\n".repeat(REPLIES).as_bytes());
    let mut most = 0;
    for _ in 0..REPLIES {
        assert_eq!(winter.line().len(), value.len() + 1);
        most = most.max(worker.resident_bytes());
    }
    let grown = most.saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more for {} bytes of replies", REPLIES * value.len());
}

#[test]
fn any_word_is_a_table_and_none_is_a_file_name() {
    let cluster = Cluster::builder(2).data().start();
    let mut winters: Vec<_> =
        cluster.workers().iter().map(|worker| Raw::connect(worker.winter())).collect();
    let long = "canary".repeat(100);
    let words = [
        "../canary",
        "/canary",
        "%2e%2e%2fcanary",
        "canary\0",
        "Canary",
        "__canary",
        "é\u{1f600}canary",
        &long,
    ];
    for (number, word) in words.iter().enumerate() {
        winters[0].expect(format!("CREATE {word}\n"), "created\n");
        winters[1].expect(format!("CREATE {word}\n"), "already created\n");
        winters[1].expect(format!("PUTNEW {word} k {number}\n"), "ok\n");
    }
    for (number, word) in words.iter().enumerate() {
        winters[0].expect(format!("GET {word} k\n"), format!("{number}\n"));
    }
    winters[0].expect("GET canary k\n", "missing table\n");
    assert_no_file_is_named_after(cluster.folder(), "canary");
}

fn assert_no_file_is_named_after(folder: &Path, word: &str) {
    for entry in fs::read_dir(folder).expect("a folder of the test's own") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().to_lowercase();
        assert!(!name.contains(word), "{}", path.display());
        if path.is_dir() {
            assert_no_file_is_named_after(&path, word);
        }
    }
}
