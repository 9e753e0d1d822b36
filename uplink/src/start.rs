//! Starting and stopping an uplink.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use firn_wire::ids::{ClusterId, MapVersion, WorkerName};
use firn_wire::secret::Secret;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::chunks::{self, Change};
use crate::http::{self, Gate, Shell};
use crate::metrics::Metrics;
use crate::owner::{Clock, Handle, Owner};
use crate::registry::Registry;
use crate::settings::Wishes;
use crate::state::State;
use crate::store::{Disk, Memory, Store, StoreError};

/// How long an uplink that goes on from a map judges no proposal: those who live get to beat first.
const FIRST_PROPOSALS: Duration = Duration::from_secs(1);

/// How to run an uplink.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the registry survives; None: it does not.
    pub data: Option<PathBuf>,
    /// What is said of the cluster's settings.
    pub settings: Wishes,
    /// Copies of each partition of a new cluster whose settings do not say.
    pub copies_default: u8,
    /// The cluster secret; unset: requests are not signed.
    pub secret: Secret,
    /// The worker this uplink runs within; None: it has a process of its own. Earlier runs of that worker have ended with
    /// the process they shared, so its name and what it led are free at once.
    pub within: Option<WorkerName>,
    /// Threads that answer requests; 0 is taken as 1.
    pub threads: usize,
    /// What is stored is set aside, and the cluster comes back from the maps of its workers.
    pub rebuild: bool,
}

/// The uplink of a worker that is a cluster of its own: it keeps nothing, and there is one copy.
impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            settings: Wishes::default(),
            copies_default: 1,
            secret: Secret::default(),
            within: None,
            threads: 1,
            rebuild: false,
        }
    }
}

/// Why an uplink does not start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be as wished: change it.
    #[error("{0}")]
    Settings(String),
    /// The store cannot be used: look at the disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The listener cannot be used.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
    /// The system gives no randomness.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// An uplink that runs.
pub struct Running {
    address: SocketAddr,
    owner: Handle,
    server: ServerHandle,
    served: JoinHandle<std::io::Result<()>>,
    ended: oneshot::Receiver<()>,
}

/// Starts an uplink on a listener that is bound. Must be called within a tokio runtime, which it needs for as long as it
/// runs.
pub async fn start(config: Config, listener: TcpListener) -> Result<Running, Error> {
    let address = listener.local_addr()?;
    if config.rebuild {
        set_aside(config.data.as_deref())?;
    }
    let (store, state) = open(config.data.as_deref(), config.settings, config.copies_default)?;
    let others_may_live = state.map.version != MapVersion::default() && config.within.is_none();
    match config.rebuild {
        true => log::warn!("waiting for workers to tell the last map of their cluster"),
        false => log::info!(
            "cluster {}, map {}, {:?}",
            state.map.cluster,
            state.map.version,
            state.map.settings
        ),
    }

    let metrics = Arc::new(Metrics::default());
    let clock = Clock::start();
    let within = config.within.as_ref();
    let mut registry = Registry::new(state, address.to_string(), within, clock.now_ms());
    if config.rebuild {
        registry.expect_maps();
    }
    let (owner, handle, published) = Owner::new(registry, store, clock, Arc::clone(&metrics));
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name("registry".to_owned()).spawn(move || {
        owner.run();
        // Nobody waits for the end of an uplink that was dropped.
        let _ = end.send(());
    })?;

    let hold = if others_may_live { FIRST_PROPOSALS } else { Duration::ZERO };
    let proposals_from = Instant::now() + hold;
    let gate = Gate::new(config.secret, address);
    let shell = Shell { gate, owner: handle.clone(), published, clock, metrics, proposals_from };
    let server = http::serve(shell, listener, config.threads.max(1))?;
    let (stop, served) = (server.handle(), tokio::spawn(server));
    Ok(Running { address, owner: handle, server: stop, served, ended })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for an end that nobody asked for.
    pub async fn ended(&mut self) -> Error {
        tokio::select! {
            _ = &mut self.ended => Error::Listen(std::io::Error::other("the registry ended")),
            _ = &mut self.served => Error::Listen(std::io::Error::other("the server ended")),
        }
    }

    /// Stops: what was asked before is done and answered, who waits for a newer map is sent away.
    pub async fn stop(self) {
        self.owner.stop();
        // An error says that the registry's thread has ended before, which is what is waited for.
        let _ = self.ended.await;
        self.server.stop(true).await;
    }
}

/// Moves what is stored out of the way. It is not deleted: should it be needed after all, it is moved back.
fn set_aside(data: Option<&Path>) -> Result<(), Error> {
    if let Some(old) = data.map(Disk::set_aside).transpose()?.flatten() {
        log::warn!("what was stored is kept in {}", old.display());
    }
    Ok(())
}

/// Opens the store and brings its state up to the settings.
fn open(
    data: Option<&Path>,
    wishes: Wishes,
    copies_default: u8,
) -> Result<(Box<dyn Store>, State), Error> {
    let mut store: Box<dyn Store> = match data {
        Some(folder) => Box::new(Disk::open(folder)?),
        None => {
            log::warn!(
                "no data directory (--data): the cluster is forgotten when this process ends"
            );
            Box::new(Memory::default())
        }
    };
    let unreadable =
        |why| StoreError::Unreadable { folder: data.unwrap_or(Path::new("")).to_owned(), why };
    let stored = chunks::read(&store.load()?).map_err(unreadable)?;
    let state = match &stored {
        Some(stored) => {
            let settings = wishes.of_the_cluster(&stored.map.settings).map_err(Error::Settings)?;
            let mut state = stored.clone();
            state.set_settings(settings);
            state
        }
        None => {
            let copies = wishes.copies.or(Some(copies_default));
            let wishes = Wishes { copies, ..wishes };
            let settings = wishes.of_a_new_cluster().map_err(Error::Settings)?;
            State::new(ClusterId(random()?), random()? as u64, settings)
        }
    };
    if stored.as_ref() != Some(&state) {
        store.compare_and_set(&Change::between(stored.as_ref(), &state))?;
    }
    Ok((store, state))
}

fn random() -> Result<u128, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Randomness)?;
    Ok(u128::from_le_bytes(bytes))
}
