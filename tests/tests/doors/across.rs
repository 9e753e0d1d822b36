//! From door to door across workers.

use firn_tests::{Cluster, Raw};

use firn_tests::doors::http::Native;
use firn_tests::doors::lines::Winter;
use firn_tests::doors::resp::Resp;
use firn_tests::doors::{Answer, Ask, Door, doors};

#[test]
fn a_key_written_through_http_is_read_through_other_doors_of_other_workers_and_by_firn() {
    let cluster = Cluster::start(4);
    let mut http = Native::connect(cluster.worker(0).http());
    let mut winter = Winter::connect(cluster.worker(1).winter());
    let mut resp = Resp::connect(cluster.worker(2).resp());
    for number in 0..40 {
        let (key, value) = (format!("key:{number}"), format!("value {number}"));
        let (key, value) = (key.as_bytes(), value.as_bytes());
        assert_eq!(http.ask("default", Ask::Write(key, value)), Some(Answer::Done));
        let wanted = Some(Answer::Value(value.to_vec()));
        assert_eq!(winter.ask("default", Ask::Get(key)), wanted);
        assert_eq!(resp.ask("default", Ask::Get(key)), wanted);
    }
    let output = cluster.firn(&["get", "key:7"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"value 7");
    let output = cluster.firn(&["get", "no such key"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
}

/// Every door of one worker writes, every door of every worker reads.
#[test]
fn every_door_reads_what_every_door_wrote() {
    let cluster = Cluster::start(4);
    for mut writer in doors(cluster.worker(0)) {
        let key = format!("from:{}", writer.name());
        let value = format!("by-{}", writer.name());
        let written = writer.ask("default", Ask::Write(key.as_bytes(), value.as_bytes()));
        assert_eq!(written, Some(Answer::Done), "{}", writer.name());
        for worker in cluster.workers() {
            for mut reader in doors(worker) {
                let read = reader.ask("default", Ask::Get(key.as_bytes()));
                let through = format!("{} through {} of {}", key, reader.name(), worker.name());
                assert_eq!(read, Some(Answer::Value(value.clone().into_bytes())), "{through}");
            }
        }
    }
}

/// A thousand times, half of them D-Boutique's buckets.
#[test]
fn a_table_made_through_one_worker_is_there_for_every_other_at_once() {
    let cluster = Cluster::start(4);
    let winters = || cluster.workers().iter().map(|worker| Raw::connect(worker.winter()));
    let boutiques = || cluster.workers().iter().map(|worker| Raw::connect(worker.boutique()));
    let (mut winters, mut boutiques): (Vec<_>, Vec<_>) =
        (winters().collect(), boutiques().collect());
    for number in 0..500 {
        let (maker, user) = (number % 4, (number + 1 + number / 4 % 3) % 4);
        winters[maker].expect(format!("CREATE winter{number}\n"), "created\n");
        winters[user].expect(format!("PUTNEW winter{number} k v\n"), "ok\n");
        let bucket = format!("{}{number}", char::from(b'a' + (number % 26) as u8));
        boutiques[maker].expect(format!("CREATE {bucket}\n"), "OK\r\n");
        boutiques[user].expect(format!("PUT {bucket} k v\n"), "OK\r\n");
    }
}
