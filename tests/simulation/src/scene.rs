//! What everyone in a world uses: the time, the queue of what is to happen, the network, chance, and the books.

use std::rc::Rc;

use firn_store::time::Now;
use firn_wire::ids::{Incarnation, WorkerId, WorkerName};
use firn_wire::registry::Proposal;

use crate::clock::{Clock, Machine, Moment};
use crate::event::{Event, Flying, Queue, Run, Slot};
use crate::network::{Network, Place};
use crate::random::Random;
use crate::tally::Tally;
use crate::trace::Trace;
use crate::uplink::{Asked, Request, Response, Told};
use crate::worker::Shown;

/// How requests to the uplink fare.
#[derive(Debug, Clone, Copy, Default)]
pub struct UplinkWeather {
    /// How often in a thousand a request, or its answer, is lost.
    pub loss_permille: u64,
    /// How often in a thousand a request arrives late: perhaps after its sender has given it up and sent another.
    pub late_permille: u64,
    /// How late that is at most, in microseconds.
    pub late_us: u64,
}

/// See the module's page.
pub struct Scene {
    /// The moment.
    pub now: Moment,
    /// What is to happen.
    pub queue: Queue,
    /// Chance.
    pub random: Random,
    /// Ways and connections.
    pub network: Network,
    /// The clocks of each slot.
    pub machines: Vec<Machine>,
    /// What has happened.
    pub trace: Trace,
    /// How often.
    pub tally: Tally,
    /// Proposals that may still arrive at the uplink.
    pub flying: Vec<Flying>,
    /// How requests to the uplink fare.
    pub weather: UplinkWeather,
    /// Versions that clients were shown and nobody has looked at yet.
    pub shown: Vec<Shown>,
    /// Whether the uplink's process runs.
    pub uplink_is_up: bool,
    next_number: u64,
}

/// The name of the worker on a machine.
pub fn worker_name(slot: Slot) -> WorkerName {
    format!("w{slot}").parse().expect("it is a name")
}

/// The identity of a run of it.
pub fn worker_id(slot: Slot, run: Run) -> WorkerId {
    WorkerId { name: worker_name(slot), incarnation: Incarnation(run) }
}

/// The machine of a worker.
pub fn slot_of(id: &WorkerName) -> Slot {
    id.as_str()[1..].parse().expect("the world has given the names")
}

impl Scene {
    /// A scene at the beginning of time.
    pub fn new(random: Random, network: Network, machines: Vec<Machine>, trace: Trace) -> Self {
        Self {
            now: Moment::default(),
            queue: Queue::default(),
            random,
            network,
            machines,
            trace,
            tally: Tally::default(),
            flying: Vec::new(),
            weather: UplinkWeather::default(),
            shown: Vec::new(),
            uplink_is_up: false,
            next_number: 1,
        }
    }

    /// The last number that was given.
    pub fn last_number(&self) -> u64 {
        self.next_number
    }

    /// A number no one else has.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Reads the clocks of a process on a machine.
    pub fn read(&self, slot: Slot, clock: &mut Clock) -> Now {
        clock.read(&self.machines[slot], self.now)
    }

    /// Has something happen in so many milliseconds of a machine's clock, give or take a little.
    pub fn after(&mut self, slot: Slot, ms: u64, event: Event) {
        let jitter_us = self.random.below(500);
        let us = self.machines[slot].true_us(ms) + jitter_us;
        self.queue.put(self.now.plus_us(us), event);
    }

    /// Sends a request to the uplink; its number.
    pub fn ask_uplink(&mut self, from: (Slot, Run), what: Request) -> u64 {
        let number = self.number();
        let delay = self.network.delay_us();
        if !self.uplink_is_up && self.network.is_open(Place::Machine(from.0), Place::Uplink) {
            let told = Told { number, what: Response::NoListener };
            self.queue.put(self.now.plus_us(delay), Event::Told(from.0, from.1, told));
            return number;
        }
        let asked = Asked { from, number, what: Rc::new(what) };
        if self.random.permille(self.weather.late_permille) {
            let late = self.random.below(self.weather.late_us.max(1));
            self.send(asked, late);
        } else {
            self.send(asked, delay);
        }
        number
    }

    fn send(&mut self, asked: Asked, delay: u64) {
        let is_open = self.network.is_open(Place::Machine(asked.from.0), Place::Uplink);
        if !is_open || self.random.permille(self.weather.loss_permille) {
            return;
        }
        self.flying.extend(
            proposals(&asked)
                .iter()
                .map(|proposal| Flying { proposal: proposal.clone(), request: asked.number }),
        );
        self.queue.put(self.now.plus_us(delay), Event::Asked(asked));
    }

    /// A request has arrived, or found nobody: its proposals fly no more.
    pub fn landed(&mut self, asked: &Asked) {
        for proposal in proposals(asked) {
            let is_it =
                |flying: &Flying| flying.request == asked.number && flying.proposal == *proposal;
            if let Some(at) = self.flying.iter().position(is_it) {
                self.flying.swap_remove(at);
            }
        }
    }

    /// Sends the uplink's answer to a request.
    pub fn tell(&mut self, asked: &Asked, what: Response) {
        let (slot, run) = asked.from;
        let is_open = self.network.is_open(Place::Uplink, Place::Machine(slot));
        if !is_open || self.random.permille(self.weather.loss_permille) {
            return;
        }
        let delay = self.network.delay_us();
        let told = Told { number: asked.number, what };
        self.queue.put(self.now.plus_us(delay), Event::Told(slot, run, told));
    }
}

fn proposals(asked: &Asked) -> &[Proposal] {
    match &*asked.what {
        Request::Propose(proposals) => proposals,
        _ => &[],
    }
}
