//! How a batch of operations falls into steps. Pure.

use std::collections::HashMap;

use firn_wire::command::{Guard, KeyOp, Op};
use firn_wire::ids::PartitionId;
use firn_wire::limits::{KEY_BYTES_MAX, MANY_OPERATIONS_MAX};
use firn_wire::map::MapIndex;
use firn_wire::reply::Failure;

/// Checks an operation's keys.
pub(crate) fn check(op: &KeyOp<'_>) -> Result<(), Failure<'static>> {
    check_key(op.key)?;
    match op.op {
        Op::Copy { to, .. } => check_key(to),
        _ => Ok(()),
    }
}

fn check_key(key: &[u8]) -> Result<(), Failure<'static>> {
    match key.len() {
        0 => Err(Failure::KeyEmpty),
        1..=KEY_BYTES_MAX => Ok(()),
        _ => Err(Failure::KeyTooLong { limit: KEY_BYTES_MAX as u64 }),
    }
}

/// Whether it copies from one partition to another, which no step can.
pub(crate) fn crosses(map: &MapIndex, op: &KeyOp<'_>) -> bool {
    match op.op {
        Op::Copy { table, to, .. } => map.locate(op.table, op.key) != map.locate(table, to),
        _ => false,
    }
}

/// The operations of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) partition: PartitionId,
    /// Their places in the batch, ascending.
    pub(crate) places: Vec<usize>,
}

/// A batch, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// By partition, in the order of first appearance.
    pub(crate) shares: Vec<Share>,
    /// What is refused before it is sent anywhere.
    pub(crate) refused: Vec<(usize, Failure<'static>)>,
}

/// Takes a batch apart. An error concerns all of it.
pub(crate) fn plan(
    map: &MapIndex,
    guards: &[Guard<'_>],
    ops: &[KeyOp<'_>],
) -> Result<Plan, Failure<'static>> {
    if ops.len() > MANY_OPERATIONS_MAX {
        let text =
            format!("{} operations at once; at most {MANY_OPERATIONS_MAX} are possible", ops.len());
        return Err(Failure::TooMuch(text.into()));
    }
    let mut plan = Plan::default();
    let mut known = HashMap::new();
    for (place, op) in ops.iter().enumerate() {
        let located =
            check(op).and_then(|()| map.locate(op.table, op.key).ok_or(Failure::NoSuchTable));
        match located {
            Err(failure) => plan.refused.push((place, failure)),
            Ok(partition) => {
                let share = *known.entry(partition).or_insert(plan.shares.len());
                if share == plan.shares.len() {
                    plan.shares.push(Share { partition, places: Vec::new() });
                }
                plan.shares[share].places.push(place);
            }
        }
    }
    if !guards.is_empty() {
        check_guarded(map, guards, &plan)?;
    }
    Ok(plan)
}

/// With guards a batch is one step or nothing.
fn check_guarded(
    map: &MapIndex,
    guards: &[Guard<'_>],
    plan: &Plan,
) -> Result<(), Failure<'static>> {
    if let Some((_, failure)) = plan.refused.first() {
        return Err(failure.clone());
    }
    let mut partitions = plan.shares.iter().map(|share| share.partition).collect::<Vec<_>>();
    for guard in guards {
        check_key(guard.key)?;
        partitions.push(map.locate(guard.table, guard.key).ok_or(Failure::NoSuchTable)?);
    }
    let one = partitions.iter().all(|partition| *partition == partitions[0]);
    if one { Ok(()) } else { Err(Failure::CrossPartition) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use firn_wire::ids::{GroupId, TableId};

    fn get(key: &[u8]) -> KeyOp<'_> {
        KeyOp { table: TableId(0), key, op: Op::Get }
    }

    fn share(number: u16, places: &[usize]) -> Share {
        let partition = PartitionId { group: GroupId(0), number };
        Share { partition, places: places.to_vec() }
    }

    fn four() -> MapIndex {
        MapIndex::new(fixture::map(2, 4)).unwrap()
    }

    #[test]
    fn a_batch_falls_apart_in_the_order_of_first_appearance() {
        let long = [b'k'; KEY_BYTES_MAX + 1];
        let mut ops = [get(b"3"), get(b"1"), get(b""), get(b"7"), get(&long), get(b"5"), get(b"0")];
        ops[6].table = TableId(77);
        let plan = plan(&four(), &[], &ops).unwrap();
        assert_eq!(plan.shares, [share(3, &[0, 3]), share(1, &[1, 5])]);
        let limit = KEY_BYTES_MAX as u64;
        let refused =
            [(2, Failure::KeyEmpty), (4, Failure::KeyTooLong { limit }), (6, Failure::NoSuchTable)];
        assert_eq!(plan.refused, refused);
    }

    #[test]
    fn guards_bind_a_batch_to_one_partition() {
        let guard = |key| Guard { table: TableId(0), key, version: None };
        let planned = |guards: &[Guard<'_>], ops: &[KeyOp<'_>]| plan(&four(), guards, ops);
        assert!(planned(&[guard(b"2")], &[get(b"6"), get(b"2")]).is_ok());
        for (guards, ops) in
            [([guard(b"2")], [get(b"2"), get(b"3")]), ([guard(b"1")], [get(b"2"), get(b"6")])]
        {
            assert_eq!(planned(&guards, &ops), Err(Failure::CrossPartition));
        }
        assert_eq!(planned(&[guard(b"2")], &[get(b"")]), Err(Failure::KeyEmpty));
        assert_eq!(planned(&[guard(b"")], &[get(b"2")]), Err(Failure::KeyEmpty));
    }
}
