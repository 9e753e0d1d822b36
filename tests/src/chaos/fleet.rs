//! An uplink and workers whose talk goes through a network that fails, and what is done to them.
//!
//! Invariants:
//! - No worker is ended while it may have the last in-sync copy of a partition: see [`safety`].
//! - A worker that ends though nobody told it to is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use firn_wire::ids::WorkerId;
use firn_wire::map::Map;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Directory, Doors};
use super::control::Control;
use super::member::{Afterwards, Condition, Member};
use super::network::{Network, UPLINK};
use super::safety;
use crate::binary;
use crate::process::{Process, Start};
use crate::wait::wait_until;

/// How long a worker that is about to be killed stands still first, so that what it proposed has arrived.
const SETTLE: Duration = Duration::from_millis(50);

/// How long a new fleet may take until every partition has all its copies.
const WHOLE_PATIENCE: Duration = Duration::from_secs(120);

/// How the processes of a fleet reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// Through a network that can fail.
    Network,
    /// Directly, as fast as it goes.
    Direct,
}

/// See the module's page.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    wiring: Wiring,
    environment: BTreeMap<String, String>,
    /// What lies between the processes.
    pub network: Network,
    /// Where clients find the workers.
    pub directory: Directory,
    control: Control,
    uplink: Process,
    uplink_runs: bool,
    /// By name.
    pub members: BTreeMap<String, Member>,
    /// Workers that were drained and have ended, and are still registered.
    drained: Vec<String>,
    started: usize,
    /// Workers that ended by themselves or not as they should, in words.
    pub mishaps: Vec<String>,
}

