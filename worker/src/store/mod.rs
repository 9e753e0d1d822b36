//! The data of a worker. Plain structs: commands and the time go in, replies come out; no socket, clock, lock, random
//! source or async inside.
//!
//! From the inside out: an [`arena`] gives memory, an [`entry`] is one key with its value in it, a [`segment`] indexes at
//! most 4,096 of them, a [`table`] is a directory of segments, a [`partition`] has tables and one order of writes, a
//! [`shard`] owns partitions and applies steps to them.

pub(crate) mod arena;
pub(crate) mod entry;
pub(crate) mod hash;
pub(crate) mod once;
pub(crate) mod operation;
pub(crate) mod partition;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod shard;
pub(crate) mod table;
pub(crate) mod usage;
