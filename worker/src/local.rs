//! The shards as the router has them at hand.

use std::sync::Arc;

use firn_client::gate::{Gate, Held};
use firn_client::local::{Local, NotNow, Stepped};
use firn_client::whole_reply;
use firn_store::scan::Page;
use firn_store::shard::{Await, Refused};
use firn_store::time::Now;
use firn_wire::command::{Cursor, Export, Scan, Step, Wide, WideOp};
use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::map::MapIndex;
use firn_wire::reply::{Part, Reply, ReplyBuf, encode};

use crate::shards::{Shard, Shards};

impl Local for Shards {
    fn me(&self) -> Option<&WorkerId> {
        Some(Shards::me(self))
    }

    fn step(
        &self,
        map: &MapIndex,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Result<Stepped, NotNow> {
        self.turn_of(step.partition, |shard, now| {
            let stepped = match shard.may_hold(step) {
                true => step_held(shard, now, map, step, answer),
                false => shard.step(now, map, step, answer).map(|ran| {
                    assert_eq!(ran.until, None, "a reply that may be held is kept");
                    Stepped::Answered
                }),
            };
            stepped.map_err(|refused| match refused {
                Refused::NotLed => NotNow::NotLed,
                Refused::Wait => NotNow::Wait(park(shard, step.partition)),
            })
        })
    }

    fn wide(
        &self,
        map: &MapIndex,
        wide: &Wide<'_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held> {
        let table = wide.table;
        match &wide.op {
            WideOp::Count => {
                let count = |shard: &mut Shard, now, at| shard.count(now, at, table);
                let (sum, total) = self.sum(wide, count);
                sum.end(&Reply::Count(total), false, answer)
            }
            WideOp::Flush => {
                let flush = |shard: &mut Shard, now, at| shard.flush(now, map, at, table);
                let (sum, total) = self.sum(wide, flush);
                sum.end(&Reply::Count(total), true, answer)
            }
            WideOp::Scan(scan) => self.scan(wide, scan, answer),
            WideOp::Export(export) => self.export(wide, *export, answer),
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock().now_ms()
    }
}

/// Runs a step whose replies may have to be held, so they are kept until that is known.
fn step_held(
    shard: &mut Shard,
    now: Now,
    map: &MapIndex,
    step: &Step<'_, '_>,
    answer: &mut dyn FnMut(Reply<'_>),
) -> Result<Stepped, Refused> {
    let mut replies = Vec::with_capacity(step.ops.len());
    let ran = shard.step(now, map, step, &mut |reply| replies.push(ReplyBuf::new(&reply)))?;
    let Some(until) = ran.until else {
        replies.iter().for_each(|reply| answer(reply.view()));
        return Ok(Stepped::Answered);
    };
    let gates = vec![hold(shard, step.partition, until)];
    Ok(Stepped::Held(Held { gates, reply: whole_reply(replies), wrote: ran.wrote }))
}

/// A gate that opens when something is committed, or cannot be any more.
fn hold(shard: &mut Shard, partition: PartitionId, until: Await) -> Arc<Gate> {
    let gate = Gate::new();
    shard.hold(partition, until, Arc::clone(&gate));
    gate
}

/// A gate that opens when a partition can be served again, or is led elsewhere.
fn park(shard: &mut Shard, partition: PartitionId) -> Arc<Gate> {
    let gate = Gate::new();
    shard.park(partition, Arc::clone(&gate));
    gate
}

/// What partitions say to a wide request, one after the other.
#[derive(Default)]
struct Answers {
    /// Partitions that cannot be served here now.
    refused: Vec<u16>,
    gates: Vec<Arc<Gate>>,
}

impl Answers {
    /// Takes what a partition gave; None: it is refused.
    fn take<T>(
        &mut self,
        shard: &mut Shard,
        partition: PartitionId,
        given: Result<(T, Option<Await>), Refused>,
    ) -> Option<T> {
        let Ok((some, until)) = given else {
            self.refused.push(partition.number);
            return None;
        };
        self.gates.extend(until.map(|until| hold(shard, partition, until)));
        Some(some)
    }

    /// Gives the reply at once, or holds it.
    fn end(
        self,
        reply: &Reply<'_>,
        wrote: bool,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held> {
        let mut bytes = Vec::new();
        encode(reply, &mut bytes);
        let reply = Reply::Wide { refused: self.refused, reply: Part::new(&bytes) };
        if self.gates.is_empty() {
            answer(reply);
            return None;
        }
        Some(Held { gates: self.gates, reply: ReplyBuf::new(&reply), wrote })
    }
}

impl Shards {
    /// Adds up a number over those of some partitions that can be served here.
    fn sum(
        &self,
        wide: &Wide<'_>,
        each: impl Fn(&mut Shard, Now, PartitionId) -> Result<(u64, Option<Await>), Refused>,
    ) -> (Answers, u64) {
        let (mut answers, mut total) = (Answers::default(), 0);
        for number in &wide.partitions {
            let partition = PartitionId { group: wide.group, number: *number };
            total += self.turn_of(partition, |shard, now| {
                let given = each(shard, now, partition);
                answers.take(shard, partition, given).unwrap_or(0)
            });
        }
        (answers, total)
    }

    fn scan(
        &self,
        wide: &Wide<'_>,
        scan: &Scan<'_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held> {
        let (mut page, mut answers, mut next) = (Page::new(scan), Answers::default(), None);
        for number in wide.partitions.iter().filter(|number| **number >= scan.from.partition) {
            let from = if *number == scan.from.partition { scan.from.position } else { 0 };
            let partition = PartitionId { group: wide.group, number: *number };
            let stopped = if page.is_full() {
                Some(from)
            } else {
                self.turn_of(partition, |shard, now| {
                    let given = shard.scan(now, (partition, wide.table), from, &mut page);
                    answers.take(shard, partition, given).unwrap_or(Some(from))
                })
            };
            if let Some(position) = stopped {
                next = Some(Cursor { partition: *number, position });
                break;
            }
        }
        answers.end(&page.reply(next), false, answer)
    }

    /// The next part of the first partition; any other is refused, since a part is of one.
    fn export(
        &self,
        wide: &Wide<'_>,
        export: Export,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held> {
        let mut answers = Answers::default();
        let mut numbers = wide.partitions.iter();
        let taken = numbers.next().and_then(|number| {
            let partition = PartitionId { group: wide.group, number: *number };
            self.turn_of(partition, |shard, now| {
                let given = shard.export(now, (partition, wide.table), export);
                answers.take(shard, partition, given).flatten()
            })
        });
        answers.refused.extend(numbers);
        let reply = taken.as_ref().map_or(Reply::Nil, |part| Reply::Export(part.reply()));
        answers.end(&reply, false, answer)
    }
}
