//! A partition with its place in the protocol: whom it follows or who follows it, what was promised, what is proposed.

use firn_wire::ids::{Epoch, MapVersion, PartitionId, TableId, WorkerId};
use firn_wire::map::PartitionRow;

use super::follower::Place;
use super::lead::Lead;
use super::partition::Partition;

/// What this worker is to a partition.
#[derive(Debug)]
pub(crate) enum Role<H> {
    /// It waits to be asked to follow.
    Idle,
    /// It leads.
    Lead(Box<Lead<H>>),
    /// It follows a primary over a connection.
    Copy(Source),
}

/// Where a copy's records come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// The primary, by its place among the peers.
    pub(crate) peer: usize,
    /// The connection in which it asked us to join.
    pub(crate) session: u64,
    /// Its reign.
    pub(crate) epoch: Epoch,
    /// Whether it has said where to go on.
    pub(crate) is_based: bool,
}

/// What a copy has bound itself to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promise {
    /// The newest reign it has heard of: it takes no record of an earlier one.
    pub(crate) epoch: Epoch,
    /// The newest row by which a primary has asked it to follow, and may count on it: an older row that does not name
    /// this worker does not take the partition from it.
    pub(crate) rev: MapVersion,
    /// Until then an earlier primary may hold a lease of ours, and nobody else is supported; lease clock, milliseconds.
    pub(crate) granted_until: u64,
    /// Earlier primaries, by their places among the peers: our grants to them do not cover the partition until they know
    /// the row.
    pub(crate) deposed: Vec<usize>,
}

/// A partition that is not here any more, while earlier primaries of it may still count on our grants.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    pub(crate) partition: PartitionId,
    /// The last row it was here by: who knows it counts on nothing of ours.
    pub(crate) rev: MapVersion,
    /// As in [`Promise`].
    pub(crate) deposed: Vec<usize>,
}

/// A change of the row that was proposed and is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outstanding {
    /// The row it assumes.
    pub(crate) rev: MapVersion,
    pub(crate) epoch: Epoch,
    pub(crate) primary: WorkerId,
    pub(crate) isr: Vec<WorkerId>,
    /// Whether a sending of it may still arrive.
    pub(crate) may_arrive: bool,
    /// Whether it is to be superseded by one that changes nothing.
    pub(crate) is_given_up: bool,
    /// Whether it is on its way now.
    pub(crate) is_sent: bool,
    /// When it may be sent (again), lease clock.
    pub(crate) again: u64,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Replica<H> {
    pub(crate) partition: Partition,
    /// The newest row seen.
    pub(crate) row: PartitionRow,
    /// Since when this worker goes by that row's primary, lease clock.
    pub(crate) since: u64,
    pub(crate) promise: Promise,
    pub(crate) role: Role<H>,
    pub(crate) proposal: Option<Outstanding>,
    /// Before then nothing is proposed, lease clock.
    pub(crate) quiet_until: u64,
    /// How far the copying of all entries has come; None: they are all there.
    pub(crate) incomplete: Option<Place>,
    /// Keys whose entries are newer than the last record, until that is `mended_until`.
    pub(crate) mended: Vec<(TableId, Box<[u8]>)>,
    pub(crate) mended_until: u64,
    /// Whether what is here was read from disk, and no map has said yet what it is.
    pub(crate) is_reloaded: bool,
    /// Whether its disk is to have it anew, once keys are mended.
    pub(crate) is_unwritten: bool,
    /// The last snapshot of it that its disk was to have; 0: none was needed.
    pub(crate) snapshot: u64,
    /// Until when its records are kept for a backup that reads it, lease clock; 0: none does.
    pub(crate) exported_until: u64,
}

impl<H> Replica<H> {
    pub(crate) fn new(row: PartitionRow, since: u64) -> Self {
        let promise = Promise { epoch: row.epoch, ..Promise::default() };
        Self {
            partition: Partition::new(row.id),
            row,
            since,
            promise,
            role: Role::Idle,
            proposal: None,
            quiet_until: 0,
            incomplete: None,
            mended: Vec::new(),
            mended_until: 0,
            is_reloaded: false,
            is_unwritten: false,
            snapshot: 0,
            exported_until: 0,
        }
    }

    pub(crate) fn lead(&self) -> Option<&Lead<H>> {
        match &self.role {
            Role::Lead(lead) => Some(lead),
            _ => None,
        }
    }

    pub(crate) fn lead_mut(&mut self) -> Option<&mut Lead<H>> {
        match &mut self.role {
            Role::Lead(lead) => Some(lead),
            _ => None,
        }
    }

    /// The reign it has promised itself to: the newest it has heard of, or the one it seeks.
    pub(crate) fn promised(&self) -> Epoch {
        let sought = self.proposal.as_ref().map_or(Epoch(0), |proposal| proposal.epoch);
        match self.role {
            Role::Lead(_) => self.promise.epoch,
            _ => self.promise.epoch.max(sought),
        }
    }

    /// Whether its records are kept in the log: someone has, or should have, a copy, or a backup reads it.
    pub(crate) fn is_logged(&self) -> bool {
        self.has_copies() || self.exported_until > 0
    }

    /// Whether someone has, or should have, a copy.
    pub(crate) fn has_copies(&self) -> bool {
        self.row.isr.len() > 1 || self.row.wanted.len() > 1 || self.has_followers()
    }

    pub(crate) fn has_followers(&self) -> bool {
        self.lead().is_some_and(|lead| !lead.followers.is_empty())
    }
}
