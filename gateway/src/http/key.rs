//! The key a request is for: where it is, and what it may be.

use std::borrow::Cow;

use firn_wire::command::{KeyOp, Op};
use firn_wire::ids::TableId;
use firn_wire::limits::KEY_BYTES_MAX;

use super::problem::{Kind, Problem};
use super::query;

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// The table.
    pub(super) table: TableId,
    /// The key.
    pub(super) key: &'a [u8],
}

impl<'a> At<'a> {
    /// An operation there.
    pub(super) fn op(self, op: Op<'a>) -> KeyOp<'a> {
        KeyOp { table: self.table, key: self.key, op }
    }
}

/// The key of a path: its rest, percent-decoded exactly once.
pub(super) fn key(raw: &str) -> Result<Cow<'_, [u8]>, Problem> {
    let key = query::decode(raw).ok_or_else(|| {
        Problem::new(Kind::InvalidRequest, "the key is not well percent-encoded: write % as %25")
    })?;
    check_key(&key)?;
    Ok(key)
}

/// Refuses a key out of bounds.
pub(super) fn check_key(key: &[u8]) -> Result<(), Problem> {
    if key.is_empty() {
        return Err(Problem::plain(Kind::KeyEmpty));
    }
    if key.len() > KEY_BYTES_MAX {
        let detail = format!("the key has {} bytes, more than {KEY_BYTES_MAX}", key.len());
        return Err(Problem::new(Kind::KeyTooLong, detail).limit(KEY_BYTES_MAX));
    }
    Ok(())
}
