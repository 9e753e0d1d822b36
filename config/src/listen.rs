//! Where a process listens, what it tells others to connect to, and whether it may be reached at all.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use firn_wire::secret::{SECRET_BYTES_MIN, Secret};

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// The native `/v1` API, and Smache's `/api`.
    Http,
    /// Smache's `/api` alone.
    Smache,
    /// The Redis protocol.
    Resp,
    /// D-Boutique's lines.
    Boutique,
    /// Winter's lines.
    Winter,
    /// What workers say to each other.
    Peer,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Http, Self::Smache, Self::Resp, Self::Boutique, Self::Winter, Self::Peer];
    /// Names that have a meaning and no listener yet.
    const LATER: [&str; 2] = ["seppen", "yzma"];

    /// Its name in settings and in the map.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Smache => "smache",
            Self::Resp => "resp",
            Self::Boutique => "boutique",
            Self::Winter => "winter",
            Self::Peer => "peer",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(protocol) = Self::ALL.into_iter().find(|protocol| protocol.as_str() == text) {
            return Ok(protocol);
        }
        let known = Self::ALL.map(Self::as_str).join(", ");
        if Self::LATER.contains(&text) {
            return Err(format!("the protocol {text} is not in this version; there are {known}"));
        }
        Err(format!("{text:?} is no protocol; there are {known}"))
    }
}

/// A listener: `PROTOCOL=ADDRESS`, as `http=127.0.0.1:4001`. Port 0 takes a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.protocol, self.address)
    }
}

impl FromStr for Listen {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, address) = pair(text, "http=127.0.0.1:4001")?;
        let address = address
            .parse()
            .map_err(|_| format!("{address:?} is no IP address with a port, as 127.0.0.1:4001"))?;
        Ok(Self { protocol, address })
    }
}

/// How others reach a listener whose bound address is not the one to use: `PROTOCOL=HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// Which listener.
    pub protocol: Protocol,
    /// `host:port`; the host is a name or an IP address, IPv6 in brackets.
    pub address: String,
}

impl FromStr for Advertise {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, address) = pair(text, "peer=worker-1:4100")?;
        if !is_host_and_port(address) {
            return Err(format!("{address:?} is no HOST:PORT, as worker-1:4100"));
        }
        Ok(Self { protocol, address: address.to_owned() })
    }
}

fn pair<'a>(text: &'a str, example: &str) -> Result<(Protocol, &'a str), String> {
    let (protocol, address) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is no PROTOCOL=ADDRESS, as {example}"))?;
    Ok((protocol.parse()?, address))
}

fn is_host_and_port(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() != 0;
    }
    let of_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    text.rsplit_once(':').is_some_and(|(host, port)| {
        (1..=253).contains(&host.len())
            && host.bytes().all(of_name)
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

/// Whether a process may listen where it is told to: anywhere with a cluster secret or `--insecure-open`, else on
/// loopback only. The error says which to set.
pub fn check_reach(
    addresses: impl IntoIterator<Item = SocketAddr>,
    secret: &Secret,
    insecure_open: bool,
) -> Result<(), String> {
    if secret.is_set() || insecure_open {
        return Ok(());
    }
    match addresses.into_iter().find(|address| !address.ip().to_canonical().is_loopback()) {
        None => Ok(()),
        Some(address) => Err(format!(
            "{address} can be reached from other machines: set CLUSTER_SECRET to {SECRET_BYTES_MIN} bytes or more, the \
             same for every process of the cluster (scripts/secret.sh makes one), listen on 127.0.0.1, or say \
             --insecure-open"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_reads_back_what_it_shows() {
        for protocol in Protocol::ALL {
            let text = format!("{protocol}=[::1]:0");
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_listener_says_why() {
        let why = |text: &str| text.parse::<Listen>().unwrap_err();
        assert!(why("http").contains("no PROTOCOL=ADDRESS"));
        assert!(why("seppen=127.0.0.1:1").contains("not in this version"));
        assert!(why("HTTP=127.0.0.1:1").contains("\"HTTP\" is no protocol"));
        assert!(why("http=localhost:1").contains("\"localhost:1\" is no IP address"));
        assert!(why("http=127.0.0.1").contains("with a port"));
        assert!(why("http=127.0.0.1:65536").contains("with a port"));
    }

    #[test]
    fn others_are_told_a_host_and_a_port() {
        for good in ["peer=worker-1:4100", "http=10.0.0.1:80", "resp=[::1]:6379"] {
            assert!(good.parse::<Advertise>().is_ok(), "{good}");
        }
        for bad in ["peer=worker", "peer=:1", "peer=w:0", "peer=w:+1", "peer=w/x:1", "peer=::1:1:"]
        {
            assert!(bad.parse::<Advertise>().is_err(), "{bad}");
        }
    }

    #[test]
    fn beyond_loopback_a_secret_or_a_clear_word_is_needed() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (none, secret) = (Secret::default(), "sixteen bytes ok".parse::<Secret>().unwrap());
        let inside = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"].map(address);
        assert_eq!(check_reach(inside, &none, false), Ok(()));
        for outside in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"].map(address) {
            let refused = check_reach([inside[0], outside], &none, false).unwrap_err();
            assert!(refused.contains(&outside.to_string()), "{refused}");
            assert!(refused.contains("CLUSTER_SECRET") && refused.contains("--insecure-open"));
            assert_eq!(check_reach([outside], &secret, false), Ok(()));
            assert_eq!(check_reach([outside], &none, true), Ok(()));
        }
    }
}
