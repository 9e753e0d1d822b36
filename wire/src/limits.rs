//! Every bound two processes must agree on. docs/LIMITS.md has a line for each, with what happens there.

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 * 1024;
/// The longest value any table may allow, in bytes.
pub const VALUE_BYTES_HARD_MAX: usize = 64 * 1024 * 1024;
/// The longest value of a table that says nothing, in bytes.
pub const VALUE_BYTES_DEFAULT_MAX: usize = 1024 * 1024;
/// The longest metadata of a value (content type, `X-Meta-*`), in bytes.
pub const META_BYTES_MAX: usize = 4 * 1024;
/// The longest worker or table name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// The longest frame between workers, its header included, in bytes.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// The longest message between workers: a response that was just below [`RESPONSE_BYTES_SOFT`] and the longest reply of a
/// step, or a request of one step, in bytes.
pub const MESSAGE_BYTES_MAX: usize = RESPONSE_BYTES_SOFT + STEP_REPLY_BYTES_MAX + 1024 * 1024;
/// A batch for one peer is closed and sent when it passes this, in bytes.
pub const MESSAGE_BYTES_SOFT: usize = 1024 * 1024;
/// Once a response has this many bytes, what its request still asks is refused, and its router asks again, in bytes.
pub const RESPONSE_BYTES_SOFT: usize = 16 * 1024 * 1024;
/// Requests of one link that were refused and whose senders may still ask again; with more the link is closed.
pub const REFUSED_MAX: usize = 262_144;
/// Messages of one link that may be in parts at once.
pub const MESSAGES_OPEN_MAX: usize = 1024;
/// Bytes of unanswered requests, and as many of responses not yet whole, that one link between workers holds; a request
/// beyond it is refused, a link whose other side ignores it is closed.
pub const LINK_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Unanswered requests of one link between workers; one beyond it is refused.
pub const LINK_MESSAGES_MAX: usize = 65_536;
/// Operations in one batch (`POST /v1/batch`), or in one MULTI of the Redis protocol times 100.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;
/// Keys or commands one multi-key command may name.
pub const MANY_OPERATIONS_MAX: usize = 1_000_000;
/// Bytes of replies one step may produce before the rest is refused.
pub const STEP_REPLY_BYTES_MAX: usize = 2 * VALUE_BYTES_HARD_MAX;
/// Keys one page of a scan may hold.
pub const SCAN_COUNT_MAX: usize = 10_000;
/// Entries one page of a scan looks at before it returns with what it has.
pub const SCAN_VISIT_MAX: usize = 16 * 1024;
/// Bytes of changes and entries that one answer to a backup carries before it is closed.
pub const EXPORT_BYTES_SOFT: usize = 128 * 1024;
/// Pending replies of one connection above which it is no longer read from, in bytes.
pub const REPLY_BYTES_SOFT_MAX: usize = 1024 * 1024;
/// Unanswered requests of one connection above which it is no longer read from.
pub const PIPELINE_OPEN_MAX: usize = 10_000;
/// Workers of one cluster.
pub const WORKERS_MAX: usize = 1_024;
/// Tables of one cluster.
pub const TABLES_MAX: usize = 4_096;
/// Groups of one cluster.
pub const GROUPS_MAX: usize = 256;
/// Most partitions of a group.
pub const PARTITIONS_MAX: u16 = 16_384;
/// Shards of one worker.
pub const SHARD_LIMIT_MAX: usize = 256;
/// The longest JSON document the uplink or a table policy may be, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The deepest nesting of a JSON document.
pub const JSON_DEPTH_MAX: usize = 64;
/// The longest time to live: 100 years, in milliseconds.
pub const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3_600 * 1_000 + 25 * 24 * 3_600 * 1_000;
/// The longest idempotency key, in bytes.
pub const ONCE_BYTES_MAX: usize = 256;
/// Idempotency keys one partition remembers; then requests that carry one are refused until some have aged out.
pub const ONCE_KEYS_MAX: usize = 65_536;
/// How long an idempotency key is remembered, in milliseconds.
pub const ONCE_MS: u64 = 60_000;
