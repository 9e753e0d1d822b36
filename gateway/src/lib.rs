//! The listeners. Each turns bytes into [`firn_wire::command::Command`]s, hands them to [`execute::Execute`], and turns
//! [`firn_wire::reply::Reply`]s into bytes; none knows where data is.
//!
//! Reading order: [`execute`] is what a listener may ask, [`connection`] the loop every byte-stream protocol shares,
//! [`listen`] takes connections, [`loops`] is where they are served, [`bind`] opens a process's listeners; then one module per protocol.

pub mod bind;
pub mod boutique;
pub mod connection;
pub mod execute;
pub mod http;
mod line;
pub mod listen;
pub mod loops;
pub mod peer;
pub mod resp;
pub mod winter;
