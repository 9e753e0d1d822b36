//! A whole cluster in one thread and simulated time: the uplink's registry and the workers' shards, which are pure, with
//! a network, clocks, crashes and clients that are all drawn from one seed. The same seed does the same again.
//!
//! Reading order: [`random`], [`clock`], [`event`] and [`network`] are the ground; [`uplink`], [`worker`] and [`client`]
//! act on it by way of [`scene`]; [`scenario`] is what a seed chooses, [`faults`] what goes wrong, [`law`] which rules are in force; [`ghost`], [`contract`]
//! and [`history`] judge; [`world`] is all of it, [`search`] runs many.

pub mod client;
pub mod clock;
mod contract;
mod drive;
pub mod event;
pub mod faults;
pub mod ghost;
pub mod history;
pub mod law;
pub mod network;
mod outage;
pub mod probe;
pub mod question;
pub mod random;
pub mod scenario;
pub mod scene;
pub mod search;
mod shown;
pub mod tally;
pub mod trace;
pub mod uplink;
pub mod worker;
pub mod world;
