//! Asks that peers have routed here: run on the shards of this process or refused, never passed on.

use std::sync::Arc;
use std::time::Duration;

use firn_wire::command::Step;
use firn_wire::exchange::Sink;
use firn_wire::ids::{PartitionId, TableId};
use firn_wire::map::MapIndex;
use firn_wire::message::{Ask, AskRef, Head, read_request, request};
use firn_wire::reply::{Failure, ReplyBuf};
use tokio::time::Instant;

use crate::core::{Ran, run_step};
use crate::gate::{Gate, Held, Withheld};
use crate::local::{Local, NotNow};
use crate::maps::Maps;

/// Runs asks in order; each slot of `sink` (the ask's index) gets its reply or a ticket. Never waits.
pub fn answer<L: Local + Clone>(
    local: &L,
    maps: &Arc<Maps>,
    head: &Head,
    asks: &[Ask<'_>],
    sink: &mut dyn Sink,
) {
    let map = maps.load();
    for (slot, ask) in asks.iter().enumerate() {
        let partition = partition_of(ask);
        if map.version < head.map && !knows(local, &map, ask) {
            sink.put(slot, Failure::NotHereYet(partition).into());
            continue;
        }
        match run(local, &map, ask) {
            Ok(Ran::Reply(reply)) => sink.put(slot, reply.view()),
            Ok(Ran::Held(held)) => {
                let bytes = held.reply.as_bytes().len();
                sink.hold(slot, bytes, Box::pin(shown(held, deadline(head), partition)));
            }
            Err(gate) if head.alone => {
                let (local, maps, request) = (local.clone(), Arc::clone(maps), to_bytes(head, ask));
                sink.wait(slot, Box::pin(settle(local, maps, gate, request, deadline(head))));
            }
            // What is behind it on its way must not overtake it: it comes again alone.
            Err(_) => sink.put(slot, Failure::NotHereYet(partition).into()),
        }
    }
}

fn deadline(head: &Head) -> Instant {
    Instant::now() + Duration::from_millis(u64::from(head.remaining_ms))
}

/// The partition a refusal of the ask names.
fn partition_of(ask: &Ask<'_>) -> PartitionId {
    match ask {
        Ask::Step(step) => step.partition,
        Ask::Wide(wide) => {
            let number = wide.partitions.first().copied().unwrap_or_default();
            PartitionId { group: wide.group, number }
        }
    }
}

/// An ask that outlives its message.
fn to_bytes(head: &Head, ask: &Ask<'_>) -> Vec<u8> {
    let mut bytes = request(head);
    match ask {
        Ask::Step(step) => AskRef::Step(step.as_step()).write(&mut bytes),
        Ask::Wide(wide) => AskRef::Wide(wide).write(&mut bytes),
    }
    bytes
}

/// The reply once it may be shown. One that never may be is refused if nothing was written: its router asks again.
async fn shown(held: Held, deadline: Instant, partition: PartitionId) -> ReplyBuf {
    match held.shown(deadline).await {
        Ok(reply) => reply,
        Err(Withheld::Unknown) => Failure::Unknown.into(),
        Err(Withheld::Again) => Failure::NotHereYet(partition).into(),
        Err(Withheld::Late) => {
            let text = format!("the copies of partition {partition} do not answer");
            Failure::Unavailable(text.into()).into()
        }
    }
}

/// Runs an ask as soon as it can be served here. `request`: as [`to_bytes`] writes it.
async fn settle<L: Local>(
    local: L,
    maps: Arc<Maps>,
    mut gate: Arc<Gate>,
    request: Vec<u8>,
    deadline: Instant,
) -> ReplyBuf {
    let (_, asks) = read_request(&request).expect("written by this process");
    let [ask] = &asks[..] else { unreachable!("one was written") };
    let partition = partition_of(ask);
    while gate.opened(deadline).await.is_some() {
        match run(&local, &maps.load(), ask) {
            Ok(Ran::Reply(reply)) => return reply,
            Ok(Ran::Held(held)) => return shown(held, deadline, partition).await,
            Err(next) => gate = next,
        }
    }
    let text = format!("partition {partition} is being handed over, or its copies do not answer");
    Failure::Unavailable(text.into()).into()
}

/// Whether the map in force is enough to answer.
fn knows<L: Local>(local: &L, map: &MapIndex, ask: &Ask<'_>) -> bool {
    let table = |id: TableId| map.table_by_id(id).is_some();
    match ask {
        Ask::Step(step) => {
            let row = map.partition(step.partition);
            let leads = row.is_some_and(|row| row.primary.as_ref() == local.me());
            leads && step.ops.iter().all(|op| table(op.table))
        }
        Ask::Wide(wide) => table(wide.table),
    }
}

/// Runs an ask, or refuses it. An error: it is led here, and another try is of use once the gate is open.
fn run<L: Local>(local: &L, map: &MapIndex, ask: &Ask<'_>) -> Result<Ran, Arc<Gate>> {
    match ask {
        Ask::Step(step) => step_of(local, map, &step.as_step()),
        Ask::Wide(wide) if map.table_by_id(wide.table).is_none() => {
            Ok(Ran::Reply(Failure::NoSuchTable.into()))
        }
        Ask::Wide(wide) => {
            let mut reply = None;
            let held = local.wide(map, wide, &mut |wide| reply = Some(ReplyBuf::new(&wide)));
            let answered = || Ran::Reply(reply.expect("what is not held is answered"));
            Ok(held.map_or_else(answered, Ran::Held))
        }
    }
}

fn step_of<L: Local>(local: &L, map: &MapIndex, step: &Step<'_, '_>) -> Result<Ran, Arc<Gate>> {
    if step.ops.iter().any(|op| map.table_by_id(op.table).is_none()) {
        return Ok(Ran::Reply(Failure::NoSuchTable.into()));
    }
    match run_step(local, map, step) {
        Ok(ran) => Ok(ran),
        Err(NotNow::Wait(gate)) => Err(gate),
        Err(NotNow::NotLed) => Ok(Ran::Reply(refusal(local, map, step.partition).into())),
    }
}

/// What is said of a partition that is not led here.
fn refusal<L: Local>(local: &L, map: &MapIndex, partition: PartitionId) -> Failure<'static> {
    match map.partition(partition) {
        // The map in force and the shards differ for a moment: a row that names this worker heals nothing.
        Some(row) if row.primary.as_ref() == local.me() => Failure::NotHereYet(partition),
        Some(row) => Failure::Moved(row.clone()),
        None => Failure::NotHereYet(partition),
    }
}
