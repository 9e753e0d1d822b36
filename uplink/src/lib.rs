//! The uplink: it registers workers, keeps the tables, and publishes the one map of the cluster. It is not on the way of
//! any read or write.
//!
//! Reading order: [`settings`] and [`state`] are what there is, [`registry`] decides (pure) with [`plan`], [`chunks`] and
//! [`store`] keep it, [`owner`] is the one thread that has both, `http` is how it is asked.
//! [`start()`] puts them together, in a process of their own or within a worker that is a cluster of one.

pub mod chunks;
mod http;
pub mod metrics;
pub mod owner;
pub mod plan;
pub mod registry;
pub mod settings;
mod start;
pub mod state;
pub mod store;

pub use start::{Config, Error, Running, start};
