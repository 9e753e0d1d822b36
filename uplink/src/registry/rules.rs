//! The rules of proposals: what a worker may do to a partition's row. Each one's reason is what would break without it.

use firn_wire::ids::Epoch;
use firn_wire::map::{Map, PartitionRow, WorkerRow, WorkerState};
use firn_wire::registry::Proposal;

use crate::settings::COPIES_MAX;

/// Members one isr may have: those who hold a partition and those who are to, while all of them change.
pub(super) const ISR_MAX: usize = 4 * COPIES_MAX as usize;

/// What a proposal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// The primary says who is in sync.
    Members,
    /// The row stays and gets a new rev: whatever else assumed the old one is settled.
    Nothing,
    /// The primary gives the partition to an in-sync copy.
    Handover,
    /// An in-sync copy takes it over from a primary that is silent.
    Failover,
    /// A worker takes it up after all who were in sync have restarted; [`super::claims`] says which of them.
    Claim,
}

/// What a proposal would do to its row, or which rule it breaks.
pub(super) fn judge(map: &Map, row: &PartitionRow, proposal: &Proposal) -> Result<Deed, String> {
    check_basis(map, row, proposal)?;
    let by_primary = row.primary.as_ref() == Some(&proposal.by);
    if proposal.epoch == row.epoch {
        return check_reign_goes_on(map, row, proposal, by_primary);
    }
    if proposal.epoch.0 != row.epoch.0 + 1 || proposal.epoch > Epoch::MAX {
        return Err(format!(
            "the row is in epoch {}; a new primary begins the next one, not {}",
            row.epoch.0, proposal.epoch.0
        ));
    }
    if row.primary.as_ref() == Some(&proposal.primary) {
        return Err(format!("{} is the primary; the next epoch is for another", proposal.primary));
    }
    match () {
        () if by_primary => check_handover(map, row, proposal),
        () if row.has_in_sync(&proposal.by) => check_failover(row, proposal),
        () => check_claim(map, row, proposal),
    }
}

fn worker<'m>(map: &'m Map, name: &firn_wire::ids::WorkerName) -> Option<&'m WorkerRow> {
    let place = map.workers.binary_search_by(|row| row.name.cmp(name)).ok()?;
    Some(&map.workers[place])
}

fn is_registered(map: &Map, id: &firn_wire::ids::WorkerId) -> bool {
    worker(map, &id.name).is_some_and(|row| row.incarnation == id.incarnation)
}

/// What holds for every proposal: it comes from a living run of a worker and knows the row it changes.
fn check_basis(map: &Map, row: &PartitionRow, proposal: &Proposal) -> Result<(), String> {
    let by = &proposal.by;
    match worker(map, &by.name) {
        None => return Err(format!("{by} is not registered")),
        Some(worker) if worker.incarnation != by.incarnation => {
            return Err(format!("{} is registered, not {by}", worker.id()));
        }
        Some(worker) if worker.state == WorkerState::Down => {
            return Err(format!("{by} is down; it must beat first"));
        }
        Some(_) => {}
    }
    if proposal.rev != row.rev {
        return Err(format!("the row is at {} and not at {}", row.rev, proposal.rev));
    }
    if !proposal.isr.contains(&proposal.primary) {
        return Err(format!("the primary {} is not in the isr", proposal.primary));
    }
    if proposal.kept.is_some_and(|kept| kept.epoch > Epoch::MAX) {
        return Err(format!("nobody can have kept an epoch after {}", Epoch::MAX.0));
    }
    if proposal.isr.len() > ISR_MAX {
        return Err(format!("the isr has {} members, more than {ISR_MAX}", proposal.isr.len()));
    }
    for (place, member) in proposal.isr.iter().enumerate() {
        if proposal.isr[..place].iter().any(|other| other.name == member.name) {
            return Err(format!("{} is in the isr twice", member.name));
        }
    }
    Ok(())
}

/// Within a reign only its primary says who is in sync: it alone knows what was acknowledged to whom.
fn check_reign_goes_on(
    map: &Map,
    row: &PartitionRow,
    proposal: &Proposal,
    by_primary: bool,
) -> Result<Deed, String> {
    if row.primary.as_ref() != Some(&proposal.primary) {
        return Err(format!("the primary changes with the epoch, which is still {}", row.epoch.0));
    }
    if proposal.isr == row.isr {
        return Ok(Deed::Nothing);
    }
    if !by_primary {
        return Err(format!("only the primary {} says who is in sync", proposal.primary));
    }
    let mut added = proposal.isr.iter().filter(|member| !row.has_in_sync(member));
    match added.find(|member| !is_registered(map, member)) {
        Some(member) => Err(format!("{member} is not registered and cannot be in sync")),
        None => Ok(Deed::Members),
    }
}

/// Only who has every acknowledged write may lead, and nobody becomes in sync by the way.
fn check_successors(row: &PartitionRow, proposal: &Proposal) -> Result<(), String> {
    match proposal.isr.iter().find(|member| !row.has_in_sync(member)) {
        Some(member) => Err(format!("{member} is not in sync with this partition")),
        None => Ok(()),
    }
}

fn check_handover(map: &Map, row: &PartitionRow, proposal: &Proposal) -> Result<Deed, String> {
    check_successors(row, proposal)?;
    let next = &proposal.primary;
    let lives = worker(map, &next.name).is_some_and(|row| row.state != WorkerState::Down);
    if !lives || !is_registered(map, next) {
        return Err(format!("{next} does not beat and cannot lead"));
    }
    Ok(Deed::Handover)
}

/// Who was promised nothing takes over for itself alone, and leaves the old primary out, which may not know of it yet.
fn check_failover(row: &PartitionRow, proposal: &Proposal) -> Result<Deed, String> {
    if proposal.primary != proposal.by {
        return Err(format!("{} may take over itself, not give to another", proposal.by));
    }
    check_successors(row, proposal)?;
    match proposal.isr.iter().find(|member| row.primary.as_ref() == Some(member)) {
        Some(old) => Err(format!("{old} is taken over from and leaves the isr")),
        None => Ok(Deed::Failover),
    }
}

/// When every one of the last in-sync replicas has registered anew, no lease of theirs lives, and one of them may lead on.
fn check_claim(map: &Map, row: &PartitionRow, proposal: &Proposal) -> Result<Deed, String> {
    let by = &proposal.by;
    if !row.isr.iter().any(|member| member.name == by.name) {
        return Err(format!("{} was not in sync with this partition", by.name));
    }
    if proposal.primary != *by || proposal.isr != [by.clone()] {
        return Err(format!("a claim makes {by} the primary and the whole isr"));
    }
    let may_live = row.isr.iter().find(|member| {
        worker(map, &member.name).is_none_or(|now| now.incarnation == member.incarnation)
    });
    match may_live {
        Some(member) => Err(format!("{member} has not restarted and may still lead")),
        None => Ok(Deed::Claim),
    }
}
