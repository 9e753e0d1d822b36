//! Asking the cluster on behalf of one command.

use firn_gateway::execute::{Execute, run_one};
use firn_gateway::http::batch;
use firn_wire::command::{Command, KeyOp, Op};
use firn_wire::exchange::{Role, Session};
use firn_wire::ids::{TableId, TableName};
use firn_wire::reply::{Reply, ReplyBuf};

use crate::exit::{Exit, Problem};

/// The cluster, for one table and one session.
pub(crate) struct Store<'e> {
    /// Who answers.
    pub(crate) execute: &'e dyn Execute,
    /// The table commands are about.
    pub(crate) table: TableName,
    session: Session,
}

impl<'e> Store<'e> {
    /// A session of its own.
    pub(crate) fn new(
        execute: &'e dyn Execute,
        table: TableName,
        timeout: std::time::Duration,
    ) -> Self {
        let session = Session { timeout, ..Session::new(1, Role::Admin) };
        Self { execute, table, session }
    }

    /// The table's id.
    pub(crate) async fn table_id(&self) -> Result<TableId, Problem> {
        if let Some(table) = self.execute.map().table(&self.table) {
            return Ok(table.id);
        }
        self.execute.find_table(&self.table).await.ok_or_else(|| no_table(&self.table))
    }

    /// Runs a command and waits for its reply; a failure is a problem.
    pub(crate) async fn ask(&mut self, command: Command<'_>) -> Result<ReplyBuf, Problem> {
        let reply = run_one(self.execute, &mut self.session, command).await;
        if let Reply::Failed(failure) = reply.view() {
            return Err(failure.into());
        }
        Ok(reply)
    }

    /// Runs lines as `POST /v1/batch` does; lines that name no table are about this one.
    pub(crate) async fn batch(&mut self, lines: &[Vec<u8>]) -> Vec<u8> {
        let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
        batch::answer(self.execute, &mut self.session, self.table.as_str(), &lines).await
    }

    /// Runs an operation on a key of the table.
    pub(crate) async fn key(&mut self, key: &[u8], op: Op<'_>) -> Result<ReplyBuf, Problem> {
        let table = self.table_id().await?;
        self.ask(Command::Key(KeyOp { table, key, op })).await
    }
}

/// No such table.
pub(crate) fn no_table(name: &TableName) -> Problem {
    let advice = format!("`firn tables create {name}` makes it");
    Problem::new(Exit::NotThere, format_args!("there is no table {name}; {advice}"))
}

/// A reply that no request of this kind has.
pub(crate) fn odd(reply: &Reply<'_>) -> Problem {
    Problem::new(
        Exit::Refused,
        format_args!("the answer makes no sense ({reply:?}); are all parts of one version?"),
    )
}
