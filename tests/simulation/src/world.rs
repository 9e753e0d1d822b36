//! The whole: an uplink, workers on their machines, clients, and the faults between them. Everything that happens goes
//! through [`World::run`], one event at a time, and after each the invariants are looked at.

use std::sync::Arc;

use firn_uplink::registry;
use firn_uplink::state::State;
use firn_wire::ids::TableName;
use firn_wire::map::{Durability, MapIndex};
use firn_wire::registry::Recover;

use crate::client::{Clients, PRIMARY};
use crate::clock::{Machine, Moment};
use crate::drive::{Drive, Ending};
use crate::event::{Event, Mend, Run, Slot};
use crate::faults::Kind;
use crate::ghost::Ghost;
use crate::history::Key;
use crate::law::Law;
use crate::network::{ConnectionId, End, Network, Place, Purpose};
use crate::probe::Probe;
use crate::question::{Answer, Ask};
use crate::random::Random;
use crate::scenario::{CLUSTER, Scenario};
use crate::scene::{Scene, UplinkWeather, slot_of, worker_id};
use crate::tally::Tally;
use crate::trace::Trace;
use crate::uplink::{self, Asked, Uplink};
use crate::worker::{Life, Worker};

/// How often the world is looked at after the faults, in milliseconds.
const LOOK_MS: u64 = 20;
/// How long clients go on after every partition has taken a write, in milliseconds.
const AFTERWARDS_MS: u64 = 400;
/// How long after the faults an operator looks whether the uplink still waits for what a lost run knew: all who are there have
/// told what they know by then.
const OPERATOR_MS: u64 = 6_000;
/// How long until what was asked last is answered or given up.
const QUIET_MS: u64 = 6_000;

/// Events of one world: far more than any needs.
const EVENTS_MAX: u64 = 2_000_000;

/// What is on a machine.
pub enum Seat {
    /// Nothing.
    Empty,
    /// A worker.
    Running(Box<Worker>),
    /// A worker that stands still, and what waits for it.
    Paused(Box<Worker>, Vec<Event>),
}

impl Seat {
    /// The run of the worker that is there.
    pub fn run(&self) -> Option<Run> {
        match self {
            Self::Empty => None,
            Self::Running(worker) | Self::Paused(worker, _) => Some(worker.run),
        }
    }
}

/// What is done after the faults.
enum Phase {
    /// There are faults.
    Faults,
    /// Every partition is asked to take a write, by this moment.
    Probing(Probe, Moment),
    /// Clients go on until then.
    Afterwards(Moment),
    /// What was asked last is waited for, until then.
    Quiet(Moment),
}

/// What came of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What is wrong; empty when all is well.
    pub broken: Vec<String>,
    /// Keys of which the checker could not say whether they are right.
    pub gave_up: usize,
    /// Counts.
    pub tally: Tally,
    /// The trace's hash.
    pub hash: u64,
    /// The trace, if it was kept.
    pub lines: Vec<String>,
}

/// See the module's page.
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) scene: Scene,
    pub(crate) uplink: Uplink,
    pub(crate) seats: Vec<Seat>,
    pub(crate) was_started: Vec<bool>,
    /// The disks of machines on which nobody runs.
    drives: Vec<Drive>,
    clients: Clients,
    pub(crate) ghost: Ghost,
    phase: Phase,
    shown_map: Option<Arc<MapIndex>>,
    next_run: Run,
    /// Requests up to this number were sent to an uplink that has ended.
    asked_before: u64,
}

