//! One connection's side of the protocol: from words to plans, and what is remembered between requests.

use std::borrow::Cow;
use std::sync::Arc;

use firn_wire::command::{Command, KeyOp, Op};
use firn_wire::exchange::Session;
use firn_wire::ids::{TableId, TableName};
use firn_wire::reply::Reply;

use super::Shared;
use super::clients::Client;
use super::form::{Form, Shape};
use super::lookup;
use super::number::integer_or_refuse;
use super::parse::{Parsed, Parser};
use super::plan::{Job, Plan, Refusal, Steps};
use super::transaction::{Transaction, Watched};
use super::words::{Kept, Words};
use super::write::{self, Dialect};
use crate::connection::{Flow, Next, Protocol};
use crate::execute::{Execute, run_one};

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

/// The state of one connection.
pub(super) struct Conversation {
    pub(super) execute: Arc<dyn Execute>,
    pub(super) shared: Arc<Shared>,
    pub(super) client: Arc<Client>,
    parser: Parser,
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
    pub(super) fn new(execute: Arc<dyn Execute>, shared: Arc<Shared>, client: Client) -> Self {
        let client = shared.clients.enter(client);
        Self {
            execute,
            shared,
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

    /// Decides what to do for a request.
    pub(super) fn plan<'a>(&mut self, words: Words<'a, '_>) -> Plan<'a> {
        self.silent = self.replies != Replies::On;
        if self.replies == Replies::SkipNext {
            self.replies = Replies::On;
        }
        let plan = self.read(words);
        plan.unwrap_or_else(|Refusal(text)| Plan::written(|out| write::error(out, &text)))
    }

    fn read<'a>(&mut self, words: Words<'a, '_>) -> Result<Plan<'a>, Refusal> {
        if lookup::is_http(words.at(0)) {
            return Ok(Plan::Close(Cow::Borrowed(b"")));
        }
        let place = lookup::find(words).inspect_err(|_| {
            if let Some(transaction) = &mut self.transaction {
                transaction.fail();
            }
        })?;
        self.client.note_command(place);
        let command = lookup::at(place);
        match &mut self.transaction {
            Some(transaction) if !command.runs_in_multi() => {
                transaction.push(words)?;
                self.client.note_queued(Some(transaction.len()));
                Ok(Plan::Answer(Cow::Borrowed(b"+QUEUED\r\n")))
            }
            _ => (command.handler)(self, words),
        }
    }

    /// The same plan as the connection's loop takes it.
    fn as_next<'a>(&self, taken: usize, plan: Plan<'a>) -> Next<'a, Shape, Job> {
        let (dialect, silent) = (self.dialect, self.silent);
        let spoken = |reply| if silent { Cow::Borrowed(b"".as_slice()) } else { reply };
        match plan {
            Plan::Ask(command, form) => {
                Next::Ask { taken, command, shape: Shape { form, dialect, silent } }
            }
            Plan::Answer(reply) => Next::Answer { taken, reply: spoken(reply) },
            Plan::Run(steps) => Next::Run { taken, job: Job::Steps { steps, silent } },
            Plan::Close(reply) => Next::Close { reply: spoken(reply) },
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

    /// Runs a request that was kept.
    async fn run_kept(&mut self, request: &Kept, session: &mut Session, out: &mut Vec<u8>) -> Flow {
        let words = request.requests().next().expect("a request was kept");
        let plan = self.plan(words);
        let (start, silent) = (out.len(), self.silent);
        let flow = match plan {
            Plan::Ask(command, form) => {
                let reply = run_one(&*self.execute, session, command).await;
                form.encode(self.dialect, reply.view(), out);
                Flow::Continue
            }
            Plan::Answer(reply) => {
                out.extend_from_slice(&reply);
                Flow::Continue
            }
            Plan::Close(reply) => {
                out.extend_from_slice(&reply);
                Flow::Close
            }
            Plan::Run(steps) => self.take_all(steps, session, out).await,
        };
        if silent {
            out.truncate(start);
        }
        flow
    }

    async fn take_all(&mut self, steps: Steps, session: &mut Session, out: &mut Vec<u8>) -> Flow {
        match steps {
            Steps::Exec(transaction) => self.exec(transaction, session, out).await,
            steps => {
                self.take(steps, session, out).await;
                Flow::Continue
            }
        }
    }

    /// Takes steps other than EXEC's.
    pub(super) async fn take(&mut self, steps: Steps, session: &mut Session, out: &mut Vec<u8>) {
        match steps {
            Steps::Watch { keys } => self.watch(&keys, session, out).await,
            Steps::Keys { pattern } => self.keys(&pattern, session, out).await,
            Steps::Info { sections } => self.info(&sections, session, out).await,
            Steps::Select { number } => self.select_new(number, out).await,
            Steps::Exec(_) => unreachable!("EXEC is not queued, so it is not among its own steps"),
        }
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

impl Protocol for Conversation {
    type Shape = Shape;
    type Job = Job;

    fn next<'a>(&mut self, input: &'a [u8]) -> Next<'a, Shape, Job> {
        match self.parser.read(input) {
            Ok(Parsed::Request { taken }) => {
                let places = self.parser.lend();
                let plan = self.plan(Words::new(input, &places));
                self.parser.give_back(places);
                self.as_next(taken, plan)
            }
            Ok(Parsed::More { total }) => Next::More { total },
            Ok(Parsed::Blank { taken }) => Next::Answer { taken, reply: Cow::Borrowed(b"") },
            Ok(Parsed::Quoted { taken, words }) => Next::Run { taken, job: Job::Quoted(words) },
            Err(error) => Next::Close { reply: Cow::Owned(error.reply()) },
        }
    }

    fn encode(shape: &Shape, reply: Reply<'_>, out: &mut Vec<u8>) {
        shape.encode(reply, out);
    }

    async fn run(
        &mut self,
        job: Job,
        _execute: &dyn Execute,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Flow {
        match job {
            Job::Quoted(request) => self.run_kept(&request, session, out).await,
            Job::Steps { steps, silent } => {
                let start = out.len();
                let flow = self.take_all(steps, session, out).await;
                if silent {
                    out.truncate(start);
                }
                flow
            }
        }
    }

    async fn stopped(&self) {
        self.client.killed().await;
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.shared.clients.leave(self.client.id);
    }
}
