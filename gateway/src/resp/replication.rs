//! What clients of Redis ask about copies: WAIT, and the section of INFO.

use std::collections::BTreeSet;

use firn_wire::ids::TableId;
use firn_wire::map::{Ack, Map, MapIndex, WorkerRow};

use super::conversation::Conversation;
use super::number::{integer, integer_or_refuse};
use super::plan::Plan;
use super::refusal::Refusal;
use super::words::Words;
use super::write;

/// `WAIT copies timeout`: a write that was answered is on every copy that counts, so there is nothing to wait for.
pub(super) fn wait<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
) -> Result<Plan<'a>, Refusal> {
    integer_or_refuse(words.at(1))?;
    match integer(words.at(2)) {
        None => Err(Refusal::new("ERR timeout is not an integer or out of range")),
        Some(..0) => Err(Refusal::new("ERR timeout is negative")),
        Some(0..) => {
            let copies = other_copies(&conversation.execute.map(), conversation.table);
            Ok(Plan::written(|out| write::integer(out, copies)))
        }
    }
}

/// On how many copies beside the primary's an answered write of a table is at least; 0 where writes are not waited for.
fn other_copies(map: &MapIndex, table: TableId) -> usize {
    let Some(table) = map.table_by_id(table) else { return 0 };
    if table.policy.ack_or_default() == Ack::Primary {
        return 0;
    }
    let copies = map.group(table.group).map_or(1, |group| usize::from(group.copies));
    let rows = map.partitions.iter().filter(|row| row.id.group == table.group);
    let rows = rows.filter(|row| table.pinned.is_none_or(|number| row.id.number == number));
    let in_sync = rows.map(|row| row.isr.len()).min().unwrap_or(0);
    in_sync.min(copies).saturating_sub(1)
}

/// How many workers hold in-sync copies of what a worker leads.
pub(super) fn followers(map: &Map, name: &str) -> usize {
    let Some(me) = map.workers.iter().find(|row| row.name.to_string() == name).map(WorkerRow::id)
    else {
        return 0;
    };
    let led = map.partitions.iter().filter(|row| row.primary.as_ref() == Some(&me));
    led.flat_map(|row| &row.isr).filter(|member| **member != me).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fake;
    use firn_wire::map::GroupRule;
    use std::sync::Arc;

    /// Four workers lead by turns; each one's partitions are held by the next too, and partition 5 by itself only.
    fn two_copies(ack: Option<Ack>) -> MapIndex {
        let mut map = fake::map().map().clone();
        let workers: Vec<_> = map.workers.iter().map(WorkerRow::id).collect();
        for row in map.partitions.iter_mut().map(Arc::make_mut) {
            row.isr.push(workers[usize::from(row.id.number + 1) % 4].clone());
        }
        map.groups[0].copies = 2;
        map.tables[0].policy.ack = ack;
        MapIndex::new(map).unwrap()
    }

    fn one_short(map: &MapIndex) -> MapIndex {
        let mut map = map.map().clone();
        map.row_mut(5).isr.pop();
        MapIndex::new(map).unwrap()
    }

    #[test]
    fn the_copies_of_a_write_are_those_every_partition_has() {
        let copies = |map: &MapIndex| other_copies(map, TableId::DEFAULT);
        let all = two_copies(None);
        assert_eq!((copies(&fake::map()), copies(&all), copies(&one_short(&all))), (0, 1, 0));
        assert_eq!(copies(&two_copies(Some(Ack::Primary))), 0, "nobody waits for them");
        let mut pinned = one_short(&all).map().clone();
        (pinned.groups[0].rule, pinned.tables[0].pinned) = (GroupRule::NameRanges, Some(4));
        pinned.tables.truncate(1);
        assert_eq!(copies(&MapIndex::new(pinned).unwrap()), 1, "it has nothing in partition 5");
    }

    #[test]
    fn followers_hold_what_is_led() {
        let all = two_copies(None);
        assert_eq!((followers(&all, "w1"), followers(&all, "proxy")), (1, 0));
        assert_eq!(followers(&fake::map(), "w1"), 0);
    }
}
