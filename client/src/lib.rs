//! The client library: it routes by the map over pooled, pipelined links.

pub mod delta;
#[cfg(test)]
mod fixture;
pub mod follow;
pub mod local;
pub mod maps;
pub mod uplink;
