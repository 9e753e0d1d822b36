//! One connection's side of the protocol: what is remembered between requests, and what handlers make of it.

use std::sync::Arc;

use firn_wire::command::{Command, KeyOp, Op};
use firn_wire::ids::{TableId, TableName};

use super::clients::{Client, Clients};
use super::form::Form;
use super::lookup::Commands;
use super::number::integer_or_refuse;
use super::parse::Parser;
use super::plan::Plan;
use super::queue::{Transaction, Watched};
use super::refusal::Refusal;
use super::words::Words;
use super::write::Dialect;
use crate::execute::Execute;

/// Which replies are sent (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replies {
    /// All.
    On,
    /// All but the next.
    SkipNext,
    /// None.
    Off,
}

/// Decides what to do for a request.
pub(super) type Handler =
    for<'a, 'r> fn(&mut Conversation, Words<'a, 'r>) -> Result<Plan<'a>, Refusal>;

/// The state of one connection.
pub(super) struct Conversation {
    pub(super) execute: Arc<dyn Execute>,
    /// The table that COMMAND, HELP and CLIENT LIST tell of.
    pub(super) commands: &'static Commands<Handler>,
    /// The connections of the process.
    pub(super) clients: Arc<Clients>,
    pub(super) client: Arc<Client>,
    pub(super) parser: Parser,
    pub(super) dialect: Dialect,
    /// The table of the database in use.
    pub(super) table: TableId,
    /// The number of the database in use.
    pub(super) database: u32,
    pub(super) replies: Replies,
    /// Whether the reply of the request at hand is kept back.
    pub(super) silent: bool,
    /// What MULTI has opened.
    pub(super) transaction: Option<Transaction>,
    pub(super) watched: Vec<Watched>,
}

impl Conversation {
    /// A connection at its start.
    pub(super) fn new(
        execute: Arc<dyn Execute>,
        commands: &'static Commands<Handler>,
        clients: Arc<Clients>,
        client: Client,
    ) -> Self {
        let client = clients.enter(client);
        Self {
            execute,
            commands,
            clients,
            client,
            parser: Parser::default(),
            dialect: Dialect::default(),
            table: TableId::DEFAULT,
            database: 0,
            replies: Replies::On,
            silent: false,
            transaction: None,
            watched: Vec::new(),
        }
    }

    /// Asks for one key of the database in use.
    pub(super) fn ask<'a>(&self, key: &'a [u8], op: Op<'a>, form: Form) -> Plan<'a> {
        Plan::Ask(Command::Key(KeyOp { table: self.table, key, op }), form)
    }

    /// Asks the same for many keys of the database in use.
    pub(super) fn ask_each<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
        op: Op<'a>,
        form: Form,
    ) -> Plan<'a> {
        let ops = keys.map(|key| KeyOp { table: self.table, key, op }).collect();
        Plan::Ask(Command::Many { guards: Vec::new(), ops }, form)
    }

    /// The table of a database the map in force knows.
    pub(super) fn database(&self, number: u32) -> Option<TableId> {
        self.execute.map().table(&database_name(number)).map(|row| row.id)
    }

    /// Changes to a database.
    pub(super) fn use_database(&mut self, number: u32, table: TableId) {
        (self.database, self.table) = (number, table);
        self.client.note_database(number);
    }

    /// Changes to a protocol.
    pub(super) fn speak(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        self.client.note_dialect(dialect);
    }
}

/// The table of a database.
pub(super) fn database_name(number: u32) -> TableName {
    let name = if number == 0 { "default".to_owned() } else { format!("db{number}") };
    name.parse().expect("lower case letters and digits are a table name")
}

/// The number of a database, which may not be there.
pub(super) fn database_number(text: &[u8]) -> Result<u32, Refusal> {
    let number = i32::try_from(integer_or_refuse(text)?).map_err(|_| {
        Refusal::new("ERR value is out of range, value must between -2147483648 and 2147483647")
    })?;
    u32::try_from(number).map_err(|_| Refusal::DATABASE)
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.clients.leave(self.client.id);
    }
}
