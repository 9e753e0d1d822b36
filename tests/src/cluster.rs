//! An uplink and its workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::binary;
use crate::process::{Process, Start};
use crate::raw::http_status;
use crate::wait::{DEADLINE, wait_until};

/// The listeners each worker and proxy is given, all on a free port of loopback.
const DOORS: [&str; 4] = ["http", "resp", "boutique", "winter"];

/// What a cluster should be like. Unset things have the binaries' own defaults.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    workers: usize,
    expect_workers: usize,
    with_uplink: bool,
    with_data: bool,
    /// Where the folders of `--data` are; None: in the cluster's own.
    data_in: Option<PathBuf>,
    environment: BTreeMap<String, String>,
}

impl ClusterBuilder {
    /// A setting for every process, as an environment variable (`KEY_INTEGER`, `COPIES`, …).
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Shards of each worker.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        self.env("SHARD_LIMIT", shards)
    }

    /// The cluster secret, 16 bytes or more; without one the cluster is open on loopback.
    #[must_use]
    pub fn secret(self, secret: &str) -> Self {
        self.env("CLUSTER_SECRET", secret)
    }

    /// `crc16` or `literal`.
    #[must_use]
    pub fn key_integer(self, conversion: &str) -> Self {
        self.env("KEY_INTEGER", conversion)
    }

    /// Workers the first map waits for; all that are started when this is not called.
    #[must_use]
    pub fn expect_workers(mut self, workers: usize) -> Self {
        self.expect_workers = workers;
        self
    }

    /// Gives each process a folder of its own with `--data`, kept over its restarts.
    #[must_use]
    pub fn data(mut self) -> Self {
        self.with_data = true;
        self
    }

    /// As [`ClusterBuilder::data`], in a folder that is there already: each may be a disk of its own, see [`data_folder`].
    #[must_use]
    pub fn data_in(mut self, folder: &Path) -> Self {
        self.data_in = Some(folder.to_owned());
        self.data()
    }

    /// Starts it and waits until every worker is ready.
    ///
    /// # Panics
    /// When that takes longer than [`DEADLINE`] or a process ends; the logs are printed.
    #[track_caller]
    pub fn start(self) -> Cluster {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cluster = Cluster {
            builder: self,
            uplink: None,
            workers: Vec::new(),
            proxies: Vec::new(),
            folder,
        };
        if cluster.builder.with_uplink {
            let start = cluster.uplink_start();
            let uplink = cluster.uplink.insert(Process::spawn(start, cluster.folder.path()));
            uplink.wait_addresses();
        }
        for number in 1..=cluster.builder.workers {
            let start = cluster.worker_start(&format!("w{number}"));
            cluster.workers.push(Process::spawn(start, cluster.folder.path()));
        }
        cluster.workers.iter_mut().for_each(Process::wait_addresses);
        cluster.wait_ready();
        cluster
    }
}

/// Processes that belong together, on loopback, in a temporary folder. All end when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    builder: ClusterBuilder,
    uplink: Option<Process>,
    workers: Vec<Process>,
    proxies: Vec<Process>,
    folder: TempDir,
}

impl Cluster {
    /// An uplink and `workers` workers called w1, w2, …, ready.
    #[track_caller]
    pub fn start(workers: usize) -> Self {
        Self::builder(workers).start()
    }

    /// One worker without an uplink: a cluster of one, with the registry inside.
    #[track_caller]
    pub fn alone() -> Self {
        Self::alone_builder().start()
    }

    /// What [`Cluster::start`] starts, to be changed before.
    pub fn builder(workers: usize) -> ClusterBuilder {
        ClusterBuilder {
            workers,
            expect_workers: workers,
            with_uplink: true,
            with_data: false,
            data_in: None,
            environment: BTreeMap::new(),
        }
    }

    /// What [`Cluster::alone`] starts, to be changed before.
    pub fn alone_builder() -> ClusterBuilder {
        ClusterBuilder { with_uplink: false, ..Self::builder(1) }
    }

    /// Its folder: logs, data, and room for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The uplink.
    ///
    /// # Panics
    /// When the cluster has none.
    #[track_caller]
    pub fn uplink(&self) -> &Process {
        self.uplink.as_ref().expect("this cluster has an uplink")
    }

    /// The uplink, to end and restart it.
    ///
    /// # Panics
    /// When the cluster has none.
    #[track_caller]
    pub fn uplink_mut(&mut self) -> &mut Process {
        self.uplink.as_mut().expect("this cluster has an uplink")
    }