impl World {
    /// The world of a scenario, before anything has happened.
    pub fn new(scenario: Scenario, law: Law, mut random: Random, keep: bool) -> Self {
        let machines = scenario.workers + scenario.spares;
        let network = Network::new(scenario.pace, random.split());
        let clocks = scenario.rates_ppm.iter().map(|rate| Machine::new(*rate));
        let mut clocks: Vec<Machine> = clocks.collect();
        let uplink_machine = clocks.pop().unwrap_or_else(|| Machine::new(1_000_000));
        let state = State::new(CLUSTER, 7, scenario.settings.clone());
        let mut scene = Scene::new(random, network, clocks, Trace::new(keep));
        scene.weather = scenario.weather;
        Self {
            uplink: Uplink::new(uplink_machine, state, law.claim()),
            seats: (0..machines).map(|_| Seat::Empty).collect(),
            was_started: vec![false; machines],
            drives: vec![Drive::default(); machines],
            clients: Clients::new(scenario.habits.clone()),
            ghost: Ghost::new(scenario.loses, scenario.keeps.map(|keeps| keeps.durability)),
            phase: Phase::Faults,
            shown_map: None,
            next_run: 1,
            asked_before: 0,
            scenario,
            scene,
        }
    }

    /// Lets everything happen.
    pub fn run(&mut self) {
        self.start_uplink();
        (0..self.scenario.workers).for_each(|slot| self.start(slot));
        self.clients.begin(&mut self.scene);
        let calm = self.scene.now.plus_ms(self.scenario.faults_end_ms);
        self.scene.queue.put(self.scene.now.plus_ms(700), Event::Fault);
        self.scene.queue.put(calm, Event::Calm);
        while let Some((at, event)) = self.scene.queue.pop() {
            self.scene.now = at;
            self.handle(event);
            if self.scene.trace.events() > EVENTS_MAX {
                self.ghost.broken.push(format!("more than {EVENTS_MAX} events"));
            }
            let is_over = matches!(self.phase, Phase::Quiet(until) if at >= until);
            if is_over || !self.ghost.broken.is_empty() || !self.clients.odd.is_empty() {
                break;
            }
        }
    }

    /// What came of it.
    pub fn report(mut self) -> Report {
        let mut broken = std::mem::take(&mut self.ghost.broken);
        broken.append(&mut self.clients.odd);
        let (wrong, gave_up) = std::mem::take(&mut self.clients.history).check();
        if !self.scenario.loses {
            let wrong = wrong.into_iter().filter(|(key, _)| !self.has_forgotten(key));
            broken.extend(wrong.map(|(_, what)| what));
        }
        let mut tally = self.scene.tally;
        tally.events = self.scene.trace.events();
        let hash = self.scene.trace.hash();
        Report { broken, gave_up, tally, hash, lines: self.scene.trace.take_lines() }
    }

    /// Whether what was written last to a key's partition may have gone with a restart.
    fn has_forgotten(&self, (table, key): &Key) -> bool {
        let partition = self.shown_map.as_ref().and_then(|map| map.locate(*table, key));
        partition.is_some_and(|partition| self.ghost.forgotten.contains(&partition))
    }

    fn handle(&mut self, event: Event) {
        let Some((slot, run)) = self.addressee(&event) else { return self.elsewhere(event) };
        match &mut self.seats[slot] {
            Seat::Paused(worker, inbox) if worker.run == run => inbox.push(event),
            Seat::Running(worker) if worker.run == run => self.at_worker(slot, event),
            _ => self.nobody(event),
        }
    }

    /// The worker that an event happens to.
    fn addressee(&self, event: &Event) -> Option<(Slot, Run)> {
        match event {
            Event::Frame(id, end) => {
                let (slot, run, _) = self.scene.network.end(*id, *end)?;
                Some((slot, run))
            }
            Event::Alarm(slot, run, _) | Event::Told(slot, run, _) => Some((*slot, *run)),
            Event::Dialled { from, .. } => Some(*from),
            Event::Ask(ask) => Some(ask.to),
            _ => None,
        }
    }

