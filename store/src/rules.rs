//! The rules that keep copies from losing or inventing anything, by name: so that a simulation can take one out and see
//! what breaks.

/// A rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A copy takes no record of a reign older than the one it has promised itself to.
    OldReignRefused,
    /// What a copy has and its primary has not is undone before it follows.
    DivergenceUndone,
    /// A member that is being added counts for commits and leases from its proposal on.
    AddedMembersCount,
    /// A member that is being removed counts until its removal is known to have been applied.
    RemovedMembersCount,
    /// An acknowledgement counts only in the session, and for a partition only from where it joined.
    SessionsCount,
    /// A refusal ends what a copy's acknowledgements say of the partition.
    RefusalsCount,
    /// A write to an `ack: all` table is answered when it is committed.
    WritesWait,
    /// A read of a key with an uncommitted write is answered when that is committed.
    ReadsWait,
    /// A primary serves only under leases of all in-sync copies.
    LeaseNeeded,
    /// A lease counts from when its beacon was sent, not from when the answer came.
    LeaseFromSending,
    /// A copy does not seek to lead while a grant of its own may live.
    GrantKept,
    /// A copy does not support another primary while a grant of its own may live.
    SupportWaits,
    /// A grant does not cover partitions in which the granter has promised itself to a newer reign.
    PromisesExcepted,
    /// A new primary serves after the start of its reign is committed.
    StartCommitted,
    /// Nobody is added before the start of the reign is committed.
    AddAfterStart,
    /// A learner is added when it has everything.
    LearnerComplete,
    /// During a handover requests wait.
    HandoverParks,
    /// A handover is proposed when the target has everything.
    HandoverComplete,
    /// A proposal is settled only by a newer row.
    RowsSettle,
    /// A new primary's clock starts where the old one's can have been at most.
    ClockMovesOn,
    /// After a stall of its own a worker listens before it judges others.
    StallListens,
    /// A write to a table that is `always` on disk is committed when it is on the primary's.
    DiskAwaited,
    /// And when its copies have it on theirs.
    CopyDisksAwaited,
    /// What is on disk counts when the snapshots it follows on are there too.
    SnapshotsAwaited,
    /// What was before a renewal goes when all of it is on disk.
    RenewalsWhole,
    /// A copy that has undone records writes the partition anew.
    UndoneWrittenAnew,
    /// What is read of a partition ends with the first record that does not follow on.
    GapsEndReading,
    /// A snapshot without its end is not read.
    WholeSnapshotsRead,
    /// Where a table is `always` on disk a reign has started when its first record is on the disks.
    StartOnDisks,
    /// A copy is added when all of it is on its disk.
    AddedAreKept,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::OldReignRefused,
        Self::DivergenceUndone,
        Self::AddedMembersCount,
        Self::RemovedMembersCount,
        Self::SessionsCount,
        Self::RefusalsCount,
        Self::WritesWait,
        Self::ReadsWait,
        Self::LeaseNeeded,
        Self::LeaseFromSending,
        Self::GrantKept,
        Self::SupportWaits,
        Self::PromisesExcepted,
        Self::StartCommitted,
        Self::AddAfterStart,
        Self::LearnerComplete,
        Self::HandoverParks,
        Self::HandoverComplete,
        Self::RowsSettle,
        Self::ClockMovesOn,
        Self::StallListens,
        Self::DiskAwaited,
        Self::CopyDisksAwaited,
        Self::SnapshotsAwaited,
        Self::RenewalsWhole,
        Self::UndoneWrittenAnew,
        Self::GapsEndReading,
        Self::WholeSnapshotsRead,
        Self::StartOnDisks,
        Self::AddedAreKept,
    ];
}

/// The rules in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// All: the only ones that are safe.
    pub fn all() -> Self {
        Self(u32::MAX)
    }

    /// All but one: for a simulation that shows what the rule is for.
    pub fn without(rule: Rule) -> Self {
        Self(!(1 << rule as u32))
    }

    /// Whether a rule is in force.
    pub(crate) fn keep(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u32 != 0
    }
}
