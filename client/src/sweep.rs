//! What concerns all of a table: asked of every worker that leads a part of it.

use std::sync::Arc;

use firn_wire::command::{Cursor, Export, Filter, Scan, Wide, WideOp};
use firn_wire::ids::{PartitionId, TableId};
use firn_wire::map::{MapIndex, TableRow};
use firn_wire::message::{AskRef, request};
use firn_wire::reply::{Failure, Part, Reply, ReplyBuf};

use crate::call::{Call, Outcome};
use crate::core::{Asker, Core, Way};
use crate::gate::{Held, Withheld};
use crate::local::Local;
use crate::page::{Found, merge, share};
use crate::retry::{Next, judge};

/// The partitions an operation concerns, ascending.
pub(crate) fn partitions_from(
    map: &MapIndex,
    row: &TableRow,
    op: &WideOp<'_>,
) -> std::ops::Range<u16> {
    let all = map.partitions_of(row);
    match op {
        WideOp::Scan(scan) => all.start.max(scan.from.partition.min(all.end))..all.end,
        WideOp::Count | WideOp::Flush | WideOp::Export(_) => all,
    }
}

/// Partitions asked of one worker together, and the answer.
struct Asked {
    partitions: Vec<u16>,
    answer: Answer,
}

enum Answer {
    /// `Reply::Wide`, or what it failed with.
    Reply(ReplyBuf),
    /// The same, to be shown later.
    Held(Held),
    /// On its way.
    Call(Arc<Call>),
    /// Nobody to ask.
    None,
}

/// The reply of a wide operation that failed.
type Failed = ReplyBuf;

impl<L: Local> Core<L> {
    /// The sum of what all workers count.
    pub(crate) async fn total(
        &self,
        asker: Asker,
        table: TableId,
        op: WideOp<'_>,
    ) -> Result<u64, Failed> {
        let (mut total, mut left) = (0, None);
        let mut changes = self.maps.changes();
        for tries in 0.. {
            changes.mark_unchanged();
            let mut still_left = Vec::new();
            for asked in self.ask_all(asker, table, left.as_deref(), op)? {
                match self.hear(asker, asked.answer, &asked.partitions, &op).await? {
                    None => still_left.extend(asked.partitions),
                    Some(reply) => {
                        let (refused, part) = wide_of(&reply)?;
                        let Reply::Count(count) = part.reply() else { return Err(not_wide()) };
                        total += count;
                        still_left.extend(refused);
                    }
                }
            }
            if still_left.is_empty() {
                return Ok(total);
            }
            still_left.sort_unstable();
            if !self.pause(&mut changes, tries, asker.deadline).await {
                return Err(self.nobody_leads(table, still_left[0]));
            }
            left = Some(still_left);
        }
        unreachable!("the deadline comes first")
    }

    /// One page of a table, from a place on.
    pub(crate) async fn page(
        &self,
        asker: Asker,
        table: TableId,
        scan: Scan<'_>,
    ) -> Result<ReplyBuf, Failed> {
        let mut changes = self.maps.changes();
        for tries in 0.. {
            changes.mark_unchanged();
            let op = WideOp::Scan(scan);
            let mut heard = Vec::new();
            for asked in self.ask_all(asker, table, None, op)? {
                let reply = self.hear(asker, asked.answer, &asked.partitions, &op).await?;
                heard.push((asked.partitions, reply));
            }
            let found = heard.iter().map(|(partitions, reply)| {
                let Some(reply) = reply else { return Ok(Found::nothing(scan.from, partitions)) };
                let (refused, part) = wide_of(reply)?;
                Found::of(scan.from, &refused, part.reply()).ok_or_else(not_wide)
            });
            let (next, rows) = merge(found.collect::<Result<_, _>>()?);
            if next != Some(scan.from) {
                return Ok(ReplyBuf::new(&Reply::Page { next, rows }));
            }
            if !self.pause(&mut changes, tries, asker.deadline).await {
                return Err(self.nobody_leads(table, scan.from.partition));
            }
        }
        unreachable!("the deadline comes first")
    }

    /// The next part of a partition, for a backup.
    pub(crate) async fn export(
        &self,
        asker: Asker,
        table: TableId,
        number: u16,
        export: Export,
    ) -> Result<ReplyBuf, Failed> {
        let op = WideOp::Export(export);
        let mut changes = self.maps.changes();
        for tries in 0.. {
            changes.mark_unchanged();
            for asked in self.ask_all(asker, table, Some(&[number]), op)? {
                if let Some(reply) = self.hear(asker, asked.answer, &asked.partitions, &op).await? {
                    let (_, part) = wide_of(&reply)?;
                    let bytes = reply.as_bytes().slice_ref(part.as_bytes());
                    return ReplyBuf::from_bytes(bytes).map_err(|_| not_wide());
                }
            }
            if !self.pause(&mut changes, tries, asker.deadline).await {
                return Err(self.nobody_leads(table, number));
            }
        }
        unreachable!("the deadline comes first")
    }

