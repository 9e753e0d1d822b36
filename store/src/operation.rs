//! Operations on one key: what each reads, writes and answers.
//!
//! Every change of data goes through [`Work::write`] and [`Work::remove`]; all changes of a step carry one version. What a
//! client gives is held against the table's policy first ([`Work::put`]); a new expiry of what is there is not, since an
//! expiry is how a full table gets room.

use std::borrow::Cow;

use firn_wire::command::{Condition, ExpireIf, Expiry, KeyOp, Op, Set};
use firn_wire::ids::{TableId, Version};
use firn_wire::limits::{META_BYTES_MAX, TTL_MS_MAX};
use firn_wire::long_double::{self, FloatError};
use firn_wire::map::{Ack, Durability, MapIndex, TableRow};
use firn_wire::record::{Effect, Put};
use firn_wire::reply::{Failure, Found, Reply, ReplyBuf, Value};

use super::arena::{Arena, Handle, bytes_taken};
use super::entry::{self, Content, Entry};
use super::hash::KeyHash;
use super::journal::{Journal, Waits};
use super::partition::Partition;
use super::table::INDEX_BYTES_PER_ENTRY;
use super::usage::Usages;

type Answer<'f> = &'f mut dyn FnMut(Reply<'_>);
type Outcome<T> = Result<T, Failure<'static>>;

/// A step at work on a partition.
pub(crate) struct Work<'s> {
    pub(crate) arena: &'s mut Arena,
    pub(crate) hashes: &'s KeyHash,
    pub(crate) usages: &'s Usages,
    pub(crate) partition: &'s mut Partition,
    pub(crate) map: &'s MapIndex,
    pub(crate) now: u64,
    /// The version of this step's changes, once there is one.
    pub(crate) version: Option<Version>,
    /// What it does, for the copies.
    pub(crate) journal: &'s mut Journal,
    /// Whether copies follow.
    pub(crate) is_copied: bool,
    /// Whether there is a disk.
    pub(crate) is_durable: bool,
    /// Why nothing may be written now.
    pub(crate) blocked: Blocked,
}

/// What keeps writes from being taken.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    /// Into any table.
    pub(crate) all: Option<Failure<'static>>,
    /// Into tables whose writes wait for all copies.
    pub(crate) waiting: Option<Failure<'static>>,
    /// Into tables of which something survives a restart.
    pub(crate) durable: Option<Failure<'static>>,
}

/// A key with its hash, computed once.
#[derive(Clone, Copy)]
struct Key<'a> {
    table: TableId,
    hash: u64,
    bytes: &'a [u8],
}

impl<'s> Work<'s> {
    /// Runs one operation; `answer` is called exactly once.
    pub(crate) fn run(&mut self, op: &KeyOp<'_>, answer: Answer<'_>) {
        let key = self.key(op.table, op.key);
        let outcome = match op.op {
            Op::Get => return self.get(key, answer),
            Op::Inspect => Ok(self.inspect(key)),
            Op::GetRange { start, end } => return self.get_range(key, start, end, answer),
            Op::GetExpire { expiry } => return self.get_expire(key, expiry, answer),
            Op::Set(set) => return self.set(key, &set, answer),
            Op::Delete { condition, want_old } => {
                return self.delete(key, condition, want_old, answer);
            }
            Op::Increment { by } => self.increment(key, by),
            Op::IncrementFloat { by } => return self.increment_float(key, by, answer),
            Op::Append { value } => self.append(key, value),
            Op::SetRange { offset, value } => self.set_range(key, offset, value),
            Op::Expire { expiry, only } => self.expire(key, expiry, only),
            Op::Copy { table, to, replace, remove } => {
                let to = self.key(table, to);
                self.copy(key, to, replace, remove)
            }
        };
        answer(outcome.unwrap_or_else(Reply::Failed));
    }

    /// The version a key has now; None where it is absent.
    pub(crate) fn version_of(&mut self, table: TableId, key: &[u8]) -> Option<Version> {
        let key = self.key(table, key);
        self.live(key).map(|handle| self.entry(handle).version())
    }

    /// Keeps the replies of a step with an idempotency key, here and in the step's record.
    pub(crate) fn remember(&mut self, token: &[u8], replies: Vec<ReplyBuf>) {
        if self.journal.is_on() {
            self.version();
            let replies = replies.iter().map(|reply| &reply.as_bytes()[..]).collect();
            self.journal.effect(&Effect::Once { token, replies });
        }
        self.partition.once.remember(self.now, token, replies);
    }

