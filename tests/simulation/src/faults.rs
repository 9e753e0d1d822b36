//! Faults: what is done to a world, and when it must not be.

use firn_wire::ids::MapVersion;

use crate::drive::Ending;
use crate::event::{Event, Mend, Slot};
use crate::network::Place;
use crate::scene::slot_of;
use crate::world::{Seat, World};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A connection breaks.
    Break,
    /// Nothing comes through from one machine to another for a while.
    CutOneWay,
    /// Nothing comes through between two machines for a while.
    CutBothWays,
    /// A machine reaches no other, for a while, but the uplink.
    Isolate,
    /// A machine does not reach the uplink, or is not reached by it, for a while.
    CutUplink,
    /// A process stands still for a while.
    Pause,
    /// A process ends, its memory is lost, and a new one starts after a while.
    Crash,
    /// The uplink ends, keeps what it has stored, and starts after a while.
    CrashUplink,
    /// The uplink ends, loses what it has stored, and starts after a while.
    LoseUplink,
    /// A machine's Unix clock is set.
    Jump,
    /// A worker is told to stop, and starts again after a while.
    Leave,
    /// A worker is added.
    Join,
    /// The power goes at a machine; a new process starts after a while, with what is left on its disk.
    PowerCut,
    /// All workers' processes end, perhaps the uplink's too, and new ones start after a while.
    KillAll,
    /// The power goes at all machines of workers, and perhaps the uplink ends too.
    PowerCutAll,
    /// A worker's next sync fails.
    FailSync,
}

impl Kind {
    /// Those that only worlds with disks have.
    pub const OF_DISKS: [Self; 4] =
        [Self::PowerCut, Self::KillAll, Self::PowerCutAll, Self::FailSync];

    /// All of them but those that only some seeds have (`scenario::UPLINK_LOST_FROM`, `scenario::DISKS_FROM`).
    pub const ALL: [Self; 11] = [
        Self::Break,
        Self::CutOneWay,
        Self::CutBothWays,
        Self::Isolate,
        Self::CutUplink,
        Self::Pause,
        Self::Crash,
        Self::CrashUplink,
        Self::Jump,
        Self::Leave,
        Self::Join,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Break => "broken connections",
            Self::CutOneWay => "one-way cuts",
            Self::CutBothWays => "cuts",
            Self::Isolate => "isolations",
            Self::CutUplink => "cuts from the uplink",
            Self::Pause => "pauses",
            Self::Crash => "crashes",
            Self::CrashUplink => "crashes of the uplink",
            Self::LoseUplink => "losses of the uplink",
            Self::Jump => "jumps of a clock",
            Self::Leave => "leaves",
            Self::Join => "joins",
            Self::PowerCut => "power cuts",
            Self::KillAll => "ends of all processes",
            Self::PowerCutAll => "power cuts everywhere",
            Self::FailSync => "failed syncs",
        }
    }
}

impl World {
    /// Something goes wrong, and something else later.
    pub(crate) fn fault(&mut self) {
        let gap_ms = self.scenario.fault_gap_ms.max(1);
        let next = self.scene.now.plus_ms(self.scene.random.between(1, gap_ms));
        self.scene.queue.put(next, Event::Fault);
        // A cluster with disks that has never had a map has nothing on them.
        let is_early = self.scenario.keeps.is_some() && self.uplink.map().is_none();
        if self.scenario.kinds.is_empty() || is_early {
            return;
        }
        let kind = *self.scene.random.pick(&self.scenario.kinds);
        if self.strike(kind) {
            self.scene.tally.fault(kind.name());
            let now = self.scene.now;
            self.scene.trace.note(now, &[40, kind as u64], || format!("FAULT {kind:?}"));
        }
    }

