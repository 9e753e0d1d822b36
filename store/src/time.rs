//! The time, as the shell passes it in.

/// One reading of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// A clock that counts on while the machine sleeps and is never set (CLOCK_BOOTTIME), in milliseconds: for leases.
    pub lease_ms: u64,
    /// Unix milliseconds that never go back: for deadlines and records.
    pub unix_ms: u64,
}