    /// A worker, from 0: worker 0 is called w1.
    #[track_caller]
    pub fn worker(&self, index: usize) -> &Process {
        &self.workers[index]
    }

    /// A worker, to end and restart it.
    #[track_caller]
    pub fn worker_mut(&mut self, index: usize) -> &mut Process {
        &mut self.workers[index]
    }

    /// All workers.
    pub fn workers(&self) -> &[Process] {
        &self.workers
    }

    /// All proxies.
    pub fn proxies(&self) -> &[Process] {
        &self.proxies
    }

    /// Starts one more worker, called w and the next number; it has printed its addresses when this returns.
    #[track_caller]
    pub fn add_worker(&mut self) -> &Process {
        let start = self.worker_start(&format!("w{}", self.workers.len() + 1));
        let mut worker = Process::spawn(start, self.folder.path());
        worker.wait_addresses();
        self.workers.push(worker);
        self.workers.last().expect("just pushed")
    }

    /// Starts a `firn proxy` with every door and waits until it is ready.
    #[track_caller]
    pub fn add_proxy(&mut self) -> &Process {
        let start = Start {
            binary: "firn",
            name: format!("proxy{}", self.proxies.len() + 1),
            arguments: vec!["proxy".to_owned()],
            listens: doors(&[]),
            environment: self.firn_environment(),
        };
        let mut proxy = Process::spawn(start, self.folder.path());
        proxy.wait_addresses();
        wait_ready(&proxy);
        self.proxies.push(proxy);
        self.proxies.last().expect("just pushed")
    }

    /// Runs the `firn` command against this cluster and gives what it answered.
    #[track_caller]
    pub fn firn(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary::path("firn"));
        command.args(arguments).envs(self.firn_environment());
        command.output().expect("a built binary can be started")
    }

    /// Waits until every worker that runs says that it is ready.
    #[track_caller]
    pub fn wait_ready(&self) {
        self.workers.iter().for_each(wait_ready);
    }

    fn firn_environment(&self) -> BTreeMap<String, String> {
        let server = self.uplink.as_ref().unwrap_or_else(|| &self.workers[0]).url("");
        let mut environment = self.builder.environment.clone();
        environment.insert("FIRN_SERVER".to_owned(), server);
        environment
    }

    fn uplink_start(&self) -> Start {
        let mut environment = self.builder.environment.clone();
        environment.insert("EXPECT_WORKERS".to_owned(), self.builder.expect_workers.to_string());
        Start {
            binary: "firn-uplink",
            name: "uplink".to_owned(),
            arguments: self.data_arguments("uplink"),
            listens: vec!["127.0.0.1:0".to_owned()],
            environment,
        }
    }

    fn worker_start(&self, name: &str) -> Start {
        let mut arguments = vec!["--name".to_owned(), name.to_owned()];
        if let Some(uplink) = &self.uplink {
            arguments.extend(["--uplink".to_owned(), uplink.url("")]);
        }
        arguments.extend(self.data_arguments(name));
        Start {
            binary: "firn-worker",
            name: name.to_owned(),
            arguments,
            listens: doors(&["peer"]),
            environment: self.builder.environment.clone(),
        }
    }

    fn data_arguments(&self, name: &str) -> Vec<String> {
        if !self.builder.with_data {
            return Vec::new();
        }
        vec!["--data".to_owned(), self.data_folder(name).display().to_string()]
    }

    /// The folder of a process with `--data`, which the process makes itself.
    pub fn data_folder(&self, name: &str) -> PathBuf {
        data_folder(self.builder.data_in.as_deref().unwrap_or(self.folder.path()), name)
    }
}

/// The folder of a process with `--data` among those of its cluster.
pub fn data_folder(among: &Path, name: &str) -> PathBuf {
    among.join(format!("{name}.data"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let processes = self.uplink.iter_mut().chain(&mut self.workers).chain(&mut self.proxies);
        for process in processes {
            process.kill();
            if std::thread::panicking() {
                eprintln!("--- log of {}\n{}", process.name(), process.log());
            }
        }
    }
}

fn doors(more: &[&str]) -> Vec<String> {
    DOORS.iter().chain(more).map(|door| format!("{door}=127.0.0.1:0")).collect()
}

#[track_caller]
fn wait_ready(process: &Process) {
    wait_until(&format!("{} is ready", process.name()), DEADLINE, || {
        (http_status(process.http(), "/readyz") == Some(200)).then_some(())
    });
}
