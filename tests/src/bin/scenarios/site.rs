//! A cluster under test, and what its uplink says of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firn_tests::chaos::control::Control;
use firn_tests::cluster::ClusterBuilder;
use firn_tests::{Cluster, wait_until};
use firn_wire::ids::GroupId;
use firn_wire::map::{Map, PartitionRow};
use serde_json::Value;

/// How long a cluster may take to have all copies again.
pub(crate) const WHOLE_PATIENCE: Duration = Duration::from_secs(300);
/// How often it is asked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where copies of logs go that somebody should look at.
const LOGS: &str = "target/scenarios";

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its processes.
    pub(crate) cluster: Cluster,
    control: Control,
}

impl Site {
    /// Starts it and waits until every partition has all its copies.
    pub(crate) fn start(builder: ClusterBuilder) -> Self {
        let site = Self { cluster: builder.start(), control: Control::default() };
        site.wait_whole();
        site
    }

    /// The workers' listeners of the Redis protocol.
    pub(crate) fn doors(&self) -> Vec<SocketAddr> {
        self.cluster.workers().iter().map(|worker| worker.resp()).collect()
    }

    /// The map.
    ///
    /// # Panics
    /// When the uplink does not answer.
    pub(crate) fn map(&self) -> Map {
        self.control.map(self.cluster.uplink().http()).expect("the uplink runs")
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let uplink = self.cluster.uplink().http();
        let (status, body) = self.control.ask(uplink, "GET", path, &Value::Null)?;
        (status == 200).then(|| serde_json::from_slice(&body).ok())?
    }

    /// The numbers of `/v1/cluster`; None while the uplink does not answer.
    pub(crate) fn standing(&self) -> Option<Value> {
        self.ask("/v1/cluster")
    }

    /// How many partitions a worker leads.
    pub(crate) fn leads(&self, index: usize) -> u64 {
        let name = self.cluster.worker(index).name();
        let rows = self.ask("/v1/workers").unwrap_or_default();
        let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == name));
        row.and_then(|row| row["leads"].as_u64()).unwrap_or(0)
    }

    /// Whether all workers are up and every partition is led and held as it should be.
    pub(crate) fn is_whole(&self) -> bool {
        let Some(standing) = self.standing() else { return false };
        let none = ["partitions_unserved", "partitions_short_of_copies", "partitions_moving"];
        standing["workers"] == standing["workers_up"] && none.iter().all(|name| standing[name] == 0)
    }

    /// Waits until it is, and says how long that took.
    ///
    /// # Panics
    /// When it is not in time.
    pub(crate) fn wait_whole(&self) -> Duration {
        let start = Instant::now();
        let whole = || match self.is_whole() {
            true => Some(()),
            // The uplink looks at every partition to answer that: not all the time.
            false => {
                std::thread::sleep(LOOK_EVERY);
                None
            }
        };
        wait_until("the cluster is whole", WHOLE_PATIENCE, whole);
        start.elapsed()
    }

    /// Copies the logs to where somebody can look at them.
    pub(crate) fn keep_logs(&self, scenario: &str) -> PathBuf {
        let folder = Path::new(LOGS).join(scenario);
        std::fs::create_dir_all(&folder).expect("target can be written");
        for entry in std::fs::read_dir(self.cluster.folder()).expect("the cluster has a folder") {
            let path = entry.expect("a readable entry").path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let name = path.file_name().expect("a file has a name");
                std::fs::copy(&path, folder.join(name)).expect("target can be written");
            }
        }
        folder
    }
}

/// The number of changes of primary there have been, over all partitions.
pub(crate) fn reigns(map: &Map) -> u64 {
    map.partitions.iter().map(|row| u64::from(row.epoch.0)).sum()
}

/// The partitions of the default table of which something holds.
pub(crate) fn numbers(map: &Map, holds: impl Fn(&PartitionRow) -> bool) -> Vec<u16> {
    let of_default = map.partitions.iter().filter(|row| row.id.group == GroupId(0));
    of_default.filter(|row| holds(row)).map(|row| row.id.number).collect()
}
