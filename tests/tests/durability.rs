//! What is left after processes were killed, disks were damaged or full, and machines have changed.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firn_tests::redis::Talk;
use firn_tests::{Cluster, DEADLINE, Process, SmallDisk, wait_until};

/// `everysec`: what is older than that survives everything.
const A_SECOND: Duration = Duration::from_millis(1_100);

fn talk(process: &Process) -> Talk {
    Talk::connect(process.resp())
}

fn ask(talk: &mut Talk, words: &[&str]) -> String {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    String::from_utf8_lossy(&talk.ask(&words)).into_owned()
}

fn write(process: &Process, from: u32, to: u32) {
    let mut talk = talk(process);
    for n in from..to {
        let (key, value) = (format!("key:{n}"), format!("value of {n}"));
        assert_eq!(ask(&mut talk, &["SET", &key, &value]), "+OK\r\n");
    }
}

fn check(process: &Process, from: u32, to: u32) {
    let mut talk = talk(process);
    for n in from..to {
        let reply = ask(&mut talk, &["GET", &format!("key:{n}")]);
        assert!(reply.ends_with(&format!("\r\nvalue of {n}\r\n")), "key:{n}: {reply:?}");
    }
}

fn logs(data: &Path) -> Vec<PathBuf> {
    let mut logs = Vec::new();
    for folder in std::fs::read_dir(data.join("log")).expect("it has logs").flatten() {
        let files = std::fs::read_dir(folder.path()).into_iter().flatten().flatten();
        logs.extend(
            files
                .map(|file| file.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "log")),
        );
    }
    logs.sort();
    logs
}

#[test]
fn a_killed_worker_has_everything_again_whatever_its_number_of_shards() {
    let mut cluster = Cluster::alone_builder().data().start();
    cluster.firn(&["tables", "create", "fleeting", "--durability", "none"]);
    let worker = cluster.worker_mut(0);
    write(worker, 0, 2_000);
    let mut client = talk(worker);
    assert_eq!(ask(&mut client, &["SET", "soon", "gone", "PX", "1500"]), "+OK\r\n");
    assert_eq!(ask(&mut client, &["SET", "late", "kept", "EX", "1000"]), "+OK\r\n");
    assert_eq!(ask(&mut client, &["DEL", "key:7"]), ":1\r\n");
    for shards in ["4", "3", "8"] {
        std::thread::sleep(A_SECOND);
        worker.kill();
        worker.set_env("SHARD_LIMIT", shards);
        worker.restart();
        check(worker, 0, 7);
        check(worker, 8, 2_000);
        let mut client = talk(worker);
        assert_eq!(ask(&mut client, &["GET", "key:7"]), "$-1\r\n");
        assert_eq!(ask(&mut client, &["GET", "late"]), "$4\r\nkept\r\n");
        let ttl = ask(&mut client, &["TTL", "late"]);
        assert!(ttl.starts_with(":99"), "{ttl:?}");
        write(worker, 2_000, 2_050);
    }
    let mut client = talk(worker);
    assert_eq!(ask(&mut client, &["GET", "soon"]), "$-1\r\n");
    assert_eq!(ask(&mut client, &["DBSIZE"]), ":2050\r\n");
}

#[test]
fn a_cluster_that_was_killed_comes_back_by_itself_in_any_order_and_at_other_addresses() {
    let mut cluster = Cluster::builder(3).env("COPIES", 2).data().start();
    write(cluster.worker(0), 0, 1_000);
    std::thread::sleep(A_SECOND);
    for number in 0..3 {
        cluster.worker_mut(number).kill();
    }
    cluster.uplink_mut().kill();
    // The workers first, and one of them last of all.
    cluster.worker_mut(2).start_anew();
    cluster.worker_mut(0).start_anew();
    std::thread::sleep(Duration::from_millis(300));
    cluster.uplink_mut().restart();
    std::thread::sleep(Duration::from_millis(700));
    cluster.worker_mut(1).start_anew();
    for number in 0..3 {
        cluster.worker_mut(number).wait_addresses();
    }
    cluster.wait_ready();
    for number in 0..3 {
        check(cluster.worker(number), 0, 1_000);
    }
    write(cluster.worker(1), 1_000, 1_100);
    check(cluster.worker(2), 1_000, 1_100);
}

