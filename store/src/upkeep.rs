//! What is tidied between requests, a little at a time.

use super::journal::Waits;
use super::shard::Shard;
use super::sweep::Sweep;
use super::time::Now;

impl<H> Shard<H> {
    /// A short piece of upkeep: gives back one segment of a discarded table, or removes the expired entries of one
    /// segment of a partition led here. Returns whether there is more to do now.
    pub fn tidy(&mut self, now: Now) -> bool {
        if let Some(table) = self.discarded.last_mut() {
            if !table.dissolve(&mut self.arena) {
                self.discarded.pop();
            }
            return true;
        }
        while self.sweep.replica < self.replicas.len() {
            if self.may_expire(self.sweep.replica) && self.expire_some(now) {
                return true;
            }
            self.sweep = Sweep { replica: self.sweep.replica + 1, ..Sweep::default() };
        }
        self.sweep = Sweep::default();
        false
    }

    /// Only a primary decides that something has expired, and not while it gives the partition away.
    fn may_expire(&mut self, at: usize) -> bool {
        let Some(lead) = self.replicas[at].lead() else { return false };
        lead.started && lead.handover.is_none() && (!self.log.is_full() || self.trim_log())
    }

    /// Removes the expired entries of one segment, as one record; false when the partition is through.
    fn expire_some(&mut self, now: Now) -> bool {
        let at = self.sweep.replica;
        let clock = self.clock(at, now);
        let is_logged = self.is_logged(at);
        let replica = &mut self.replicas[at];
        loop {
            let (arena, hashes) = (&mut self.arena, &*self.setup.hashes);
            let Some((id, table)) = replica.partition.table_at(self.sweep.table) else {
                return false;
            };
            self.journal.begin(is_logged);
            let journal = &mut self.journal;
            // Nobody waits for it: whoever leads next finds it expired too.
            let mut gone = |key: &[u8]| journal.delete(id, key, hashes.of(key), Waits::default());
            if let Some((removed, next)) =
                table.expire(arena, hashes, clock, self.sweep.segment, &mut gone)
            {
                self.sweep.segment = next;
                if removed > 0 {
                    // Also where nothing is logged: a copy that comes later must not find its old place.
                    replica.partition.next_version();
                    self.write_record(at, clock);
                }
                return true;
            }
            self.sweep = Sweep { table: self.sweep.table + 1, segment: 0, ..self.sweep };
        }
    }
}