    fn at_worker(&mut self, slot: Slot, event: Event) {
        let scene = &mut self.scene;
        let reached = match &event {
            Event::Dialled { from, to, purpose } => reach(scene, &self.seats, *from, to, *purpose),
            _ => None,
        };
        let Seat::Running(worker) = &mut self.seats[slot] else { return };
        match event {
            Event::Alarm(_, _, alarm) => worker.alarm(scene, &alarm),
            Event::Told(_, _, told) => worker.told(scene, told),
            Event::Ask(ask) => worker.asked(scene, ask),
            Event::Dialled { to, purpose, .. } => worker.dialled(scene, &to, purpose, reached),
            Event::Frame(id, end) => frame_arrives(scene, worker, id, end),
            _ => {}
        }
        self.look_at(slot);
    }

    /// Checks what must hold after something has happened to a worker.
    fn look_at(&mut self, slot: Slot) {
        let Seat::Running(worker) = &mut self.seats[slot] else { return };
        let views = worker.take_views(&self.scene);
        for proposal in worker.take_proposed() {
            self.ghost.proposed(&proposal, &views, self.scene.now);
        }
        self.ghost.seen(&worker_id(slot, worker.run), views);
        self.ghost.shown(std::mem::take(&mut self.scene.shown), self.scene.now);
        if worker.life == Life::Ended {
            self.end(slot, Ending::Kill);
            let ms = self.scene.random.between(1, self.scenario.fault_ms.max(2));
            let at = self.scene.now.plus_ms(ms);
            self.scene.queue.put(at, Event::Mend(Mend::Start(slot)));
        }
    }

    /// Something is for a worker that is no more.
    fn nobody(&mut self, event: Event) {
        match event {
            Event::Frame(id, end) => {
                self.scene.network.arrives(id, end);
            }
            Event::Ask(Ask { operation, attempt, through, to, .. }) => {
                let (from, to) = (Place::Machine(to.0), Place::Machine(through));
                if self.scene.network.is_open(from, to) {
                    let outcome = crate::question::Outcome::NotHere;
                    let delay = self.scene.network.delay_us();
                    let answer = Answer { operation, attempt, outcome };
                    self.scene.queue.put(self.scene.now.plus_us(delay), Event::Answer(answer));
                }
            }
            _ => {}
        }
    }

    fn elsewhere(&mut self, event: Event) {
        match event {
            Event::Asked(asked) => self.asked(&asked),
            Event::UplinkTick(run) if run == self.uplink.run && self.uplink.is_up() => {
                self.order(registry::Event::Tick);
                self.tick_uplink_later();
            }
            Event::Answer(answer) => {
                let views = views(&self.seats);
                self.clients.answered(&mut self.scene, &views, &answer);
                if let Phase::Probing(probe, _) = &mut self.phase {
                    probe.answered(&answer);
                }
            }
            Event::Client(client, impulse) => {
                let views = views(&self.seats);
                self.clients.act(&mut self.scene, &views, client, impulse);
            }
            Event::Fault if matches!(self.phase, Phase::Faults) => self.fault(),
            Event::Mend(mend) => self.mend(mend),
            Event::Calm => self.calm(),
            Event::Look => self.look(),
            Event::Operator => self.do_without(),
            _ => {}
        }
    }

    // --- the uplink -----------------------------------------------------------------------------------------------

    fn start_uplink(&mut self) {
        self.asked_before = self.scene.last_number();
        self.uplink.start(self.scene.now);
        self.scene.uplink_is_up = true;
        self.tick_uplink_later();
    }

    fn tick_uplink_later(&mut self) {
        let at = self.scene.now.plus_ms(uplink::TICK_MS);
        self.scene.queue.put(at, Event::UplinkTick(self.uplink.run));
    }

    /// Has the uplink do something that nobody asked it for over the network.
    fn order(&mut self, event: registry::Event) {
        if let Err(refusal) = self.uplink.order(self.scene.now, event) {
            let now = self.scene.now;
            self.scene.trace.note(now, &[50], || format!("the uplink refuses: {refusal:?}"));
        }
        self.publish();
    }

