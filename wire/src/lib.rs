//! What two Firn processes must agree on. Pure: no socket, no clock, no randomness.
//!
//! Reading order: [`ids`] names things, [`key`] turns a key into its integer and partition, [`map`] says
//! who holds what, [`command`] and [`reply`] are the one vocabulary behind every door, [`exchange`] is how a
//! door hands commands over and takes replies, [`frame`], [`handshake`] and [`message`] put them on a
//! socket between workers in the turns of [`rotation`], [`record`] is a step's effects as copies take them, [`replica`]
//! what primaries and copies say to each other, [`registry`] is what is said to the uplink, [`status`] puts a map into
//! words, [`limits`] bounds all of it.

pub mod command;
pub mod exchange;
pub mod frame;
pub mod glob;
pub mod handshake;
pub mod ids;
pub mod json;
pub mod key;
pub mod limits;
pub mod long_double;
pub mod map;
pub mod message;
pub mod news;
pub mod record;
pub mod registry;
pub mod replica;
pub mod reply;
pub mod rotation;
pub mod secret;
pub mod status;