#[test]
fn what_a_kill_leaves_in_the_database_of_the_logs_does_no_harm() {
    let mut cluster = Cluster::alone_builder().data().start();
    write(cluster.worker(0), 0, 100);
    std::thread::sleep(A_SECOND);
    cluster.worker_mut(0).kill();
    let data = cluster.data_folder(cluster.worker(0).name());
    for folder in ["log/registry", "uplink/registry"] {
        let planted = data.join(folder).join("snap.00000000000000FF.generating");
        std::fs::write(planted, b"half a snapshot").expect("the folder is there");
    }
    cluster.worker_mut(0).restart();
    check(cluster.worker(0), 0, 100);
}

#[test]
fn an_end_that_was_torn_off_is_left_out_and_damage_before_it_has_a_name() {
    let mut cluster = Cluster::alone_builder().shards(1).data().start();
    write(cluster.worker(0), 0, 100);
    std::thread::sleep(A_SECOND);
    cluster.worker_mut(0).kill();
    let data = cluster.data_folder(cluster.worker(0).name());
    let last = logs(&data).pop().expect("it has a log");
    let file = OpenOptions::new().write(true).open(&last).expect("it can be written");
    let length = file.metadata().expect("it is there").len();
    file.write_all_at(b"\x10\0\0\0torn", length).expect("it can be written");
    cluster.worker_mut(0).restart();
    check(cluster.worker(0), 0, 100);
    assert!(cluster.worker(0).log().contains("the last 8 bytes"), "{}", cluster.worker(0).log());

    // The file of the run before counts, and is not the last any more.
    write(cluster.worker(0), 100, 120);
    std::thread::sleep(A_SECOND);
    cluster.worker_mut(0).kill();
    if logs(&data).first() == Some(&last) {
        file.write_all_at(b"\xff", length - 20).expect("it can be written");
        cluster.worker_mut(0).start_anew();
        let worker = cluster.worker_mut(0);
        wait_until("the worker ends", DEADLINE, || worker.exited());
        assert!(worker.log().contains("is damaged at byte"), "{}", worker.log());
    }
}

#[test]
fn a_full_disk_refuses_what_is_to_survive_and_goes_on_when_there_is_space() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let path = scratch.path().join("disk");
    let Some(disk) = SmallDisk::mount(&path, 8) else { return };
    let mut cluster = Cluster::alone_builder().env("DATA", path.display()).start();
    cluster.firn(&["tables", "alter", "db1", "--durability", "none"]);
    disk.take(5 << 20);
    let mut client = talk(cluster.worker(0));
    let value = "x".repeat(50_000);
    let refused = wait_until("a write is refused", DEADLINE, || {
        for n in 0..20 {
            let reply = ask(&mut client, &["SET", &format!("big:{n}"), &value]);
            if reply != "+OK\r\n" {
                return Some(reply);
            }
        }
        None
    });
    assert!(refused.starts_with("-MISCONF") && refused.contains("No space"), "{refused}");
    assert!(ask(&mut client, &["GET", "big:0"]).starts_with("$50000\r\n"));
    assert_eq!(ask(&mut client, &["SELECT", "1"]), "+OK\r\n");
    assert_eq!(ask(&mut client, &["SET", "k", "v"]), "+OK\r\n");
    assert_eq!(ask(&mut client, &["SELECT", "0"]), "+OK\r\n");
    disk.free();
    wait_until("writes go on", DEADLINE, || {
        (ask(&mut client, &["SET", "after", "space"]) == "+OK\r\n").then_some(())
    });
    std::thread::sleep(A_SECOND);
    cluster.worker_mut(0).kill();
    cluster.worker_mut(0).restart();
    let mut client = talk(cluster.worker(0));
    assert_eq!(ask(&mut client, &["GET", "after"]), "$5\r\nspace\r\n");
    drop(cluster);
    drop(disk);
}
