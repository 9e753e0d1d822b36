//! Newtypes for what must not be swapped.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::NAME_BYTES_MAX;

/// A name or number that does not read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {wanted}")]
pub struct BadId {
    /// What was given.
    pub value: String,
    /// What would have been right.
    pub wanted: &'static str,
}

impl BadId {
    fn new(value: &str, wanted: &'static str) -> Self {
        Self { value: value.chars().take(80).collect(), wanted }
    }
}

/// Serialises a type through its `Display` and `FromStr`, so that JSON and logs show the same text.
macro_rules! as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

/// One cluster, for its whole life: 16 random bytes, shown as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ClusterId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 32)
            .map(Self)
            .ok_or_else(|| BadId::new(text, "a cluster id (32 hex digits)"))
    }
}
as_text!(ClusterId);

/// A worker's name: `[A-Za-z0-9._-]{1,63}`, chosen by whoever starts it, kept over restarts. A map has thousands of them
/// and is copied at every change, so a copy shares the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WorkerName(Arc<str>);

impl WorkerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WorkerName {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(good) {
            return Err(BadId::new(text, "a worker name (1 to 63 of A-Z a-z 0-9 . _ -)"));
        }
        Ok(Self(text.into()))
    }
}
as_text!(WorkerName);

/// One run of a worker process: random at every start, shown as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 16)
            .map(Self)
            .ok_or_else(|| BadId::new(text, "an incarnation (16 hex digits)"))
    }
}
as_text!(Incarnation);

/// A worker's identity, shown as `name@incarnation`.
#[derive(Debug, Clone, Eq, PartialOrd, Ord, Default)]
pub struct WorkerId {
    /// Who.
    pub name: WorkerName,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// The number first: it tells nearly all apart, and is at hand without looking a name up.
impl PartialEq for WorkerId {
    fn eq(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation && self.name == other.name
    }
}

impl Hash for WorkerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.incarnation.hash(state);
        self.name.hash(state);
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.incarnation)
    }
}

impl FromStr for WorkerId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let (name, incarnation) = text
            .split_once('@')
            .ok_or_else(|| BadId::new(text, "a worker id (name@incarnation)"))?;
        Ok(Self { name: name.parse()?, incarnation: incarnation.parse()? })
    }
}
as_text!(WorkerId);

/// A group of partitions with one number of copies and one placement rule. Group 0 always exists.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct GroupId(pub u16);

/// The unit of placement, order, replication and movement.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct PartitionId {
    /// Its group.
    pub group: GroupId,
    /// Its number within the group, below the group's partition count.
    pub number: u16,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group.0, self.number)
    }
}

/// A table, by a number never used again in the cluster.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TableId(pub u32);

impl TableId {
    /// The table `default`, which always exists.
    pub const DEFAULT: Self = Self(0);
}

/// The reign of one primary over a partition, at most 20 bits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The largest epoch a [`Version`] can carry.
    pub const MAX: Self = Self((1 << 20) - 1);
}

/// The version of a record: epoch (20 bits) over sequence number (44 bits) of its partition. It only grows; it is
/// the HTTP `ETag` and the compare-and-set token. A string in JSON, since 64 bits do not fit a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

impl Version {
    const SEQUENCE_BITS: u32 = 44;
    /// The largest sequence number it can carry.
    pub const SEQUENCE_MAX: u64 = (1 << Self::SEQUENCE_BITS) - 1;

    /// Puts an epoch and a sequence number together.
    ///
    /// # Panics
    /// When either does not fit: 2^44 writes within one epoch of one partition are 5,000 years at 100/s.
    pub fn new(epoch: Epoch, sequence: u64) -> Self {
        assert!(epoch <= Epoch::MAX, "epoch {} above {}", epoch.0, Epoch::MAX.0);
        assert!(sequence >> Self::SEQUENCE_BITS == 0, "sequence {sequence} above 44 bits");
        Self(u64::from(epoch.0) << Self::SEQUENCE_BITS | sequence)
    }

    /// The reign in which the record was written.
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> Self::SEQUENCE_BITS) as u32)
    }

    /// The record's number within its partition.
    pub fn sequence(self) -> u64 {
        self.0 & ((1 << Self::SEQUENCE_BITS) - 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Version {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|_| !text.starts_with('+'))
            .map(Self)
            .ok_or_else(|| BadId::new(text, "a version (hex digits)"))
    }
}
// Text in JSON, a plain number in frames.
impl Serialize for Version {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_u64(self.0) }
    }
}
impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(from).map(Self)
        }
    }
}

