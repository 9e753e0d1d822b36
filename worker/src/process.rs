//! A worker's process from start to end.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use firn_client::follow::follow;
use firn_client::links::Links;
use firn_client::maps::{Adopt, Maps};
use firn_client::router::Router;
use firn_client::uplink::{BadUrls, Uplink};
use firn_config::Protocol;
use firn_gateway::bind::bind;
use firn_gateway::execute::{Answer, Execute};
use firn_gateway::peer;
use firn_wire::ids::{Incarnation, WorkerId};
use firn_wire::registry::Register;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::membership::{Expelled, Membership};
use crate::node::{Asked, Node};
use crate::reach::{self, Unreachable};
use crate::saved::{Folder, FolderError, Saved};
use crate::settings::{Flags, Settings};
use crate::shards::Shards;
use crate::start::{Start, StartError};

const NAME: &str = "firn-worker";
/// How long the start waits for a map that the uplink has.
const READY_PATIENCE: Duration = Duration::from_secs(5);

/// Why a worker ends other than by a signal.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error(transparent)]
    Urls(#[from] BadUrls),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Expelled(#[from] Expelled),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the registry inside does not start: {0}")]
    Registry(#[from] firn_uplink::Error),
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// Runs a worker with this process's settings until it is told to stop.
pub fn main() -> ExitCode {
    let flags: Flags = firn_config::parse();
    firn_config::init_logging(log::LevelFilter::Info);
    let settings = match flags.checked() {
        Ok(settings) => settings,
        Err(text) => {
            eprintln!("{NAME}: {text}");
            return ExitCode::from(2);
        }
    };
    firn_config::run(NAME, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("firn-cluster")
            .enable_all()
            .build()?;
        runtime.block_on(run(settings))
    })
}

async fn run(settings: Settings) -> Result<(), ProcessError> {
    let mut stop = Stop::listen()?;
    let mut bound = bind(&settings.listens).await?;
    let folder = settings.data.as_deref().map(Folder::open).transpose()?.map(Arc::new);
    let (uplink, registry) = uplink(&settings).await?;
    let uplink = Arc::new(uplink);
    let saved = folder.as_ref().and_then(|folder| folder.load());
    let clock = Clock::start();
    let register = Register {
        name: settings.name.clone(),
        incarnation: Incarnation(getrandom::u64()?),
        addresses: reach::addresses(&settings, &bound).await?,
        shards: settings.shards,
        cluster: saved.as_ref().map(|saved| saved.map.cluster),
    };
    let me = WorkerId { name: register.name.clone(), incarnation: register.incarnation };
    let membership = Arc::new(Membership::new(Arc::clone(&uplink), register, clock));

    let start = tokio::select! {
        start = Start::find(&membership, saved) => start?,
        () = stop.told() => return Ok(()),
    };
    let shards = Arc::new(Shards::new(me.clone(), clock, settings.shards, start.hash_seed));
    let upkeep = std::thread::Builder::new().name("firn-upkeep".into()).spawn({
        let shards = Arc::clone(&shards);
        move || shards.upkeep()
    })?;
    let adopt = adopter(Arc::clone(&shards), folder, start.hash_seed);
    let maps = Arc::new(Maps::new(Arc::new(start.map), adopt));
    let node = Arc::new(Node {
        name: settings.name.clone(),
        router: Router::new(
            Arc::clone(&shards),
            Arc::clone(&maps),
            Links::new(me.clone(), settings.secret.clone(), Arc::clone(&maps)),
            Some(Arc::clone(&uplink)),
        ),
        asked: Asked { shards: Arc::clone(&shards), maps: Arc::clone(&maps) },
        membership: Arc::clone(&membership),
        clock,
    });

    tokio::spawn(follow(Arc::clone(&maps), uplink));
    tokio::spawn({
        let (membership, maps) = (Arc::clone(&membership), Arc::clone(&maps));
        async move { membership.take_over(&maps).await }
    });
    let line = bound.address_line();
    let identity =
        peer::Identity { cluster: start.cluster, worker: me.clone(), secret: settings.secret };
    for listener in bound.take(Protocol::Peer) {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let answer = Arc::clone(&node) as Arc<dyn Answer>;
        tokio::spawn(peer::listen(listener, answer, identity.clone(), Arc::default()));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let serving = bound.serve(Arc::clone(&node) as Arc<dyn Execute>, cores)?;
    let ready = node.asked.serves(start.published);
    if tokio::time::timeout(READY_PATIENCE, ready).await.is_err() {
        log::warn!("not ready yet: {}", node.about().not_ready.unwrap_or_default());
    }
    if settings.print_addresses {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    log::info!("worker {me} with {} shards: {line}", settings.shards);

    let expelled = tokio::select! {
        expelled = membership.beat(start.heartbeat) => Some(expelled),
        () = stop.told() => None,
    };
    membership.goodbye().await;
    serving.stop().await;
    shards.stop();
    let _ = upkeep.join();
    drop(registry);
    match expelled {
        Some(expelled) => Err(expelled.into()),
        None => Ok(()),
    }
}

/// The uplink at the settings' URLs, or the registry inside of a cluster of one.
async fn uplink(
    settings: &Settings,
) -> Result<(Uplink, Option<firn_uplink::Running>), ProcessError> {
    if !settings.uplinks.is_empty() {
        let urls = settings.uplinks.join(",");
        return Ok((Uplink::new(&urls, settings.secret.clone())?, None));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    let data = settings.data.as_ref().map(|folder| folder.join("uplink"));
    let config =
        firn_uplink::Config { data, secret: settings.secret.clone(), ..Default::default() };
    let running = firn_uplink::start(config, listener).await?;
    Ok((Uplink::new(&url, settings.secret.clone())?, Some(running)))
}

/// Keeps each newer map on disk and gives it to the shards before the router goes by it.
fn adopter(shards: Arc<Shards>, folder: Option<Arc<Folder>>, hash_seed: u64) -> Adopt {
    Box::new(move |map| {
        let (shards, folder) = (Arc::clone(&shards), folder.clone());
        Box::pin(async move {
            let adopted = tokio::task::spawn_blocking(move || {
                shards.adopt(&map);
                let Some(folder) = folder else { return };
                let saved = Saved { hash_seed, map: map.map().clone() };
                if let Err(error) = folder.save(&saved) {
                    log::error!("map {} is not kept on disk: {error}", map.version);
                }
            });
            adopted.await.expect("adopting a map does not panic");
        })
    })
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => log::info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => log::info!("SIGINT: stopping"),
        }
    }
}
