//! The largest value and the longest pipeline pass through any worker, and their memory goes back to the system.

use firn_tests::{Cluster, DEADLINE, Process, Raw, wait_until};
use firn_wire::limits::VALUE_BYTES_HARD_MAX;

/// What a worker may keep of a value that is gone: allocators and sockets round up.
const KEPT_BYTES_MAX: u64 = 48 << 20;

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// As `Raw::expect`, but a reply that is wrong is not shown: it is too long.
fn answers(redis: &mut Raw, request: &[u8], reply: &[u8]) {
    redis.send(request);
    let got = redis.exactly(reply.len());
    let wrong = got.iter().zip(reply).position(|(got, want)| got != want);
    assert_eq!(wrong, None, "the first byte that differs");
}

fn settles(worker: &Process, before: u64) {
    let returned = || (worker.resident_bytes() < before + KEPT_BYTES_MAX).then_some(());
    wait_until(&format!("{} gives memory back", worker.name()), DEADLINE, returned);
}

#[test]
fn a_value_of_64_mib_goes_through_every_worker_and_its_memory_returns() {
    let cluster = Cluster::start(3);
    let allowed = cluster.firn(&["tables", "alter", "default", "--value-max", "64MiB"]);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
    let before: Vec<u64> = cluster.workers().iter().map(Process::resident_bytes).collect();
    let value: Vec<u8> = (0..VALUE_BYTES_HARD_MAX).map(|n| (n % 251) as u8).collect();
    for (n, worker) in cluster.workers().iter().enumerate() {
        let mut redis = Raw::connect(worker.resp());
        redis.expect(command(&[b"SET", b"large", &value]), "+OK\r\n");
        let reader = &cluster.workers()[(n + 1) % 3];
        answers(&mut Raw::connect(reader.resp()), &command(&[b"GET", b"large"]), &bulk(&value));
        let too_long = command(&[b"APPEND", b"large", b"x"]);
        redis.send(&too_long);
        assert!(redis.line().starts_with("-ERR"), "one byte more than the limit is refused");
    }
    Raw::connect(cluster.worker(0).resp()).expect(command(&[b"DEL", b"large"]), ":1\r\n");
    for (worker, before) in cluster.workers().iter().zip(before) {
        settles(worker, before);
    }
}

#[test]
fn a_pipeline_of_100_000_commands_is_answered_in_order() {
    const COMMANDS: usize = 100_000;
    let cluster = Cluster::start(3);
    let worker = cluster.worker(1);
    let before = worker.resident_bytes();
    let mut redis = Raw::connect(worker.resp());
    let key = |n: usize| format!("key:{}", n % 1_000).into_bytes();
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for n in 0..COMMANDS {
        let value = format!("value {n}").into_bytes();
        match n % 2 {
            0 => {
                asked.extend(command(&[b"SET", &key(n / 2), &value]));
                answered.extend_from_slice(b"+OK\r\n");
            }
            _ => {
                asked.extend(command(&[b"GET", &key(n / 2)]));
                answered.extend(bulk(format!("value {}", n - 1).as_bytes()));
            }
        }
    }
    answers(&mut redis, &asked, &answered);
    drop(redis);
    settles(worker, before);
}
