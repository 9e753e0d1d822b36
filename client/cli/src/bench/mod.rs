//! `firn bench`: how fast a listener answers, and how long each answer takes.
//!
//! Reading order: [`options`] are its flags, [`load`] is what is asked and when, [`speech`] its bytes, [`connection`] one
//! connection of a run, [`pacer`] wakes it in an open loop, [`tally`] is what was measured.

mod connection;
mod load;
mod options;
mod pacer;
mod speech;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use firn_wire::ids::TableName;
use firn_wire::map::{Map, WorkerState};
use indicatif::ProgressBar;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::cluster;
use crate::exit::{Exit, Problem};
use crate::options::Global;
use crate::output::{Output, bar};
use connection::Plan;
use load::{Actions, Pace};
pub(crate) use options::Options;
use options::Protocol;
use speech::Speech;
use tally::{Setup, Tally};

/// Measures, and prints the report.
pub(crate) async fn run(
    options: &Options,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let table = &global.scope.table();
    let bench = Bench {
        database: database(options.protocol, table)?,
        targets: match options.target.as_slice() {
            [] => targets(options.protocol, &cluster::fetch(global).await?.map)?,
            named => named.to_vec(),
        },
        value: Bytes::from(vec![b'x'; options.value_bytes as usize]),
        table,
        patience: global.timeout,
        options,
    };
    if !options.no_fill {
        bench.fill().await?.0.verdict()?;
    }
    let (tally, elapsed) = bench.measure().await?;
    let verdict = tally.verdict();
    let report = tally.report(bench.setup(), elapsed);
    match to.json {
        true => to.json(&report)?,
        false => report.write(to.out)?,
    }
    verdict
}

fn targets(protocol: Protocol, map: &Map) -> Result<Vec<String>, Problem> {
    let protocol = protocol.as_str();
    let up = map.workers.iter().filter(|worker| worker.state != WorkerState::Down);
    let targets: Vec<_> = up.filter_map(|worker| worker.addresses.get(protocol).cloned()).collect();
    if targets.is_empty() {
        let message = format!("no worker that is up has a {protocol} listener; name a --target");
        return Err(Problem::new(Exit::Unreachable, message));
    }
    Ok(targets)
}

/// The Redis database that is a table; None is the one a connection starts with.
fn database(protocol: Protocol, table: &TableName) -> Result<Option<u8>, Problem> {
    if protocol == Protocol::Http || table.as_str() == "default" {
        return Ok(None);
    }
    let number = table.as_str().strip_prefix("db").and_then(|number| number.parse().ok());
    let number = number.filter(|number| (1..=15).contains(number));
    number.map(Some).ok_or_else(|| {
        let message = "over the Redis protocol the table is default or db1 to db15";
        Problem::usage(format_args!("{message}, not {table}; --protocol http reaches any"))
    })
}

struct Bench<'b> {
    options: &'b Options,
    targets: Vec<String>,
    table: &'b TableName,
    database: Option<u8>,
    value: Bytes,
    patience: Duration,
}

