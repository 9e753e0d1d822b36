//! The client library: it routes by the map over pooled, pipelined links.

pub mod local;