    /// Whether the fault could be done.
    fn strike(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::Break => self.strike_connection(),
            Kind::CutOneWay | Kind::CutBothWays => self.strike_way(kind == Kind::CutBothWays),
            Kind::Isolate => self.isolate(),
            Kind::CutUplink => self.cut_uplink(),
            Kind::Pause => self.pause(),
            Kind::Crash => self.crash_some(),
            Kind::CrashUplink => self.crash_uplink(),
            Kind::LoseUplink => self.lose_uplink(),
            Kind::Jump => self.jump(),
            Kind::Leave => self.leave(),
            Kind::Join => self.join(),
            Kind::PowerCut => self.cut_power(),
            Kind::KillAll => self.end_all(Ending::Kill),
            Kind::PowerCutAll => self.end_all(Ending::PowerCut),
            Kind::FailSync => self.fail_sync(),
        }
    }

    fn strike_connection(&mut self) -> bool {
        let alive = self.scene.network.alive();
        if alive.is_empty() {
            return false;
        }
        let id = *self.scene.random.pick(&alive);
        self.scene.network.break_off(&mut self.scene.queue, self.scene.now, id);
        true
    }

    pub(crate) fn mend_later(&mut self, mend: Mend) {
        let ms = self.scene.random.between(1, self.scenario.fault_ms.max(2));
        self.scene.queue.put(self.scene.now.plus_ms(ms), Event::Mend(mend));
    }

    fn cut(&mut self, from: Place, to: Place) {
        if from != to && self.scene.network.is_open(from, to) {
            self.scene.network.cut(from, to);
            self.mend_later(Mend::Open(from, to));
        }
    }

    pub(crate) fn some_slot(&mut self) -> Slot {
        self.scene.random.below(self.seats.len() as u64) as Slot
    }

    fn strike_way(&mut self, both: bool) -> bool {
        let (one, other) = (self.some_slot(), self.some_slot());
        let (one, other) = (Place::Machine(one), Place::Machine(other));
        self.cut(one, other);
        if both {
            self.cut(other, one);
        }
        one != other
    }

    fn isolate(&mut self) -> bool {
        let slot = self.some_slot();
        let with_uplink = self.scene.random.permille(500);
        let others = (0..self.seats.len()).map(Place::Machine);
        for other in others.chain(with_uplink.then_some(Place::Uplink)) {
            self.cut(Place::Machine(slot), other);
            self.cut(other, Place::Machine(slot));
        }
        true
    }

    fn cut_uplink(&mut self) -> bool {
        let slot = self.some_slot();
        let (machine, which) = (Place::Machine(slot), self.scene.random.below(3));
        if which != 0 {
            self.cut(machine, Place::Uplink);
        }
        if which != 1 {
            self.cut(Place::Uplink, machine);
        }
        true
    }

    fn pause(&mut self) -> bool {
        let slot = self.some_slot();
        let seat = std::mem::replace(&mut self.seats[slot], Seat::Empty);
        let Seat::Running(worker) = seat else {
            self.seats[slot] = seat;
            return false;
        };
        let run = worker.run;
        self.ghost.stops(run, self.scene.now);
        self.seats[slot] = Seat::Paused(worker, Vec::new());
        self.mend_later(Mend::Resume(slot, run));
        true
    }

    fn crash_some(&mut self) -> bool {
        let slot = self.some_slot();
        let is_there = !matches!(self.seats[slot], Seat::Empty);
        let may_go = self.scenario.loses || self.scenario.keeps.is_some();
        if !is_there || !may_go && self.is_needed(slot) {
            return false;
        }
        self.end(slot, Ending::Kill);
        self.mend_later(Mend::Start(slot));
        true
    }

    /// Whether some partition has, or by a proposal that is on its way may come to have, no living in-sync copy without
    /// the worker on a machine.
    fn is_needed(&self, victim: Slot) -> bool {
        let Some(map) = self.uplink.map() else { return true };
        if self.scenario.kinds.contains(&Kind::LoseUplink) && !self.all_know(map.version) {
            return true;
        }
        let lives = |id: &firn_wire::ids::WorkerId| {
            let slot = slot_of(&id.name);
            slot != victim && self.seats[slot].run() == Some(id.incarnation.0)
        };
        map.partitions.iter().any(|row| {
            let flying = self.scene.flying.iter().map(|flying| &flying.proposal);
            let flying = flying.filter(|p| p.partition == row.id && p.rev == row.rev);
            let mut outcomes = flying.map(|proposal| &proposal.isr).chain([&row.isr]);
            outcomes.any(|isr| !isr.iter().any(lives))
        })
    }

    pub(crate) fn crash_uplink(&mut self) -> bool {
        if !self.uplink.is_up() {
            return false;
        }
        self.uplink.crash();
        self.scene.uplink_is_up = false;
        self.mend_later(Mend::Uplink);
        true
    }

    /// Once all know the generation at hand: a later one is counted from what is known.
    fn lose_uplink(&mut self) -> bool {
        let Some(generation) = self.uplink.map().map(|map| map.version.generation) else {
            return false;
        };
        let first = MapVersion { generation, counter: 0 };
        if !self.uplink.is_up() || !self.all_know(first) {
            return false;
        }
        self.uplink.lose();
        self.ghost.uplink_lost();
        self.scene.uplink_is_up = false;
        self.mend_later(Mend::Uplink);
        true
    }

    /// Whether every worker has this map or a later one, and every row in it is sure: nobody takes with it what only it knows
    /// of a map that is lost.
    fn all_know(&self, version: MapVersion) -> bool {
        self.seats.iter().all(|seat| match seat {
            Seat::Running(worker) | Seat::Paused(worker, _) => {
                let known = worker.map().filter(|map| map.version >= version);
                known.is_some_and(|map| {
                    let mut rows = map.partitions.iter();
                    rows.all(|row| row.rev.generation == map.version.generation)
                })
            }
            Seat::Empty => true,
        })
    }

    fn jump(&mut self) -> bool {
        let slot = self.some_slot();
        let ms = self.scene.random.below(20_000) as i64 - 10_000;
        self.scene.machines[slot].jump(ms);
        true
    }

    fn leave(&mut self) -> bool {
        let slot = self.some_slot();
        match &mut self.seats[slot] {
            Seat::Running(worker) if worker.map().is_some() => {
                worker.leave();
                true
            }
            _ => false,
        }
    }

    fn join(&mut self) -> bool {
        let slots = 0..self.seats.len();
        let mut fresh = slots.filter(|slot| !self.was_started[*slot]);
        let Some(slot) = fresh.next() else { return false };
        self.start(slot);
        true
    }
}
