//! Whether a request was signed with the cluster secret, lately, and for the first time.

use std::collections::BTreeSet;
use std::sync::Mutex;

use firn_wire::registry::Signed;
use firn_wire::secret::Secret;

/// How far a signature's time may be off ours, in milliseconds.
const SKEW_MS: u64 = 60_000;
/// Nonces remembered: more than 1,024 workers use within two minutes. Beyond it requests are refused until the oldest
/// are too old to be used again.
const NONCES_MAX: usize = 500_000;

/// The nonces seen lately, by the time they were signed with. Only good signatures get this far.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<BTreeSet<(u64, u128)>>);

/// A signature that is well-formed and of our time; whether it is good takes the body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    header: &'a str,
    time_ms: u64,
    nonce: &'a str,
    number: u128,
}

impl<'a> Claim<'a> {
    /// Reads a header: `TIME NONCE HMAC`.
    pub(super) fn read(header: &'a str, now_ms: u64) -> Result<Self, String> {
        let mut words = header.split(' ');
        let (Some(time), Some(nonce), Some(_), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("a signature is TIME NONCE HMAC".to_owned());
        };
        let time_ms = time.parse().map_err(|_| "a signature starts with Unix milliseconds")?;
        if now_ms.abs_diff(time_ms) > SKEW_MS {
            return Err(format!(
                "the signature is of {time_ms} and it is {now_ms} here: set the clock"
            ));
        }
        let number = u128::from_str_radix(nonce, 16).ok().filter(|_| nonce.len() == 32);
        let number = number.ok_or("a signature's nonce has 32 hex digits")?;
        Ok(Self { header, time_ms, nonce, number })
    }

    /// Checks it against the request, and takes its nonce.
    pub(super) fn check(
        self,
        secret: &Secret,
        nonces: &Nonces,
        now_ms: u64,
        (method, target, body): (&str, &str, &[u8]),
    ) -> Result<(), String> {
        let signed = Signed { time_ms: self.time_ms, nonce: self.nonce, method, target, body };
        if !signed.check(secret, self.header) {
            return Err(
                "the signature is not that of this request with this cluster's secret".to_owned()
            );
        }
        nonces.take(self.time_ms, self.number, now_ms)
    }
}

impl Nonces {
    fn take(&self, time_ms: u64, nonce: u128, now_ms: u64) -> Result<(), String> {
        let mut seen = self.0.lock().expect("no holder panics");
        let kept = seen.split_off(&(now_ms.saturating_sub(SKEW_MS), 0));
        *seen = kept;
        if seen.len() >= NONCES_MAX {
            return Err("too many requests within two minutes; try again later".to_owned());
        }
        if !seen.insert((time_ms, nonce)) {
            return Err("the signature was used before".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn signed(time_ms: u64, nonce: u128, body: &[u8]) -> String {
        let nonce = format!("{nonce:032x}");
        let (method, target) = ("POST", "/v1/workers?x=1");
        Signed { time_ms, nonce: &nonce, method, target, body }.header(&secret())
    }

    fn secret() -> Secret {
        "a secret of the tests".parse().unwrap()
    }

    fn check(nonces: &Nonces, header: &str, now_ms: u64, body: &[u8]) -> Result<(), String> {
        let request = ("POST", "/v1/workers?x=1", body);
        Claim::read(header, now_ms)?.check(&secret(), nonces, now_ms, request)
    }

    #[test]
    fn a_signature_is_good_once_and_within_a_minute() {
        let nonces = Nonces::default();
        let header = signed(NOW, 1, b"{}");
        assert_eq!(check(&nonces, &header, NOW, b"{}"), Ok(()));
        assert!(check(&nonces, &header, NOW + SKEW_MS, b"{}").unwrap_err().contains("used before"));
        assert!(check(&nonces, &header, NOW + SKEW_MS + 1, b"{}").unwrap_err().contains("clock"));
        let early = signed(NOW + SKEW_MS, 2, b"");
        assert_eq!(check(&nonces, &early, NOW, b""), Ok(()));
        // A signature from ahead of our clock is good for two minutes, and remembered for as long.
        assert!(
            check(&nonces, &early, NOW + 2 * SKEW_MS, b"").unwrap_err().contains("used before")
        );
        assert!(check(&nonces, &signed(NOW - SKEW_MS - 1, 3, b""), NOW, b"").is_err());
        assert!(nonces.0.lock().unwrap().len() <= 2);
    }

    #[test]
    fn what_is_not_a_signature_of_the_request_is_refused() {
        let nonces = Nonces::default();
        let good = signed(NOW, 1, b"{}");
        let other = "another secret of 16".parse::<Secret>().unwrap();
        let of_other = Signed {
            time_ms: NOW,
            nonce: &"0".repeat(32),
            method: "POST",
            target: "/v1/workers?x=1",
            body: b"{}",
        };
        let of_other = of_other.header(&other);
        let bad = [
            "",
            "1",
            "a b c",
            good.trim_end_matches(|c: char| c.is_ascii_hexdigit()),
            &good[..good.len() - 1],
            &format!("{good} x"),
            &good.to_uppercase(),
            &of_other,
        ]
        .map(str::to_owned);
        for header in bad {
            assert!(check(&nonces, &header, NOW, b"{}").is_err(), "{header:?}");
        }
        assert!(check(&nonces, &good, NOW, b"{ }").is_err(), "another body");
        let claim = Claim::read(&good, NOW).unwrap();
        for request in [("PUT", "/v1/workers?x=1"), ("POST", "/v1/workers?x=2")] {
            let request = (request.0, request.1, &b"{}"[..]);
            assert!(claim.check(&secret(), &nonces, NOW, request).is_err(), "{request:?}");
        }
        assert_eq!(check(&nonces, &good, NOW, b"{}"), Ok(()), "nothing refused took its nonce");
    }
}
