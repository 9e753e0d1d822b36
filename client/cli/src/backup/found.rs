//! The tables of a cluster that a backup is restored into.

use firn_gateway::execute::Execute as _;
use firn_wire::command::{Command, TableCommand};
use firn_wire::ids::{TableId, TableName};
use firn_wire::reply::Reply;

use super::survey::Table;
use crate::cluster::Cluster;
use crate::exit::{Exit, Problem};
use crate::options::Global;
use crate::store::{Store, odd};

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Those of the backup, each with the one in the cluster.
    pairs: Vec<Pair>,
    /// Names of those that were made now.
    pub(crate) created: Vec<String>,
    /// Names of those that were there.
    pub(crate) kept: Vec<String>,
}

#[derive(Debug)]
struct Pair {
    name: TableName,
    in_backup: TableId,
    here: TableId,
}

impl Found {
    /// Finds those that are there.
    pub(crate) async fn look(cluster: &Cluster, tables: &[&Table]) -> Self {
        let mut found = Self::default();
        for table in tables {
            if let Some(here) = cluster.find_table(&table.name).await {
                found.kept.push(table.name.to_string());
                found.add(table, here);
            }
        }
        found
    }

    fn add(&mut self, table: &Table, here: TableId) {
        self.pairs.push(Pair { name: table.name.clone(), in_backup: table.id, here });
    }

    /// Makes those that are not.
    pub(crate) async fn make_missing(
        &mut self,
        cluster: &Cluster,
        tables: &[&Table],
        global: &Global,
    ) -> Result<(), Problem> {
        for table in tables {
            if self.id(table.id).is_none() {
                let here = create(cluster, table, global).await?;
                self.created.push(table.name.to_string());
                self.add(table, here);
            }
        }
        Ok(())
    }

    /// The table of the cluster for one of the backup; None: it is not to be restored.
    pub(crate) fn id(&self, table: TableId) -> Option<TableId> {
        self.pairs.iter().find(|pair| pair.in_backup == table).map(|pair| pair.here)
    }

    /// All tables of the cluster that are restored into, by name.
    pub(crate) fn tables(&self) -> Vec<(TableName, TableId)> {
        let mut all: Vec<_> = self.pairs.iter().map(|it| (it.name.clone(), it.here)).collect();
        all.sort_unstable();
        all
    }

    /// Those that hold entries.
    pub(crate) async fn full(
        &self,
        cluster: &Cluster,
        global: &Global,
    ) -> Result<Vec<(TableName, TableId)>, Problem> {
        let mut full = Vec::new();
        for (name, table) in self.tables() {
            match store(cluster, global).ask(Command::Count { table }).await?.view() {
                Reply::Count(0) => {}
                Reply::Count(_) => full.push((name, table)),
                other => return Err(odd(&other)),
            }
        }
        Ok(full)
    }
}

/// Empties tables.
pub(crate) async fn empty(
    cluster: &Cluster,
    full: Vec<(TableName, TableId)>,
    global: &Global,
) -> Result<(), Problem> {
    let tables = full.into_iter().map(|(_, table)| table).collect();
    store(cluster, global).ask(Command::Flush { tables }).await.map(drop)
}

/// A session of its own; the commands name their tables by id.
fn store<'c>(cluster: &'c Cluster, global: &Global) -> Store<'c> {
    Store::new(cluster, global.scope.table(), global.timeout)
}

async fn create(cluster: &Cluster, table: &Table, global: &Global) -> Result<TableId, Problem> {
    let (name, first_byte, policy) = (&table.name, table.first_byte, table.policy.clone());
    let create = TableCommand::Create { name, first_byte, policy };
    match store(cluster, global).ask(Command::Table(create)).await?.view() {
        Reply::Table { id, .. } => Ok(id),
        other => Err(odd(&other)),
    }
}

/// Tables hold entries and may not be emptied.
pub(crate) fn not_empty(full: &[(TableName, TableId)]) -> Problem {
    let names = full.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let message = format!(
        "tables that are to be restored hold entries: {names}; empty them first with --replace, or \
         choose tables with --table"
    );
    Problem::new(Exit::Refused, message)
}
