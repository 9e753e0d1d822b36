//! Redis clients that know nothing of us, unchanged, against any worker of a cluster of four.

use std::path::PathBuf;
use std::process::Command;

use firn_tests::outside::{outside, skip};
use firn_tests::{Cluster, Process};

/// Runs a command that must succeed, and gives what it printed.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("a program on PATH can be started");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A Python with redis-py 8.1 in a venv under target/. None after saying that the test skips.
fn python_with_redis() -> Option<PathBuf> {
    let python = outside("python3")?;
    let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("redis-py-8.1");
    let inside = venv.join("bin").join("python");
    let ready = |inside: &PathBuf| {
        let check = Command::new(inside)
            .args(["-c", "import redis; redis.__version__.startswith('8.1') or exit(1)"])
            .output();
        check.is_ok_and(|output| output.status.success())
    };
    if !ready(&inside) {
        let made = Command::new(python).args(["-m", "venv"]).arg(&venv).output();
        let installed = made.and_then(|_| {
            Command::new(&inside).args(["-m", "pip", "install", "--quiet", "redis==8.1.*"]).output()
        });
        if !installed.is_ok_and(|output| output.status.success()) || !ready(&inside) {
            skip("redis-py 8.1 cannot be installed");
            return None;
        }
    }
    Some(inside)
}

#[test]
fn redis_py_works_on_any_worker() {
    let Some(python) = python_with_redis() else { return };
    let cluster = Cluster::start(4);
    let ports = cluster.workers().iter().map(|worker| worker.resp().port().to_string());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/redis_py.py");
    let said = succeed(Command::new(python).arg(script).args(ports));
    assert!(said.ends_with("all passed\n"), "{said}");
}

fn url(worker: &Process, protocol: &str) -> String {
    format!("redis://{}/?protocol={protocol}", worker.resp())
}

#[test]
fn the_redis_crate_works_on_any_worker() {
    use redis::{Commands, Connection, Value};
    let cluster = Cluster::start(4);
    for protocol in ["resp2", "resp3"] {
        let connect = |worker: &Process| -> Connection {
            let client = redis::Client::open(url(worker, protocol)).expect("a good url");
            client.get_connection().expect("a connection")
        };
        let mut workers: Vec<Connection> = cluster.workers().iter().map(connect).collect();
        for number in 0..40 {
            let key = format!("{protocol}:{number}");
            let _: () = workers[number % 4].set(&key, number).expect("written");
            let read: usize = workers[(number + 1) % 4].get(&key).expect("read");
            assert_eq!(read, number);
        }
        let all: Vec<String> = workers[0]
            .scan_match(format!("{protocol}:*"))
            .expect("scanned")
            .collect::<Result<_, _>>()
            .expect("keys");
        assert_eq!(all.len(), 40);
        let missing: Option<String> = workers[1].get("nothing").expect("read");
        assert_eq!(missing, None);
        let (first, second): (i64, i64) = redis::pipe()
            .atomic()
            .incr(format!("{{{protocol}}}n"), 1)
            .incr(format!("{{{protocol}}}n"), 10)
            .query(&mut workers[2])
            .expect("run");
        assert_eq!((first, second), (1, 11));
        let many: Vec<Value> = workers[3].mget(&["nothing", "nor this"]).expect("read");
        assert_eq!(many, [Value::Nil, Value::Nil]);
    }
}

#[tokio::test]
async fn the_redis_crate_works_asynchronously() {
    let cluster = Cluster::start(4);
    let client = redis::Client::open(url(cluster.worker(3), "resp3")).expect("a good url");
    let connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let mut connection = connection.clone();
            tokio::spawn(async move {
                let key = format!("async:{number}");
                let _: () =
                    redis::cmd("SET").arg(&key).arg(number).query_async(&mut connection).await?;
                redis::cmd("GET").arg(&key).query_async::<i32>(&mut connection).await
            })
        })
        .collect();
    for (number, task) in (0..).zip(tasks) {
        assert_eq!(task.await.expect("it ran").expect("read"), number);
    }
}

#[test]
fn redis_cli_works_on_any_worker() {
    let Some(program) = outside("redis-cli") else { return };
    let cluster = Cluster::start(4);
    let ask = |worker: usize, words: &[&str]| {
        let port = cluster.worker(worker).resp().port().to_string();
        succeed(Command::new(&program).args(["-p", &port]).args(words)).trim_end().to_owned()
    };
    assert_eq!(ask(0, &["SET", "cli:key", "a value"]), "OK");
    assert_eq!(ask(1, &["GET", "cli:key"]), "a value");
    assert_eq!(ask(2, &["-3", "MGET", "cli:key", "nothing"]), "a value");
    assert_eq!(ask(3, &["-n", "3", "EXISTS", "cli:key"]), "0");
    assert_eq!(ask(3, &["--scan", "--pattern", "cli:*"]), "cli:key");
    assert!(ask(1, &["NOTHING"]).starts_with("ERR unknown command 'NOTHING'"));
    assert!(ask(2, &["INFO", "server"]).contains("redis_version:7.0."));
    assert_eq!(ask(0, &["DEL", "cli:key"]), "1");
}

#[test]
fn redis_benchmark_works_on_any_worker() {
    let Some(program) = outside("redis-benchmark") else { return };
    let cluster = Cluster::start(4);
    let tests = "ping,set,get,incr,mset";
    for (worker, more) in
        cluster.workers().iter().zip([&[][..], &["-P", "16"], &["-3"], &["-P", "64", "-d", "1024"]])
    {
        let port = worker.resp().port().to_string();
        let options = ["-p", &port, "-q", "-n", "5000", "-c", "20", "-r", "1000", "-t", tests];
        let said = succeed(Command::new(&program).args(options).args(more));
        assert!(!said.contains("ERR") && !said.contains("rror"), "{said}");
        for name in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
            assert!(said.contains(&format!("{name}: ")), "{name} is missing:\n{said}");
        }
    }
}
