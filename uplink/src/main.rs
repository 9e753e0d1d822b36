//! `firn-uplink`: the registry of a cluster, as a process of its own.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use firn_uplink::settings::{
    COPIES_DEFAULT, Rehoming, ReplicationWishes, Wishes, name_ranges, placement, rehoming,
};
use firn_uplink::{Config, Error};
use firn_wire::key::KeyInteger;
use firn_wire::map::{NameRange, Placement};
use firn_wire::secret::Secret;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a wrong setting ends with.
const BAD_SETTING: u8 = 2;
const THREADS: usize = 2;

/// The registry of a Firn cluster: workers register here, and all read one map from here. Settings marked "fixed" are
/// chosen when a data directory is first used.
#[derive(Debug, Parser)]
#[command(name = "firn-uplink", version)]
struct Flags {
    /// Where to listen for HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4000")]
    listen: SocketAddr,
    /// Directory in which the cluster survives; without it a restart forgets the cluster
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How a key becomes an integer, crc16 or literal; fixed [default: crc16]
    #[arg(long, value_name = "NAME")]
    key_integer: Option<KeyInteger>,
    /// Partitions; fixed [default: 1024, with literal 840]
    #[arg(long, value_name = "N")]
    partitions: Option<u16>,
    /// How partitions get their places, modulo or sticky; fixed [default: modulo]
    #[arg(long, value_name = "NAME", value_parser = placement)]
    placement: Option<Placement>,
    /// Copies of each partition; fixed [default: 2]
    #[arg(long, value_name = "N")]
    copies: Option<u8>,
    /// Workers to wait for before the first map is published [default: 1]
    #[arg(long, value_name = "N")]
    expect_workers: Option<u16>,
    /// Ranges of first characters that D-Boutique's buckets are placed by, or none; fixed [default: a-g,h-n,o-u,v-z]
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    name_ranges: Vec<String>,
    /// Silence after which a worker counts as down [default: 2500ms]
    #[arg(long, value_name = "DURATION", value_parser = firn_config::duration)]
    worker_lease: Option<Duration>,
    /// How long a primary serves on an answered beacon [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = firn_config::duration)]
    lease: Option<Duration>,
    /// How long who answers a primary's beacon seeks no other primary: longer than the lease [default: 2500ms]
    #[arg(long, value_name = "DURATION", value_parser = firn_config::duration)]
    grant: Option<Duration>,
    /// When the copies of a worker that is down are made elsewhere [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = firn_config::duration)]
    replace_after: Option<Duration>,
    /// When a worker that is down loses its seat, if all it had is elsewhere [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = firn_config::duration)]
    forget_after: Option<Duration>,
    /// When a partition all of whose copies are gone starts again empty, for caches; with it no worker serves while no
    /// uplink answers [default: never]
    #[arg(long, value_name = "DURATION", value_parser = rehoming)]
    rehome_after: Option<Rehoming>,
    /// The most bytes a worker copies to others in a second when partitions move, fewer while requests would wait; 0 is as
    /// fast as it goes [default: 32MiB]
    #[arg(long, value_name = "BYTES", value_parser = firn_config::size)]
    copy_rate: Option<u64>,
    /// Sets what is stored aside, in the data directory, and takes the cluster over from the maps its workers have seen
    /// last. For one start: leave it out of the next
    #[arg(long)]
    rebuild: bool,
    /// The secret every process of the cluster is given, 16 bytes or more
    #[arg(long, value_name = "SECRET", value_parser = firn_config::SecretParser)]
    cluster_secret: Option<Secret>,
    /// Listen beyond loopback without a cluster secret
    #[arg(long)]
    insecure_open: bool,
    /// Print the bound address as one JSON line on stdout when ready
    #[arg(long)]
    print_addresses: bool,
}

impl Flags {
    fn config(&self) -> Result<Config, Error> {
        let secret = self.cluster_secret.clone().unwrap_or_default();
        firn_config::check_reach([self.listen], &secret, self.insecure_open)
            .map_err(Error::Settings)?;
        Ok(Config {
            data: self.data.clone(),
            settings: Wishes {
                key_integer: self.key_integer,
                partitions: self.partitions,
                placement: self.placement,
                copies: self.copies,
                expect_workers: self.expect_workers,
                name_ranges: self.name_ranges()?,
                worker_lease: self.worker_lease,
                replication: self.replication(),
            },
            copies_default: COPIES_DEFAULT,
            secret,
            within: None,
            threads: THREADS,
            rebuild: self.rebuild,
        })
    }

    fn replication(&self) -> ReplicationWishes {
        ReplicationWishes {
            lease: self.lease,
            grant: self.grant,
            replace_after: self.replace_after,
            forget_after: self.forget_after,
            rehome_after: self.rehome_after,
            copy_rate: self.copy_rate,
        }
    }

    fn name_ranges(&self) -> Result<Option<Vec<NameRange>>, Error> {
        match self.name_ranges.is_empty() {
            true => Ok(None),
            false => name_ranges(&self.name_ranges).map(Some).map_err(Error::Settings),
        }
    }
}

fn main() -> ExitCode {
    let flags: Flags = firn_config::parse();
    firn_config::init_logging(log::LevelFilter::Info);
    let ran = flags.config().and_then(|config| run(&flags, config));
    let is_a_setting = matches!(ran, Err(Error::Settings(_)));
    let code = firn_config::run("firn-uplink", || ran);
    if is_a_setting { ExitCode::from(BAD_SETTING) } else { code }
}

#[tokio::main(flavor = "current_thread")]
async fn run(flags: &Flags, config: Config) -> Result<(), Error> {
    let listener = TcpListener::bind(flags.listen).map_err(|error| {
        let text = format!("{}: {error}; choose another address with --listen", flags.listen);
        Error::Listen(io::Error::new(error.kind(), text))
    })?;
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut uplink = firn_uplink::start(config, listener).await?;
    log::info!("ready on {}", uplink.address());
    if flags.print_addresses {
        writeln!(io::stdout(), "{{\"http\":\"{}\"}}", uplink.address())?;
    }
    tokio::select! {
        error = uplink.ended() => Err(error),
        name = stop_signal(&mut signals) => {
            log::info!("{name}: stopping");
            uplink.stop().await;
            Ok(())
        }
    }
}

async fn stop_signal((terminate, interrupt): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
