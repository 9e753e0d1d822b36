//! Reading the logs back: each log on a thread of its own, with a line a second that says how far it is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firn_store::reload::{Damage, Plan, Reload, frame};
use firn_store::rules::Rules;
use firn_wire::ids::PartitionId;
use firn_wire::map::shard_of;

use super::manifest::{Generation, Manifest};
use super::segment::{HEAD_BYTES, Place};
use super::{DiskError, failed};
use crate::shards::{Shard, Shards};

const BUFFER_BYTES: usize = 1024 * 1024;
/// How often it is said how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Partitions that are to be written anew.
#[derive(Debug, Default)]
pub(super) struct Ended(Vec<PartitionId>);

impl Ended {
    /// Tells a shard of its own.
    pub(super) fn tell(&self, number: usize, shards: &Shards) {
        let own = |id: &PartitionId| shard_of(*id, shards.count()) == number;
        shards.turn(number, |shard, _| {
            shard.reloaded(&mut self.0.iter().copied().filter(own));
        });
    }
}

/// How far it is.
#[derive(Debug, Default)]
struct Progress {
    bytes: AtomicU64,
    done: AtomicU64,
    records: AtomicU64,
}

/// Reads all logs that count into empty shards.
pub(super) fn load(manifest: &Manifest, shards: &Shards) -> Result<Ended, DiskError> {
    let Some(contents) = manifest.contents() else { return Ok(Ended::default()) };
    let (start, progress) = (Instant::now(), Progress::default());
    let mut ended = Ended::default();
    for generation in &contents.generations {
        let places = (0..generation.first.len())
            .map(|shard| Place::new(manifest.folder(), generation, shard));
        let logs = places.zip(&generation.first).map(|(place, first)| Log::find(place, *first));
        let logs: Vec<Log> = logs.collect::<Result<_, _>>()?;
        logs.iter().try_for_each(|log| log.count(&progress))?;
        ended.0.extend(load_all(&logs, shards, &progress, start)?);
    }
    let holdings = shards.holdings();
    log::info!(
        "read {} records and {} entries from {} bytes in {:.2?}",
        progress.records.load(Ordering::Relaxed),
        holdings.entries,
        progress.bytes.load(Ordering::Relaxed),
        start.elapsed()
    );
    Ok(ended)
}

fn load_all(
    logs: &[Log],
    shards: &Shards,
    progress: &Progress,
    start: Instant,
) -> Result<Vec<PartitionId>, DiskError> {
    let (ended, failure) = (Mutex::new(Vec::new()), Mutex::new(None));
    std::thread::scope(|scope| {
        let read = |log: &Log| match log.load(shards, progress) {
            Ok(some) => ended.lock().expect("no thread panics").extend(some),
            Err(error) => *failure.lock().expect("no thread panics") = Some(error),
        };
        let threads: Vec<_> = logs.iter().map(|log| scope.spawn(move || read(log))).collect();
        let mut told = Instant::now();
        while !threads.iter().all(|thread| thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                progress.tell(start.elapsed());
            }
        }
    });
    match failure.into_inner().expect("no thread panics") {
        Some(error) => Err(error),
        None => Ok(ended.into_inner().expect("no thread panics")),
    }
}

impl Progress {
    fn tell(&self, elapsed: Duration) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        // Every byte is read twice: checked, then applied.
        let (all, done, records) = (2 * load(&self.bytes), load(&self.done), load(&self.records));
        let seconds = elapsed.as_secs_f64();
        let left = seconds * all.saturating_sub(done) as f64 / done.max(1) as f64;
        log::info!(
            "reading what was kept: {:.0} %, {:.0} records a second, {left:.0} s to go",
            100.0 * done as f64 / all.max(1) as f64,
            records as f64 / seconds,
        );
    }
}

/// The files of one log that count.
#[derive(Debug)]
struct Log {
    place: Place,
    numbers: Vec<u64>,
}

impl Log {
    fn find(place: Place, first: u64) -> Result<Self, DiskError> {
        let all = place.numbers().map_err(failed(place.folder()))?;
        let numbers: Vec<u64> = all.into_iter().filter(|number| *number >= first.max(1)).collect();
        let expected = first.max(1)..;
        if let Some(missing) = expected.zip(&numbers).find(|(expected, found)| expected != *found) {
            return Err(place.missing(missing.0));
        }
        if first > 0 && numbers.is_empty() {
            return Err(place.missing(first));
        }
        Ok(Self { place, numbers })
    }

