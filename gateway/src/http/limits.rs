//! The bounds of this door; those shared with other doors are in [`firn_wire::limits`].

use std::time::Duration;

/// The longest path with its query, in bytes; above it the answer is 414.
pub const URL_BYTES_MAX: usize = 8 * 1024;
/// Most header lines of a request; above it the answer is 431.
pub const HEADERS_MAX: usize = 64;
/// Most bytes of header names and values together; above it the answer is 431.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How long the head of a request may take from its first byte; then the answer is 408 and the connection is closed.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection may rest between requests.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(300);
/// Fewest bytes of a body a second, counted from [`BODY_GRACE`] after its start; below it the answer is 408.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 1024;
/// Time a body has before its rate counts.
pub const BODY_GRACE: Duration = Duration::from_secs(5);
/// How long a client may take nothing of a response that waits for it; then the connection is closed.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
/// How long a closed server still answers requests it has begun.
pub const SHUTDOWN_TIME: Duration = Duration::from_secs(2);
/// The longest body of `POST /v1/batch`, in bytes; above it the answer is 413.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest policy of a table, in bytes; above it the answer is 413.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// What a body of `POST /api` may have beyond six times the value's limit (a byte escaped takes six), in bytes: the key
/// and the braces.
pub const SMACHE_EXTRA_BYTES: usize = 32 * 1024;
/// The longest body of `POST /api` at all, in bytes; above it the answer is 413.
pub const SMACHE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Tries of a write whose condition names several versions before the answer is 503.
pub const CONDITION_TRIES: usize = 8;
/// Entries of a page that names no `limit`.
pub const PAGE_ENTRIES_DEFAULT: usize = 1_000;
/// Scans made for one JSON page before it is given with what it has.
pub const PAGE_SCANS_MAX: usize = 64;