    fn key<'a>(&self, table: TableId, bytes: &'a [u8]) -> Key<'a> {
        Key { table, hash: self.hashes.of(bytes), bytes }
    }

    fn entry(&self, handle: Handle) -> Entry<'_> {
        Entry::new(self.arena.get(handle))
    }

    /// The key's entry; one that has expired is removed and not there.
    fn live(&mut self, key: Key<'_>) -> Option<Handle> {
        let table = self.partition.table(key.table)?;
        let handle = table.find(self.arena, key.hash, key.bytes)?;
        if self.entry(handle).is_expired(self.now) {
            if self.check_not_blocked(key.table).is_ok() {
                // Nobody waits for it: whoever leads next finds it expired too.
                self.remove(key, handle, Waits::default());
            }
            return None;
        }
        Some(handle)
    }

    /// What the table's writes wait for.
    fn waits(&self, table: TableId) -> Waits {
        match self.map.table_by_id(table) {
            Some(row) => Waits::of(&row.policy, self.is_copied, self.is_durable),
            None => Waits { copies: self.is_copied, disk: false },
        }
    }

    fn check_not_blocked(&self, table: TableId) -> Outcome<()> {
        let Some(row) = self.map.table_by_id(table) else { return Ok(()) };
        let durability = row.policy.durability_or_default();
        if durability == Durability::Always && !self.is_durable {
            let why = "this worker has no data folder, and the table is to survive everything";
            return Err(Failure::DiskFailed(format!("{why}: start it with --data").into()));
        }
        let waits = row.policy.ack_or_default() == Ack::All || durability == Durability::Always;
        let waiting = self.blocked.waiting.as_ref().filter(|_| waits);
        let durable = self.blocked.durable.as_ref().filter(|_| durability != Durability::None);
        match self.blocked.all.as_ref().or(waiting).or(durable) {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    fn policy(&self, table: TableId) -> Outcome<&'s TableRow> {
        self.map.table_by_id(table).ok_or(Failure::NoSuchTable)
    }

    fn version(&mut self) -> Version {
        *self.version.get_or_insert_with(|| self.partition.next_version())
    }

    // --- the two changes ------------------------------------------------------------------------------------------

    /// Writes what a client gave over `old`, the key's live entry, if the table's policy has room for it.
    fn put(
        &mut self,
        key: Key<'_>,
        old: Option<Handle>,
        content: &Content<'_>,
    ) -> Outcome<Version> {
        let row = self.policy(key.table)?;
        self.check_lengths(row, content)?;
        if !self.has_passed(content) && !self.fits(row, key, old, content) {
            return Err(memory_full(row));
        }
        self.write(key, old, content)
    }

    /// Writes an entry over `old`, the key's live entry. An expiry that has passed removes it instead.
    fn write(
        &mut self,
        key: Key<'_>,
        old: Option<Handle>,
        content: &Content<'_>,
    ) -> Outcome<Version> {
        self.check_not_blocked(key.table)?;
        if self.has_passed(content) {
            if let Some(handle) = old {
                self.remove(key, handle, self.waits(key.table));
            }
            return Ok(self.version());
        }
        let row = self.policy(key.table)?;
        let usages = self.usages;
        let version = self.version();
        let table = self.partition.table_or_new(key.table, || usages.of(key.table));
        let at = (key.hash, key.bytes);
        if table.put(self.arena, self.hashes, at, old, version, content).is_err() {
            return Err(memory_full(row));
        }
        let Content { value, meta, expires_at } = *content;
        let put = Put { table: key.table, key: key.bytes, meta, value, expires_at };
        self.journal.put(&put, key.hash, self.waits(key.table));
        Ok(version)
    }

    fn has_passed(&self, content: &Content<'_>) -> bool {
        content.expires_at.is_some_and(|at| at <= self.now)
    }

    /// Whether the table's memory policy lets the key's entry become `content`.
    fn fits(
        &self,
        row: &TableRow,
        key: Key<'_>,
        old: Option<Handle>,
        content: &Content<'_>,
    ) -> bool {
        let Some(limit) = row.policy.memory_bytes_max else { return true };
        let before = old.map_or(0, |handle| bytes_taken(self.entry(handle).length()) as u64);
        let after = bytes_taken(entry::length(key.bytes, content)) as u64;
        let usage = self.usages.bytes(key.table);
        after <= before || usage + after - before <= limit
    }

    /// Removes an entry. Whether anything may be written was asked before.
    fn remove(&mut self, key: Key<'_>, handle: Handle, waits: Waits) {
        self.version();
        self.journal.delete(key.table, key.bytes, key.hash, waits);
        let table = self.partition.table_mut(key.table).expect("the entry was found in it");
        table.remove(self.arena, key.hash, handle);
    }

    fn check_lengths(&self, row: &TableRow, content: &Content<'_>) -> Outcome<()> {
        let limit = row.policy.value_bytes_limit();
        if content.value.len() > limit {
            return Err(Failure::ValueTooLong { limit: limit as u64 });
        }
        if content.meta.len() > META_BYTES_MAX {
            return Err(Failure::TooMuch(Cow::Owned(format!(
                "the metadata are longer than {META_BYTES_MAX} bytes"
            ))));
        }
        Ok(())
    }

    /// The Unix time an expiry means, for an entry that expires at `current` now.
    fn deadline(
        &self,
        table: TableId,
        expiry: Expiry,
        current: Option<u64>,
    ) -> Outcome<Option<u64>> {
        let after = |ms: u64| {
            let too_far = || Failure::TooMuch("the time to live is longer than 100 years".into());
            if ms > TTL_MS_MAX { Err(too_far()) } else { Ok(Some(self.now + ms)) }
        };
        match expiry {
            Expiry::Keep => Ok(current),
            Expiry::Never => Ok(None),
            Expiry::At(at) => after(at.saturating_sub(self.now)).map(|_| Some(at)),
            Expiry::After(ms) => after(ms),
            Expiry::Default => match self.policy(table)?.policy.ttl_ms {
                Some(ms) => after(ms),
                None => Ok(None),
            },
        }
    }

    // --- reads ----------------------------------------------------------------------------------------------------

    fn value<'a>(&self, entry: Entry<'a>) -> Value<'a> {
        Value {
            bytes: entry.value(),
            meta: entry.meta(),
            version: Some(entry.version()),
            expires_at: entry.expires_at(),
            now: self.now,
        }
    }

    fn get(&mut self, key: Key<'_>, answer: Answer<'_>) {
        match self.live(key) {
            Some(handle) => answer(Reply::Value(self.value(self.entry(handle)))),
            None => answer(Reply::Nil),
        }
    }

    fn inspect(&mut self, key: Key<'_>) -> Reply<'static> {
        let Some(handle) = self.live(key) else { return Reply::Nil };
        let entry = self.entry(handle);
        Reply::Found(Found {
            length: entry.value_length() as u64,
            memory: bytes_taken(entry.length()) as u64 + INDEX_BYTES_PER_ENTRY,
            version: entry.version(),
            expires_at: entry.expires_at(),
            now: self.now,
        })
    }

    fn get_range(&mut self, key: Key<'_>, start: i64, end: i64, answer: Answer<'_>) {
        let Some(handle) = self.live(key) else {
            let (version, expires_at, now) = (None, None, self.now);
            return answer(Reply::Value(Value { bytes: b"", meta: b"", version, expires_at, now }));
        };
        let mut value = self.value(self.entry(handle));
        value.bytes = &value.bytes[range(value.bytes.len(), start, end)];
        answer(Reply::Value(value));
    }

    fn get_expire(&mut self, key: Key<'_>, expiry: Expiry, answer: Answer<'_>) {
        let Some(handle) = self.live(key) else { return answer(Reply::Nil) };
        let current = self.entry(handle).expires_at();
        let wanted = match self.deadline(key.table, expiry, current) {
            Ok(wanted) => wanted,
            Err(failure) => return answer(Reply::Failed(failure)),
        };
        if wanted == current {
            return answer(Reply::Value(self.value(self.entry(handle))));
        }
        let content = self.entry(handle).content();
        let (value, meta) = (content.value.to_vec(), content.meta.to_vec());
        let changed = Content { value: &value, meta: &meta, expires_at: wanted };
        answer(match self.write(key, Some(handle), &changed) {
            Ok(version) => Reply::Value(Value {
                bytes: &value,
                meta: &meta,
                version: Some(version),
                expires_at: wanted,
                now: self.now,
            }),
            Err(failure) => Reply::Failed(failure),
        });
    }

    // --- writes ---------------------------------------------------------------------------------------------------

    fn meets(&self, condition: Condition<'_>, live: Option<Handle>) -> bool {
        match (condition, live) {
            (Condition::Always, _) | (Condition::Absent, None) | (Condition::Present, Some(_)) => {
                true
            }
            (Condition::Version(version), Some(handle)) => self.entry(handle).version() == version,
            (Condition::Equal(value), Some(handle)) => self.entry(handle).value() == value,
            _ => false,
        }
    }

    /// Answers `NotMet` with what is there.
    fn not_met(&self, live: Option<Handle>, want_old: bool, answer: Answer<'_>) {
        let entry = live.map(|handle| self.entry(handle));
        let old = entry.filter(|_| want_old).map(Entry::value);
        answer(Reply::NotMet { version: entry.map(Entry::version), old });
    }

    fn set(&mut self, key: Key<'_>, set: &Set<'_>, answer: Answer<'_>) {
        let live = self.live(key);
        if !self.meets(set.condition, live) {
            return self.not_met(live, set.want_old, answer);
        }
        let current = live.and_then(|handle| self.entry(handle).expires_at());
        let old = live.filter(|_| set.want_old).map(|handle| self.entry(handle).value().to_vec());
        let written = self.deadline(key.table, set.expiry, current).and_then(|expires_at| {
            self.put(key, live, &Content { value: set.value, meta: set.meta, expires_at })
        });
        match written {
            Ok(version) => {
                answer(Reply::Written { version, created: live.is_none(), old: old.as_deref() });
            }
            Err(failure) => answer(Reply::Failed(failure)),
        }
    }

    fn delete(
        &mut self,
        key: Key<'_>,
        condition: Condition<'_>,
        want_old: bool,
        answer: Answer<'_>,
    ) {
        let live = self.live(key);
        let absent_wanted = matches!(condition, Condition::Absent);
        let Some(handle) = live else {
            let fine = absent_wanted || matches!(condition, Condition::Always);
            let reply = if fine { Reply::Nil } else { Reply::NotMet { version: None, old: None } };
            return answer(reply);
        };
        if !self.meets(condition, live) {
            return self.not_met(live, want_old, answer);
        }
        if let Err(failure) = self.check_not_blocked(key.table) {
            return answer(Reply::Failed(failure));
        }
        answer(Reply::Deleted { old: want_old.then(|| self.entry(handle).value()) });
        self.remove(key, handle, self.waits(key.table));
    }

    /// Writes a changed value of a key; expiry and metadata stay, a new key gets the table's expiry.
    fn rewrite(&mut self, key: Key<'_>, live: Option<Handle>, value: &[u8]) -> Outcome<Version> {
        let (meta, expires_at) = match live {
            Some(handle) => {
                let content = self.entry(handle).content();
                (content.meta.to_vec(), content.expires_at)
            }
            None => (Vec::new(), self.deadline(key.table, Expiry::Default, None)?),
        };
        self.put(key, live, &Content { value, meta: &meta, expires_at })
    }

    fn increment(&mut self, key: Key<'_>, by: i64) -> Outcome<Reply<'static>> {
        let live = self.live(key);
        let current = match live {
            Some(handle) => integer(self.entry(handle).value()).ok_or(Failure::NotInteger)?,
            None => 0,
        };
        let value = current.checked_add(by).ok_or(Failure::Overflow)?;
        let version = self.rewrite(key, live, value.to_string().as_bytes())?;
        Ok(Reply::Number { value, version })
    }

    fn increment_float(&mut self, key: Key<'_>, by: &[u8], answer: Answer<'_>) {
        let live = self.live(key);
        let current = live.map_or(&b"0"[..], |handle| self.entry(handle).value());
        let sum = long_double::add(current, by).map_err(|error| match error {
            FloatError::NotFloat => Failure::NotFloat,
            FloatError::NotFinite => Failure::NotFinite,
        });
        let written = sum.and_then(|value| Ok((self.rewrite(key, live, &value)?, value)));
        match written {
            Ok((version, value)) => answer(Reply::Text { value: &value, version }),
            Err(failure) => answer(Reply::Failed(failure)),
        }
    }

    fn append(&mut self, key: Key<'_>, tail: &[u8]) -> Outcome<Reply<'static>> {
        let live = self.live(key);
        let head = live.map_or(&b""[..], |handle| self.entry(handle).value());
        let length = (head.len() + tail.len()) as u64;
        self.check_growth(key, length)?;
        let value = [head, tail].concat();
        let version = self.rewrite(key, live, &value)?;
        Ok(Reply::Length { length, version: Some(version) })
    }

    fn set_range(&mut self, key: Key<'_>, offset: u64, part: &[u8]) -> Outcome<Reply<'static>> {
        let live = self.live(key);
        let head = live.map_or(&b""[..], |handle| self.entry(handle).value());
        if part.is_empty() {
            let version = live.map(|handle| self.entry(handle).version());
            return Ok(Reply::Length { length: head.len() as u64, version });
        }
        let end = offset.saturating_add(part.len() as u64);
        self.check_growth(key, end)?;
        let (offset, end) = (offset as usize, end as usize);
        let mut value = head.to_vec();
        value.resize(value.len().max(end), 0);
        value[offset..end].copy_from_slice(part);
        let version = self.rewrite(key, live, &value)?;
        Ok(Reply::Length { length: value.len() as u64, version: Some(version) })
    }

    /// Refuses a length before memory is taken for it.
    fn check_growth(&self, key: Key<'_>, length: u64) -> Outcome<()> {
        let limit = self.policy(key.table)?.policy.value_bytes_limit() as u64;
        if length > limit { Err(Failure::ValueTooLong { limit }) } else { Ok(()) }
    }

    fn expire(&mut self, key: Key<'_>, expiry: Expiry, only: ExpireIf) -> Outcome<Reply<'static>> {
        let Some(handle) = self.live(key) else { return Ok(Reply::Done(false)) };
        let current = self.entry(handle).expires_at();
        let wanted = self.deadline(key.table, expiry, current)?;
        let done = match expiry {
            Expiry::Never => current.is_some(),
            _ => may_replace(only, current, wanted.unwrap_or(u64::MAX)),
        };
        if done {
            let content = self.entry(handle).content();
            let (value, meta) = (content.value.to_vec(), content.meta.to_vec());
            let changed = Content { value: &value, meta: &meta, expires_at: wanted };
            self.write(key, Some(handle), &changed)?;
        }
        Ok(Reply::Done(done))
    }

    fn copy(
        &mut self,
        from: Key<'_>,
        to: Key<'_>,
        replace: bool,
        remove: bool,
    ) -> Outcome<Reply<'static>> {
        let Some(source) = self.live(from) else { return Ok(Reply::Nil) };
        let target = self.live(to);
        if target.is_some() && !replace {
            return Ok(Reply::Done(false));
        }
        if (from.table, from.bytes) == (to.table, to.bytes) {
            return Ok(Reply::Done(true));
        }
        let content = self.entry(source).content();
        let (value, meta) = (content.value.to_vec(), content.meta.to_vec());
        let content = Content { value: &value, meta: &meta, expires_at: content.expires_at };
        if remove {
            self.check_not_blocked(from.table)?;
        }
        self.put(to, target, &content)?;
        if remove {
            self.remove(from, source, self.waits(from.table));
        }
        Ok(Reply::Done(true))
    }
}

fn memory_full(row: &TableRow) -> Failure<'static> {
    Failure::MemoryFull { table: Cow::Owned(row.name.to_string()) }
}

/// Redis' rule for EXPIRE's NX, XX, GT, LT: no expiry is infinitely late.
fn may_replace(only: ExpireIf, current: Option<u64>, wanted: u64) -> bool {
    match (only, current) {
        (ExpireIf::Always, _) | (ExpireIf::None, None) | (ExpireIf::Some, Some(_)) => true,
        (ExpireIf::Later, Some(current)) => wanted > current,
        (ExpireIf::Earlier | ExpireIf::SomeEarlier, Some(current)) => wanted < current,
        (ExpireIf::Earlier, None) => true,
        (ExpireIf::None, Some(_)) => false,
        (ExpireIf::Some | ExpireIf::Later | ExpireIf::SomeEarlier, None) => false,
    }
}

/// The bytes GETRANGE means.
fn range(length: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_front = |at: i64| {
        let at = if at < 0 { at.saturating_add(length as i64) } else { at };
        usize::try_from(at.max(0)).unwrap_or(usize::MAX)
    };
    let (start, end) = (from_front(start), from_front(end).min(length.saturating_sub(1)));
    if length == 0 || start > end { 0..0 } else { start..end + 1 }
}

/// A decimal integer as Redis takes it: no sign but `-`, no leading zeros, no blanks.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let shape = match digits {
        [b'0'] => text.len() == 1,
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
        [] => false,
    };
    if !shape {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_getrange() {
        let cut = |start, end| &"hello"[range(5, start, end)];
        assert_eq!(cut(0, -1), "hello");
        assert_eq!(cut(1, 2), "el");
        assert_eq!(cut(-3, -2), "ll");
        assert_eq!(cut(-2, -3), "");
        assert_eq!(cut(3, 1), "");
        assert_eq!(cut(-100, 100), "hello");
        assert_eq!(cut(5, 9), "");
        assert_eq!(cut(i64::MIN, i64::MIN), "h");
        assert_eq!(range(0, 0, -1), 0..0);
    }

    #[test]
    fn integers_are_those_of_incr() {
        for (text, want) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(text.as_bytes()), Some(want));
        }
        for text in ["", "-", "-0", "01", "+1", " 1", "1 ", "1.0", "9223372036854775808", "a"] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }
}