    /// Adds how much there is to be read.
    fn count(&self, progress: &Progress) -> Result<(), DiskError> {
        for number in &self.numbers {
            let path = self.place.path(*number);
            let bytes = std::fs::metadata(&path).map_err(failed(&path))?.len();
            progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks all of it, then applies it. Gives the partitions of which there is no more than a beginning.
    fn load(&self, shards: &Shards, progress: &Progress) -> Result<Vec<PartitionId>, DiskError> {
        let mut plan = Plan::default();
        for number in &self.numbers {
            let is_last = self.numbers.last() == Some(number);
            self.check(*number, is_last, &mut plan, progress)?;
        }
        self.sync_last()?;
        progress.records.fetch_add(plan.records(), Ordering::Relaxed);
        let mut reload = Reload::new(plan, Rules::all());
        for number in &self.numbers {
            self.apply(*number, shards, &mut reload, progress)?;
        }
        Ok(reload.ended().collect())
    }

    /// What a killed process wrote last may be in the system's memory only. Once it is read others count on it, and what is
    /// written from now on follows on it in another file: so it is to stay when the power goes.
    fn sync_last(&self) -> Result<(), DiskError> {
        let Some(last) = self.numbers.last() else { return Ok(()) };
        let path = self.place.path(*last);
        File::open(&path).and_then(|file| file.sync_all()).map_err(failed(&path))
    }

    fn check(
        &self,
        number: u64,
        is_last: bool,
        plan: &mut Plan,
        progress: &Progress,
    ) -> Result<(), DiskError> {
        let Some(mut frames) = Frames::open(&self.place, number, is_last)? else {
            return self.place.cut(number, 0, Damage::Frame);
        };
        loop {
            let at = frames.at;
            match frames.next()? {
                Ok(None) => return Ok(()),
                Ok(Some((kind, body))) => {
                    progress.done.fetch_add(body.len() as u64, Ordering::Relaxed);
                    plan.note(kind, body)
                        .map_err(|damage| self.place.damaged(number, at, damage))?;
                }
                Err(damage) if is_last => return self.place.cut(number, at, damage),
                Err(damage) => return Err(self.place.damaged(number, at, damage)),
            }
        }
    }

    fn apply(
        &self,
        number: u64,
        shards: &Shards,
        reload: &mut Reload,
        progress: &Progress,
    ) -> Result<(), DiskError> {
        let Some(mut frames) = Frames::open(&self.place, number, false)? else { return Ok(()) };
        loop {
            let at = frames.at;
            let damaged = |damage| self.place.damaged(number, at, damage);
            let Some((kind, body)) = frames.next()?.map_err(damaged)? else { return Ok(()) };
            progress.done.fetch_add(body.len() as u64, Ordering::Relaxed);
            let mut with =
                |number: usize, act: &mut dyn FnMut(&mut Shard) -> Result<(), Damage>| {
                    shards.turn(number, |shard, _| act(shard))
                };
            reload.apply(kind, body, shards.count(), &mut with).map_err(damaged)?;
        }
    }
}

impl Place {
    fn damaged(&self, number: u64, at: u64, damage: Damage) -> DiskError {
        let folder = self.folder().parent().unwrap_or(self.folder()).to_owned();
        DiskError::Damaged { path: self.path(number), at, why: damage.to_string(), folder }
    }

    fn missing(&self, number: u64) -> DiskError {
        let folder = self.folder().parent().unwrap_or(self.folder()).to_owned();
        let why = "it is not there, and what follows it is of no use without it".to_owned();
        DiskError::Damaged { path: self.path(number), at: 0, why, folder }
    }

    /// The end of a log that was being written: what is after its last whole frame was never said to be on disk.
    fn cut(&self, number: u64, at: u64, damage: Damage) -> Result<(), DiskError> {
        let path = self.path(number);
        let file = OpenOptions::new().write(true).open(&path).map_err(failed(&path))?;
        let gone = file.metadata().map_err(failed(&path))?.len() - at;
        if gone == 0 {
            return Ok(());
        }
        log::warn!("the last {gone} bytes of {} are cut off: {damage}", path.display());
        file.set_len(at).and_then(|()| file.sync_all()).map_err(failed(&path))
    }
}

/// The frames of a file, one after the other; memory is taken for what is there, not for what a length says.
struct Frames {
    reader: BufReader<File>,
    path: std::path::PathBuf,
    at: u64,
    length: u64,
    buffer: Vec<u8>,
}

/// A frame's kind and body; None: the end.
type Next<'f> = Result<Option<(u8, &'f [u8])>, Damage>;

impl Frames {
    /// None: the file was being made.
    fn open(place: &Place, number: u64, is_last: bool) -> Result<Option<Self>, DiskError> {
        let path = place.path(number);
        let file = File::open(&path).map_err(failed(&path))?;
        let length = file.metadata().map_err(failed(&path))?.len();
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut head = [0; HEAD_BYTES];
        if length < HEAD_BYTES as u64 {
            if is_last || length == 0 {
                return Ok(None);
            }
            return Err(place.damaged(number, 0, Damage::Frame));
        }
        reader.read_exact(&mut head).map_err(failed(&path))?;
        if head != place.head(number) {
            return Err(place.damaged(
                number,
                0,
                Damage::Content("its head, of another log or version"),
            ));
        }
        Ok(Some(Self { reader, path, at: HEAD_BYTES as u64, length, buffer: Vec::new() }))
    }

    fn next(&mut self) -> Result<Next<'_>, DiskError> {
        let left = self.length - self.at;
        if left == 0 {
            return Ok(Ok(None));
        }
        self.fill(left.min(4)).map_err(failed(&self.path))?;
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(Err(Damage::Frame)) };
        let all = 8 + u64::from(u32::from_le_bytes(*length));
        if all > left {
            return Ok(Err(Damage::Frame));
        }
        self.fill_on(all).map_err(failed(&self.path))?;
        Ok(match frame(&self.buffer) {
            Ok(Some((kind, body, length))) => {
                self.at += length as u64;
                Ok(Some((kind, body)))
            }
            Ok(None) => Ok(None),
            Err(damage) => Err(damage),
        })
    }

    fn fill(&mut self, bytes: u64) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.shrink_to(4 * BUFFER_BYTES);
        self.fill_on(bytes)
    }

    /// Reads until the buffer has so many bytes, or the file has no more.
    fn fill_on(&mut self, bytes: u64) -> io::Result<()> {
        let more = bytes - self.buffer.len() as u64;
        self.reader.by_ref().take(more).read_to_end(&mut self.buffer).map(drop)
    }
}

/// The bytes of all files that count and come before one.
pub(super) fn bytes_before(
    folder: &Path,
    generation: &Generation,
    shard: usize,
    number: u64,
) -> u64 {
    let place = Place::new(folder, generation, shard);
    let numbers = place.numbers().unwrap_or_default();
    let paths = numbers.into_iter().filter(|n| *n < number).map(|n| place.path(n));
    paths.filter_map(|path| std::fs::metadata(path).ok()).map(|data| data.len()).sum()
}
