//! A worker's process from start to end.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use firn_client::follow::follow;
use firn_client::links::Links;
use firn_client::maps::Maps;
use firn_client::router::Router;
use firn_client::uplink::{BadUrls, Uplink};
use firn_config::Protocol;
use firn_gateway::bind::{Bound, bind};
use firn_gateway::execute::{Answer, Execute};
use firn_gateway::loops::{Lanes, Loops};
use firn_gateway::peer;
use firn_wire::ids::{ClusterId, Incarnation, MapVersion, WorkerId};
use firn_wire::registry::Register;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::adopter::Adopter;
use crate::beacons::{Beacons, Surroundings};
use crate::clock::Clock;
use crate::disk::{DiskError, Disks, Logs};
use crate::leave::{Kept, handed_over};
use crate::membership::{Expelled, Membership};
use crate::node::{Asked, Node};
use crate::peers::Company;
use crate::proposer;
use crate::reach::{self, Unreachable};
use crate::ready::Ready;
use crate::replicate::Copies;
use crate::saved::{Folder, FolderError};
use crate::settings::{Flags, Settings};
use crate::shards::Shards;
use crate::start::{Start, StartError};
use crate::stream::Caller;
use crate::streams::Streams;

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
    Disk(#[from] DiskError),
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
    #[error(transparent)]
    Kept(#[from] Kept),
    #[error("told to stop a second time, before everything was handed over")]
    ToldTwice,
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
        // For the cluster's business; data goes over the event loops.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(settings))
    })
}

