//! Key → integer → partition.
//!
//! Two conversions (see docs/ARCHITECTURE.md for how evenly each spreads real keys):
//! - [`KeyInteger::Crc16`]: CRC-16/XMODEM of the key, or of its hash tag, modulo 16384: the hash slot of the Redis
//!   Cluster specification.
//! - [`KeyInteger::Literal`]: Smache's conversion. A string of digits is that number, any other string is its bytes
//!   read as one big-endian unsigned integer; the remainder is Euclidean, so negative numbers have a place too.

use std::fmt;
use std::str::FromStr;

use num_bigint::{BigInt, BigUint, Sign};
use serde::{Deserialize, Serialize};

/// Hash slots of the Redis Cluster specification.
pub const SLOTS: u16 = 16_384;

/// How a key becomes an integer; fixed for the life of a cluster (`KEY_INTEGER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyInteger {
    /// The Redis Cluster hash slot.
    #[default]
    Crc16,
    /// The key read as a number of any size.
    Literal,
}

impl KeyInteger {
    /// Partitions of a cluster that does not say (`PARTITIONS`): 840 = lcm(1…8) keeps `integer mod 840 mod n` equal
    /// to `integer mod n` for n from 1 to 8.
    pub fn partitions_default(self) -> u16 {
        match self {
            Self::Crc16 => 1024,
            Self::Literal => 840,
        }
    }

    /// The partition number of a key among `partitions`, which is at least 1.
    pub fn partition(self, key: &[u8], partitions: u16) -> u16 {
        match self {
            Self::Crc16 => (u32::from(slot(key)) * u32::from(partitions) / u32::from(SLOTS)) as u16,
            Self::Literal => literal_remainder(key, partitions),
        }
    }
}

impl fmt::Display for KeyInteger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crc16 => "crc16",
            Self::Literal => "literal",
        })
    }
}

impl FromStr for KeyInteger {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "crc16" => Ok(Self::Crc16),
            "literal" => Ok(Self::Literal),
            _ => Err(format!("{text:?} is neither crc16 nor literal")),
        }
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, no reflection, initial value 0.
const CRC16: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The part of a key that is hashed: between the first `{` and the first `}` after it when that is not empty.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|b| *b == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|b| *b == b'}') {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// The Redis Cluster hash slot of a key.
pub fn slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// Sign and digits when the key is `[+-]?[0-9]+`.
fn as_digits(key: &[u8]) -> Option<(bool, &[u8])> {
    let (negative, digits) = match key {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, key),
    };
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some((negative, digits))
}

/// The literal integer of a key, Euclidean modulo `n`, without building the number.
fn literal_remainder(key: &[u8], n: u16) -> u16 {
    assert!(n > 0, "a remainder by 0");
    let modulus = u64::from(n);
    let fold = |bytes: &[u8], base: u64, zero: u8| {
        bytes.iter().fold(0, |rest, byte| (rest * base + u64::from(byte - zero)) % modulus)
    };
    let rest = match as_digits(key) {
        None => fold(key, 256, 0),
        Some((false, digits)) => fold(digits, 10, b'0'),
        Some((true, digits)) => (modulus - fold(digits, 10, b'0')) % modulus,
    };
    rest as u16
}

/// The literal integer of a key, in decimal. O(n²) in the key's length, which is bounded at 4 KiB.
pub fn literal_text(key: &[u8]) -> String {
    let number = match as_digits(key) {
        None => BigInt::from(BigUint::from_bytes_be(key)),
        Some((negative, digits)) => {
            let sign = if negative { Sign::Minus } else { Sign::Plus };
            let magnitude = BigUint::parse_bytes(digits, 10).expect("only ASCII digits");
            BigInt::from_biguint(sign, magnitude)
        }
    };
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `redis-server`'s `CLUSTER KEYSLOT` of each; tests/ compares many more with the real server.
    #[test]
    fn slots_are_those_of_redis_cluster() {
        let vectors: [(&[u8], u16); 9] = [
            (b"123456789", 12739),
            (b"foo", 12182),
            (b"bar", 5061),
            (b"", 0),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
        ];
        for (key, want) in vectors {
            assert_eq!(slot(key), want, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn integers_are_those_of_smache() {
        let vectors = [
            ("a", "97"),
            ("aa", "24929"),
            ("aaa", "6381921"),
            ("abcd", "1633837924"),
            ("hello", "448378203247"),
            ("é", "50089"),
            ("hello world", "126207244316550804821666916"),
            ("24929", "24929"),
            ("-7", "-7"),
            ("+7", "7"),
            ("007", "7"),
            ("-", "45"),
            ("", "0"),
        ];
        for (key, want) in vectors {
            assert_eq!(literal_text(key.as_bytes()), want, "{key}");
        }
    }

    proptest! {
        /// 840 is a multiple of every n from 1 to 8, so the partition is still "integer mod worker count".
        #[test]
        fn literal_with_840_partitions_is_modulo_the_workers(
            key in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..=64),
                "[+-]?[0-9]{1,64}".prop_map(String::into_bytes),
            ],
        ) {
            let integer: BigInt = literal_text(&key).parse().unwrap();
            for n in 1u16..=8 {
                let modulus = BigInt::from(n);
                let want = ((&integer % &modulus) + &modulus) % &modulus;
                let got = KeyInteger::Literal.partition(&key, 840) % n;
                prop_assert_eq!(BigInt::from(got), want);
            }
        }

        #[test]
        fn a_partition_is_sixteen_neighbouring_slots(key in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(KeyInteger::Crc16.partition(&key, 1024), slot(&key) / 16);
        }
    }
}
