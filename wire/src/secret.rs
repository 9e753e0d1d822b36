//! The cluster secret: what a worker proves to the uplink and workers prove to each other (HMAC-SHA-256, RFC 2104).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The fewest bytes a secret may have: 128 bits.
pub const SECRET_BYTES_MIN: usize = 16;

/// The secret every process of a cluster is given (`CLUSTER_SECRET`), or none on loopback. Never shown.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(…)" })
    }
}

impl std::str::FromStr for Secret {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "the cluster secret has {} bytes, fewer than {SECRET_BYTES_MIN}; scripts/secret.sh makes one",
                text.len()
            ));
        }
        Ok(Self(text.as_bytes().to_vec()))
    }
}

impl Secret {
    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// The HMAC of some parts, each preceded by its length so that no two lists of parts look alike.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether `proof` is the HMAC of the parts, in constant time.
    pub fn verify(&self, parts: &[&[u8]], proof: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        self.sign(parts).as_slice().ct_eq(proof).into()
    }
}
