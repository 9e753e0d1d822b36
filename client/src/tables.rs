//! Tables by name, and changes of them, which the uplink does.

use std::sync::Arc;
use std::time::Duration;

use firn_wire::command::TableCommand;
use firn_wire::exchange::Sink;
use firn_wire::ids::{MapVersion, TableId, TableName};
use firn_wire::map::TablePolicy;
use firn_wire::registry::TableMade;
use firn_wire::reply::{Failure, Reply, ReplyBuf};
use tokio::time::timeout_at;

use crate::core::{Asker, Core};
use crate::local::Local;
use crate::submission::Submission;
use crate::uplink::UplinkError;

/// How long a name that the map does not have may hold up its request. With the uplink down the map decides.
const FIND_TIMEOUT: Duration = Duration::from_secs(1);

/// A change that outlives its submission.
enum Change {
    Create { name: TableName, first_byte: u8, policy: TablePolicy },
    Alter { name: TableName, patch: String },
    Drop { name: TableName },
}

impl Change {
    fn of(command: &TableCommand<'_>) -> Self {
        match command {
            TableCommand::Create { name, first_byte, policy } => Self::Create {
                name: (*name).clone(),
                first_byte: *first_byte,
                policy: policy.clone(),
            },
            TableCommand::Alter { name, patch } => {
                Self::Alter { name: (*name).clone(), patch: (*patch).to_owned() }
            }
            TableCommand::Drop { name } => Self::Drop { name: (*name).clone() },
        }
    }
}

impl<L: Local> Submission<'_, L> {
    pub(crate) fn change_table(
        &mut self,
        slot: usize,
        command: &TableCommand<'_>,
        sink: &mut dyn Sink,
    ) {
        let (core, asker, change) = (Arc::clone(self.core), self.asker(), Change::of(command));
        let ticket = self.everywhere(async move {
            let done = timeout_at(asker.deadline, core.change(asker, &change)).await;
            match done {
                Ok(Ok(reply)) => reply,
                Ok(Err(error)) => failure_of(&change, error).into(),
                Err(_) => Failure::NoUplink("no answer in time".into()).into(),
            }
        });
        sink.wait(slot, ticket);
    }
}

impl<L: Local> Core<L> {
    /// A table by name. When the map in force does not have it a newer one is asked for once.
    pub(crate) async fn find_table(&self, name: &TableName) -> Option<TableId> {
        let find = || self.maps.view().map.table(name).map(|row| row.id);
        if let Some(id) = find() {
            return Some(id);
        }
        match tokio::time::timeout(FIND_TIMEOUT, self.refresh.refresh(&self.maps)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::debug!("table {name} is looked up in the map at hand: {error}"),
            Err(_) => {
                log::debug!("table {name} is looked up in the map at hand: no answer in time")
            }
        }
        find()
    }

    async fn change(&self, asker: Asker, change: &Change) -> Result<ReplyBuf, UplinkError> {
        let uplink = self.refresh.uplink()?;
        let made = match change {
            Change::Create { name, first_byte, policy } => {
                uplink.put_table(name, *first_byte, policy).await?
            }
            Change::Alter { name, patch } => uplink.patch_table(name, patch).await?,
            Change::Drop { name } => {
                let was_there = uplink.delete_table(name).await?;
                self.refresh.refresh(&self.maps).await?;
                return Ok(ReplyBuf::new(&Reply::Done(was_there)));
            }
        };
        let TableMade { table, created, version } = made;
        self.catch_up(asker, version).await;
        Ok(ReplyBuf::new(&Reply::Table { id: table.id, created }))
    }

    /// Waits until the map in force has a version, so that whoever asked for a table finds it here.
    async fn catch_up(&self, asker: Asker, version: MapVersion) {
        let mut changes = self.maps.changes();
        for tries in 0.. {
            changes.mark_unchanged();
            if self.maps.version() >= version {
                return;
            }
            if let Err(error) = self.refresh.refresh(&self.maps).await {
                log::debug!("the map {version} is not here yet: {error}");
            }
            let is_here = self.maps.version() >= version;
            if is_here || !self.pause(&mut changes, tries, asker.deadline).await {
                return;
            }
        }
    }
}

fn failure_of(change: &Change, error: UplinkError) -> Failure<'static> {
    match (error, change) {
        (UplinkError::NoAnswer(why), _) => Failure::NoUplink(why.into()),
        (UplinkError::Denied(problem), _) => Failure::Denied(problem.detail.into()),
        (UplinkError::Absent(_), Change::Alter { .. }) => Failure::NoSuchTable,
        (UplinkError::Conflict(_), Change::Create { .. }) => Failure::TableExists,
        (
            UplinkError::Absent(problem)
            | UplinkError::Conflict(problem)
            | UplinkError::Refused(problem),
            _,
        ) => Failure::Invalid(problem.detail.into()),
    }
}
