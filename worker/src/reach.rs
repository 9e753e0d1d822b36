//! What others are told to connect to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use firn_gateway::bind::Bound;
use tokio::net::{UdpSocket, lookup_host};

use crate::settings::Settings;

/// The uplink's name may come up a little after us.
const LOOKUPS_MAX: u32 = 60;
const LOOKUP_PAUSE: Duration = Duration::from_millis(500);

/// A listener on every address of the host, and none of them known to be the one to use.
#[derive(Debug, thiserror::Error)]
#[error(
    "{protocol} listens on every address of this host and {why}; say which to use by --advertise {protocol}=HOST:PORT"
)]
pub(crate) struct Unreachable {
    protocol: String,
    why: String,
}

/// Protocol → `host:port` of every listener: what is advertised for it, else where it is bound, else, when it is bound to
/// every address of the host, the one from which the host reaches the uplink.
pub(crate) async fn addresses(
    settings: &Settings,
    bound: &Bound,
) -> Result<BTreeMap<String, String>, Unreachable> {
    let mut addresses = BTreeMap::new();
    let mut own = None;
    for (protocol, address) in bound.addresses() {
        let advertised = settings.advertises.iter().find(|given| given.protocol == protocol);
        let address = match advertised {
            Some(given) => given.address.clone(),
            None if !address.ip().is_unspecified() => address.to_string(),
            None => {
                if own.is_none() {
                    own = Some(own_address(&settings.uplinks).await);
                }
                match own.as_ref().expect("set above") {
                    Ok(ip) => SocketAddr::new(*ip, address.port()).to_string(),
                    Err(why) => {
                        let (protocol, why) = (protocol.to_string(), why.clone());
                        return Err(Unreachable { protocol, why });
                    }
                }
            }
        };
        addresses.entry(protocol.to_string()).or_insert(address);
    }
    Ok(addresses)
}

/// The address this host has towards the first uplink whose name is known.
async fn own_address(uplinks: &[String]) -> Result<IpAddr, String> {
    let mut why = "there is no uplink to reach it from".to_owned();
    for _ in 0..LOOKUPS_MAX {
        for url in uplinks {
            match towards(url).await {
                Ok(ip) => return Ok(ip),
                Err(error) => why = format!("the uplink {url} cannot be reached ({error})"),
            }
        }
        if uplinks.is_empty() {
            break;
        }
        tokio::time::sleep(LOOKUP_PAUSE).await;
    }
    Err(why)
}

/// Asks the kernel for its route. Connecting a datagram socket sends nothing.
async fn towards(url: &str) -> std::io::Result<IpAddr> {
    let host = url.strip_prefix("http://").unwrap_or(url);
    let host = host.split('/').next().unwrap_or(host);
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for there in lookup_host(host).await? {
        let any: SocketAddr =
            if there.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(there).await {
            Ok(()) => return Ok(socket.local_addr()?.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_reached_from_loopback() {
        let ip = own_address(&["http://127.0.0.1:4000".to_owned()]).await.unwrap();
        assert!(ip.is_loopback());
        assert!(own_address(&[]).await.unwrap_err().contains("no uplink"));
    }
}
