//! A worker's process: its shards, and around them what the real worker's shell does with sockets and threads.
//!
//! `links` are the connections to peers, `membership` the dealings with the uplink, `requests` what clients ask, `writer`
//! the disk.

mod links;
mod membership;
mod requests;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firn_store::copying::Copying;
use firn_store::hash::KeyHash;
use firn_store::shard::{Setup, Shard};
use firn_store::time::Now;
use firn_store::usage::Usages;
use firn_store::view::View;
use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::map::{MapIndex, shard_of};
use firn_wire::registry::Proposal;

use crate::clock::Clock;
use crate::drive::{Drive, Ending};
use crate::event::{Alarm, Event, Run, Slot};
use crate::law::Law;
use crate::network::Purpose;
use crate::random::Random;
use crate::scene::{Scene, worker_id};
use links::Link;
use membership::Membership;
pub use requests::Shown;
use requests::Waiting;
use writer::Disk;
pub use writer::DiskPace;

/// How often the shards' time moves on, in milliseconds.
const TICK_MS: u64 = 20;
/// How often there is upkeep, in milliseconds.
const TIDY_MS: u64 = 50;
/// How often what waited may have to wait again before something else happens.
const ROUNDS_MAX: usize = 100;
/// The seed of the tables' hash, the same in every world.
const HASH_SEED: u64 = 7;
/// Batches that may be unanswered after the faults, at least.
const BATCHES_CALM: usize = 8;

/// How a worker is made.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// Its shards.
    pub shards: u16,
    /// Bytes of records each shard may keep.
    pub log_bytes_max: usize,
    /// Bytes of a batch.
    pub batch_bytes_max: usize,
    /// Batches that may be unanswered.
    pub batches_max: usize,
    /// The rules it follows.
    pub law: Law,
    /// Its disk; None: it has none.
    pub disk: Option<DiskPace>,
    /// Whether it keeps the last map there.
    pub keeps_map: bool,
}

impl Build {
    /// The same after the faults: a disk is not slow, and copies come behind faster than clients write.
    pub fn calm(self) -> Self {
        let batches_max = self.batches_max.max(BATCHES_CALM);
        Self { disk: self.disk.map(DiskPace::calm), batches_max, ..self }
    }
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It was told to stop, and hands over what it leads.
    Leaving,
    /// It has ended by itself.
    Ended,
}

/// See the module's page.
pub struct Worker {
    /// Its machine.
    pub slot: Slot,
    /// This run.
    pub run: Run,
    /// Where it is in its life.
    pub life: Life,
    me: WorkerId,
    build: Build,
    clock: Clock,
    shards: Vec<Shard<u64>>,
    map: Option<Arc<MapIndex>>,
    membership: Membership,
    links: BTreeMap<(WorkerId, Purpose), Link>,
    waiting: BTreeMap<u64, Waiting>,
    /// Shards in which something happened since they were last looked at.
    touched: BTreeSet<usize>,
    /// What was proposed since then.
    proposed: Vec<Proposal>,
    /// None: nothing survives its end.
    disk: Option<Disk>,
}

impl Worker {
    /// A process that starts.
    pub fn start(scene: &mut Scene, slot: Slot, run: Run, build: Build) -> Self {
        let me = worker_id(slot, run);
        let (hashes, usages) = (Arc::new(KeyHash::new(HASH_SEED)), Arc::new(Usages::default()));
        let copying = Copying::new();
        let shard = |number| {
            Shard::new(Setup {
                me: me.clone(),
                number,
                shards: build.shards,
                hashes: Arc::clone(&hashes),
                usages: Arc::clone(&usages),
                log_bytes_max: build.log_bytes_max,
                copying: Arc::clone(&copying),
                durable: build.disk.is_some(),
                rules: build.law.store(),
            })
        };
        for (alarm, ms) in [(Alarm::Tick, TICK_MS), (Alarm::Tidy, TIDY_MS), (Alarm::Beat, 0)] {
            scene.after(slot, ms, Event::Alarm(slot, run, alarm));
        }
        scene.after(slot, 1, Event::Alarm(slot, run, Alarm::Beacon));
        Self {
            slot,
            run,
            life: Life::Running,
            shards: (0..build.shards).map(shard).collect(),
            me,
            build,
            clock: Clock::start(&scene.machines[slot], scene.now),
            map: None,
            membership: Membership::default(),
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            touched: BTreeSet::new(),
            proposed: Vec::new(),
            disk: None,
        }
    }

