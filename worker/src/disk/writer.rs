//! The thread that writes a shard's log.
//!
//! Invariants:
//! - What was handed out is written in that order, each part whole or not at all; what could not be written is kept and
//!   tried again. After a failed sync nothing is known of the file: a new one begins, with everything in it.
//! - A file is removed only when every partition has been written anew in later ones, they are on the disk itself, and the
//!   manifest says so.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use firn_store::disk::{Filled, Mark, Urgency};

use super::load::bytes_before;
use super::manifest::Manifest;
use super::rhythm::Rhythm;
use super::segment::{Place, Segment, remove_generation};
use super::{DiskError, failed};
use crate::shards::Shards;

/// How long news are gathered, so that many writes become one.
const GATHER: Duration = Duration::from_millis(20);
/// The same while a snapshot is written: with [`ENTRIES_BYTES`] this is its pace.
const GATHER_SNAPSHOT: Duration = Duration::from_millis(32);
/// And while one is that a copy needs to be in sync: so it is hardly later than its entries, which come at COPY_RATE.
const GATHER_AWAITED: Duration = Duration::from_millis(4);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long to wait when nothing can be done although there is something to do.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of records taken at once, and of entries of snapshots beside fewer of records.
const RECORDS_BYTES: usize = 64 * 1024;
const ENTRIES_BYTES: usize = 64 * 1024;
/// The least growth after which a log is written anew.
const GROWTH_MIN: u64 = 16 * 1024 * 1024;

/// A log that is being written anew.
#[derive(Debug)]
struct Renewal {
    /// It is, once this is on disk.
    mark: Mark,
    /// The first file of it.
    first: u64,
    /// Bytes of what is written anew.
    bytes: u64,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Writer {
    shard: usize,
    shards: Arc<Shards>,
    manifest: Arc<Mutex<Manifest>>,
    place: Place,
    segment: Segment,
    /// Bytes of earlier files.
    earlier: u64,
    /// Bytes that all of it takes when it is written anew, about.
    base: u64,
    renewal: Option<Renewal>,
    /// What could not be written.
    backlog: Option<Filled>,
    /// For what is written next.
    memory: Vec<u8>,
    /// What is written and not synced.
    unsynced: Option<Mark>,
    rhythm: Rhythm,
}

/// How much there was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Some,
    /// Of a snapshot, too: there may be more.
    Entries,
    /// The same, and a copy waits for them.
    Awaited,
    /// And more is left.
    Much,
}

/// What failed, for people.
type Trouble = String;

impl Writer {
    /// Begins a new file behind those there are.
    pub(super) fn open(
        shard: usize,
        shards: Arc<Shards>,
        manifest: Arc<Mutex<Manifest>>,
    ) -> Result<Self, DiskError> {
        let (place, first, earlier) = {
            let manifest = manifest.lock().expect("no holder panics");
            let (folder, current) = (manifest.folder(), manifest.current());
            let earlier = bytes_before(folder, current, shard, u64::MAX);
            (Place::new(folder, current, shard), current.first[shard], earlier)
        };
        let numbers = place.numbers().map_err(failed(place.folder()))?;
        let number = numbers.last().map_or(1, |last| last + 1).max(first);
        let segment = place.create(number).map_err(failed(&place.path(number)))?;
        let base = shards.turn(shard, |shard, _| shard.holdings().bytes);
        let mut writer = Self {
            shard,
            shards,
            manifest,
            place,
            segment,
            earlier,
            base,
            renewal: None,
            backlog: None,
            memory: Vec::new(),
            unsynced: None,
            rhythm: Rhythm::new(Instant::now()),
        };
        if first == 0 {
            // Another number of shards wrote before, or nobody: this generation counts once it has everything.
            writer.renew_from(number);
        }
        Ok(writer)
    }

    /// Writes until no news will come any more.
    pub(super) fn run(mut self) {
        let mut in_trouble = false;
        loop {
            let is_over = self.shards.bells().is_closed();
            match self.work(is_over) {
                Ok(found) => {
                    if std::mem::take(&mut in_trouble) {
                        log::info!("{} is written to again", self.segment.path.display());
                        self.tell(None);
                    }
                    if is_over && found == Found::Nothing {
                        return;
                    }
                    self.rest(found);
                }
                Err(trouble) => {
                    if !std::mem::replace(&mut in_trouble, true) {
                        log::error!(
                            "{trouble}; writes that are to survive are refused until it works"
                        );
                    }
                    self.tell(Some(trouble.into()));
                    if is_over {
                        return log::error!("what was written last is not on disk");
                    }
                    std::thread::sleep(AGAIN);
                }
            }
        }
    }

    fn tell(&self, trouble: Option<Arc<str>>) {
        self.shards.turn(self.shard, |shard, _| shard.set_disk_trouble(trouble));
    }

    /// Waits for news, or until it is time to sync.
    fn rest(&self, found: Found) {
        let bells = self.shards.bells();
        match found {
            Found::Much => {}
            Found::Nothing => {
                let patience = self
                    .unsynced
                    .map_or(Duration::from_secs(3_600), |_| self.rhythm.left(Instant::now()));
                bells.wait(self.shard, Urgency::Soon, patience);
                bells.wait(self.shard, Urgency::Now, GATHER);
            }
            Found::Entries => bells.wait(self.shard, Urgency::Now, GATHER_SNAPSHOT),
            Found::Awaited => bells.wait(self.shard, Urgency::Now, GATHER_AWAITED),
            Found::Some => bells.wait(self.shard, Urgency::Now, GATHER),
        }
    }

