//! A server in the comparison.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use firn_tests::outside::on_path;
use firn_tests::{Cluster, DEADLINE, OutsideServer, binary, wait_until};

use crate::load::{self, Wire};

/// One running server.
pub(crate) struct Contestant {
    name: &'static str,
    pid: u32,
    /// Where it speaks a cache's protocol.
    pub(crate) cache: Option<(Wire, SocketAddr)>,
    /// Where it speaks HTTP.
    pub(crate) http: Option<SocketAddr>,
    /// Ends with this.
    _running: Running,
}

/// What keeps a server running while it is held.
enum Running {
    Firn { _cluster: Box<Cluster> },
    Outside { _server: OutsideServer },
    Floor { _floor: Floor },
}

/// A floor server, killed when dropped.
struct Floor(Child);

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Contestant {
    /// Its name in tables.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Every store there is, Firn first, each newly started.
    pub(crate) fn start_stores() -> Vec<Self> {
        let outside =
            [Self::redis("redis-server"), Self::redis("valkey-server"), Self::memcached()];
        std::iter::once(Self::firn()).chain(outside.into_iter().flatten()).collect()
    }

    /// The stores and the floors.
    pub(crate) fn start_all() -> Vec<Self> {
        let mut all = Self::start_stores();
        all.push(Self::floor("floor_resp", "resp", &[]));
        if on_path("wrk").is_some() {
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            all.push(Self::floor("floor_http", "http", &[workers.to_string()]));
        }
        all
    }

    /// One worker without an uplink, with its defaults.
    fn firn() -> Self {
        let cluster = Box::new(Cluster::alone());
        let worker = cluster.worker(0);
        let (pid, resp, http) = (worker.pid(), worker.resp(), worker.http());
        let running = Running::Firn { _cluster: cluster };
        let cache = Some((Wire::Resp, resp));
        Self { name: "firn", pid, cache, http: Some(http), _running: running }
    }

    fn redis(program: &'static str) -> Option<Self> {
        let arguments = |port: u16| {
            let text = format!("--port {port} --bind 127.0.0.1 --appendonly no --daemonize no");
            let words = text.split(' ').map(str::to_owned);
            words.chain(["--save".to_owned(), String::new()]).collect()
        };
        Self::outside(program, Wire::Resp, arguments)
    }

    fn memcached() -> Option<Self> {
        let arguments = |port: u16| {
            // As root it wants to be told whom to run as; for anybody else `-u` does nothing.
            let text = format!("-p {port} -U 0 -l 127.0.0.1 -t 1 -m 16384 -c 1024 -u nobody");
            text.split(' ').map(str::to_owned).collect()
        };
        Self::outside("memcached", Wire::Memcached, arguments)
    }

    fn outside(
        program: &'static str,
        wire: Wire,
        arguments: impl Fn(u16) -> Vec<String>,
    ) -> Option<Self> {
        let Some(path): Option<PathBuf> = on_path(program) else {
            eprintln!("{program} is not on PATH and does not take part");
            return None;
        };
        let server = OutsideServer::start(&path, arguments);
        let (pid, cache) = (server.pid(), Some((wire, server.address())));
        let running = Running::Outside { _server: server };
        Some(Self { name: program, pid, cache, http: None, _running: running })
    }

    fn floor(name: &'static str, protocol: &str, arguments: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = folder.path().join("out");
        let file = std::fs::File::create(&output).expect("a file in a new folder");
        let mut command = Command::new(binary::path(name));
        command.args(arguments).stdin(Stdio::null()).stdout(file);
        let child = Floor(command.spawn().expect("a built binary can be started"));
        let address = wait_until(&format!("{name} prints its address"), DEADLINE, || {
            let line = std::fs::read_to_string(&output).ok()?;
            let addresses: serde_json::Value =
                serde_json::from_str(line.strip_suffix('\n')?).ok()?;
            addresses[protocol].as_str()?.parse().ok()
        });
        let (cache, http) = match protocol {
            "http" => (None, Some(address)),
            _ => (Some((Wire::Resp, address)), None),
        };
        let pid = child.0.id();
        Self { name, pid, cache, http, _running: Running::Floor { _floor: child } }
    }

    /// Writes every key once.
    pub(crate) fn fill(&self, keys: usize, key_digits: usize) {
        if let Some((wire, address)) = self.cache {
            load::fill(wire, address, keys, key_digits);
        }
    }
}
