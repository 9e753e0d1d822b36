//! Traffic, and what it cost those who waited for it.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of every value.
pub(crate) const VALUE_BYTES: usize = 64;
/// Digits of a key of redis-benchmark (`key:000000000042`): 16 bytes in all.
pub(crate) const KEY_DIGITS: usize = 12;
/// Requests sent at once while filling a store.
const FILL_PIPELINE: usize = 64;

/// What is done to each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
}

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// The Redis protocol.
    Resp,
    /// memcached's text protocol.
    Memcached,
}

/// What a run of traffic was like for its clients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) operations: f64,
    pub(crate) operations_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// How much traffic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) operations: usize,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    pub(crate) keys: usize,
}

impl Wire {
    /// Appends one request.
    fn request(self, operation: Operation, key: &str, out: &mut Vec<u8>) {
        const VALUE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        let length = key.len();
        match (self, operation) {
            (Self::Resp, Operation::Get) => {
                write!(out, "*2\r\n$3\r\nGET\r\n${length}\r\n{key}\r\n")
            }
            (Self::Resp, Operation::Set) => {
                write!(
                    out,
                    "*3\r\n$3\r\nSET\r\n${length}\r\n{key}\r\n${VALUE_BYTES}\r\n{VALUE}\r\n"
                )
            }
            (Self::Memcached, Operation::Get) => write!(out, "get {key}\r\n"),
            (Self::Memcached, Operation::Set) => {
                write!(out, "set {key} 0 0 {VALUE_BYTES}\r\n{VALUE}\r\n")
            }
        }
        .expect("memory takes what is written");
    }

    /// How a reply begins and how long it is: every key is there and every value has the same length.
    fn reply(self, operation: Operation, key_digits: usize) -> (&'static [u8], usize) {
        let key_bytes = "key:".len() + key_digits;
        match (self, operation) {
            (Self::Resp, Operation::Get) => (b"$64\r\n", 5 + VALUE_BYTES + 2),
            (Self::Resp, Operation::Set) => (b"+OK\r\n", 5),
            (Self::Memcached, Operation::Get) => {
                (b"VALUE ", "VALUE  0 64\r\n".len() + key_bytes + VALUE_BYTES + "\r\nEND\r\n".len())
            }
            (Self::Memcached, Operation::Set) => (b"STORED\r\n", 8),
        }
    }
}

/// Traffic by redis-benchmark.
pub(crate) fn redis_benchmark(
    address: SocketAddr,
    operation: Operation,
    amount: Amount,
) -> Traffic {
    let name = if operation == Operation::Get { "get" } else { "set" };
    let text = format!(
        "-h {} -p {} -t {name} -P {} -c {} -n {} -r {} -d {VALUE_BYTES} --csv",
        address.ip(),
        address.port(),
        amount.pipeline,
        amount.connections,
        amount.operations,
        amount.keys
    );
    let output = run("redis-benchmark", &text);
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",…
    let row = output.lines().find(|line| line.starts_with(&format!("\"{}\"", name.to_uppercase())));
    let row = row.unwrap_or_else(|| panic!("redis-benchmark has no row of {name}: {output}"));
    let column = |index: usize| {
        let text = row.split(',').nth(index).map(|text| text.trim_matches('"'));
        text.and_then(|text| text.parse().ok()).expect("redis-benchmark 7 prints seven columns")
    };
    Traffic {
        operations: amount.operations as f64,
        operations_per_second: column(1),
        p50_ms: column(4),
        p99_ms: column(6),
    }
}

/// Traffic by wrk, one thread.
pub(crate) fn wrk(url: &str, connections: usize, seconds: u64) -> Traffic {
    let output = run("wrk", &format!("-t 1 -c {connections} -d {seconds}s --latency {url}"));
    read_wrk(&output).unwrap_or_else(|| panic!("wrk against {url} says: {output}"))
}