    fn asked(&mut self, asked: &Asked) {
        self.scene.landed(asked);
        // The connection it was sent on has ended with the process. (A proposal may arrive at any time, to be strict.)
        if asked.number <= self.asked_before && matches!(*asked.what, uplink::Request::Tell(..)) {
            return;
        }
        let answer = self.uplink.ask(self.scene.now, asked);
        if let Some(what) = answer {
            if let uplink::Response::Verdicts(verdicts) = &what {
                let (now, slot) = (self.scene.now, asked.from.0);
                self.scene.trace.note(now, &[51, asked.number], || {
                    format!("the uplink judges for machine {slot}: {verdicts:?}")
                });
            }
            self.scene.tell(asked, what);
        }
        self.publish();
    }

    /// Shows the map, if it is a new one.
    fn publish(&mut self) {
        let Some(map) = self.uplink.map().cloned() else { return };
        if self.shown_map.as_ref().is_some_and(|shown| shown.version == map.version) {
            return;
        }
        let is_first = self.shown_map.is_none();
        self.scene.tally.reigns += self.ghost.published(map.map());
        let now = self.scene.now;
        self.scene.trace.note(now, &[52, map.version.counter], || shown(&map));
        self.shown_map = Some(map);
        if is_first {
            self.set_durability();
        }
        for (asked, what) in self.uplink.answered_polls() {
            self.scene.tell(&asked, what);
        }
        if is_first {
            self.relax_a_table();
        }
    }

    /// In a world with disks, before anybody has seen a map: what was written before would be promised less.
    fn set_durability(&mut self) {
        let durability = match self.scenario.keeps.map(|keeps| keeps.durability) {
            Some(Durability::Always) => "always",
            Some(Durability::Everysec) => "everysec",
            Some(Durability::None) | None => return,
        };
        let now = self.scene.now;
        self.scene.trace.note(now, &[53], || format!("the default table is {durability} on disk"));
        let name: TableName = "default".parse().expect("it is a name");
        let patch = [("durability".to_owned(), durability.into())].into_iter().collect();
        self.order(registry::Event::AlterTable(name, patch));
    }

    /// One table whose writes are answered when the primary has applied them.
    fn relax_a_table(&mut self) {
        let name: TableName = "db1".parse().expect("it is a name");
        let map = self.shown_map.as_ref().expect("there is a map");
        let row = map.table(&name).expect("it is among the first tables");
        assert_eq!(row.id, PRIMARY, "the table that does not wait");
        let patch = [("ack".to_owned(), "primary".into())].into_iter().collect();
        self.order(registry::Event::AlterTable(name, patch));
    }

    // --- workers --------------------------------------------------------------------------------------------------

    /// Starts a worker on a machine that has none.
    pub(crate) fn start(&mut self, slot: Slot) {
        if !matches!(self.seats[slot], Seat::Empty) {
            return;
        }
        let run = self.next_run;
        self.next_run += 1;
        self.was_started[slot] = true;
        self.ghost.begins(run);
        let mut build = self.scenario.builds[slot];
        if self.scenario.keeps.is_some_and(|keeps| keeps.reshards) {
            build.shards = self.scene.random.between(1, 2) as u16;
        }
        let now = self.scene.now;
        self.scene.trace.note(now, &[60, run], || format!("{} starts", worker_id(slot, run)));
        let mut worker = Worker::start(&mut self.scene, slot, run, build);
        let drive = std::mem::take(&mut self.drives[slot]);
        if let Err(why) = worker.load(&mut self.scene, drive) {
            self.ghost.broken.push(format!("disk: {}: {why}", worker_id(slot, run)));
        }
        self.seats[slot] = Seat::Running(Box::new(worker));
    }