/// The version of the cluster map: `generation.counter`. A registry restored from a backup or rebuilt from workers
/// starts a new generation, so no version is ever issued twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MapVersion {
    /// The registry's generation, from 1.
    pub generation: u32,
    /// The change within it, from 1. 0.0 is "no map".
    pub counter: u64,
}

impl fmt::Display for MapVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.counter)
    }
}

impl FromStr for MapVersion {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let wanted = "a map version (generation.counter)";
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        let (generation, counter) = text
            .split_once('.')
            .filter(|(g, c)| digits(g) && digits(c))
            .ok_or_else(|| BadId::new(text, wanted))?;
        match (generation.parse(), counter.parse()) {
            (Ok(generation), Ok(counter)) => Ok(Self { generation, counter }),
            _ => Err(BadId::new(text, wanted)),
        }
    }
}
as_text!(MapVersion);

/// A table's name: `[a-z0-9_][a-z0-9_-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName(String);

impl TableName {
    /// What a native name must not start with: names of line protocols that are no native names live behind it.
    pub const WORD_PREFIX: &'static str = "__";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The table of a line protocol's word: the word itself where it is a native name; otherwise `__` and the
    /// word's bytes in hex (30 bytes or fewer), or `__` and the first 30 bytes of its SHA-256 in hex with a `-`.
    pub fn from_word(word: &[u8]) -> Self {
        use sha2::Digest as _;
        if let Some(name) = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok()) {
            return name;
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        if word.len() <= 30 {
            Self(format!("{}{}", Self::WORD_PREFIX, hex(word)))
        } else {
            Self(format!("{}-{}", Self::WORD_PREFIX, hex(&sha2::Sha256::digest(word)[..30])))
        }
    }

    /// Reads a name as the uplink keeps it, a word's name included.
    pub fn from_registry(text: &str) -> Result<Self, BadId> {
        let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let later = |b: u8| first(b) || b == b'-';
        let bytes = text.as_bytes();
        let good = bytes.len() <= NAME_BYTES_MAX
            && bytes.first().is_some_and(|b| first(*b))
            && bytes.iter().all(|b| later(*b));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadId::new(text, "a table name ([a-z0-9_][a-z0-9_-]{0,62})"))
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TableName {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        if text.starts_with(Self::WORD_PREFIX) {
            return Err(BadId::new(text, "a table name (names that start with __ are reserved)"));
        }
        Self::from_registry(text)
    }
}

impl Serialize for TableName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::from_registry(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_epoch_then_sequence() {
        let old = Version::new(Epoch(1), (1 << 44) - 1);
        let new = Version::new(Epoch(2), 0);
        assert!(old < new);
        assert_eq!((new.epoch(), new.sequence()), (Epoch(2), 0));
        assert_eq!(old.to_string().parse::<Version>().unwrap(), old);
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for bad in ["", "../x", "A", "-a", "a/b", "a\0", "%2e", &"a".repeat(64), "__x"] {
            assert!(bad.parse::<TableName>().is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a@b", "a/b", &"a".repeat(64)] {
            assert!(bad.parse::<WorkerName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn any_word_maps_to_a_name_and_natives_to_themselves() {
        assert_eq!(TableName::from_word(b"colors").as_str(), "colors");
        let odd: Vec<&[u8]> = vec![b"Colors", b"../x", b"\xff", b"__x", &[b'A'; 500], &[b'A'; 501]];
        let names: std::collections::BTreeSet<_> =
            odd.iter().map(|word| TableName::from_word(word)).collect();
        assert_eq!(names.len(), odd.len());
        for name in names {
            assert!(TableName::from_registry(name.as_str()).is_ok(), "{name}");
            assert!(name.as_str().parse::<TableName>().is_err(), "{name}");
        }
    }

    #[test]
    fn ids_read_back_what_they_show() {
        let id: WorkerId = "w-1.a@00000000000000ff".parse().unwrap();
        assert_eq!(id.to_string().parse::<WorkerId>().unwrap(), id);
        let version: MapVersion = "3.17".parse().unwrap();
        assert_eq!(serde_json::to_string(&version).unwrap(), "\"3.17\"");
        for bad in ["3", "3.", "+3.1", "3.1.2", "-1.0", "3.99999999999999999999"] {
            assert!(bad.parse::<MapVersion>().is_err(), "{bad:?}");
        }
    }
}
