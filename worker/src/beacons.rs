//! Leases: this worker's signs of life to its peers and its answers to theirs, on a thread of its own so that no large
//! value delays them.
//!
//! The thread also lets time pass in the shards. After a stall of the process it reads what has arrived meanwhile before
//! it judges anybody, since one loop does both: events, then every socket to its end, then time.

mod pulse;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use firn_client::follow::{pause, random};
use firn_client::uplink::Uplink;
use firn_wire::frame::Kind;
use firn_wire::ids::WorkerId;
use firn_wire::map::MapIndex;
use firn_wire::registry::Proposal;
use firn_wire::replica::{Beacon, Grant, decode, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use crate::peers::Peers;
use crate::stream::Caller;
use pulse::Pulse;
use socket::{Socket, SocketError};

/// The longest time between two looks.
const TICK_MS: u64 = 20;
/// How often copying is looked at while there is some.
const PACE_MS: u64 = 10;
/// The uplink counts as there when it has answered within this time.
const UPLINK_FRESH: Duration = Duration::from_secs(1);

/// The thread, from outside.
pub(crate) struct Beacons {
    events: Sender<Event>,
}

/// What the thread is told.
enum Event {
    /// A newer map, and who the peers are in it.
    Map(Arc<MapIndex>, Peers),
    /// What became of a dial.
    Dialled(WorkerId, io::Result<TcpStream>),
    /// A peer has connected, and this has been read.
    Taken(WorkerId, TcpStream, Vec<u8>),
    /// Nobody needs it any more.
    Stop,
}

/// What the thread needs of its process.
pub(crate) struct Surroundings {
    /// How peers are reached, and the shards.
    pub(crate) caller: Arc<Caller>,
    /// Told whether the uplink is there.
    pub(crate) uplink: Arc<Uplink>,
    /// Where proposals go.
    pub(crate) proposals: UnboundedSender<Proposal>,
}

impl Beacons {
    /// Starts the thread. It dials on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub(crate) fn start(
        surroundings: Surroundings,
        map: Arc<MapIndex>,
        peers: Peers,
    ) -> io::Result<Self> {
        let (events, inbox) = channel();
        let watch = Watch {
            surroundings,
            runtime: Handle::current(),
            events: events.clone(),
            inbox,
            map: Arc::clone(&map),
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            beat_at: 0,
            tick_at: 0,
            pace_at: 0,
        };
        let thread = std::thread::Builder::new().name("firn-beacons".into());
        thread.spawn(move || watch.run())?;
        let beacons = Self { events };
        beacons.adopt(map, peers);
        Ok(beacons)
    }

    fn tell(&self, event: Event) {
        // Without the thread no lease lives: nothing is served, and the process is about to end.
        let _ = self.events.send(event);
    }

    /// A newer map, and who the peers are in it.
    pub(crate) fn adopt(&self, map: Arc<MapIndex>, peers: Peers) {
        self.tell(Event::Map(map, peers));
    }

    /// A peer's connection, of which this has been read. It takes the place of an earlier one.
    pub(crate) fn take(&self, from: WorkerId, socket: TcpStream, read: Vec<u8>) {
        self.tell(Event::Taken(from, socket, read));
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.tell(Event::Stop);
    }
}

/// The connection to a peer, or what is done for one.
struct Outgoing {
    address: String,
    /// Dials in a row that came to nothing.
    failures: u32,
    state: State,
}

enum State {
    /// Not before this time of the lease clock.
    Resting(u64),
    Dialling,
    Up(Pulse),
}

/// What the thread has.
struct Watch {
    surroundings: Surroundings,
    runtime: Handle,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    map: Arc<MapIndex>,
    outgoing: BTreeMap<WorkerId, Outgoing>,
    incoming: BTreeMap<WorkerId, Socket>,
    /// When the next beacons are due, lease clock.
    beat_at: u64,
    /// When time is next to pass in the shards, lease clock.
    tick_at: u64,
    /// When copying is next to go on, lease clock.
    pace_at: u64,
}