    /// Ends a worker: its memory is lost, its connections break; its disk, if it has one, is kept for its next run.
    pub(crate) fn end(&mut self, slot: Slot, ending: Ending) {
        let seat = std::mem::replace(&mut self.seats[slot], Seat::Empty);
        let Some(run) = seat.run() else { return };
        let now = self.scene.now;
        self.scene.trace.note(now, &[61, run], || format!("{} ends", worker_id(slot, run)));
        self.ghost.ends(run, now, ending);
        self.scene.network.break_all(&mut self.scene.queue, now, (slot, run));
        let (worker, inbox) = match seat {
            Seat::Running(worker) => (worker, Vec::new()),
            Seat::Paused(worker, inbox) => (worker, inbox),
            Seat::Empty => return,
        };
        self.drives[slot] = worker.into_drive(ending, &mut self.scene.random);
        inbox.into_iter().for_each(|event| self.nobody(event));
    }

    fn resume(&mut self, slot: Slot, run: Run) {
        let seat = std::mem::replace(&mut self.seats[slot], Seat::Empty);
        let Seat::Paused(worker, inbox) = seat else {
            self.seats[slot] = seat;
            return;
        };
        if worker.run != run {
            self.seats[slot] = Seat::Paused(worker, inbox);
            return;
        }
        self.seats[slot] = Seat::Running(worker);
        let now = self.scene.now;
        self.ghost.wakes(run, now);
        self.scene.trace.note(now, &[62, run], || format!("{} goes on", worker_id(slot, run)));
        // Which of its threads runs first is nobody's to say.
        let alarms_first = self.scene.random.permille(500);
        let is_alarm = |event: &Event| matches!(event, Event::Alarm(..));
        let (alarms, others): (Vec<_>, Vec<_>) = inbox.into_iter().partition(is_alarm);
        let (first, then) = if alarms_first { (alarms, others) } else { (others, alarms) };
        for event in first.into_iter().chain(then) {
            self.scene.queue.put(now, event);
        }
    }

    // --- the end of faults ----------------------------------------------------------------------------------------

    fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Start(slot) => self.start(slot),
            Mend::Resume(slot, run) => self.resume(slot, run),
            Mend::Open(from, to) => {
                let Scene { network, queue, now, .. } = &mut self.scene;
                network.open(queue, *now, from, to);
            }
            Mend::Uplink if !self.uplink.is_up() => self.start_uplink(),
            Mend::Uplink => {}
        }
    }

    /// The faults are over: everything is mended, and every partition has to take a write before long.
    fn calm(&mut self) {
        self.scene.weather = UplinkWeather::default();
        self.scene.network.calm();
        let Scene { network, queue, now, .. } = &mut self.scene;
        network.open_all(queue, *now);
        self.mend(Mend::Uplink);
        for build in &mut self.scenario.builds {
            *build = build.calm();
        }
        for slot in 0..self.seats.len() {
            if let Seat::Running(worker) | Seat::Paused(worker, _) = &mut self.seats[slot] {
                worker.calm();
            }
            match &self.seats[slot] {
                Seat::Paused(worker, _) => self.resume(slot, worker.run),
                Seat::Empty if self.was_started[slot] => self.start(slot),
                _ => {}
            }
        }
        let now = self.scene.now;
        self.scene.trace.note(now, &[70], || "the faults are over".to_owned());
        self.scene.queue.put(now, Event::Look);
        let Some(map) = &self.shown_map else { return self.ghost.broken.push("no map".into()) };
        let grant_ms = self.scenario.settings.replication.grant_ms;
        // Clocks that are a tenth slow take a ninth longer.
        let mut patience_ms = 2 * (grant_ms + 1_000) * 10 / 9;
        if self.scenario.kinds.contains(&Kind::LoseUplink) {
            let at = now.plus_ms(OPERATOR_MS);
            self.scene.queue.put(at, Event::Operator);
            patience_ms += OPERATOR_MS;
        }
        if self.scenario.keeps.is_some() {
            // Until their names are free, and until all have said what they kept.
            patience_ms += (grant_ms + 1_000) * 10 / 9;
        }
        self.phase = Phase::Probing(Probe::new(map), now.plus_ms(patience_ms));
    }

    /// An operator does without what is not told by those who are there.
    fn do_without(&mut self) {
        if self.uplink.waits() {
            let asked = Recover { accept_data_loss: true, worker: None };
            self.order(registry::Event::Recover(asked));
        }
    }

    fn look(&mut self) {
        let now = self.scene.now;
        match &mut self.phase {
            Phase::Faults => {}
            Phase::Probing(probe, until) => {
                let open = probe.open();
                if open.is_empty() {
                    self.phase = Phase::Afterwards(now.plus_ms(AFTERWARDS_MS));
                } else if now >= *until {
                    self.complain(&open);
                } else if let Some(map) = &self.shown_map {
                    probe.ask(&mut self.scene, map);
                }
            }
            Phase::Afterwards(until) if now >= *until => {
                self.clients.be_quiet();
                self.phase = Phase::Quiet(now.plus_ms(QUIET_MS));
            }
            Phase::Afterwards(_) | Phase::Quiet(_) => {}
        }
        let every_ms = if matches!(self.phase, Phase::Quiet(_)) { 500 } else { LOOK_MS };
        self.scene.queue.put(now.plus_ms(every_ms), Event::Look);
    }

    fn complain(&mut self, open: &[firn_wire::ids::PartitionId]) {
        let open: Vec<String> = open.iter().map(ToString::to_string).collect();
        let map = self.shown_map.as_deref().map(shown).unwrap_or_default();
        let what = format!("liveness: {} do not take writes; {map}", open.join(", "));
        self.ghost.broken.push(what);
    }
}