    /// Reads back what earlier runs have written, and goes on from there.
    pub fn load(&mut self, scene: &mut Scene, mut drive: Drive) -> Result<(), String> {
        let Some(pace) = self.build.disk else { return Ok(()) };
        let ended = drive.read(self.build.law, &mut self.shards)?;
        for (at, shard) in self.shards.iter_mut().enumerate() {
            let own = |id: &PartitionId| shard_of(*id, self.build.shards) == at;
            shard.reloaded(&mut ended.iter().copied().filter(own));
            self.touched.insert(at);
        }
        let map = drive.map.clone();
        let mut disk = Disk::new(drive, self.build.shards, pace);
        let unfinished = disk.unfinished();
        self.disk = Some(disk);
        unfinished.into_iter().for_each(|at| self.renew_log(at));
        if let Some(map) = map.filter(|_| self.build.keeps_map) {
            self.adopt(scene, map);
        }
        self.settle(scene);
        Ok(())
    }

    /// What is left of its disk when it ends in this way.
    pub(crate) fn into_drive(self, ending: Ending, random: &mut Random) -> Drive {
        self.disk.map(|disk| disk.into_drive(ending, random)).unwrap_or_default()
    }

    /// The faults are over for its disk too.
    pub(crate) fn calm(&mut self) {
        self.build = self.build.calm();
        self.disk.iter_mut().for_each(Disk::calm);
    }

    /// The next sync fails; false when there is no disk.
    pub(crate) fn fail_sync(&mut self) -> bool {
        self.disk.as_mut().map(|disk| disk.fails = true).is_some()
    }

    /// The map it goes by.
    pub fn map(&self) -> Option<&Arc<MapIndex>> {
        self.map.as_ref()
    }

    /// It is told to stop.
    pub fn leave(&mut self) {
        self.life = Life::Leaving;
    }

    fn now(&mut self, scene: &Scene) -> Now {
        scene.read(self.slot, &mut self.clock)
    }

    /// An alarm goes off.
    pub fn alarm(&mut self, scene: &mut Scene, alarm: &Alarm) {
        match alarm {
            Alarm::Tick => self.tick(scene),
            Alarm::Tidy => self.tidy(scene),
            Alarm::Beacon => self.beacons(scene),
            Alarm::Beat => self.beat(scene),
            Alarm::Redial(peer, purpose) => self.dial(scene, peer, *purpose),
            Alarm::GiveUp(number) => self.give_up(scene, *number),
            Alarm::Disk(at, turn) => self.write(scene, *at, *turn),
        }
        self.settle(scene);
    }

    fn alarm_in(&self, scene: &mut Scene, ms: u64, alarm: Alarm) {
        scene.after(self.slot, ms, Event::Alarm(self.slot, self.run, alarm));
    }

    fn tick(&mut self, scene: &mut Scene) {
        self.alarm_in(scene, TICK_MS, Alarm::Tick);
        let Some(map) = self.map.clone() else { return };
        let now = self.now(scene);
        let is_fresh = self.membership.is_fresh(now.lease_ms);
        let mut proposals = Vec::new();
        for at in 0..self.shards.len() {
            self.shards[at].tick(now, &map, is_fresh, &mut proposals);
            self.touched.insert(at);
        }
        self.proposed.extend_from_slice(&proposals);
        self.propose(scene, proposals);
        let is_done = || self.shards.iter().all(Shard::is_handed_over);
        if self.life == Life::Leaving && self.membership.has_said_so && is_done() {
            self.life = Life::Ended;
        }
    }

    fn tidy(&mut self, scene: &mut Scene) {
        self.alarm_in(scene, TIDY_MS, Alarm::Tidy);
        let now = self.now(scene);
        for (at, shard) in self.shards.iter_mut().enumerate() {
            shard.tidy(now);
            self.touched.insert(at);
        }
    }

    /// A newer map has come.
    fn adopt(&mut self, scene: &mut Scene, map: Arc<MapIndex>) {
        if self.map.as_ref().is_some_and(|known| known.version >= map.version) {
            return;
        }
        let now = self.now(scene);
        scene.trace.note(scene.now, &[10, self.run, map.version.counter], || {
            format!("{} takes map {}", self.me, map.version)
        });
        for (at, shard) in self.shards.iter_mut().enumerate() {
            shard.adopt(now, &map);
            self.touched.insert(at);
        }
        self.map = Some(map);
        self.update_links(scene);
    }

    /// What follows from what has just happened: waits that are over, and news for peers.
    fn settle(&mut self, scene: &mut Scene) {
        let mut rounds = 0;
        while self.resolve(scene) {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "{}: waits end and begin without an end", self.me);
        }
        self.send_news(scene);
        self.wake_writers(scene);
    }

    /// How the partitions stand in the shards in which something happened since the last call.
    pub fn take_views(&mut self, scene: &Scene) -> Vec<View> {
        let now = self.now(scene);
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().flat_map(|at| self.shards[at].views(now)).collect()
    }

    /// What was proposed since the last call.
    pub fn take_proposed(&mut self) -> Vec<Proposal> {
        std::mem::take(&mut self.proposed)
    }
}
