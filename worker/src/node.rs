//! This worker as its listeners see it: the router over its shards, and the asks that peers have routed here.

use std::sync::Arc;

use firn_client::asked;
use firn_client::maps::Maps;
use firn_client::router::Router;
use firn_gateway::execute::{About, Answer, Boxed, Execute, ProcessKind};
use firn_wire::command::Command;
use firn_wire::exchange::{Session, Sink};
use firn_wire::ids::{TableId, TableName, WorkerName};
use firn_wire::map::MapIndex;
use firn_wire::message::{Ask, Head};

use crate::clock::Clock;
use crate::membership::Membership;
use crate::ready::Ready;
use crate::shards::Shards;

/// A worker's inside.
pub(crate) struct Node {
    pub(crate) name: WorkerName,
    pub(crate) router: Router<Arc<Shards>>,
    pub(crate) asked: Asked,
    pub(crate) ready: Arc<Ready>,
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
            not_ready: self.ready.missing(),
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
        asked::answer(&self.asked.shards, &self.asked.maps, head, asks, sink);
    }
}

/// What answers the asks of peers: the shards under the map in force.
pub(crate) struct Asked {
    pub(crate) shards: Arc<Shards>,
    pub(crate) maps: Arc<Maps>,
}
