//! A machine's disk: what a run of a worker has written, how much of it stays when the power goes, and what the next run
//! reads of it.
//!
//! It is laid out as a real worker's folder: generations, one for each number of shards that wrote; in each a log for each
//! shard, in files that count from the first; and the last map. What the manifest says is kept at once.

use std::sync::Arc;

use firn_store::reload::{Damage, Plan, Reload, frame};
use firn_store::shard::Shard;
use firn_wire::ids::PartitionId;
use firn_wire::map::MapIndex;

use crate::law::{Law, ShellRule};
use crate::random::Random;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is killed: what it has written stays.
    Kill,
    /// The power goes: what was not synced is there up to any byte, and some of it may be wrong.
    PowerCut,
}

/// A file of a log.
#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    /// So many of them stay when the power goes.
    synced: usize,
}

/// A shard's log: the files that count, the last one written to.
#[derive(Debug, Clone, Default)]
pub struct Log {
    files: Vec<File>,
    is_whole: bool,
}

impl Log {
    /// Bytes of all files.
    pub fn length(&self) -> usize {
        self.files.iter().map(|file| file.bytes.len()).sum()
    }

    /// Begins a file.
    pub fn begin_file(&mut self) {
        self.files.push(File::default());
    }

    /// The place of the last file.
    pub fn last_place(&self) -> usize {
        self.files.len() - 1
    }

    /// Writes to the last file.
    pub fn append(&mut self, bytes: &[u8]) {
        self.last().bytes.extend_from_slice(bytes);
    }

    /// What is in the last file stays.
    pub fn sync(&mut self) {
        let file = self.last();
        file.synced = file.bytes.len();
    }

    /// What is not synced in the last file is not there after all.
    pub fn lose(&mut self) {
        let file = self.last();
        file.bytes.truncate(file.synced);
    }

    /// Drops the files before one.
    pub fn drop_before(&mut self, first: usize) {
        self.files.drain(..first);
        self.is_whole = true;
    }

    /// Whether every partition was written anew in it, so that earlier generations are not needed for it.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn last(&mut self) -> &mut File {
        self.files.last_mut().expect("a file is begun at each start")
    }

    /// The power goes.
    fn tear(&mut self, random: &mut Random) {
        for file in self.files.iter_mut().filter(|file| file.synced < file.bytes.len()) {
            let cut = random.between(file.synced as u64, file.bytes.len() as u64) as usize;
            file.bytes.truncate(cut);
            if file.synced < cut && random.permille(300) {
                let at = random.between(file.synced as u64, cut as u64 - 1) as usize;
                file.bytes[at] ^= 1 << random.below(8);
            }
            // What is left has survived the power.
            file.synced = file.bytes.len();
        }
    }

    /// All frames, one after the other; the end of the last file is cut off at the first that is damaged.
    fn check(&mut self, law: Law) -> Result<Plan, String> {
        let mut plan = Plan::default();
        let last = self.files.len().saturating_sub(1);
        for (number, file) in self.files.iter_mut().enumerate() {
            let mut good = 0;
            let damage = loop {
                match frame(&file.bytes[good..]) {
                    Ok(None) => break None,
                    Ok(Some((kind, body, length))) => {
                        plan.note(kind, body).map_err(|damage| damage.to_string())?;
                        good += length;
                    }
                    Err(damage) => break Some(damage),
                }
            };
            if let Some(damage) = damage.filter(|_| number < last) {
                return Err(format!("file {number} at {good}: {damage}"));
            }
            file.bytes.truncate(good);
            if number == last && law.keeps_shell(ShellRule::ReadIsSynced) {
                file.synced = good;
            }
            file.synced = file.synced.min(good);
        }
        Ok(plan)
    }

    fn apply(&self, plan: Plan, law: Law, shards: &mut [Shard<u64>]) -> Result<Reload, String> {
        let (mut reload, count) = (Reload::new(plan, law.store()), shards.len() as u16);
        for file in &self.files {
            let mut rest = &file.bytes[..];
            while let Ok(Some((kind, body, length))) = frame(rest) {
                let with = |number: usize, act: &mut Act<'_>| act(&mut shards[number]);
                let applied = reload.apply(kind, body, count, with);
                applied.map_err(|damage| damage.to_string())?;
                rest = &rest[length..];
            }
        }
        Ok(reload)
    }
}

type Act<'a> = dyn FnMut(&mut Shard<u64>) -> Result<(), Damage> + 'a;

/// See the module's page.
#[derive(Debug, Clone, Default)]
pub struct Drive {
    generations: Vec<Vec<Log>>,
    /// The last map that was kept.
    pub map: Option<Arc<MapIndex>>,
}

impl Drive {
    /// Reads everything back into empty shards. Returns the partitions of which there is no more than a beginning.
    pub fn read(
        &mut self,
        law: Law,
        shards: &mut [Shard<u64>],
    ) -> Result<Vec<PartitionId>, String> {
        let mut ended = Vec::new();
        for log in self.generations.iter_mut().flatten() {
            let plan = log.check(law)?;
            ended.extend(log.apply(plan, law, shards)?.ended());
        }
        // They come out of a hash set.
        ended.sort_unstable();
        Ok(ended)
    }

    /// Begins a file in each log of a run with so many shards.
    pub fn begin(&mut self, shards: u16) {
        let shards = usize::from(shards);
        if self.generations.last().is_none_or(|logs| logs.len() != shards) {
            self.generations.push(vec![Log::default(); shards]);
        }
        let logs = self.generations.last_mut().expect("there is one now");
        logs.iter_mut().for_each(Log::begin_file);
    }

    /// The log of a shard of this run.
    pub fn log(&mut self, shard: usize) -> &mut Log {
        &mut self.generations.last_mut().expect("the run has begun its logs")[shard]
    }

    /// Earlier generations go when every log of this one is whole.
    pub fn tidy(&mut self) {
        if self.generations.last().is_some_and(|logs| logs.iter().all(|log| log.is_whole)) {
            self.generations.drain(..self.generations.len() - 1);
        }
    }

    /// The power goes.
    pub fn tear(&mut self, random: &mut Random) {
        self.generations.iter_mut().flatten().for_each(|log| log.tear(random));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_stays_when_the_power_goes() {
        let mut lengths = [false; 7];
        for seed in 0..100 {
            let mut log = Log::default();
            log.begin_file();
            log.append(b"kept");
            log.sync();
            log.append(b"or not");
            log.tear(&mut Random::new(seed));
            assert!(log.files[0].bytes.starts_with(b"kept"), "{:?}", log.files[0]);
            lengths[log.length() - 4] = true;
        }
        assert_eq!(lengths, [true; 7], "it may be torn at every byte");
    }
}
