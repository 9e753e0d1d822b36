//! The uplink's process: its registry, and what it has stored, which is kept when it ends.

use std::rc::Rc;
use std::sync::Arc;

use firn_uplink::registry::{self, ClaimRule, Refusal, RefusalKind, Registry};
use firn_uplink::state::State;
use firn_wire::ids::{ClusterId, MapVersion, WorkerName};
use firn_wire::map::MapIndex;
use firn_wire::registry::{Heartbeat, KnownMap, Proposal, Register, Registered, Verdict};

use crate::clock::{Clock, Machine, Moment};
use crate::event::{Run, Slot};

/// How often the uplink looks at the time.
pub const TICK_MS: u64 = 50;
/// The uplink applies no proposal in its first second, unless it never had a map.
const FIRST_MS: u64 = 1_000;

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Who asks.
    pub from: (Slot, Run),
    /// Its number; no two are the same.
    pub number: u64,
    /// What it asks.
    pub what: Rc<Request>,
}

/// What workers ask of the uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To be registered.
    Register(Register),
    /// That the uplink take down the last map a worker has seen.
    Tell(WorkerName, Box<KnownMap>),
    /// A sign of life.
    Beat(WorkerName, Heartbeat),
    /// Changes of partitions' rows.
    Propose(Vec<Proposal>),
    /// The map, once it is newer than this.
    Poll(MapVersion),
}

/// An answer on its way.
#[derive(Debug, Clone)]
pub struct Told {
    /// The request's number.
    pub number: u64,
    /// What it says.
    pub what: Response,
}

/// What the uplink answers.
#[derive(Debug, Clone)]
pub enum Response {
    /// To [`Request::Register`].
    Registered(Registered),
    /// To [`Request::Tell`].
    Taken,
    /// To [`Request::Beat`]: the map's version then.
    Beaten(MapVersion),
    /// To [`Request::Propose`].
    Verdicts(Vec<Verdict>),
    /// To [`Request::Poll`].
    Map(Arc<MapIndex>),
    /// It is not done.
    Refused(RefusalKind),
    /// Nobody listens there: the request was not sent.
    NoListener,
}

/// See the module's page.
pub struct Uplink {
    machine: Machine,
    stored: State,
    process: Option<Process>,
    /// Counts its starts.
    pub run: u64,
    /// The map as everyone sees it, with its indexes; None before the first.
    map: Option<Arc<MapIndex>>,
    /// Whether the store was lost, and a map is waited for.
    is_lost: bool,
    /// The rule of claims that is taken out.
    without: Option<ClaimRule>,
}

struct Process {
    registry: Registry,
    clock: Clock,
    /// No proposal is applied before this, Unix milliseconds.
    proposals_from: u64,
    polls: Vec<(Asked, MapVersion)>,
}

impl Uplink {
    /// An uplink that has not been started.
    pub fn new(machine: Machine, state: State, without: Option<ClaimRule>) -> Self {
        let (process, map) = (None, None);
        Self { machine, stored: state, process, run: 0, map, is_lost: false, without }
    }

    /// Starts it.
    pub fn start(&mut self, at: Moment) {
        let mut clock = Clock::start(&self.machine, at);
        let now_ms = clock.read(&self.machine, at).unix_ms;
        let mut registry = Registry::new(self.stored.clone(), "uplink:1".to_owned(), None, now_ms);
        if let Some(rule) = self.without {
            registry = registry.without(rule);
        }
        if self.is_lost {
            registry.expect_maps();
        }
        let had_map = self.stored.map.version != MapVersion::default();
        let proposals_from = now_ms + if had_map { FIRST_MS } else { 0 };
        self.process = Some(Process { registry, clock, proposals_from, polls: Vec::new() });
        self.run += 1;
    }

    /// Ends it: what it has stored stays.
    pub fn crash(&mut self) {
        self.process = None;
    }

    /// Ends it, and what it has stored is lost.
    pub fn lose(&mut self) {
        self.process = None;
        let settings = self.stored.map.settings.clone();
        self.stored = State::new(ClusterId(2), 8, settings);
        (self.map, self.is_lost) = (None, true);
    }

    /// Whether it waits for what somebody knows of a map that was lost.
    pub fn waits(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| !process.registry.waits_for().is_empty())
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The map as everyone sees it; None before the first.
    pub fn map(&self) -> Option<&Arc<MapIndex>> {
        self.map.as_ref()
    }

    /// Has an event done that nobody asks for over the network.
    pub fn order(&mut self, at: Moment, event: registry::Event) -> Result<(), Refusal> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let now_ms = process.clock.read(&self.machine, at).unix_ms;
        let done = process.registry.step(now_ms, event).map(|_| ());
        self.store();
        done
    }

    /// Takes a request. None: the answer comes later, or nobody is there to answer.
    pub fn ask(&mut self, at: Moment, asked: &Asked) -> Option<Response> {
        let process = self.process.as_mut()?;
        let now_ms = process.clock.read(&self.machine, at).unix_ms;
        let event = match &*asked.what {
            Request::Poll(after) => return self.poll(asked, *after),
            Request::Propose(_) if now_ms < process.proposals_from => {
                return Some(Response::Refused(RefusalKind::NoMapYet));
            }
            Request::Propose(proposals) => registry::Event::Propose(proposals.clone()),
            Request::Register(register) => registry::Event::Register(register.clone()),
            Request::Tell(name, known) => registry::Event::Tell(name.clone(), known.clone()),
            Request::Beat(name, beat) => registry::Event::Beat(name.clone(), beat.clone()),
        };
        let answer = process.registry.step(now_ms, event);
        self.store();
        Some(match answer {
            Ok(registry::Answer::Registered(registered, _)) => Response::Registered(registered),
            Ok(registry::Answer::Told(_)) => Response::Taken,
            Ok(registry::Answer::Verdicts(verdicts)) => Response::Verdicts(verdicts),
            Ok(registry::Answer::Beaten(beaten)) => Response::Beaten(beaten.version),
            Ok(other) => unreachable!("no worker asks for {other:?}"),
            Err(refusal) => Response::Refused(refusal.kind),
        })
    }

    fn poll(&mut self, asked: &Asked, after: MapVersion) -> Option<Response> {
        if let Some(map) = self.map.as_ref().filter(|map| map.version > after) {
            return Some(Response::Map(Arc::clone(map)));
        }
        self.process.as_mut()?.polls.push((asked.clone(), after));
        None
    }

    /// Keeps what has changed, and shows it.
    fn store(&mut self) {
        let Some(process) = &self.process else { return };
        self.stored = process.registry.state().clone();
        let version = self.stored.map.version;
        let shown = self.map.as_ref().map(|map| map.version).unwrap_or_default();
        if version != shown {
            self.is_lost = false;
            let map = MapIndex::new((*self.stored.map).clone()).expect("the registry makes maps");
            self.map = Some(Arc::new(map));
        }
    }

    /// Polls that a newer map answers.
    pub fn answered_polls(&mut self) -> Vec<(Asked, Response)> {
        let (Some(process), Some(map)) = (&mut self.process, &self.map) else { return Vec::new() };
        let (ready, waiting) = process.polls.drain(..).partition(|(_, after)| map.version > *after);
        process.polls = waiting;
        let ready: Vec<(Asked, MapVersion)> = ready;
        ready.into_iter().map(|(asked, _)| (asked, Response::Map(Arc::clone(map)))).collect()
    }
}
