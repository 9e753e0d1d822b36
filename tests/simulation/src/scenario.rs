//! What a seed chooses before anything happens: the cluster, the clients, the weather, and which faults there are.
//!
//! A seed has only some kinds of faults, and more of those: what needs one kind often is found by a seed that has little
//! else (Groce and others, "Swarm testing", 2012).

use firn_store::rules::Rules;
use firn_wire::ids::ClusterId;
use firn_wire::key::KeyInteger;
use firn_wire::map::{Placement, Replication, Settings};

use crate::client::Habits;
use crate::faults::Kind;
use crate::network::Pace;
use crate::random::Random;
use crate::scene::UplinkWeather;
use crate::worker::Build;

/// See the module's page.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Whether the last in-sync copy of a partition may be lost: then only what must still hold is checked.
    pub loses: bool,
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

/// Seeds from here on have an uplink that loses its store.
pub const UPLINK_LOST_FROM: u64 = 1 << 32;

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

    /// What a seed chooses.
    pub fn new(random: &mut Random, rules: Rules) -> Self {
        let workers = *random.pick(&[2, 2, 3, 3, 3, 4]) as usize;
        let spares = random.below(2) as usize;
        let machines = workers + spares;
        let loses = random.permille(150);
        let settings = settings(random, workers);
        let replication = settings.replication;
        let uneven = random.permille(700);
        let rates_ppm =
            (0..=machines).map(|_| if uneven { rate_ppm(random) } else { 1_000_000 }).collect();
        let builds = (0..machines).map(|_| build(random, rules)).collect();
        Self {
            loses,
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

fn build(random: &mut Random, rules: Rules) -> Build {
    Build {
        shards: random.between(1, 2) as u16,
        log_bytes_max: *random.pick(&[4 << 10, 64 << 10, 1 << 20]),
        batch_bytes_max: *random.pick(&[100, 1_000, 64 << 10]),
        batches_max: random.between(1, 8) as usize,
        rules,
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