impl Bench<'_> {
    fn setup(&self) -> Setup {
        let options = self.options;
        Setup {
            protocol: options.protocol.as_str().to_owned(),
            targets: self.targets.clone(),
            connections: options.connections,
            pipeline: options.pipeline as usize,
            rate: options.rate,
            value_bytes: options.value_bytes,
            keys: options.keys,
            ratio: options.ratio,
            seed: options.seed,
        }
    }

    /// Writes every key once, as fast as a modest pipeline goes.
    async fn fill(&self) -> Result<(Tally, Duration), Problem> {
        let Options { keys, connections, .. } = *self.options;
        let bar = bar(keys, "filling {bar:30} {pos}/{len} {per_sec}");
        self.run(
            &bar,
            |answered| answered,
            |connection, plan| Plan {
                actions: Actions::fill(keys, connection, connections),
                pipeline: 32,
                ..plan
            },
        )
        .await
    }

    async fn measure(&self) -> Result<(Tally, Duration), Problem> {
        let Options { keys, connections, ratio, seed, rate, duration, .. } = *self.options;
        let total_ms = duration.as_millis() as u64;
        let bar = bar(total_ms, "measuring {bar:30} {percent}% {msg}");
        let (start, shown) = (Instant::now(), bar.clone());
        let position = move |answered: u64| {
            let elapsed = start.elapsed();
            shown.set_message(format!("{:.0}/s", answered as f64 / elapsed.as_secs_f64()));
            total_ms.min(elapsed.as_millis() as u64)
        };
        self.run(&bar, position, |connection, plan| Plan {
            // Neighbouring seeds give unlike sequences, so the connections of one run differ.
            actions: Actions::drawn(seed.wrapping_add(connection << 32), keys, ratio),
            pace: Pace::of(rate, connection, connections),
            end: Some(duration),
            ..plan
        })
        .await
    }

    /// Opens every connection, then runs a plan on each. Gives what they measured and how long it took.
    async fn run(
        &self,
        bar: &ProgressBar,
        position: impl Fn(u64) -> u64,
        plan: impl Fn(u64, Plan) -> Plan,
    ) -> Result<(Tally, Duration), Problem> {
        let mut sockets = Vec::new();
        for connection in 0..self.options.connections {
            let target = &self.targets[connection as usize % self.targets.len()];
            sockets.push((self.connect(target).await?, target));
        }
        let answered = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let mut running = JoinSet::new();
        let mut paced = Vec::new();
        let mut end = None;
        for (connection, (socket, target)) in (0..).zip(sockets) {
            let plan = plan(connection, self.plan(self.speech(target), start));
            paced.push((plan.pace, Arc::clone(&plan.wake)));
            end = plan.end;
            let (answered, target) = (Arc::clone(&answered), target.clone());
            running.spawn(async move {
                let mut tally = connection::run(socket, plan, &answered).await;
                tally.trouble = tally.trouble.map(|why| format!("{target}: {why}"));
                tally
            });
        }
        if let Some(end) = end {
            pacer::start(start, end, paced)?;
        }
        let mut all = Tally::default();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                done = running.join_next() => match done {
                    None => break,
                    Some(tally) => all.add(tally.expect("a connection does not panic")),
                },
                _ = tick.tick() => bar.set_position(position(answered.load(Ordering::Relaxed))),
            }
        }
        bar.finish_and_clear();
        Ok((all, start.elapsed()))
    }

    fn plan(&self, speech: Speech, start: Instant) -> Plan {
        Plan {
            speech,
            actions: Actions::fill(0, 0, 1),
            pace: Pace::Closed,
            wake: Arc::default(),
            pipeline: self.options.pipeline as usize,
            value: self.value.clone(),
            start,
            end: None,
            patience: self.patience,
        }
    }

    fn speech(&self, target: &str) -> Speech {
        match self.options.protocol {
            Protocol::Http => Speech::http(target, self.table.as_str()),
            Protocol::Resp => Speech::Resp,
        }
    }

    async fn connect(&self, target: &str) -> Result<TcpStream, Problem> {
        let gone = |why: &dyn std::fmt::Display| {
            Problem::new(Exit::Unreachable, format_args!("{target} cannot be reached: {why}"))
        };
        let connected = timeout(self.patience, self.greet(target)).await;
        connected.map_err(|_| gone(&"no answer in time"))?.map_err(|error| gone(&error))
    }

    async fn greet(&self, target: &str) -> std::io::Result<TcpStream> {
        let mut socket = TcpStream::connect(target).await?;
        socket.set_nodelay(true)?;
        if let Some(number) = self.database {
            socket.write_all(format!("SELECT {number}\r\n").as_bytes()).await?;
            let mut reply = [0; 5];
            socket.read_exact(&mut reply).await?;
            if &reply != b"+OK\r\n" {
                return Err(std::io::Error::other(format!("it has no database {number}")));
            }
        }
        Ok(socket)
    }
}

/// A bar on stderr; nothing is drawn where that is no terminal.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_databases_are_reached_by_the_redis_protocol() {
        let of = |protocol, name: &str| database(protocol, &name.parse().unwrap()).ok();
        assert_eq!(of(Protocol::Resp, "default"), Some(None));
        assert_eq!(of(Protocol::Resp, "db15"), Some(Some(15)));
        assert_eq!(of(Protocol::Http, "colors"), Some(None));
        for bad in ["db0", "db16", "colors", "db"] {
            assert_eq!(of(Protocol::Resp, bad), None, "{bad}");
        }
    }
}
