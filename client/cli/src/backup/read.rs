//! Reads one partition for a backup, as frames.

use std::sync::Arc;
use std::time::Duration;

use firn_wire::command::Export;
use firn_wire::exchange::{Role, Session};
use firn_wire::ids::{PartitionId, TableId, Version};
use firn_wire::record::{Effect, Effects};
use firn_wire::reply::{Exported, Failure, Reply, ReplyBuf};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::frame::{FRAME_BYTES_SOFT, Kind, Packed};
use super::survey::{End, ID_BYTES, id_bytes, json, table_of};
use crate::cluster::Cluster;
use crate::exit::{Exit, Problem};
use crate::store::odd;

/// How often a partition is begun before the backup is given up.
const TRIES: u32 = 10;
/// How long a partition nobody serves is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// A frame, and what is in it.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) frame: Packed,
    pub(crate) puts: u64,
    pub(crate) raw_bytes: u64,
    /// The entries of each table of a partition that ends here.
    pub(crate) entries: Vec<(TableId, u64)>,
}

impl Piece {
    pub(crate) fn new(kind: Kind, raw: Vec<u8>) -> Self {
        let raw_bytes = raw.len() as u64;
        Self { frame: Packed::new(kind, raw), puts: 0, raw_bytes, entries: Vec::new() }
    }
}

/// Reads partitions, one after the other.
pub(crate) struct Reader {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) session: Session,
    /// Where frames go; once nobody takes them they are dropped.
    pub(crate) to: Sender<Piece>,
}

/// A partition is begun anew.
struct Anew;

/// A partition that is being read.
struct Part<'r> {
    reader: &'r Reader,
    id: PartitionId,
    tables: &'r [TableId],
    since: Option<Version>,
    /// The frame that is being filled, and the puts in it.
    raw: Vec<u8>,
    puts: u64,
}

impl Reader {
    pub(crate) fn new(cluster: Arc<Cluster>, timeout: Duration, to: Sender<Piece>) -> Self {
        let session = Session { timeout, ..Session::new(1, Role::Admin) };
        Self { cluster, session, to }
    }

    /// Reads what a partition has of some tables, ascending.
    pub(crate) async fn read(&self, id: PartitionId, tables: &[TableId]) -> Result<(), Problem> {
        for _ in 0..TRIES {
            self.send(Piece::new(Kind::Begin, id_bytes(id).to_vec())).await;
            let raw = id_bytes(id).to_vec();
            let part = Part { reader: self, id, tables, since: None, raw, puts: 0 };
            if part.read().await?.is_ok() {
                return Ok(());
            }
        }
        let message = format!(
            "partition {id} is written to faster than it can be read: the log of its worker did not \
             hold what was written meanwhile, {TRIES} times; try again when there is less traffic, \
             or with --parallel 1"
        );
        Err(Problem::new(Exit::Unreachable, message))
    }

    /// An error is told by whoever stopped taking.
    async fn send(&self, piece: Piece) {
        let _ = self.to.send(piece).await;
    }

    /// The next part, as soon as somebody can give it.
    async fn ask(
        &self,
        id: PartitionId,
        table: TableId,
        export: Export,
    ) -> Result<ReplyBuf, Problem> {
        let until = Instant::now() + PATIENCE;
        loop {
            let reply = self.cluster.export(&self.session, table, id.number, export).await;
            match reply.view() {
                Reply::Failed(Failure::NoSuchTable) => return Err(dropped()),
                Reply::Failed(failure) if Instant::now() >= until => return Err(failure.into()),
                Reply::Failed(failure) => {
                    let problem = Problem::from(failure);
                    if !matches!(problem.exit, Exit::Unreachable | Exit::Unknown) {
                        return Err(problem);
                    }
                    sleep(PAUSE).await;
                }
                _ => return Ok(reply),
            }
        }
    }
}

fn dropped() -> Problem {
    let message = "a table was dropped while it was backed up; back up again";
    Problem::new(Exit::Refused, message)
}

impl Part<'_> {
    async fn read(mut self) -> Result<Result<(), Anew>, Problem> {
        let mut counts: Option<Vec<(TableId, u64)>> = None;
        for table in self.tables {
            // What comes into a table that was empty comes with the changes.
            let is_empty = |counts: &Vec<_>| !counts.iter().any(|(id, n)| id == table && *n > 0);
            if counts.as_ref().is_some_and(is_empty) {
                continue;
            }
            match self.read_table(*table).await? {
                Ok(now) => counts = Some(now),
                Err(anew) => return Ok(Err(anew)),
            }
        }
        self.close().await;
        let mut entries = counts.unwrap_or_default();
        entries.retain(|(id, _)| self.tables.contains(id));
        let end = End { at: self.since.unwrap_or_default(), entries };
        let raw = [&id_bytes(self.id)[..], &json(&end)].concat();
        let piece = Piece { entries: end.entries, ..Piece::new(Kind::End, raw) };
        self.reader.send(piece).await;
        Ok(Ok(()))
    }

    /// Reads a table; the entries of all tables when it was through.
    async fn read_table(
        &mut self,
        table: TableId,
    ) -> Result<Result<Vec<(TableId, u64)>, Anew>, Problem> {
        let mut from = 0;
        loop {
            let export = Export { since: self.since, from };
            let reply = self.reader.ask(self.id, table, export).await?;
            let part = match reply.view() {
                Reply::Export(part) => part,
                Reply::Nil => return Ok(Err(Anew)),
                other => return Err(odd(&other)),
            };
            self.take(&part).await?;
            match part.next {
                Some(next) => from = next,
                None => return Ok(Ok(part.counts)),
            }
        }
    }

    async fn take(&mut self, part: &Exported<'_>) -> Result<(), Problem> {
        self.since = Some(part.at);
        for effect in Effects::of(part.effects) {
            let bad = |error| {
                Problem::new(Exit::Refused, format_args!("{error}; are all parts of one version?"))
            };
            let effect = effect.map_err(bad)?;
            if table_of(&effect).is_some_and(|table| self.tables.contains(&table)) {
                effect.write(&mut self.raw);
                self.puts += u64::from(matches!(effect, Effect::Put(_)));
            }
            if self.raw.len() >= FRAME_BYTES_SOFT {
                self.close().await;
            }
        }
        Ok(())
    }

    /// Sends what has been gathered.
    async fn close(&mut self) {
        if self.raw.len() == ID_BYTES {
            return;
        }
        let raw = std::mem::replace(&mut self.raw, id_bytes(self.id).to_vec());
        let puts = std::mem::take(&mut self.puts);
        self.reader.send(Piece { puts, ..Piece::new(Kind::Data, raw) }).await;
    }
}
