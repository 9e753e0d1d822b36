//! What a cluster does while workers die, leave, join and stand still, with figures: what scripts/scenarios.sh starts.
//!
//! Reading order: [`talk`] asks one worker, [`ledger`] knows what must be there, [`fill`] writes and reads all of it,
//! [`load`] asks at a pace while things happen and [`tally`] counts what came of it, [`probe`] asks single partitions,
//! [`flood`] writes as fast as it goes, [`author`] numbers what it writes, [`changer`] changes the map, [`outage`] ends all
//! processes and [`disks`] of [`image`]s have what was synced then, [`site`] is the cluster, [`watch`] looks at it,
//! [`spread`] and [`report`] say what was measured, [`scene`] is what most scenarios begin and end with. Then a file for
//! each scenario.
//!
//! A run ends with 0 when all was well, with 1 when something was lost or a request failed that must not, and with 3 when
//! only a figure missed its goal. Short forms check what must be, not how long it took.

mod author;
mod changer;
mod cost;
mod crash;
mod disks;
mod failover;
mod fill;
mod flood;
mod image;
mod ledger;
mod load;
mod outage;
mod probe;
mod rejoin;
mod report;
mod resize;
mod scene;
mod sigstop;
mod sigterm;
mod site;
mod spread;
mod sticky;
mod talk;
mod tally;
mod uplink_down;
mod uplink_kill;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs one scenario over real processes and prints its figures.
#[derive(Debug, Parser)]
struct Flags {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Failover(failover::Failover),
    Cost(cost::Cost),
    Crash(crash::Crash),
    Sigterm(sigterm::Sigterm),
    Resize(resize::Resize),
    Sticky(sticky::Sticky),
    Rejoin(rejoin::Rejoin),
    Sigstop(sigstop::Sigstop),
    UplinkDown(uplink_down::UplinkDown),
    UplinkKill(uplink_kill::UplinkKill),
}

fn main() -> ExitCode {
    match Flags::parse().scenario {
        Scenario::Failover(failover) => failover.run(),
        Scenario::Cost(cost) => cost.run(),
        Scenario::Crash(crash) => crash.run(),
        Scenario::Sigterm(sigterm) => sigterm.run(),
        Scenario::Resize(resize) => resize.run(),
        Scenario::Sticky(sticky) => sticky.run(),
        Scenario::Rejoin(rejoin) => rejoin.run(),
        Scenario::Sigstop(sigstop) => sigstop.run(),
        Scenario::UplinkDown(uplink_down) => uplink_down.run(),
        Scenario::UplinkKill(uplink_kill) => uplink_kill.run(),
    }
}
