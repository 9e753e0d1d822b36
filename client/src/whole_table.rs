//! Commands for whole tables: answered at hand where this process leads all of one, else left to a sweep.

use std::sync::Arc;

use firn_wire::command::{Scan, Wide, WideOp};
use firn_wire::exchange::{Sink, Ticket};
use firn_wire::ids::{PartitionId, TableId};
use firn_wire::reply::{Failure, Reply, ReplyBuf};

use crate::core::Way;
use crate::local::Local;
use crate::page::share;
use crate::submission::Submission;
use crate::sweep::partitions_from;

impl<L: Local> Submission<'_, L> {
    pub(crate) fn count(&mut self, slot: usize, table: TableId, sink: &mut dyn Sink) {
        if self.answer_at_hand(slot, table, WideOp::Count, sink) {
            return;
        }
        let (core, asker) = (Arc::clone(self.core), self.asker());
        let ticket = self.everywhere(async move {
            core.total(asker, table, WideOp::Count).await.map_or_else(|failed| failed, count_of)
        });
        sink.wait(slot, ticket);
    }

    pub(crate) fn flush(&mut self, slot: usize, tables: &[TableId], sink: &mut dyn Sink) {
        let (core, asker, tables) = (Arc::clone(self.core), self.asker(), tables.to_vec());
        let ticket = self.everywhere(async move {
            let mut removed = 0;
            for table in tables {
                match core.total(asker, table, WideOp::Flush).await {
                    Ok(here) => removed += here,
                    Err(failed) => return failed,
                }
            }
            count_of(removed)
        });
        sink.wait(slot, ticket);
    }

    pub(crate) fn scan(
        &mut self,
        slot: usize,
        table: TableId,
        scan: &Scan<'_>,
        sink: &mut dyn Sink,
    ) {
        let scan = Scan { count: share(scan.count, 1), ..*scan };
        if self.answer_at_hand(slot, table, WideOp::Scan(scan), sink) {
            return;
        }
        let (core, asker) = (Arc::clone(self.core), self.asker());
        let owned = postcard::to_stdvec(&scan).expect("a scan has no unserialisable part");
        let ticket: Ticket = self.everywhere(async move {
            let scan = postcard::from_bytes(&owned).expect("written above");
            core.page(asker, table, scan).await.unwrap_or_else(|failed| failed)
        });
        sink.wait(slot, ticket);
    }

    pub(crate) fn random(&mut self, slot: usize, table: TableId, sink: &mut dyn Sink) {
        let (core, asker) = (Arc::clone(self.core), self.asker());
        let ticket = self.everywhere(async move {
            core.any_row(asker, table).await.unwrap_or_else(|failed| failed)
        });
        sink.wait(slot, ticket);
    }

    /// Answers when all of the table is led here, nothing is on its way, and nothing waits for copies; false when it is
    /// not. What is held is dropped: it only read, and whoever asks again waits for it in its turn.
    fn answer_at_hand(
        &self,
        slot: usize,
        table: TableId,
        op: WideOp<'_>,
        sink: &mut dyn Sink,
    ) -> bool {
        let map = &self.view.map;
        let Some(row) = map.table_by_id(table) else {
            sink.put(slot, Failure::NoSuchTable.into());
            return true;
        };
        let partitions: Vec<u16> = partitions_from(map, row, &op).collect();
        let here = |number: &u16| {
            let partition = self.view.row(PartitionId { group: row.group, number: *number });
            partition.is_some_and(|partition| self.core.way(partition) == Way::Here)
        };
        if self.session.open.any() || !partitions.iter().all(here) {
            return false;
        }
        let wide = Wide { table, group: row.group, partitions, op };
        let mut answered = false;
        let held = self.core.local.wide(map, &wide, &mut |reply| match reply {
            Reply::Wide { refused, reply } if refused.is_empty() => {
                sink.put(slot, reply.reply());
                answered = true;
            }
            _ => {}
        });
        assert!(!(answered && held.is_some()), "what is held is not answered");
        answered
    }
}

fn count_of(count: u64) -> ReplyBuf {
    ReplyBuf::new(&Reply::Count(count))
}