    /// Some row of a table: the pages from a place by chance on, once around.
    pub(crate) async fn any_row(&self, asker: Asker, table: TableId) -> Result<ReplyBuf, Failed> {
        const CANDIDATES: u32 = 16;
        let map = self.maps.load();
        let row = map.table_by_id(table).ok_or(Failure::NoSuchTable)?;
        let chance = getrandom::u64().unwrap_or_default();
        let partitions = map.partitions_of(row);
        let mut from = Cursor {
            partition: partitions.start + (chance % partitions.len().max(1) as u64) as u16,
            position: (chance >> 16) % Cursor::POSITION_END,
        };
        let mut around = false;
        loop {
            let scan = Scan { from, count: CANDIDATES, filter: Filter::All, values: false };
            let page = self.page(asker, table, scan).await?;
            let Reply::Page { next, mut rows } = page.view() else { return Ok(page) };
            if !rows.is_empty() {
                let row = rows.swap_remove(chance as usize % rows.len());
                return Ok(ReplyBuf::new(&Reply::Page { next: None, rows: vec![row] }));
            }
            from = match next {
                Some(next) => next,
                None if !around => Cursor::default(),
                None => return Ok(page),
            };
            around |= next.is_none();
        }
    }

    /// Asks the leaders of the given partitions of a table, or of all that the operation concerns.
    fn ask_all(
        &self,
        asker: Asker,
        table: TableId,
        partitions: Option<&[u16]>,
        op: WideOp<'_>,
    ) -> Result<Vec<Asked>, Failed> {
        let view = self.maps.view();
        let row = view.map.table_by_id(table).ok_or(Failure::NoSuchTable)?;
        let all: Vec<u16> = partitions_from(&view.map, row, &op).collect();
        let mut shares: Vec<(Way<'_>, Vec<u16>)> = Vec::new();
        for number in partitions.unwrap_or(&all) {
            let id = PartitionId { group: row.group, number: *number };
            let way = view.row(id).map_or(Way::Nowhere, |row| self.way(row));
            match shares.iter_mut().find(|(known, _)| *known == way) {
                Some((_, numbers)) => numbers.push(*number),
                None => shares.push((way, vec![*number])),
            }
        }
        let op = match op {
            WideOp::Scan(scan) => {
                WideOp::Scan(Scan { count: share(scan.count, shares.len()), ..scan })
            }
            other => other,
        };
        let ask = |(way, partitions): (Way<'_>, Vec<u16>)| {
            let wide = Wide { table, group: row.group, partitions, op };
            let answer = self.ask_wide(&view.map, asker, way, &wide);
            Asked { partitions: wide.partitions, answer }
        };
        Ok(shares.into_iter().map(ask).collect())
    }

    fn ask_wide(&self, map: &MapIndex, asker: Asker, way: Way<'_>, wide: &Wide<'_>) -> Answer {
        match way {
            Way::Nowhere => Answer::None,
            Way::Here => {
                let mut reply = None;
                match self.local.wide(map, wide, &mut |wide| reply = Some(ReplyBuf::new(&wide))) {
                    Some(held) => Answer::Held(held),
                    None => Answer::Reply(reply.expect("what is not held is answered")),
                }
            }
            Way::To(worker) => {
                let mut message = request(&asker.head(map, true));
                let start = message.len() as u32;
                AskRef::Wide(wide).write(&mut message);
                self.send(map, worker, asker, message, vec![start])
                    .map_or(Answer::None, Answer::Call)
            }
        }
    }

    /// Waits for an answer about some partitions; None: nothing was done, ask again.
    async fn hear(
        &self,
        asker: Asker,
        answer: Answer,
        partitions: &[u16],
        op: &WideOp<'_>,
    ) -> Result<Option<ReplyBuf>, Failed> {
        let reply = match answer {
            Answer::None => return Ok(None),
            Answer::Reply(reply) => reply,
            Answer::Held(held) => match held.shown(asker.deadline).await {
                Ok(reply) => reply,
                Err(Withheld::Unknown) if !op.is_repeatable() => {
                    return Err(Failure::Unknown.into());
                }
                Err(_) => return Ok(None),
            },
            Answer::Call(call) => {
                let outcome = call.ended().await;
                match (judge(outcome, 0, || op.is_repeatable()), outcome) {
                    (Next::Answer, Outcome::Replies(replies)) => replies[0].clone(),
                    (Next::Fail(failure), _) => return Err(failure.into()),
                    (Next::Answer | Next::Again(_), _) => return Ok(None),
                }
            }
        };
        let (refused, _) = wide_of(&reply)?;
        Ok((refused != partitions).then_some(reply))
    }

    fn nobody_leads(&self, table: TableId, number: u16) -> Failed {
        let view = self.maps.view();
        let Some(table) = view.map.table_by_id(table) else { return Failure::NoSuchTable.into() };
        let id = PartitionId { group: table.group, number };
        let text = match view.row(id).and_then(|row| row.primary.as_ref()) {
            Some(worker) => {
                format!("worker {}, which leads partition {id}, does not answer", worker.name)
            }
            None => format!("partition {id} has no primary"),
        };
        Failure::Unavailable(text.into()).into()
    }
}

fn not_wide() -> Failed {
    Failure::Invalid("a worker's reply is not one to what it was asked".into()).into()
}

/// What a wide reply covers not, and what it says of the rest.
fn wide_of(reply: &ReplyBuf) -> Result<(Vec<u16>, Part<'_>), Failed> {
    match reply.view() {
        Reply::Wide { refused, reply } => Ok((refused, reply)),
        Reply::Failed(_) => Err(reply.clone()),
        _ => Err(not_wide()),
    }
}