/// Reads what wrk prints; None when a figure is missing or an answer was not 2xx.
fn read_wrk(output: &str) -> Option<Traffic> {
    let after = |label: &str| {
        let line = output.lines().map(str::trim).find(|line| line.starts_with(label))?;
        line.split_ascii_whitespace().nth(1)
    };
    if output.contains("Non-2xx") {
        return None;
    }
    let count = output.lines().find(|line| line.contains(" requests in "))?;
    Some(Traffic {
        operations: count.split_ascii_whitespace().next()?.parse().ok()?,
        operations_per_second: after("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(after("50%")?)?,
        p99_ms: milliseconds(after("99%")?)?,
    })
}

/// wrk's `12.34us`, `1.20ms` and `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number = digits.parse::<f64>().ok()?;
    match &text[digits.len()..] {
        "us" => Some(number / 1000.0),
        "ms" => Some(number),
        "s" => Some(number * 1000.0),
        _ => None,
    }
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Traffic by our own generator: closed loop, every connection a task of one thread, latency of whole pipelines.
pub(crate) fn own(
    wire: Wire,
    address: SocketAddr,
    operation: Operation,
    amount: Amount,
) -> Traffic {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let keys = amount.keys as u64;
    let random_key = move || {
        // xorshift64 (Marsaglia 2003): any even spread will do.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        Some(seed % keys)
    };
    generate(wire, address, operation, amount, KEY_DIGITS, random_key)
}

/// Writes the keys 0, 1, 2, … once.
pub(crate) fn fill(wire: Wire, address: SocketAddr, keys: usize, key_digits: usize) {
    let amount = Amount { operations: keys, connections: 8, pipeline: FILL_PIPELINE, keys };
    let mut next = 0..keys as u64;
    generate(wire, address, Operation::Set, amount, key_digits, move || next.next());
}

/// Sends requests for the keys `next_key` gives until it gives none or `amount` is reached.
fn generate(
    wire: Wire,
    address: SocketAddr,
    operation: Operation,
    amount: Amount,
    key_digits: usize,
    next_key: impl FnMut() -> Option<u64> + 'static,
) -> Traffic {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    let latencies = Rc::new(RefCell::new(Histogram::<u64>::new(3).expect("3 digits are allowed")));
    let mut next_key = next_key;
    let mut left = amount.operations;
    let next = Rc::new(RefCell::new(move || {
        left = left.checked_sub(1)?;
        next_key()
    }));
    for _ in 0..amount.connections {
        let (next, latencies) = (Rc::clone(&next), Rc::clone(&latencies));
        local.spawn_local(async move {
            let mut stream = TcpStream::connect(address).await.expect("a contestant listens");
            stream.set_nodelay(true).expect("a connected socket takes options");
            let (begin, length) = wire.reply(operation, key_digits);
            let (mut out, mut replies) = (Vec::new(), Vec::new());
            loop {
                out.clear();
                let mut count = 0;
                while count < amount.pipeline {
                    let Some(key) = (next.borrow_mut())() else { break };
                    wire.request(operation, &format!("key:{key:0key_digits$}"), &mut out);
                    count += 1;
                }
                if count == 0 {
                    return;
                }
                replies.resize(count * length, 0);
                let start = Instant::now();
                stream.write_all(&out).await.expect("a contestant takes requests");
                stream.read_exact(&mut replies).await.expect("a contestant answers");
                let took = start.elapsed().as_micros() as u64;
                latencies.borrow_mut().record_n(took.max(1), count as u64).expect("it resizes");
                let wrong = replies.chunks(length).find(|reply| !reply.starts_with(begin));
                assert!(wrong.is_none(), "an odd reply: {wrong:?}");
            }
        });
    }
    let start = Instant::now();
    runtime.expect("a runtime can be made").block_on(local);
    let seconds = start.elapsed().as_secs_f64();
    let latencies = latencies.borrow();
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    Traffic {
        operations: latencies.len() as f64,
        operations_per_second: latencies.len() as f64 / seconds,
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_read() {
        let output = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 50 connections\n  \
                      Latency Distribution\n     50%  830.00us\n     75%    1.10ms\n     99%    1.02s \n  \
                      71234 requests in 1.00s, 9.5MB read\nRequests/sec:  71200.55\nTransfer/sec: 9MB\n";
        let traffic = read_wrk(output).unwrap();
        assert_eq!((traffic.operations, traffic.operations_per_second), (71234.0, 71200.55));
        assert_eq!((traffic.p50_ms, traffic.p99_ms), (0.83, 1020.0));
        assert_eq!(read_wrk(&format!("{output}  Non-2xx or 3xx responses: 3\n")), None);
    }
}
