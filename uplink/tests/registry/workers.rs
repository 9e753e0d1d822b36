//! What workers do about the map, without the data.

use firn_uplink::registry::{Answer, Event};
use firn_wire::ids::{Epoch, WorkerId};
use firn_wire::map::{Map, WorkerRow, WorkerState};
use firn_wire::registry::{Proposal, Verdict};
use firn_wire::status::Roll;

use crate::world::World;

/// Every partition becomes what is wanted, as far as workers are up: lost primaries are taken over from, the wanted join,
/// the primary hands over to the first of them, the others are let go. Gives the number of proposals that took, none of
/// which may be refused.
pub(crate) fn move_all(world: &mut World) -> usize {
    let mut made = 0;
    loop {
        let map = world.registry.map();
        let places = 0..map.partitions.len();
        let proposals: Vec<Proposal> = places.filter_map(|place| next(map, place)).collect();
        if proposals.is_empty() {
            return made;
        }
        made += proposals.len();
        let answer = world.step(Event::Propose(proposals)).unwrap();
        let Answer::Verdicts(verdicts) = answer else { panic!("{answer:?}") };
        let applied = |verdict: &Verdict| matches!(verdict, Verdict::Applied(_));
        assert!(verdicts.iter().all(applied), "{verdicts:?}");
    }
}

/// The next proposal that brings a partition nearer to what is wanted; None: it is there, or has no copy.
fn next(map: &Map, place: usize) -> Option<Proposal> {
    let row = &map.partitions[place];
    let roll = Roll::of(map);
    let old = row.primary.clone()?;
    let live: Vec<WorkerId> = row.isr.iter().filter(|id| roll.lives(id)).cloned().collect();
    let up = map.workers.iter().filter(|row| row.state != WorkerState::Down);
    let up: Vec<WorkerId> = up.map(WorkerRow::id).collect();
    let wanted = row.wanted.iter().filter_map(|name| up.iter().find(|id| id.name == *name));
    let wanted: Vec<WorkerId> = wanted.cloned().collect();
    let reign_goes_on = |isr| (old.clone(), row.epoch.0, old.clone(), isr);
    let (by, epoch, primary, isr) = if !roll.lives(&old) {
        let by = live.first()?.clone();
        (by.clone(), row.epoch.0 + 1, by, live)
    } else if live.len() < row.isr.len() {
        reign_goes_on(live)
    } else if let Some(new) = wanted.iter().find(|id| !row.isr.contains(id)) {
        reign_goes_on(live.into_iter().chain([new.clone()]).collect())
    } else if wanted.first().is_some_and(|first| *first != old) {
        (old, row.epoch.0 + 1, wanted[0].clone(), live)
    } else {
        let kept: Vec<WorkerId> = live.into_iter().filter(|id| wanted.contains(id)).collect();
        if kept.is_empty() || kept == row.isr {
            return None;
        }
        reign_goes_on(kept)
    };
    Some(Proposal {
        by,
        partition: row.id,
        rev: row.rev,
        epoch: Epoch(epoch),
        primary,
        isr,
        kept: None,
    })
}

/// Partitions all of whose in-sync copies have restarted are claimed by all of them, twice: once everyone has, one wins.
pub(crate) fn claim_all(world: &mut World) {
    let most = world.registry.map().partitions.iter().map(|row| row.isr.len()).max();
    for member in (0..most.unwrap_or(0)).chain(0..most.unwrap_or(0)) {
        let claims = claims(world.registry.map(), member);
        if !claims.is_empty() {
            world.step(Event::Propose(claims)).unwrap();
        }
    }
}

/// Claims of the member at a place of each isr.
fn claims(map: &Map, member: usize) -> Vec<Proposal> {
    let roll = Roll::of(map);
    let led = map.partitions.iter().filter(|row| roll.copies(row) == 0);
    let claim = |row: &std::sync::Arc<firn_wire::map::PartitionRow>| {
        let name = &row.isr.get(member)?.name;
        let by = map.workers.iter().find(|worker| worker.name == *name)?.id();
        let (epoch, isr) = (Epoch(row.epoch.0 + 1), vec![by.clone()]);
        let (partition, rev, primary) = (row.id, row.rev, by.clone());
        Some(Proposal { partition, rev, epoch, primary, isr, by, kept: None })
    };
    led.filter_map(claim).collect()
}
