//! What a seed chooses before anything happens: the cluster, the clients, the weather, and which faults there are.
//!
//! A seed has only some kinds of faults, and more of those: what needs one kind often is found by a seed that has little
//! else (Groce and others, "Swarm testing", 2012).

use firn_wire::ids::ClusterId;
use firn_wire::key::KeyInteger;
use firn_wire::map::{Durability, Placement, Replication, Settings};

use crate::client::Habits;
use crate::faults::Kind;
use crate::law::Law;
use crate::network::Pace;
use crate::random::Random;
use crate::scene::UplinkWeather;
use crate::worker::{Build, DiskPace};

/// See the module's page.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Whether the last in-sync copy of a partition may be lost: then only what must still hold is checked.
    pub loses: bool,
    /// What a restart leaves; None: nothing.
    pub keeps: Option<Keeps>,
    /// Workers from the beginning.
    pub workers: usize,
    /// Machines on which one may be started later.
    pub spares: usize,
    /// The rates of the machines' clocks, then the uplink's, in millionths.
    pub rates_ppm: Vec<u64>,
    /// How each worker is made.
    pub builds: Vec<Build>,
    /// The cluster's settings.
    pub settings: Settings,
    /// The network.
    pub pace: Pace,
    /// Requests to the uplink.
    pub weather: UplinkWeather,
    /// The clients.
    pub habits: Habits,
    /// Faults there are.
    pub kinds: Vec<Kind>,
    /// Between two faults, at most, in milliseconds.
    pub fault_gap_ms: u64,
    /// How long a fault lasts at most, in milliseconds.
    pub fault_ms: u64,
    /// When the faults end, in milliseconds.
    pub faults_end_ms: u64,
}

/// What a restart leaves in a world with disks.
#[derive(Debug, Clone, Copy)]
pub struct Keeps {
    /// What the table that waits for all copies promises.
    pub durability: Durability,
    /// Whether a worker may come back with another number of shards.
    pub reshards: bool,
}

/// Seeds from here on have an uplink that loses its store.
pub const UPLINK_LOST_FROM: u64 = 1 << 32;
/// Seeds from here on have workers with disks, and an uplink that keeps its store.
pub const DISKS_FROM: u64 = 1 << 33;

impl Scenario {
    /// What a seed chooses, with an uplink that loses its store.
    pub fn with_lost_uplink(self) -> Self {
        let Self { mut kinds, mut settings, .. } = self;
        kinds.extend([Kind::LoseUplink; 2]);
        let replication = &mut settings.replication;
        replication.replace_after_ms =
            replication.replace_after_ms.min(replication.forget_after_ms);
        Self { loses: false, kinds, settings, ..self }
    }

    /// What a seed chooses, with workers that have disks. All may end at once.
    pub fn with_disks(self, random: &mut Random) -> Self {
        let Self { mut kinds, mut builds, mut habits, .. } = self;
        // No time is on disk: after a restart of all by a clock that is behind, what had expired is there again.
        habits.ttl_permille = 0;
        let durability =
            *random.pick(&[Durability::Always, Durability::Always, Durability::Everysec]);
        let disk = disk_pace(random, durability);
        let keeps_map = random.permille(500);
        builds.iter_mut().for_each(|build| (build.disk, build.keeps_map) = (Some(disk), keeps_map));
        kinds.extend(Kind::OF_DISKS.into_iter().filter(|_| random.permille(500)));
        // What a disk that fails has lost is no part of what `everysec` promises.
        kinds.retain(|kind| *kind != Kind::FailSync || durability == Durability::Always);
        kinds.push(*random.pick(&[Kind::PowerCut, Kind::KillAll, Kind::PowerCutAll]));
        let keeps = Some(Keeps { durability, reshards: random.permille(300) });
        Self { loses: false, keeps, kinds, builds, habits, ..self }
    }

    /// What a seed chooses.
    pub fn new(random: &mut Random, law: Law) -> Self {
        let workers = *random.pick(&[2, 2, 3, 3, 3, 4]) as usize;
        let spares = random.below(2) as usize;
        let machines = workers + spares;
        let loses = random.permille(150);
        let settings = settings(random, workers);
        let replication = settings.replication;
        let uneven = random.permille(700);
        let rates_ppm =
            (0..=machines).map(|_| if uneven { rate_ppm(random) } else { 1_000_000 }).collect();
        let builds = (0..machines).map(|_| build(random, law)).collect();
        Self {
            loses,
            keeps: None,
            workers,
            spares,
            rates_ppm,
            builds,
            pace: pace(random),
            weather: weather(random),
            habits: habits(random, &replication),
            kinds: kinds(random),
            fault_gap_ms: replication.lease_ms * random.between(1, 12) / 4,
            fault_ms: replication.grant_ms * random.between(1, 12) / 4,
            faults_end_ms: 1_000 + replication.lease_ms * random.between(5, 25),
            settings,
        }
    }
}