impl Watch {
    fn run(mut self) {
        while self.take_events() {
            self.receive_grants();
            self.answer_beacons();
            self.dial();
            self.beat();
            self.tick();
            self.pace();
            self.wait();
        }
    }

    fn lease_ms(&self) -> u64 {
        self.surroundings.caller.shards.clock().now().lease_ms
    }

    /// False: it is to stop.
    fn take_events(&mut self) -> bool {
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                Event::Map(map, peers) => self.adopt(map, peers),
                Event::Dialled(peer, dialled) => self.connected(&peer, dialled),
                Event::Taken(peer, stream, read) => match Socket::new(stream, read) {
                    Ok(socket) => drop(self.incoming.insert(peer, socket)),
                    Err(error) => log::debug!("no beacons come from {peer}: {error}"),
                },
                Event::Stop => return false,
            }
        }
        true
    }

    fn adopt(&mut self, map: Arc<MapIndex>, peers: Peers) {
        self.outgoing.retain(|peer, _| peers.contains_key(peer));
        for (peer, address) in peers {
            // A run that is not the registered one any more keeps the connection it has.
            if let Some(address) = address {
                let state = State::Resting(0);
                self.outgoing.entry(peer).or_insert(Outgoing { address, failures: 0, state });
            }
        }
        self.map = map;
    }

    fn connected(&mut self, peer: &WorkerId, dialled: io::Result<TcpStream>) {
        let now = self.lease_ms();
        let Some(outgoing) = self.outgoing.get_mut(peer) else { return };
        match dialled.and_then(|stream| Socket::new(stream, Vec::new())) {
            Ok(socket) => {
                outgoing.state = State::Up(Pulse::new(socket));
                self.beat_at = 0; // at once, to it and to all
            }
            Err(error) => outgoing.rest(now, peer, &error),
        }
    }

    /// Takes the grants that have arrived, and gives up peers that owe one for longer than a lease.
    fn receive_grants(&mut self) {
        let shards = &self.surroundings.caller.shards;
        let mut grants = Vec::new();
        for (peer, outgoing) in &mut self.outgoing {
            let State::Up(pulse) = &mut outgoing.state else { continue };
            let received = pulse.receive(&mut grants);
            for (sent, grant) in grants.drain(..) {
                outgoing.failures = 0;
                shards.granted(peer, sent, &grant);
            }
            let now = shards.clock().now();
            let patience_ms = self.map.settings.replication.lease_ms;
            let kept = received.and_then(|()| pulse.flush());
            if let Err(error) = kept.and_then(|()| pulse.check(now, patience_ms)) {
                outgoing.rest(now.lease_ms, peer, &error);
            }
        }
    }

    fn answer_beacons(&mut self) {
        let shards = &self.surroundings.caller.shards;
        let grant_ms = self.map.settings.replication.grant_ms;
        let grant = |peer: &WorkerId, message: &[u8]| {
            let beacon: Beacon = decode(message)?;
            let (number, except) = (beacon.number, shards.heard(peer, &beacon));
            Ok::<_, SocketError>(encode(&Grant { number, grant_ms, except }))
        };
        self.incoming.retain(|peer, socket| match answer(socket, |message| grant(peer, message)) {
            Ok(()) => true,
            Err(error) => {
                log::debug!("no more beacons come from {peer}: {error}");
                false
            }
        });
    }

    /// Dials the peers that are not connected.
    fn dial(&mut self) {
        let now = self.lease_ms();
        for (peer, outgoing) in &mut self.outgoing {
            if matches!(outgoing.state, State::Resting(until) if until <= now) {
                outgoing.state = State::Dialling;
                let (caller, events) = (&self.surroundings.caller, self.events.clone());
                let (peer, address) = (peer.clone(), outgoing.address.clone());
                self.runtime.spawn(dial(Arc::clone(caller), peer, address, events));
            }
        }
    }

    /// Sends each peer a beacon when they are due.
    fn beat(&mut self) {
        let now = self.surroundings.caller.shards.clock().now();
        if now.lease_ms < self.beat_at {
            return;
        }
        self.beat_at = now.lease_ms + self.map.settings.replication.beacon_ms();
        for (peer, outgoing) in &mut self.outgoing {
            let State::Up(pulse) = &mut outgoing.state else { continue };
            if let Err(error) = pulse.beat(now, self.map.version) {
                outgoing.rest(now.lease_ms, peer, &error);
            }
        }
    }

    /// Lets time pass in the shards.
    fn tick(&mut self) {
        let now = self.lease_ms();
        if now < self.tick_at {
            return;
        }
        self.tick_at = now + self.map.settings.replication.beacon_ms().min(TICK_MS);
        let Surroundings { caller, uplink, proposals } = &self.surroundings;
        let is_fresh = uplink.heard().is_some_and(|ago| ago < UPLINK_FRESH);
        for proposal in caller.shards.tick(&self.map, is_fresh) {
            let _ = proposals.send(proposal); // nobody takes it only when the process ends
        }
    }

    /// Lets copying go on.
    fn pace(&mut self) {
        let shards = &self.surroundings.caller.shards;
        let now = shards.clock().now().lease_ms;
        if now >= self.pace_at && shards.is_copying() {
            self.pace_at = now + PACE_MS;
            shards.pace();
        }
    }

    /// When this thread is next to look by itself, lease clock.
    fn due_at(&self) -> u64 {
        match self.surroundings.caller.shards.is_copying() {
            true => self.tick_at.min(self.pace_at),
            false => self.tick_at,
        }
    }

    /// Waits until something can be read, or time is to pass.
    fn wait(&self) {
        let wants = |socket: &Socket| match socket.is_behind() {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::IN,
        };
        let pulses = self.outgoing.values().filter_map(|outgoing| match &outgoing.state {
            State::Up(pulse) => Some(pulse.socket()),
            _ => None,
        });
        let sockets = pulses.chain(self.incoming.values());
        let mut all: Vec<_> = sockets.map(|socket| PollFd::new(socket, wants(socket))).collect();
        let patience = Duration::from_millis(self.due_at().saturating_sub(self.lease_ms()));
        let patience = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut all, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                log::error!("waiting for beacons fails: {error}");
                std::thread::sleep(Duration::from_millis(TICK_MS));
            }
        }
    }
}

