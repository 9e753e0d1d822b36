//! What a table's entries add up to, so that a copy can be compared with its primary without reading either.

use firn_wire::ids::Version;

/// What one entry adds: the sum of all, wrapping, does not depend on their order, and an entry that goes is taken off
/// again. The hash tells the entries of one step apart, which share a version.
pub(crate) fn mix(version: Version, hash: u64) -> u64 {
    scramble(scramble(version.0) ^ hash)
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014; constants of Vigna's splitmix64.c).
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn it_is_splitmix64() {
        // The first outputs of splitmix64.c from the seed 0.
        let step = 0x9e37_79b9_7f4a_7c15u64;
        assert_eq!(scramble(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(scramble(step), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(scramble(step.wrapping_mul(2)), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn neighbouring_versions_and_hashes_do_not_make_up_for_each_other() {
        let sums: HashSet<u64> = (0..300u64)
            .flat_map(|version| (0..300u64).map(move |hash| mix(Version(version), hash)))
            .collect();
        assert_eq!(sums.len(), 90_000);
        let swapped = mix(Version(1), 20).wrapping_add(mix(Version(2), 10));
        assert_ne!(mix(Version(1), 10).wrapping_add(mix(Version(2), 20)), swapped);
    }
}
