//! The client library: it routes by the map over pooled, pipelined links.
//!
//! Reading order: [`router`] takes commands; a submission answers them at hand, puts them into a message per peer
//! (`call`, `link`, `line`, `connection`) or leaves them to a ticket (`pending` where only the copies are waited for,
//! else `settle`, which `retry` decides for; `trouble` is what may be in the way). [`gate`] is a wait for a shard. `plan`
//! and `parts` take batches apart and put replies together; `copy`, `whole_table` with its `sweep`, and `tables` do what
//! no step can. [`asked`] answers the routers of peers. [`maps`] is the map in force, [`follow`] keeps it new, [`uplink`] is where it comes from. [`client`] is
//! all that for programs.

pub mod asked;
mod call;
pub mod client;
mod connection;
mod copy;
mod core;
pub mod delta;
#[cfg(test)]
mod fixture;
pub mod follow;
pub mod gate;
pub mod greet;
mod line;
mod link;
pub mod links;
pub mod local;
pub mod maps;
mod page;
mod parts;
mod pending;
mod plan;
mod refresh;
mod retry;
pub mod router;
mod settle;
mod submission;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod trouble;
pub mod uplink;
mod whole_table;

pub use crate::core::{Ran, run_step};
pub use crate::parts::whole_reply;
