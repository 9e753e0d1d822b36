//! A worker: it holds a part of the data and answers for all of it.
//!
//! Reading order: `shards` puts the data (`firn_store`) behind locks, `local` and `node` are what the router, the
//! listeners and peers see of it. `copies` is what it does for copies: `streams` send batches (one `stream` per peer, with
//! its `window`, roused by `wake`), `replicate` takes them, `beacons` keeps leases and time. `disk` writes what shards hand
//! out and reads it back. `settings`, `reach`, `start`, `membership`, `saved`, `adopter`, `proposer` and `leave` are its
//! place in the cluster, `process` ties them.

mod adopter;
mod beacons;
mod clock;
mod copies;
mod disk;
#[cfg(test)]
mod fixture;
mod leave;
mod local;
mod membership;
mod node;
mod peers;
mod process;
mod proposer;
mod reach;
mod ready;
mod replicate;
mod saved;
mod settings;
mod shards;
mod start;
mod stream;
mod streams;
mod wake;
mod window;

pub use process::main;