impl Fleet {
    /// Starts an uplink and workers, and waits until all are ready. `settings` go into everybody's environment.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn start(workers: usize, settings: &[(&str, &str)], wiring: Wiring) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut environment: BTreeMap<_, _> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        environment.insert("EXPECT_WORKERS".to_owned(), workers.to_string());
        let data = folder.path().join("uplink.data").display().to_string();
        let start = Start {
            binary: "firn-uplink",
            name: UPLINK.to_owned(),
            arguments: vec!["--data".to_owned(), data],
            listens: vec!["127.0.0.1:0".to_owned()],
            environment: environment.clone(),
        };
        let mut uplink = Process::spawn(start, folder.path());
        uplink.wait_addresses();
        environment.remove("EXPECT_WORKERS");
        let mut network = Network::default();
        network.lead(UPLINK, uplink.http());
        let mut fleet = Self {
            folder,
            wiring,
            environment,
            network,
            directory: Directory::default(),
            control: Control::default(),
            uplink,
            uplink_runs: true,
            members: BTreeMap::new(),
            drained: Vec::new(),
            started: 0,
            mishaps: Vec::new(),
        };
        (0..workers).for_each(|_| drop(fleet.join()));
        wait_until("every partition has all its copies", WHOLE_PATIENCE, || {
            fleet.poll();
            fleet.is_whole().then_some(())
        });
        fleet
    }

    /// Starts one more worker, and says what it is called.
    pub fn join(&mut self) -> String {
        self.started += 1;
        let name = format!("w{}", self.started);
        let data = self.folder.path().join(format!("{name}.data")).display().to_string();
        let mut arguments = vec![("--name", name.clone()), ("--data", data)];
        match self.wiring {
            Wiring::Direct => arguments.push(("--uplink", self.uplink_url())),
            Wiring::Network => {
                let (peer, uplink) =
                    (self.network.peer_door(&name), self.network.uplink_door(&name));
                arguments.push(("--uplink", format!("http://{uplink}")));
                arguments.push(("--advertise", format!("peer={peer}")));
            }
        }
        let start = Start {
            binary: "firn-worker",
            name: name.clone(),
            arguments: arguments
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value])
                .collect(),
            listens: ["http", "resp", "peer"].map(|door| format!("{door}=127.0.0.1:0")).to_vec(),
            environment: self.environment.clone(),
        };
        let process = Process::spawn(start, self.folder.path());
        self.members.insert(name.clone(), Member::starting(process));
        name
    }

    /// Looks after everybody: who is ready, who has ended, who is to be started again.
    pub fn poll(&mut self) {
        let map = self.members.values().any(is_draining).then(|| self.map()).flatten();
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in names {
            self.poll_member(&name, map.as_ref());
        }
        self.forget();
        let reachable = self.members.values().filter(|member| member.is_reachable());
        let doors = reachable
            .map(|member| Doors { resp: member.process.resp(), http: member.process.http() });
        self.directory.set(doors.collect());
    }

    fn poll_member(&mut self, name: &str, map: Option<&Map>) {
        let member = self.members.get_mut(name).expect("it is one of them");
        let exited = member.process.exited();
        match (member.condition, exited) {
            (Condition::Dead(back), _) if Instant::now() >= back => self.start_again(name),
            (Condition::Dead(_), _) => {}
            (Condition::Starting, None) => {
                if member.is_ready() {
                    let peer = member.process.peer();
                    member.become_(Condition::Up);
                    self.network.lead(name, peer);
                }
            }
            (Condition::Draining(then), None) => {
                let id = name.parse().expect("a worker's name");
                if map.is_some_and(|map| safety::has_nothing(map, &id)) {
                    member.process.signal("TERM");
                    member.become_(Condition::Retiring(then));
                }
            }
            (
                Condition::Up | Condition::Stopped | Condition::Leaving | Condition::Retiring(_),
                None,
            ) => {}
            (Condition::Leaving, Some(status)) => {
                if !status.success() {
                    let took = member.since.elapsed();
                    self.mishaps.push(format!("{name} left with {status} after {took:.1?}"));
                }
                self.start_again(name);
            }
            (Condition::Retiring(Afterwards::Return), Some(_)) => self.start_again(name),
            (Condition::Retiring(Afterwards::StayAway), Some(_)) => {
                self.members.remove(name);
                self.drained.push(name.to_owned());
            }
            (condition, Some(status)) => {
                self.mishaps.push(format!("{name} ended by itself while {condition:?}: {status}"));
                self.start_again(name);
            }
        }
    }

    fn start_again(&mut self, name: &str) {
        let member = self.members.get_mut(name).expect("it is one of them");
        member.process.start_anew();
        member.become_(Condition::Starting);
    }

    /// Takes those that were drained and have ended out of the cluster. The uplink may be away, or think that they beat.
    fn forget(&mut self) {
        let mut drained = std::mem::take(&mut self.drained);
        drained.retain(|name| {
            let answer = self.ask("DELETE", &format!("/v1/workers/{name}"), &Value::Null);
            !matches!(answer, Some(200 | 404))
        });
        self.drained = drained;
    }

    /// Whether the uplink runs.
    pub fn uplink_runs(&self) -> bool {
        self.uplink_runs
    }

    /// The map as the uplink has it; None while it is away.
    pub fn map(&self) -> Option<Map> {
        self.uplink_runs.then(|| self.control.map(self.uplink.http())).flatten()
    }

    /// Asks the uplink something; None while it is away.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Option<u16> {
        if !self.uplink_runs {
            return None;
        }
        self.control.ask(self.uplink.http(), method, path, body).map(|(status, _)| status)
    }

    /// Kills the uplink, or starts it again.
    pub fn set_uplink(&mut self, runs: bool) {
        match (self.uplink_runs, runs) {
            (true, false) => self.uplink.kill(),
            (false, true) => {
                self.uplink.restart();
                self.network.lead(UPLINK, self.uplink.http());
            }
            _ => {}
        }
        self.uplink_runs = runs;
    }

    /// Runs that are registered, live and have not been told to end.
    fn alive(&self, map: &Map) -> BTreeSet<WorkerId> {
        let lives = |id: &WorkerId| {
            let member = self.members.get(id.name.as_str());
            member.is_some_and(|member| {
                member.condition == Condition::Up && member.run.as_ref() == Some(id)
            })
        };
        map.workers.iter().map(|row| row.id()).filter(lives).collect()
    }

    /// Whether every worker runs and every partition has all its copies.
    pub fn is_whole(&self) -> bool {
        let all_up = self.members.values().all(|member| member.condition == Condition::Up);
        all_up
            && self.map().is_some_and(|map| {
                let alive = self.alive(&map);
                alive.len() == self.members.len() && safety::is_whole(&map, &alive)
            })
    }

    /// Kills a worker, unless something would be lost with it; it is started again after `away`.
    pub fn kill(&mut self, name: &str, away: Duration) -> Result<(), &'static str> {
        // It stands still before the map is read: what it has not proposed by then it never will.
        self.members[name].process.signal("STOP");
        std::thread::sleep(SETTLE);
        let map = self.map();
        let spare = map.as_ref().is_some_and(|map| safety::is_spare(map, name, &self.alive(map)));
        let member = self.members.get_mut(name).expect("it is one of them");
        if !spare {
            member.process.signal("CONT");
            return Err("it may have a last copy");
        }
        member.process.kill();
        member.become_(Condition::Dead(Instant::now() + away));
        Ok(())
    }

    /// Sends SIGSTOP or SIGCONT.
    pub fn set_stopped(&mut self, name: &str, stopped: bool) {
        let member = self.members.get_mut(name).expect("it is one of them");
        let (signal, condition) = match stopped {
            true => ("STOP", Condition::Stopped),
            false => ("CONT", Condition::Up),
        };
        member.process.signal(signal);
        member.become_(condition);
    }

    /// Sends SIGTERM to a worker of a whole cluster; it is started again when it has ended.
    pub fn terminate(&mut self, name: &str) {
        let member = self.members.get_mut(name).expect("it is one of them");
        member.process.signal("TERM");
        member.become_(Condition::Leaving);
    }

    /// Lets a worker give away all it has.
    pub fn drain(&mut self, name: &str, then: Afterwards) -> Result<(), &'static str> {
        match self.ask("POST", &format!("/v1/workers/{name}/drain"), &Value::Null) {
            Some(200..300) => {}
            _ => return Err("the uplink does not drain it"),
        }
        self.members.get_mut(name).expect("it is one of them").become_(Condition::Draining(then));
        Ok(())
    }

    /// Makes a table, when the cluster is young enough to answer.
    ///
    /// # Panics
    /// When the uplink refuses.
    pub fn create_table(&self, name: &str, policy: &Value) {
        let status = self.ask("PUT", &format!("/v1/tables/{name}"), policy);
        assert!(matches!(status, Some(200 | 201)), "table {name}: {status:?}");
    }

    /// Changes nothing of a table, which changes the map.
    pub fn touch_table(&self, name: &str) -> Result<(), &'static str> {
        match self.ask("PATCH", &format!("/v1/tables/{name}"), &json!({})) {
            Some(200..300) => Ok(()),
            _ => Err("the uplink does not take it"),
        }
    }

    /// Keeps logs and data for people to look at, and says where.
    pub fn keep(self) -> std::path::PathBuf {
        let Self { folder, members, uplink, .. } = self;
        drop((members, uplink));
        folder.keep()
    }

    /// Runs the `firn` command against the uplink.
    pub fn firn(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary::path("firn"));
        command.args(arguments).env("FIRN_SERVER", self.uplink_url());
        command.output().expect("a built binary can be started")
    }

    /// Where the uplink is.
    pub fn uplink_url(&self) -> String {
        self.uplink.url("")
    }
}

fn is_draining(member: &Member) -> bool {
    matches!(member.condition, Condition::Draining(_))
}
