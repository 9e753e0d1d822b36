//! A worker's disk: for each shard what the real worker's writing thread does, as events that take a while.

use std::collections::{BTreeMap, VecDeque};

use firn_store::disk::{Filled, Mark, Urgency};

use super::Worker;
use crate::drive::{Drive, Ending};
use crate::event::{Alarm, Event};
use crate::law::ShellRule;
use crate::network::{ConnectionId, End};
use crate::random::Random;
use crate::scene::Scene;

/// How long news are gathered, in milliseconds.
const GATHER_MS: u64 = 20;
/// The same without the rule that says so.
const GATHER_LATE_MS: u64 = 500;
/// How long what is written may not be synced, in milliseconds.
const SYNC_EVERY_MS: u64 = 800;
/// How long after a failure it is tried again, in milliseconds.
const AGAIN_MS: u64 = 1_000;
/// A write or sync takes so long at most after the faults, in microseconds.
const CALM_US: u64 = 2_000;
/// Bytes of records are taken at once then, at least.
const RECORDS_CALM_BYTES: usize = 64 << 10;

/// How fast disks are, and when logs are written anew.
#[derive(Debug, Clone, Copy)]
pub struct DiskPace {
    /// A write takes so long at most, in microseconds.
    pub write_us: u64,
    /// A sync takes so long at most, in microseconds.
    pub sync_us: u64,
    /// A log that has grown by so many bytes is written anew.
    pub growth_bytes: usize,
    /// Bytes of records taken at once.
    pub records_bytes: usize,
    /// Bytes of entries of snapshots taken at once.
    pub entries_bytes: usize,
    /// And so long after the last, in milliseconds.
    pub entries_every_ms: u64,
}

impl DiskPace {
    /// The same after the faults: nothing is slow.
    pub fn calm(self) -> Self {
        let [write_us, sync_us] = [self.write_us, self.sync_us].map(|us| us.min(CALM_US));
        let records_bytes = self.records_bytes.max(RECORDS_CALM_BYTES);
        Self { write_us, sync_us, records_bytes, entries_every_ms: 0, ..self }
    }
}

/// What a shard's writer does.
#[derive(Debug, Default)]
enum Doing {
    /// It waits for news.
    #[default]
    Nothing,
    /// It gathers news, or waits until it is time to sync.
    Resting,
    /// It waits after a failure.
    Pausing,
    /// It writes.
    Writing(Filled),
    /// It syncs; it has come this far then.
    Syncing(Mark),
}

/// The writer of one shard.
#[derive(Debug, Default)]
struct Writer {
    doing: Doing,
    /// Only the alarm with this number counts.
    turn: u64,
    /// Written and not synced.
    unsynced: Option<Mark>,
    /// When the last sync was, lease clock.
    synced_at: u64,
    /// When entries of snapshots were taken last, lease clock.
    entries_at: u64,
    /// The log is being written anew: it is when this is on disk, and what is before this file goes then.
    renewal: Option<(Mark, usize)>,
    /// Bytes of the log when that last came to its end.
    base: usize,
    /// Everything up to there is on disk.
    synced: Mark,
}

/// An acknowledgement that waits for the disk.
#[derive(Debug)]
struct Owed {
    marks: Vec<(usize, Mark)>,
    ack: Vec<u8>,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Disk {
    drive: Drive,
    pace: DiskPace,
    writers: Vec<Writer>,
    /// Acknowledgements by their connections, in order.
    owed: BTreeMap<ConnectionId, VecDeque<Owed>>,
    /// The next sync fails.
    pub(super) fails: bool,
}

impl Disk {
    pub(super) fn new(mut drive: Drive, shards: u16, pace: DiskPace) -> Self {
        drive.begin(shards);
        let mut writers: Vec<Writer> = (0..shards).map(|_| Writer::default()).collect();
        for (at, writer) in writers.iter_mut().enumerate() {
            writer.base = drive.log(at).length();
        }
        Self { drive, pace, writers, owed: BTreeMap::new(), fails: false }
    }

    /// Shards of which the log is to be written anew before it counts alone.
    pub(super) fn unfinished(&mut self) -> Vec<usize> {
        (0..self.writers.len()).filter(|at| !self.drive.log(*at).is_whole()).collect()
    }

    /// What is left of it when the process ends in this way.
    pub(super) fn into_drive(mut self, ending: Ending, random: &mut Random) -> Drive {
        for (at, writer) in self.writers.iter().enumerate() {
            if let Doing::Writing(filled) = &writer.doing {
                let written = random.between(0, filled.bytes.len() as u64) as usize;
                self.drive.log(at).append(&filled.bytes[..written]);
            }
        }
        if ending == Ending::PowerCut {
            self.drive.tear(random);
        }
        self.drive
    }