impl Outgoing {
    /// Is dialled again after a pause.
    fn rest(&mut self, now: u64, peer: &WorkerId, why: &dyn std::fmt::Display) {
        self.failures += 1;
        match self.failures {
            1 => log::warn!("no beacons go to {peer} at {}: {why}", self.address),
            _ => log::debug!("no beacons go to {peer} at {}: {why}", self.address),
        }
        let pause = pause(self.failures, random()).as_millis() as u64;
        self.state = State::Resting(now + pause);
    }
}

/// Answers every message of a socket.
fn answer(
    socket: &mut Socket,
    mut grant: impl FnMut(&[u8]) -> Result<Vec<u8>, SocketError>,
) -> Result<(), SocketError> {
    let mut messages = Vec::new();
    let received = socket.receive(Kind::Beacon, &mut messages);
    for message in messages {
        socket.send(Kind::Grant, &grant(&message)?)?;
    }
    received.and_then(|()| socket.flush())
}

async fn dial(caller: Arc<Caller>, peer: WorkerId, address: String, events: Sender<Event>) {
    let dialled = match caller.connect(&peer, &address).await {
        Ok(socket) => socket.into_std(),
        Err(error) => Err(io::Error::other(error)),
    };
    let _ = events.send(Event::Dialled(peer, dialled));
}
