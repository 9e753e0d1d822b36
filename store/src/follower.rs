//! A copy as its primary sees it.

use firn_wire::ids::{MapVersion, TableId};

use super::copying::Slot;
use super::log::Position;
use super::peer::Peers;

/// How far a primary has come with one copy of one partition.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It is not asked, or has refused: it is asked from this time on (lease clock, milliseconds).
    Apart { again: u64 },
    /// It was asked to join and has not answered.
    Asked,
    /// It has said what it has, and waits to be told where to go on.
    Answered(At),
    /// It is sent records it has missed; those from `from` on come after these.
    Reading {
        /// What is still to be sent, the next one last.
        left: Vec<Position>,
        from: Position,
        /// What comes after the records: the entries, from there on.
        then: Option<Place>,
    },
    /// It is sent all entries, from `next` on, and records from `from` on.
    Copying { next: Place, from: Position, _slot: Slot },
    /// It is sent every record from `from` on, and has all before once it has acknowledged the batch of this number.
    Live { from: Position, batch: u64 },
}

/// A place among a partition's entries: a table, and the first hash not yet copied.
pub(crate) type Place = (TableId, u64);

/// What a copy has said.
#[derive(Debug, Clone)]
pub(crate) struct At {
    /// The last number both have; None: nothing is of use.
    pub(crate) sequence: Option<u64>,
    /// Keys it needs as they are now.
    pub(crate) divergent: Vec<u8>,
    /// How far an earlier copying came.
    pub(crate) resume: Option<Place>,
}

/// A copy of one partition, or one to be.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Its place among the shard's peers.
    pub(crate) peer: usize,
    /// Whether the map counts it as in sync.
    pub(crate) in_sync: bool,
    /// Whether it is being added: proposed, and not yet settled.
    pub(crate) adding: bool,
    /// It will be proposed once it has everything before this: until then commits and leases need it already.
    pub(crate) joining: Option<Position>,
    /// Whether it is being taken out: proposed, and not yet settled.
    pub(crate) removing: bool,
    /// Whether its grants do not cover this partition.
    pub(crate) excepted: bool,
    /// Whether it has said that it must be copied anew: it is not in sync, whatever the map says.
    pub(crate) broken: bool,
    /// The row by which it was last asked to follow: under a newer one a learner may have dropped what it had.
    pub(crate) asked_by: MapVersion,
    /// In which batch: an answer to one before is not the answer.
    pub(crate) asked_in: u64,
    /// Since when it is not live, lease clock.
    pub(crate) behind_since: Option<u64>,
    pub(crate) on_disk: OnDisk,
    pub(crate) stage: Stage,
}

/// Whether a copy that is live has all of it on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// Not known: it is to be asked.
    Unknown,
    /// It was asked.
    Asked,
    /// It has.
    Yes,
}

impl Follower {
    pub(crate) fn new(peer: usize, now: u64) -> Self {
        Self {
            peer,
            in_sync: false,
            adding: false,
            joining: None,
            removing: false,
            excepted: false,
            broken: false,
            asked_by: MapVersion::default(),
            asked_in: 0,
            behind_since: Some(now),
            on_disk: OnDisk::Unknown,
            stage: Stage::Apart { again: now },
        }
    }

    /// The position up to which it has all records of the partition; None: not known in this session.
    pub(crate) fn acked(&self, peers: &Peers) -> Option<Position> {
        let Stage::Live { from, batch } = self.stage else { return None };
        let link = peers[self.peer].link.as_ref()?;
        (link.answered >= batch).then_some(link.acked.max(from))
    }

    /// From which position on it is sent new records; None: not yet.
    pub(crate) fn takes_from(&self) -> Option<Position> {
        match self.stage {
            Stage::Live { from, .. } | Stage::Copying { from, .. } => Some(from),
            _ => None,
        }
    }

    pub(crate) fn enter(&mut self, stage: Stage, now: u64) {
        match stage {
            Stage::Live { .. } => self.behind_since = None,
            _ => {
                self.behind_since.get_or_insert(now);
            }
        }
        self.on_disk = OnDisk::Unknown;
        self.stage = stage;
    }
}