    /// No sync is slow any more.
    pub(super) fn calm(&mut self) {
        self.pace = self.pace.calm();
    }

    /// A connection is gone, and who waited for acknowledgements on it.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.owed.remove(&connection);
    }
}

impl Worker {
    /// Sends an acknowledgement, once these shards have on disk what they have now if it is `durable`, and not before what
    /// was to be sent earlier.
    pub(super) fn acknowledge(
        &mut self,
        scene: &mut Scene,
        session: ConnectionId,
        ack: Vec<u8>,
        durable: Option<Vec<usize>>,
    ) {
        let mut marks = Vec::new();
        for at in durable.into_iter().flatten() {
            self.shards[at].hurry_disk();
            marks.extend(self.shards[at].disk_mark().map(|mark| (at, mark)));
        }
        match &mut self.disk {
            Some(disk) if !marks.is_empty() || disk.owed.contains_key(&session) => {
                disk.owed.entry(session).or_default().push_back(Owed { marks, ack });
            }
            _ => {
                let Scene { network, queue, now, .. } = scene;
                network.send(queue, *now, session, End::Dialler, ack);
            }
        }
    }

    /// Sends the acknowledgements that the disk held up.
    fn acknowledge_synced(&mut self, scene: &mut Scene) {
        let Some(disk) = &mut self.disk else { return };
        let writers = &disk.writers;
        let is_due =
            |owed: &Owed| owed.marks.iter().all(|(at, mark)| writers[*at].synced.reaches(*mark));
        for (session, queue) in &mut disk.owed {
            while queue.front().is_some_and(is_due) {
                let Some(owed) = queue.pop_front() else { break };
                let Scene { network, queue, now, .. } = scene;
                network.send(queue, *now, *session, End::Dialler, owed.ack);
            }
        }
        disk.owed.retain(|_, queue| !queue.is_empty());
    }

    /// Has writers look at what is new: at once where somebody waits for it.
    pub(super) fn wake_writers(&mut self, scene: &mut Scene) {
        let Some(disk) = &self.disk else { return };
        for at in 0..disk.writers.len() {
            let Some(disk) = &self.disk else { return };
            let urgency = self.shards[at].disk_urgency();
            match disk.writers[at].doing {
                Doing::Nothing | Doing::Resting if urgency == Urgency::Now => {
                    let us = scene.random.below(2_000);
                    self.writer_in(scene, at, us, Doing::Resting);
                }
                Doing::Nothing if urgency == Urgency::Soon => {
                    let us = self.gather_us(scene);
                    self.writer_in(scene, at, us, Doing::Resting);
                }
                _ => {}
            }
        }
    }

    /// How long news are gathered, truly, in microseconds.
    fn gather_us(&self, scene: &Scene) -> u64 {
        let in_time = self.build.law.keeps_shell(ShellRule::WrittenInTime);
        let ms = if in_time { GATHER_MS } else { GATHER_LATE_MS };
        scene.machines[self.slot].true_us(ms)
    }

    fn writer_in(&mut self, scene: &mut Scene, at: usize, us: u64, doing: Doing) {
        let Some(disk) = &mut self.disk else { return };
        let writer = &mut disk.writers[at];
        writer.doing = doing;
        writer.turn += 1;
        let alarm = Alarm::Disk(at, writer.turn);
        scene.queue.put(scene.now.plus_us(us), Event::Alarm(self.slot, self.run, alarm));
    }

    /// A writer has come to the end of what it was doing.
    pub(super) fn write(&mut self, scene: &mut Scene, at: usize, turn: u64) {
        let Some(disk) = &mut self.disk else { return };
        let writer = &mut disk.writers[at];
        if writer.turn != turn {
            return;
        }
        match std::mem::take(&mut writer.doing) {
            Doing::Writing(filled) => self.written(scene, at, &filled),
            Doing::Syncing(_) if std::mem::take(&mut disk.fails) => self.sync_failed(scene, at),
            Doing::Syncing(mark) => self.synced(scene, at, mark),
            Doing::Nothing | Doing::Resting | Doing::Pausing => self.take(scene, at),
        }
    }

