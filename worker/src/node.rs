//! This worker as its listeners see it: the router over its shards, and the asks that peers have routed here.

use std::sync::Arc;

use firn_client::local::{Local as _, NotLed};
use firn_client::maps::Maps;
use firn_client::router::Router;
use firn_client::run_step;
use firn_gateway::execute::{About, Answer, Boxed, Execute, ProcessKind};
use firn_wire::command::{Command, Step};
use firn_wire::exchange::{Session, Sink};
use firn_wire::ids::{MapVersion, PartitionId, TableId, TableName, WorkerName};
use firn_wire::map::MapIndex;
use firn_wire::message::{Ask, Head};
use firn_wire::reply::{Failure, Reply};

use crate::clock::Clock;
use crate::membership::Membership;
use crate::shards::Shards;

/// A worker's inside.
pub(crate) struct Node {
    pub(crate) name: WorkerName,
    pub(crate) router: Router<Arc<Shards>>,
    pub(crate) asked: Asked,
    pub(crate) membership: Arc<Membership>,
    pub(crate) clock: Clock,
}

impl Execute for Node {
    fn submit(&self, session: &mut Session, commands: &[Command<'_>], sink: &mut dyn Sink) {
        self.router.submit(session, commands, sink);
    }

    fn map(&self) -> Arc<MapIndex> {
        self.asked.maps.load()
    }

    fn find_table<'a>(&'a self, name: &'a TableName) -> Boxed<'a, Option<TableId>> {
        Box::pin(self.router.find_table(name))
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn about(&self) -> About {
        let holdings = self.asked.shards.holdings();
        About {
            name: self.name.to_string(),
            kind: ProcessKind::Worker,
            not_ready: self.asked.not_ready(),
            uptime: self.clock.started().elapsed(),
            uplink_heard: self.membership.heard(),
            entries: holdings.entries,
            memory_bytes: holdings.bytes,
            shards: self.asked.shards.count(),
        }
    }
}

impl Answer for Node {
    fn answer(&self, head: &Head, asks: &[Ask<'_>], sink: &mut dyn Sink) {
        let map = self.asked.maps.load();
        for (slot, ask) in asks.iter().enumerate() {
            if map.version < head.map && !self.asked.knows(&map, ask) {
                sink.put(slot, Failure::NotHereYet(partition_of(ask)).into());
            } else {
                self.asked.answer(&map, ask, &mut |reply| sink.put(slot, reply));
            }
        }
    }
}

/// The partition a refusal of the ask names.
fn partition_of(ask: &Ask<'_>) -> PartitionId {
    match ask {
        Ask::Step(step) => step.partition,
        Ask::Wide(wide) => {
            PartitionId { group: wide.group, number: wide.partitions.first().copied().unwrap_or(0) }
        }
    }
}

/// What answers the asks of peers: the shards under the map in force.
pub(crate) struct Asked {
    pub(crate) shards: Arc<Shards>,
    pub(crate) maps: Arc<Maps>,
}

impl Asked {
    fn leads(&self, map: &MapIndex, partition: PartitionId) -> bool {
        map.partition(partition).is_some_and(|row| row.primary.as_ref() == self.shards.me())
    }

    /// Waits until the map is at least `version` and, unless there is none yet, this worker can serve by it.
    pub(crate) async fn serves(&self, version: MapVersion) {
        self.maps.reaches(version).await;
        let mut changes = self.maps.changes();
        while version != MapVersion::default() && self.not_ready().is_some() {
            changes.changed().await.expect("the map outlives its watchers");
        }
    }

    /// What this worker waits for before it can serve, in one sentence.
    fn not_ready(&self) -> Option<String> {
        let map = self.maps.load();
        if map.version == MapVersion::default() {
            return Some(
                "no map yet: the uplink waits for more workers, or does not answer".into(),
            );
        }
        let me = self.shards.me()?;
        let owed = map.partitions.iter().filter(|row| {
            let primary = row.primary.as_ref();
            primary.is_some_and(|id| id.name == me.name && id.incarnation != me.incarnation)
        });
        match owed.count() {
            0 => None,
            some => Some(format!("{some} partitions of an earlier run are still to be taken over")),
        }
    }

    /// Whether the map in force is enough to answer.
    fn knows(&self, map: &MapIndex, ask: &Ask<'_>) -> bool {
        let table = |id: TableId| map.table_by_id(id).is_some();
        match ask {
            Ask::Step(step) => {
                self.leads(map, step.partition) && step.ops.iter().all(|op| table(op.table))
            }
            Ask::Wide(wide) => table(wide.table),
        }
    }

    fn answer(&self, map: &MapIndex, ask: &Ask<'_>, answer: &mut dyn FnMut(Reply<'_>)) {
        match ask {
            Ask::Step(step) => self.answer_step(map, &step.as_step(), answer),
            Ask::Wide(wide) if map.table_by_id(wide.table).is_none() => {
                answer(Failure::NoSuchTable.into());
            }
            Ask::Wide(wide) => self.shards.wide(map, wide, answer),
        }
    }

    fn answer_step(&self, map: &MapIndex, step: &Step<'_, '_>, answer: &mut dyn FnMut(Reply<'_>)) {
        if step.ops.iter().any(|op| map.table_by_id(op.table).is_none()) {
            return answer(Failure::NoSuchTable.into());
        }
        match (run_step(&*self.shards, map, step), map.partition(step.partition)) {
            (Ok(reply), _) => answer(reply.view()),
            (Err(NotLed), Some(row)) => answer(Failure::Moved(row.clone()).into()),
            (Err(NotLed), None) => answer(Failure::NotHereYet(step.partition).into()),
        }
    }
}