async fn run(settings: Settings) -> Result<(), ProcessError> {
    let mut stop = Stop::listen()?;
    let mut bound = bind(&settings.listens).await?;
    let folder = settings.data.as_deref().map(Folder::open).transpose()?.map(Arc::new);
    let (uplink, registry) = uplink(&settings).await?;
    let saved = folder.as_ref().and_then(|folder| folder.load());
    let clock = Clock::start();
    let register = Register {
        name: settings.name.clone(),
        incarnation: Incarnation(getrandom::u64()?),
        addresses: reach::addresses(&settings, &bound).await?,
        shards: settings.shards,
        cluster: None,
    };
    let me = WorkerId { name: register.name.clone(), incarnation: register.incarnation };
    // Read back before anybody counts on this worker: that may take long.
    let mut logs = folder.as_ref().map(|folder| Logs::open(folder.path())).transpose()?;
    let new_shards = |hash_seed| {
        let durable = settings.data.is_some();
        let (me, clock, log_bytes) = (me.clone(), clock.clone(), settings.log_bytes);
        Arc::new(Shards::new(me, clock, settings.shards, hash_seed, log_bytes, durable))
    };
    let shards = logs.as_ref().and_then(Logs::hash_seed).map(new_shards);
    if let (Some(logs), Some(shards)) = (&mut logs, &shards) {
        logs.load(shards)?;
    }
    let uplink = Arc::new(uplink);
    let membership = Arc::new(Membership::new(Arc::clone(&uplink), register, clock.clone()));
    let start = tokio::select! {
        start = Start::find(&membership, saved) => start?,
        () = stop.told() => return Ok(()),
    };
    let shards = match shards {
        Some(shards) => shards,
        None => new_shards(start.hash_seed),
    };
    let disks = logs.map(|logs| logs.start(start.cluster, start.hash_seed, &shards)).transpose()?;
    let place = Place { uplink, membership, shards, folder, disks };
    let line = bound.address_line();
    let (published, heartbeat) = (start.published, start.heartbeat);
    let loops = Loops::start()?;
    let running = Running::begin(&settings, place, start, &mut bound, loops.lanes())?;
    let serving = bound.serve(Arc::clone(&running.node) as Arc<dyn Execute>, loops.lanes())?;
    running.ready(published).await;
    if settings.print_addresses {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    let me = running.place.shards.me();
    log::info!("worker {me} with {} shards: {line}", settings.shards);

    let lived = running.live(&mut stop, heartbeat, settings.drain_timeout).await;
    running.place.membership.goodbye().await;
    serving.stop().await;
    loops.stop().await;
    running.end();
    drop(registry);
    lived
}

/// Where a worker stands: what it needs before it does anything.
struct Place {
    uplink: Arc<Uplink>,
    membership: Arc<Membership>,
    shards: Arc<Shards>,
    /// None: nothing survives a restart.
    folder: Option<Arc<Folder>>,
    disks: Option<Disks>,
}

/// A worker that takes part in its cluster.
struct Running {
    place: Place,
    maps: Arc<Maps>,
    node: Arc<Node>,
    beacons: Arc<Beacons>,
    upkeep: JoinHandle<()>,
}

impl Running {
    /// From now on it is a peer of the others.
    fn begin(
        settings: &Settings,
        place: Place,
        start: Start,
        bound: &mut Bound,
        lanes: &Lanes,
    ) -> Result<Self, ProcessError> {
        let (shards, uplink) = (Arc::clone(&place.shards), Arc::clone(&place.uplink));
        let first = start.map;
        shards.adopt(&first);
        let (cluster, secret) = (start.cluster, settings.secret.clone());
        let caller = Arc::new(Caller { cluster, secret, shards: Arc::clone(&shards) });
        let streams = Streams::new(Arc::clone(&caller), lanes.handles().to_vec());
        let mut company = Company::new(shards.me().clone());
        let peers = company.read(&first).clone();
        streams.adopt(&peers);
        let (proposals, inbox) = tokio::sync::mpsc::unbounded_channel();
        let surroundings = Surroundings { caller, uplink: Arc::clone(&uplink), proposals };
        let beacons = Arc::new(Beacons::start(surroundings, Arc::clone(&first), peers)?);
        let adopter = Adopter {
            shards: Arc::clone(&shards),
            company: Mutex::new(company),
            streams,
            beacons: Arc::clone(&beacons),
            folder: place.folder.clone(),
            hash_seed: start.hash_seed,
        };
        let maps = Arc::new(Maps::new(first, adopter.into_adopt()));
        place.membership.know(start.hash_seed, Arc::clone(&maps));
        let node = Arc::new(place.node(settings, &maps, lanes));
        let inside = place.inside(&node, &beacons);
        place.listen(settings, cluster, inside, (bound, lanes))?;
        tokio::spawn(follow(Arc::clone(&maps), Arc::clone(&uplink)));
        tokio::spawn(proposer::run(uplink, Arc::clone(&shards), inbox));
        tokio::spawn(in_sync(Arc::clone(&node.ready)));
        let upkeep = std::thread::Builder::new().name("firn-upkeep".into());
        let upkeep = upkeep.spawn(move || shards.upkeep())?;
        Ok(Self { place, maps, node, beacons, upkeep })
    }

    /// Waits a while until it can serve, if there is a map to serve by.
    async fn ready(&self, published: MapVersion) {
        let ready = self.node.ready.serves(published);
        if tokio::time::timeout(READY_PATIENCE, ready).await.is_err() {
            log::warn!("not ready yet: {}", self.node.about().not_ready.unwrap_or_default());
        }
    }

    /// Beats until it is expelled, or told to stop and gone from where it was needed.
    async fn live(
        &self,
        stop: &mut Stop,
        heartbeat: Option<Duration>,
        drain_timeout: Duration,
    ) -> Result<(), ProcessError> {
        let Place { uplink, membership, shards, .. } = &self.place;
        let beating = membership.beat(heartbeat, |sent| shards.vouched(sent));
        tokio::pin!(beating);
        tokio::select! {
            expelled = &mut beating => return Err(expelled.into()),
            () = stop.told() => membership.leave(),
        }
        tokio::select! {
            expelled = &mut beating => Err(expelled.into()),
            left = handed_over(shards.me(), &self.maps, uplink, drain_timeout) => Ok(left?),
            () = stop.told() => Err(ProcessError::ToldTwice),
        }
    }

    fn end(self) {
        self.beacons.stop();
        self.place.shards.stop();
        let _ = self.upkeep.join();
        if let Some(disks) = self.place.disks {
            disks.stop();
        }
    }
}

impl Place {
    fn node(&self, settings: &Settings, maps: &Arc<Maps>, lanes: &Lanes) -> Node {
        let (me, shards) = (self.shards.me().clone(), &self.shards);
        let lanes = lanes.handles().to_vec();
        let links = Links::new(me, settings.secret.clone(), Arc::clone(maps), lanes);
        let uplink = Some(Arc::clone(&self.uplink));
        Node {
            name: settings.name.clone(),
            router: Router::new(Arc::clone(shards), Arc::clone(maps), links, uplink),
            asked: Asked { shards: Arc::clone(shards), maps: Arc::clone(maps) },
            ready: Arc::new(Ready::new(shards.me().clone(), Arc::clone(maps))),
            membership: Arc::clone(&self.membership),
            clock: shards.clock().clone(),
        }
    }

    /// What peers ask of it.
    fn inside(&self, node: &Arc<Node>, beacons: &Arc<Beacons>) -> peer::Inside {
        let copies = Copies { shards: Arc::clone(&self.shards), beacons: Arc::clone(beacons) };
        let answer = Arc::clone(node) as Arc<dyn Answer>;
        peer::Inside { answer, replicate: Some(Arc::new(copies)) }
    }

    /// Takes connections of peers.
    fn listen(
        &self,
        settings: &Settings,
        cluster: ClusterId,
        inside: peer::Inside,
        (bound, lanes): (&mut Bound, &Lanes),
    ) -> Result<(), ProcessError> {
        let (worker, secret) = (self.shards.me().clone(), settings.secret.clone());
        let identity = peer::Identity { cluster, worker, secret };
        let connections = Arc::default();
        for listener in bound.take(Protocol::Peer) {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (inside, identity) = (inside.clone(), identity.clone());
            let connections = Arc::clone(&connections);
            tokio::spawn(peer::listen(listener, lanes.clone(), inside, identity, connections));
        }
        Ok(())
    }
}

/// Says when it has all it should have.
async fn in_sync(ready: Arc<Ready>) {
    let begun = Instant::now();
    ready.syncs().await;
    log::info!("in sync with the others after {:.1?}", begun.elapsed());
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
    let (secret, within) = (settings.secret.clone(), Some(settings.name.clone()));
    let config = firn_uplink::Config { data, secret, within, ..Default::default() };
    let running = firn_uplink::start(config, listener).await?;
    Ok((Uplink::new(&url, settings.secret.clone())?, Some(running)))
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