    /// Takes what is to be written next.
    fn take(&mut self, scene: &mut Scene, at: usize) {
        let lease_ms = self.now(scene).lease_ms;
        let shard = &mut self.shards[at];
        let Some(disk) = &mut self.disk else { return };
        shard.set_disk_trouble(None);
        let DiskPace { records_bytes, entries_bytes, entries_every_ms, .. } = disk.pace;
        let writer = &mut disk.writers[at];
        let are_entries_due = writer.entries_at + entries_every_ms <= lease_ms;
        let entries_bytes = if are_entries_due { entries_bytes } else { 0 };
        match shard.fill_disk(&mut Vec::new(), records_bytes, entries_bytes) {
            Some(mut filled) => {
                filled.seal();
                if filled.snapshots > 0 {
                    writer.entries_at = lease_ms;
                }
                let us = scene.random.between(0, disk.pace.write_us);
                self.writer_in(scene, at, us, Doing::Writing(filled));
            }
            None => self.sync_or_rest(scene, at, false),
        }
    }

    fn written(&mut self, scene: &mut Scene, at: usize, filled: &Filled) {
        let Some(disk) = &mut self.disk else { return };
        disk.drive.log(at).append(&filled.bytes);
        disk.writers[at].unsynced = Some(filled.mark);
        if self.build.keeps_map {
            disk.drive.map.clone_from(&self.map);
        }
        scene.trace.note(scene.now, &[80, self.run, at as u64, filled.bytes.len() as u64], || {
            format!("{} writes {} bytes of shard {at}", self.me, filled.bytes.len())
        });
        self.sync_or_rest(scene, at, filled.hurry);
    }

    fn sync_or_rest(&mut self, scene: &mut Scene, at: usize, hurry: bool) {
        let lease_ms = self.now(scene).lease_ms;
        let Some(disk) = &mut self.disk else { return };
        let DiskPace { sync_us, growth_bytes, .. } = disk.pace;
        let length = disk.drive.log(at).length();
        let writer = &mut disk.writers[at];
        let has_grown = writer.renewal.is_none() && length > writer.base + growth_bytes;
        let is_late = writer.synced_at + SYNC_EVERY_MS <= lease_ms;
        let in_time = self.build.law.keeps_shell(ShellRule::SyncedInTime);
        let is_due = hurry || has_grown || is_late && in_time;
        let Some(mark) = writer.unsynced else {
            writer.doing = Doing::Nothing;
            return;
        };
        if is_due {
            let us = scene.random.between(0, sync_us);
            self.writer_in(scene, at, us, Doing::Syncing(mark));
        } else {
            let us = self.gather_us(scene);
            self.writer_in(scene, at, us, Doing::Resting);
        }
    }

    fn synced(&mut self, scene: &mut Scene, at: usize, mark: Mark) {
        let lease_ms = self.now(scene).lease_ms;
        let Some(disk) = &mut self.disk else { return };
        let (log, writer) = (disk.drive.log(at), &mut disk.writers[at]);
        log.sync();
        (writer.unsynced, writer.synced_at, writer.synced) = (None, lease_ms, mark);
        if let Some((_, first)) = writer.renewal.take_if(|(renewed, _)| mark.reaches(*renewed)) {
            log.drop_before(first);
            writer.base = log.length();
            disk.drive.tidy();
        } else if writer.renewal.is_none() && log.length() > writer.base + disk.pace.growth_bytes {
            log.begin_file();
            self.renew_log(at);
        }
        scene.trace.note(scene.now, &[81, self.run, at as u64], || {
            format!("{} has synced shard {at}", self.me)
        });
        self.shards[at].disk_synced(mark);
        self.touched.insert(at);
        self.acknowledge_synced(scene);
        self.take(scene, at);
    }

    /// What was not synced may be gone, and nothing will say so again: a new file begins, with everything in it.
    fn sync_failed(&mut self, scene: &mut Scene, at: usize) {
        let Some(disk) = &mut self.disk else { return };
        let log = disk.drive.log(at);
        log.lose();
        log.begin_file();
        disk.writers[at].unsynced = None;
        scene.trace.note(scene.now, &[82, self.run, at as u64], || {
            format!("{} fails to sync shard {at}", self.me)
        });
        self.shards[at].lose_disk();
        self.renew_log(at);
        self.shards[at].set_disk_trouble(Some("a sync has failed".into()));
        self.touched.insert(at);
        let us = scene.machines[self.slot].true_us(AGAIN_MS);
        self.writer_in(scene, at, us, Doing::Pausing);
    }

    /// The log of a shard is written anew from its last file on.
    pub(super) fn renew_log(&mut self, at: usize) {
        let Some(disk) = &mut self.disk else { return };
        let first = disk.drive.log(at).last_place();
        disk.writers[at].renewal = self.shards[at].renew_disk().map(|mark| (mark, first));
    }
}
