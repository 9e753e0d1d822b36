//! The router: commands in, each to where its data is, replies out.

use std::sync::Arc;

use firn_wire::command::{Command, Export};
use firn_wire::exchange::{Session, Sink};
use firn_wire::ids::{TableId, TableName};
use firn_wire::map::MapIndex;
use firn_wire::reply::ReplyBuf;
use tokio::time::Instant;

use crate::core::{Asker, Core};
use crate::links::Links;
use crate::local::Local;
use crate::maps::Maps;
use crate::refresh::Refresh;
use crate::submission::Submission;
use crate::uplink::Uplink;

/// Routes commands by the map: to the shards of this process, or over links to peers. Cheap to clone.
///
/// Invariants:
/// - Requests of one session for one partition are applied in their order, also when they are tried again.
/// - What may have been applied is never sent again, unless doing it twice is the same as once.
/// - A single operation that is served at hand costs no allocation, no task and no lock of the router's.
pub struct Router<L> {
    core: Arc<Core<L>>,
}

impl<L> Clone for Router<L> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<L: Local> Router<L> {
    /// Puts a router together. Without an uplink tables cannot be changed and `maps` is as new as others make it.
    pub fn new(local: L, maps: Arc<Maps>, links: Links, uplink: Option<Arc<Uplink>>) -> Self {
        let refresh = Refresh::new(uplink);
        Self { core: Arc::new(Core { local, maps, links, refresh }) }
    }

    /// The shards of this process.
    pub fn local(&self) -> &L {
        &self.core.local
    }

    /// The map in force and its changes.
    pub fn maps(&self) -> &Arc<Maps> {
        &self.core.maps
    }

    /// The map in force.
    pub fn map(&self) -> Arc<MapIndex> {
        self.core.maps.load()
    }

    /// Runs commands in order; each slot of `sink` gets its reply or a ticket before this returns. Never waits. Tickets
    /// must be polled in the order of their slots.
    pub fn submit(&self, session: &mut Session, commands: &[Command<'_>], sink: &mut dyn Sink) {
        let view = self.core.maps.view();
        let mut submission = Submission::new(&self.core, &view, session);
        for (slot, command) in commands.iter().enumerate() {
            submission.take(slot, command, sink);
        }
        submission.finish();
    }

    /// A table by name. When the map in force does not have it the uplink is asked once; many who ask at once are one
    /// question. With the uplink down the map decides.
    pub async fn find_table(&self, name: &TableName) -> Option<TableId> {
        self.core.find_table(name).await
    }

    /// The next part of a partition, for a backup: `Export`, `Nil` where it must begin anew, or a failure.
    pub async fn export(
        &self,
        session: &Session,
        table: TableId,
        number: u16,
        export: Export,
    ) -> ReplyBuf {
        let deadline = Instant::now() + session.timeout;
        let asker = Asker { stream: session.id, lane: session.lane, role: session.role, deadline };
        self.core.export(asker, table, number, export).await.unwrap_or_else(|failed| failed)
    }

    /// Makes sure that the map in force has every change made before the call; false when the uplink does not answer.
    pub async fn refresh(&self) -> bool {
        self.core.refresh.refresh(&self.core.maps).await.is_ok()
    }
}
