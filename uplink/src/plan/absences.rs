//! Who has a seat and is not to be counted on.

use std::collections::BTreeSet;

use firn_wire::ids::WorkerName;

/// What the plan must know of workers beyond their seats. Who is in neither set stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absences {
    /// Down for so long that others have their places until they are back.
    pub away: BTreeSet<WorkerName>,
    /// They were told to stop: their places are handed over, and wait for them.
    pub leaving: BTreeSet<WorkerName>,
}

impl Absences {
    /// Whether a worker is leaving.
    pub(super) fn leaves(&self, name: &WorkerName) -> bool {
        self.leaving.contains(name)
    }

    /// Whether somebody who has a seat stays.
    pub fn anybody_stays<'s>(&self, mut seated: impl Iterator<Item = &'s WorkerName>) -> bool {
        seated.any(|name| !self.away.contains(name) && !self.leaving.contains(name))
    }

    /// The seats with those of workers that are away vacant; all as they are when nobody else has one.
    pub(super) fn without_away<'s>(
        &self,
        seats: &[Option<&'s WorkerName>],
    ) -> Vec<Option<&'s WorkerName>> {
        let is_there =
            |seat: &Option<&'s WorkerName>| seat.filter(|name| !self.away.contains(*name));
        let there: Vec<_> = seats.iter().map(is_there).collect();
        if there.iter().any(Option::is_some) { there } else { seats.to_vec() }
    }
}
