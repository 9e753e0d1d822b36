//! How two workers meet: a fixed clear frame each way, then a proof of the cluster secret each way. Nothing else is
//! parsed before the proof holds.
//!
//! ```text
//! caller → listener  hello   144 bytes   "FIRN" | lowest, highest format u16 | cluster 16 | incarnation 8 | nonce 32 | name 64 | zeros 16
//! listener → caller  hello   144 bytes   the same of the listener
//! caller → listener  proof    32 bytes   HMAC(secret, "caller",   caller's hello, listener's hello)
//! listener → caller  proof    32 bytes   HMAC(secret, "listener", caller's hello, listener's hello)
//! ```
//! Numbers are little-endian; the name is padded with zeros. Without a secret the HMAC has an empty key, so a side that
//! has one refuses a side that has none.

use crate::ids::{ClusterId, Incarnation, WorkerId, WorkerName};
use crate::map::FORMAT;
use crate::secret::Secret;

/// Bytes of a hello.
pub const HELLO_BYTES: usize = 144;
/// Bytes of a proof.
pub const PROOF_BYTES: usize = 32;

const MAGIC: &[u8; 4] = b"FIRN";

/// Why two processes do not talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not our protocol.
    #[error("the other side does not speak Firn's peer protocol")]
    NotFirn,
    /// No format both speak.
    #[error("the other side speaks formats {0} to {1}, this one {FORMAT}")]
    Format(u16, u16),
    /// Another cluster.
    #[error("the other side is of cluster {0}, this one of {1}")]
    Cluster(ClusterId, ClusterId),
    /// Another worker answers at the address.
    #[error("{0} answers where {1} was expected")]
    Worker(WorkerId, WorkerId),
    /// A name that is none.
    #[error("the other side's name is none")]
    Name,
    /// The proof does not hold.
    #[error("the other side does not know the cluster secret")]
    Proof,
}

/// What a side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The cluster it is in; zero for a client that has not learnt it (a listener takes any client of its secret).
    pub cluster: ClusterId,
    /// Who it is. A client that is no worker has a name and incarnation all the same, which no map has.
    pub worker: WorkerId,
    /// 32 random bytes, new for each connection.
    pub nonce: [u8; 32],
}

impl Hello {
    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; HELLO_BYTES] {
        let mut out = [0; HELLO_BYTES];
        out[..4].copy_from_slice(MAGIC);
        out[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        out[6..8].copy_from_slice(&FORMAT.to_le_bytes());
        out[8..24].copy_from_slice(&self.cluster.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.worker.incarnation.0.to_le_bytes());
        out[32..64].copy_from_slice(&self.nonce);
        let name = self.worker.name.as_str().as_bytes();
        out[64..64 + name.len()].copy_from_slice(name);
        out
    }

    /// Reads it.
    pub fn from_bytes(bytes: &[u8; HELLO_BYTES]) -> Result<Self, HandshakeError> {
        let array = |range: std::ops::Range<usize>| bytes[range].to_vec();
        if bytes[..4] != *MAGIC {
            return Err(HandshakeError::NotFirn);
        }
        let format = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        if format(4) > FORMAT || format(6) < FORMAT {
            return Err(HandshakeError::Format(format(4), format(6)));
        }
        let name = array(64..128);
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        let name: WorkerName = std::str::from_utf8(&name[..end])
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(HandshakeError::Name)?;
        let fixed = "a range of that length";
        Ok(Self {
            cluster: ClusterId(u128::from_le_bytes(array(8..24).try_into().expect(fixed))),
            worker: WorkerId {
                name,
                incarnation: Incarnation(u64::from_le_bytes(
                    array(24..32).try_into().expect(fixed),
                )),
            },
            nonce: array(32..64).try_into().expect(fixed),
        })
    }
}

/// Which side a proof is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connected.
    Caller,
    /// Who was connected to.
    Listener,
}

impl Side {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Caller => b"caller",
            Self::Listener => b"listener",
        }
    }

    /// The proof of this side.
    pub fn proof(self, secret: &Secret, caller: &Hello, listener: &Hello) -> [u8; PROOF_BYTES] {
        secret.sign(&[self.word(), &caller.to_bytes(), &listener.to_bytes()])
    }

    /// Checks the proof of this side.
    pub fn check(
        self,
        secret: &Secret,
        caller: &Hello,
        listener: &Hello,
        proof: &[u8; PROOF_BYTES],
    ) -> Result<(), HandshakeError> {
        let parts: [&[u8]; 3] = [self.word(), &caller.to_bytes(), &listener.to_bytes()];
        if secret.verify(&parts, proof) { Ok(()) } else { Err(HandshakeError::Proof) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str, nonce: u8) -> Hello {
        Hello {
            cluster: ClusterId(5),
            worker: WorkerId { name: name.parse().unwrap(), incarnation: Incarnation(9) },
            nonce: [nonce; 32],
        }
    }

    #[test]
    fn a_hello_survives_its_bytes() {
        for name in ["w1", &"n".repeat(63)] {
            assert_eq!(Hello::from_bytes(&hello(name, 3).to_bytes()), Ok(hello(name, 3)));
        }
        let mut bad = hello("w1", 3).to_bytes();
        bad[0] = b'G';
        assert_eq!(Hello::from_bytes(&bad), Err(HandshakeError::NotFirn));
        let mut bad = hello("w1", 3).to_bytes();
        bad[4..8].copy_from_slice(&[9, 0, 9, 0]);
        assert_eq!(Hello::from_bytes(&bad), Err(HandshakeError::Format(9, 9)));
    }

    #[test]
    fn a_proof_holds_for_one_side_one_secret_and_one_connection() {
        let secret: Secret = "0123456789abcdef".parse().unwrap();
        let (a, b) = (hello("a", 1), hello("b", 2));
        let proof = Side::Caller.proof(&secret, &a, &b);
        assert_eq!(Side::Caller.check(&secret, &a, &b, &proof), Ok(()));
        let refused = Err(HandshakeError::Proof);
        assert_eq!(Side::Listener.check(&secret, &a, &b, &proof), refused);
        assert_eq!(Side::Caller.check(&Secret::default(), &a, &b, &proof), refused);
        assert_eq!(Side::Caller.check(&secret, &a, &hello("b", 3), &proof), refused);
    }
}
