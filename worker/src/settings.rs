//! What a worker is told: flags, environment and file, made into one valid whole.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use firn_config::{Advertise, Listen, Protocol, SecretParser, check_reach};
use firn_wire::ids::WorkerName;
use firn_wire::limits::SHARD_LIMIT_MAX;
use firn_wire::secret::Secret;

/// Holds a part of a Firn cluster's data in memory and answers for all of it.
///
/// Without --uplink the worker is a cluster of one, with the registry inside.
#[derive(Debug, Parser)]
#[command(name = "firn-worker", version)]
pub(crate) struct Flags {
    /// URL of the uplink; repeatable for several [default: none, a cluster of one]
    #[arg(long, value_name = "URL")]
    uplink: Vec<String>,

    /// This worker's name in the cluster, kept over restarts [default: the host's name]
    #[arg(long)]
    name: Option<WorkerName>,

    /// A listener, PROTOCOL=ADDRESS; repeatable, port 0 takes a free one [default: http=127.0.0.1:4001,
    /// resp=127.0.0.1:6379, boutique=127.0.0.1:4040, winter=127.0.0.1:6060, peer=127.0.0.1:0]
    #[arg(long, value_name = "PROTOCOL=ADDRESS")]
    listen: Vec<Listen>,

    /// How others reach a listener when not at its bound address, PROTOCOL=HOST:PORT; repeatable
    #[arg(long, value_name = "PROTOCOL=HOST:PORT")]
    advertise: Vec<Advertise>,

    /// Folder for what must survive a restart [default: none, nothing does]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Shards: serialized writers of this worker
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=SHARD_LIMIT_MAX as i64))]
    shard_limit: u16,

    /// Memory for what its copies have not yet got, shared by the shards; when it is full writes wait for the copies
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = log_memory)]
    log_memory: usize,

    /// How long a worker that is told to stop (SIGTERM) may take to hand over what it leads
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = firn_config::duration)]
    drain_timeout: Duration,

    /// What every process of the cluster proves to know; needed beyond loopback
    #[arg(long, value_name = "SECRET", value_parser = SecretParser, hide_env_values = true)]
    cluster_secret: Option<Secret>,

    /// Listen beyond loopback without a cluster secret: whoever reaches the ports can do everything
    #[arg(long)]
    insecure_open: bool,

    /// Print the bound addresses as one line of JSON on stdout when the listeners take connections
    #[arg(long)]
    print_addresses: bool,
}

/// The least memory for a log, in bytes: below it copies fall out of it at every large value.
const LOG_BYTES_MIN: u64 = 1024 * 1024;

fn log_memory(text: &str) -> Result<usize, String> {
    let bytes = firn_config::size(text)?;
    if bytes < LOG_BYTES_MIN {
        return Err(format!("{bytes} bytes are too few; give {LOG_BYTES_MIN} or more"));
    }
    usize::try_from(bytes).map_err(|_| format!("{bytes} bytes are more than this machine can have"))
}

/// A worker's settings, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) uplinks: Vec<String>,
    pub(crate) name: WorkerName,
    pub(crate) listens: Vec<Listen>,
    pub(crate) advertises: Vec<Advertise>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) shards: u16,
    pub(crate) log_bytes: usize,
    pub(crate) drain_timeout: Duration,
    pub(crate) secret: Secret,
    pub(crate) print_addresses: bool,
}

impl Flags {
    /// Checks what one flag alone cannot tell.
    pub(crate) fn checked(self) -> Result<Settings, String> {
        let listens = with_peer(self.listen);
        let secret = self.cluster_secret.unwrap_or_default();
        check_reach(listens.iter().map(|listen| listen.address), &secret, self.insecure_open)?;
        for advertise in &self.advertise {
            if !listens.iter().any(|listen| listen.protocol == advertise.protocol) {
                return Err(format!(
                    "--advertise {}=… has no listener of that protocol",
                    advertise.protocol
                ));
            }
        }
        let name = match self.name {
            Some(name) => name,
            None => host_name()?,
        };
        Ok(Settings {
            uplinks: self.uplink,
            name,
            listens,
            advertises: self.advertise,
            data: self.data,
            shards: self.shard_limit,
            log_bytes: self.log_memory,
            drain_timeout: self.drain_timeout,
            secret,
            print_addresses: self.print_addresses,
        })
    }
}

/// The listeners named, or the default ones, with one for peers in any case.
fn with_peer(mut listens: Vec<Listen>) -> Vec<Listen> {
    let local = |protocol, port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Listen { protocol, address }
    };
    if listens.is_empty() {
        listens = vec![
            local(Protocol::Http, 4001),
            local(Protocol::Resp, 6379),
            local(Protocol::Boutique, 4040),
            local(Protocol::Winter, 6060),
        ];
    }
    if !listens.iter().any(|listen| listen.protocol == Protocol::Peer) {
        listens.push(local(Protocol::Peer, 0));
    }
    listens
}

fn host_name() -> Result<WorkerName, String> {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|error| format!("the host's name cannot be read ({error}); set --name"))?;
    read.trim().parse().map_err(|error| format!("the host's name: {error}; set --name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(args: &[&str]) -> Result<Settings, String> {
        let words = ["firn-worker", "--name", "w"].iter().chain(args).map(Into::into);
        let flags: Flags =
            firn_config::try_parse_from(words, &|_| None).map_err(|error| error.to_string())?;
        flags.checked()
    }

    #[test]
    fn a_list_of_listeners_replaces_the_default_and_gets_a_peer() {
        let protocols = |settings: &Settings| -> Vec<Protocol> {
            settings.listens.iter().map(|listen| listen.protocol).collect()
        };
        let default = checked(&[]).unwrap();
        let all =
            [Protocol::Http, Protocol::Resp, Protocol::Boutique, Protocol::Winter, Protocol::Peer];
        assert_eq!(protocols(&default), all);
        let one = checked(&["--listen", "resp=127.0.0.1:0"]).unwrap();
        assert_eq!(protocols(&one), [Protocol::Resp, Protocol::Peer]);
        let peer = checked(&["--listen", "peer=127.0.0.1:7"]).unwrap();
        assert_eq!(peer.listens.len(), 1);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(checked(&["--listen", "http=0.0.0.0:0"]).unwrap_err().contains("CLUSTER_SECRET"));
        assert!(checked(&["--listen", "http=0.0.0.0:0", "--insecure-open"]).is_ok());
        let advertise = ["--listen", "resp=127.0.0.1:0", "--advertise", "http=a:1"];
        assert!(checked(&advertise).unwrap_err().contains("no listener"));
        for bad in ["0", "-1", "257", "four"] {
            assert!(checked(&["--shard-limit", bad]).is_err(), "{bad}");
        }
        for bad in ["0", "1MB", "64 elephants"] {
            assert!(checked(&["--log-memory", bad]).is_err(), "{bad}");
        }
        assert_eq!(checked(&["--log-memory", "1MiB"]).unwrap().log_bytes, 1 << 20);
    }
}
