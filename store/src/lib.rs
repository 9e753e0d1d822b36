//! What a worker holds. Plain structs: commands and the time go in, replies come out; no socket, clock, lock, random
//! source or async inside.
//!
//! From the inside out: an [`arena`] gives memory, an [`entry`] is one key with its value in it, a [`segment`] indexes at
//! most 4,096 of them, a [`table`] is a directory of segments, a [`partition`] has tables and one order of writes, a
//! [`shard`] owns partitions and applies steps to them.
//!
//! For copies: a [`log`] holds what a shard's steps did, [`apply`] does it to a copy's table, a [`chunk`] is part of a table
//! for a copy that is too far behind, a [`digest`] tells whether both have the same.
//!
//! The protocol: a [`replica`] is a partition with its part in it, a [`lead`] what a primary keeps of its reign with a
//! [`follower`] for each copy, a [`peer`] what is known of another worker. Beside [`shard`], each with one thing it does:
//! [`adopt`] takes a map, [`commit`] writes records and counts who has them, [`stream`] sends, [`receive`] is a copy,
//! [`beacon`] gives and takes leases, [`decide`] proposes, [`upkeep`] tidies, [`export`] reads for a backup. [`rules`] names what keeps it safe.

mod adopt;
mod apply;
mod arena;
mod beacon;
mod chunk;
mod commit;
pub mod copying;
pub mod decide;
mod digest;
pub mod disk;
mod entry;
pub mod export;
mod few;
mod follower;
pub mod hash;
mod journal;
mod lead;
mod log;
mod once;
mod operation;
mod order;
mod partition;
mod peer;
pub mod receive;
pub mod reload;
mod replica;
pub mod rules;
pub mod scan;
mod segment;
pub mod shard;
mod stream;
mod sweep;
mod table;
pub mod time;
mod upkeep;
pub mod usage;
pub mod view;