    /// Writes some of what there is.
    fn work(&mut self, is_over: bool) -> Result<Found, Trouble> {
        self.shards.bells().hear(self.shard);
        let filled = match self.backlog.take() {
            Some(filled) => Some(filled),
            None => self.fill().map(|mut filled| {
                filled.seal();
                filled
            }),
        };
        let Some(filled) = filled else {
            self.sync_if(is_over || self.is_sync_due())?;
            self.renew_if_due()?;
            let waits = self.shards.turn(self.shard, |shard, _| shard.disk_urgency());
            if waits > Urgency::None && !is_over {
                std::thread::sleep(PAUSE); // a partition that is being copied, say
            }
            return Ok(Found::Nothing);
        };
        if let Err(error) = self.segment.append(&filled.bytes) {
            self.backlog = Some(filled);
            return Err(format!("writing to {} failed: {error}", self.segment.path.display()));
        }
        self.unsynced = Some(filled.mark);
        if let Some(renewal) = &mut self.renewal {
            renewal.bytes += filled.snapshots as u64;
        }
        self.sync_if(filled.hurry || self.is_sync_due())?;
        self.renew_if_due()?;
        let records = filled.bytes.len() - filled.snapshots;
        let found = match filled.snapshots {
            _ if records >= RECORDS_BYTES => Found::Much,
            0 => Found::Some,
            _ if filled.is_awaited => Found::Awaited,
            _ => Found::Entries,
        };
        self.memory = filled.bytes;
        self.memory.shrink_to(4 * RECORDS_BYTES);
        Ok(found)
    }

    fn fill(&mut self) -> Option<Filled> {
        let (shards, number) = (&self.shards, self.shard);
        let fill = |memory: &mut Vec<u8>| {
            shards.turn(number, |shard, _| shard.fill_disk(memory, RECORDS_BYTES, ENTRIES_BYTES))
        };
        let mut filled = fill(&mut self.memory)?;
        // A renewal is at least as fast as the records that come meanwhile: so the log has a bound.
        let records = filled.bytes.len() - filled.snapshots;
        while self.renewal.is_some() && filled.snapshots < records {
            let before = filled.snapshots;
            let Some(more) = fill(&mut self.memory) else { break };
            filled.append(&more);
            self.memory = more.bytes;
            if filled.snapshots == before {
                break;
            }
        }
        Some(filled)
    }

    fn is_sync_due(&self) -> bool {
        self.rhythm.left(Instant::now()).is_zero()
    }

    fn sync_if(&mut self, is_due: bool) -> Result<(), Trouble> {
        let Some(mark) = self.unsynced.filter(|_| is_due) else { return Ok(()) };
        let begun = Instant::now();
        if let Err(error) = self.segment.sync() {
            let trouble = format!("syncing {} failed: {error}", self.segment.path.display());
            // The system may have dropped what it could not write, and will not say so again.
            self.unsynced = None;
            self.segment.cut();
            self.shards.turn(self.shard, |shard, _| shard.lose_disk());
            self.begin_segment()?;
            self.renew_from(self.segment.number);
            return Err(trouble);
        }
        self.rhythm.synced(begun, Instant::now());
        self.unsynced = None;
        self.shards.turn(self.shard, |shard, _| shard.disk_synced(mark));
        self.shards.synced().tell(self.shard, mark);
        self.end_renewal(mark)
    }

    // --- writing anew ---------------------------------------------------------------------------------------------

    fn renew_if_due(&mut self) -> Result<(), Trouble> {
        let growth = (self.earlier + self.segment.length).saturating_sub(self.base);
        if self.renewal.is_some() || growth < (self.base / 2).max(GROWTH_MIN) {
            return Ok(());
        }
        self.sync_if(true)?;
        self.begin_segment()?;
        self.renew_from(self.segment.number);
        Ok(())
    }

    fn renew_from(&mut self, first: u64) {
        let mark = self.shards.turn(self.shard, |shard, _| shard.renew_disk());
        self.renewal = mark.map(|mark| Renewal { mark, first, bytes: 0 });
    }

    fn begin_segment(&mut self) -> Result<(), Trouble> {
        let number = self.segment.number + 1;
        let made = self.place.create(number);
        let next =
            made.map_err(|error| format!("making {}: {error}", self.place.path(number).display()))?;
        self.earlier += self.segment.length;
        self.segment = next;
        Ok(())
    }

    /// Drops what came before a renewal that is on disk.
    fn end_renewal(&mut self, synced: Mark) -> Result<(), Trouble> {
        let Some(renewal) = self.renewal.take_if(|renewal| synced.reaches(renewal.mark)) else {
            return Ok(());
        };
        let (first, bytes) = (renewal.first, renewal.bytes);
        let begun = self.manifest().begin_with(self.shard, first);
        let gone = match begun {
            Ok(gone) => gone,
            Err(error) => {
                self.renewal = Some(renewal);
                return Err(error.to_string());
            }
        };
        let folder = self.manifest().folder().to_owned();
        gone.iter().for_each(|generation| remove_generation(&folder, generation));
        self.place.remove_before(first);
        (self.base, self.earlier) = (bytes, self.bytes_before_segment());
        Ok(())
    }

    fn bytes_before_segment(&self) -> u64 {
        let manifest = self.manifest();
        bytes_before(manifest.folder(), manifest.current(), self.shard, self.segment.number)
    }

    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().expect("no holder panics")
    }
}
