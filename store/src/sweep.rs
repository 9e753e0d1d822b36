//! How far a sweep for expired entries has come.

/// A place among a shard's entries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sweep {
    pub(crate) replica: usize,
    pub(crate) table: usize,
    pub(crate) segment: usize,
}
