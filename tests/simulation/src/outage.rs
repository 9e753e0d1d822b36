//! Faults of worlds with disks: power that goes, all processes at once, syncs that fail.

use crate::drive::Ending;
use crate::event::{Mend, Slot};
use crate::world::{Seat, World};

/// How often in a thousand all end when they could: they are long in coming back.
const ALL_PERMILLE: u64 = 400;

impl World {
    /// The power goes at one machine.
    pub(crate) fn cut_power(&mut self) -> bool {
        let slot = self.some_slot();
        self.end_for_a_while(slot, Ending::PowerCut)
    }

    /// All workers end, and perhaps the uplink.
    pub(crate) fn end_all(&mut self, ending: Ending) -> bool {
        if !self.scene.random.permille(ALL_PERMILLE) {
            return false;
        }
        for slot in 0..self.seats.len() {
            self.end_for_a_while(slot, ending);
        }
        if self.scene.random.permille(500) {
            self.crash_uplink();
        }
        true
    }

    fn end_for_a_while(&mut self, slot: Slot, ending: Ending) -> bool {
        if matches!(self.seats[slot], Seat::Empty) {
            return false;
        }
        self.end(slot, ending);
        self.mend_later(Mend::Start(slot));
        true
    }

    /// The next sync of a worker fails.
    pub(crate) fn fail_sync(&mut self) -> bool {
        let slot = self.some_slot();
        match &mut self.seats[slot] {
            Seat::Running(worker) => worker.fail_sync(),
            Seat::Empty | Seat::Paused(..) => false,
        }
    }
}
