//! One figure's worth of traffic against one server.

use std::collections::BTreeMap;

use firn_tests::usage::{cpu_seconds, resident_bytes};

use crate::Flags;
use crate::contestant::Contestant;
use crate::load::{self, Amount, KEY_DIGITS, Operation, Traffic};

/// Digits of the keys whose memory is measured: `key:` and these are 20 bytes.
const MEMORY_KEY_DIGITS: usize = 16;
const PIPELINES: [usize; 3] = [1, 16, 64];
/// The two doors to a key over HTTP; the key follows.
const PAGES: [&str; 2] = ["/v1/kv/default/", "/api?key="];

/// What one run said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) traffic: Traffic,
    /// Processor time of the server for a million operations, in seconds.
    pub(crate) cpu_seconds_per_million: f64,
}

/// Samples by who was measured, in the order of rounds.
pub(crate) type Samples = BTreeMap<String, Vec<Sample>>;

/// A line of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// redis-benchmark against everything that speaks its protocol.
    Redis(Operation, usize),
    /// Our generator against memcached, and against Firn's Redis listener.
    Memcached(Operation, usize),
    /// wrk against a page of Firn's, named by its path without the key, and against the floor's only one.
    Http(&'static str),
}

impl Row {
    /// Every row.
    pub(crate) fn all(with_http: bool) -> Vec<Self> {
        let mut rows = Vec::new();
        for make in [Self::Redis as fn(_, _) -> _, Self::Memcached] {
            for pipeline in PIPELINES {
                rows.extend([Operation::Get, Operation::Set].map(|what| make(what, pipeline)));
            }
        }
        if with_http {
            rows.extend(PAGES.map(Self::Http));
        }
        rows
    }

    /// What it is called.
    pub(crate) fn title(self) -> String {
        let named = |operation: Operation| format!("{operation:?}").to_uppercase();
        match self {
            Self::Redis(what, pipeline) => {
                format!("redis-benchmark {}, pipeline {pipeline}", named(what))
            }
            Self::Memcached(what, pipeline) => {
                format!("beside memcached {}, pipeline {pipeline}", named(what))
            }
            Self::Http(page) => format!("wrk GET {page}"),
        }
    }

    /// Measures a contestant once, or not at all when the row is not about it.
    pub(crate) fn run(self, contestant: &Contestant, flags: &Flags, samples: &mut Samples) {
        let name = contestant.name();
        match (self, contestant.cache, contestant.http) {
            (Self::Redis(what, pipeline), Some((load::Wire::Resp, address)), _) => {
                let amount = flags.amount(pipeline);
                let run = || load::redis_benchmark(address, what, amount);
                add(samples, name, sample(contestant.pid(), run));
            }
            (Self::Memcached(what, pipeline), Some((wire, address)), _)
                if ["firn", "memcached"].contains(&name) =>
            {
                let amount = flags.amount(pipeline);
                add(
                    samples,
                    name,
                    sample(contestant.pid(), || load::own(wire, address, what, amount)),
                );
            }
            (Self::Http(page), cache, Some(address)) => {
                // The floor answers all it has to whoever asks for its root.
                let key = format!("{page}key:{:0KEY_DIGITS$}", 1);
                let path = if cache.is_some() { &key } else { "/" };
                let url = format!("http://{address}{path}");
                let run = || load::wrk(&url, flags.connections, flags.http_seconds);
                add(samples, name, sample(contestant.pid(), run));
            }
            _ => {}
        }
    }
}

impl Flags {
    fn amount(&self, pipeline: usize) -> Amount {
        let operations = match pipeline {
            1 => self.operations / 5,
            64 => self.operations * 2,
            _ => self.operations,
        };
        Amount { operations, connections: self.connections, pipeline, keys: self.keys }
    }
}

fn add(samples: &mut Samples, name: &str, sample: Sample) {
    samples.entry(name.to_owned()).or_default().push(sample);
}

fn sample(pid: u32, run: impl FnOnce() -> Traffic) -> Sample {
    let before = cpu_seconds(pid);
    let traffic = run();
    let used = cpu_seconds(pid) - before;
    Sample { traffic, cpu_seconds_per_million: used / traffic.operations * 1e6 }
}

/// Bytes of resident growth for an entry of a 20-byte key and a 64-byte value, by contestant. Servers of their own, since
/// what a used one has kept would count as free.
pub(crate) fn memory(entries: usize) -> Vec<(&'static str, f64)> {
    let grown = |contestant: &Contestant| {
        let before = resident_bytes(contestant.pid());
        contestant.fill(entries, MEMORY_KEY_DIGITS);
        let grown = resident_bytes(contestant.pid()).saturating_sub(before);
        (contestant.name(), grown as f64 / entries as f64)
    };
    Contestant::start_stores().iter().map(grown).collect()
}