/// The ends of what a clock may do come up more often than what is between them.
fn rate_ppm(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 900_000,
        1 => 1_100_000,
        _ => random.between(900_000, 1_100_000),
    }
}

fn settings(random: &mut Random, workers: usize) -> Settings {
    let (lease_ms, grant_ms) =
        *random.pick(&[(400, 520), (400, 520), (800, 1_000), (2_000, 2_500)]);
    let replication = Replication {
        lease_ms,
        grant_ms,
        replace_after_ms: grant_ms * random.between(1, 6),
        forget_after_ms: grant_ms * random.between(4, 40),
        rehome_after_ms: None,
        copy_bytes_per_second: *random.pick(&[0, 0, 20_000]),
    };
    Settings {
        key_integer: KeyInteger::Crc16,
        partitions: *random.pick(&[1, 2, 4, 8]),
        placement: *random.pick(&[Placement::Modulo, Placement::Sticky]),
        copies: *random.pick(&[1, 2, 2, 2, 3, 3]),
        expect_workers: workers as u16,
        name_ranges: Vec::new(),
        worker_lease_ms: grant_ms,
        replication,
    }
}

fn build(random: &mut Random, law: Law) -> Build {
    Build {
        shards: random.between(1, 2) as u16,
        log_bytes_max: *random.pick(&[4 << 10, 64 << 10, 1 << 20]),
        batch_bytes_max: *random.pick(&[100, 1_000, 64 << 10]),
        batches_max: random.between(1, 8) as usize,
        law,
        disk: None,
        keeps_map: false,
    }
}

/// Under `everysec` disks are fast enough to keep the promise; `always` promises nothing about time.
fn disk_pace(random: &mut Random, durability: Durability) -> DiskPace {
    let is_always = durability == Durability::Always;
    let sync_us_max = if is_always { 1_500_000 } else { 40_000 };
    let much = 64 << 10;
    DiskPace {
        write_us: *random.pick(&[500, 5_000, 20_000]),
        sync_us: *random.pick(&[1_000, 20_000, 40_000, sync_us_max]),
        growth_bytes: *random.pick(&[1_000, 8_000, 1 << 20]),
        records_bytes: if is_always { *random.pick(&[100, much]) } else { much },
        entries_bytes: *random.pick(&[1, 1_000, much]),
        entries_every_ms: *random.pick(&[0, 0, 100, 500]),
    }
}

fn pace(random: &mut Random) -> Pace {
    let least_us = random.between(50, 300);
    Pace {
        least_us,
        most_us: least_us + *random.pick(&[100, 1_000, 5_000, 30_000]),
        slow_permille: *random.pick(&[0, 0, 2, 20]),
        slow_us: *random.pick(&[50_000, 300_000, 1_500_000]),
    }
}

fn weather(random: &mut Random) -> UplinkWeather {
    UplinkWeather {
        loss_permille: *random.pick(&[0, 0, 20, 200]),
        late_permille: *random.pick(&[0, 0, 100, 500]),
        late_us: *random.pick(&[300_000, 1_500_000, 5_000_000]),
    }
}

fn habits(random: &mut Random, replication: &Replication) -> Habits {
    Habits {
        clients: random.between(2, 6) as u32,
        think_us: *random.pick(&[5_000, 20_000, 80_000]),
        keys: random.between(1, 6),
        patience_ms: replication.grant_ms * random.between(1, 4) / 2,
        once_permille: *random.pick(&[0, 100, 500]),
        ttl_permille: *random.pick(&[0, 0, 300]),
        primary_permille: *random.pick(&[0, 100, 300]),
    }
}

fn kinds(random: &mut Random) -> Vec<Kind> {
    let most = *random.pick(&[200, 400, 700]);
    let all = Kind::ALL.into_iter().filter(|_| random.permille(most));
    all.filter(|kind| ![Kind::Leave, Kind::Join].contains(kind)).collect()
}

/// The cluster of every simulation.
pub const CLUSTER: ClusterId = ClusterId(1);
