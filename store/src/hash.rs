//! The hash of the tables: 64 bits, keyed by a secret of the cluster, so that nobody outside can choose keys that collide
//! (CVE-2011-5037 and its kin). Every worker of a cluster has the same, which makes a scan's cursor mean the same on all.

use std::fmt;
use std::hash::Hasher as _;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// A keyed hash function. Its results are part of the cluster's format: Cargo.toml pins foldhash.
pub struct KeyHash(SharedSeed);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

impl KeyHash {
    /// The hash function of a cluster.
    pub fn new(seed: u64) -> Self {
        Self(SharedSeed::from_u64(seed))
    }

    /// The hash of a key.
    #[inline]
    pub fn of(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(0, &self.0);
        hasher.write(key);
        hasher.finish()
    }
}
