//! A worker: it holds a part of the data and answers for all of it.
//!
//! Reading order: `store` is the data, `shards` puts it behind locks, `node` is what the listeners see of it;
//! `settings`, `reach`, `start`, `membership` and `saved` are its place in the cluster, `process` ties them.

mod clock;
mod membership;
mod node;
mod process;
mod reach;
mod saved;
mod settings;
mod shards;
mod start;
mod store;

pub use process::main;