/// What clients know of the workers.
fn views(seats: &[Seat]) -> impl Fn(Slot) -> Option<(Run, Arc<MapIndex>)> {
    |slot| match &seats[slot] {
        Seat::Running(worker) => Some((worker.run, Arc::clone(worker.map()?))),
        _ => None,
    }
}

/// Makes a connection, if the one who is dialled is there and can be heard.
fn reach(
    scene: &mut Scene,
    seats: &[Seat],
    from: (Slot, Run),
    to: &firn_wire::ids::WorkerId,
    purpose: Purpose,
) -> Option<ConnectionId> {
    let slot = slot_of(&to.name);
    let (here, there) = (Place::Machine(from.0), Place::Machine(slot));
    let is_open = scene.network.is_open(here, there) && scene.network.is_open(there, here);
    let is_there = matches!(&seats[slot], Seat::Running(worker) if worker.run == to.incarnation.0);
    let run = to.incarnation.0;
    (is_open && is_there).then(|| scene.network.connect(purpose, from, (slot, run)))
}

fn frame_arrives(scene: &mut Scene, worker: &mut Worker, id: ConnectionId, end: End) {
    let Some((_, _, purpose)) = scene.network.end(id, end) else { return };
    let other = match end {
        End::Dialler => End::Listener,
        End::Listener => End::Dialler,
    };
    let Some((slot, run, _)) = scene.network.end(id, other) else { return };
    if let Some(frame) = scene.network.arrives(id, end) {
        worker.arrives(scene, (id, end, purpose), (slot, run), frame);
    }
}

/// A map in one line.
fn shown(map: &MapIndex) -> String {
    let workers = map.workers.iter().map(|row| format!("{} {:?}", row.id(), row.state));
    let rows = map.partitions.iter().map(|row| {
        let primary = row.primary.as_ref().map_or("nobody".to_owned(), ToString::to_string);
        let isr: Vec<String> = row.isr.iter().map(ToString::to_string).collect();
        let wanted: Vec<String> = row.wanted.iter().map(ToString::to_string).collect();
        format!(
            "{} rev {} epoch {}{}: {primary} of {}; wanted {}",
            row.id,
            row.rev,
            row.epoch.0,
            if row.released { " released" } else { "" },
            isr.join(" "),
            wanted.join(" ")
        )
    });
    let all: Vec<String> = workers.chain(rows).collect();
    format!("MAP {}: {}", map.version, all.join(" | "))
}
