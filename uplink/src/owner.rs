//! The one thread that owns the registry and its store: events in, stored changes out.
//!
//! Events that arrive together are one change of the store: one fsync for all of them. An event is answered, and its map
//! published, only after that.
//!
//! When the store fails, the registry is what it was before the change that failed, and no event may change its map:
//! workers beat as always, who wants a change is refused, and nobody is judged silent. Every [`RETRY`] what is stored is
//! read back. It is the map before that change, or the one after it: either is written once more, as a whole, and only
//! then told and gone on from. So a version is never used for two maps, whatever became of the change.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use firn_wire::ids::WorkerName;
use firn_wire::map::Map;
use tokio::sync::{oneshot, watch};

use crate::chunks::{self, Change};
use crate::metrics::Metrics;
use crate::registry::{Answer, Event, History, Progress, Refusal, Registry};
use crate::state::State;
use crate::store::{Store, StoreError};

/// Events that may wait for the thread; beyond it they are refused.
const EVENTS_WAITING_MAX: usize = 4_096;
/// Events that share one change of the store.
const EVENTS_TOGETHER_MAX: usize = 1_024;
/// How often silence is looked for.
const TICK: Duration = Duration::from_millis(50);
/// A turn of the thread that took longer than this says nothing of others' silence: their beats may still be on the way
/// through this process.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// How often a store that has failed is tried again.
pub const RETRY: Duration = Duration::from_secs(1);

/// What everyone may read.
#[derive(Debug, Clone)]
pub struct Published {
    /// The map; version 0.0 before the first.
    pub map: Arc<Map>,
    /// What is gone from it.
    pub history: Arc<History>,
    /// How far partitions have come to where they should be.
    pub progress: Progress,
}

impl Published {
    fn of(registry: &Registry) -> Self {
        Self {
            map: Arc::clone(registry.map()),
            history: Arc::clone(registry.history()),
            progress: registry.progress(),
        }
    }
}

/// Why an event was not done.
#[derive(Debug)]
pub enum NotDone {
    /// The registry refuses it.
    Refused(Refusal),
    /// Too many others wait.
    Busy,
    /// It would change the map, and the store fails.
    NotStored {
        /// What the store says.
        why: String,
        /// Whether it may have been done: it is not known what the store has of it.
        maybe: bool,
    },
    /// The uplink stops. Whether the event was done is not known.
    Stopped,
}

enum Message {
    Ask(Event, oneshot::Sender<Result<Answer, NotDone>>),
    Stop,
}

/// The way to the thread.
#[derive(Clone)]
pub struct Handle {
    messages: SyncSender<Message>,
}

impl Handle {
    /// Has an event done, and waits until what came of it is stored.
    pub async fn ask(&self, event: Event) -> Result<Answer, NotDone> {
        let (answer, answered) = oneshot::channel();
        match self.messages.try_send(Message::Ask(event, answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(NotDone::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(NotDone::Stopped),
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(NotDone::Stopped),
        }
    }

    /// Ends the thread after what has arrived before.
    pub fn stop(&self) {
        // An error says that it has ended already.
        let _ = self.messages.send(Message::Stop);
    }
}

/// Unix milliseconds: the system's clock at start, and from then on a clock that never goes back.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_ms: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now(), start_ms: system_now_ms() }
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        self.start_ms + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

/// Unix milliseconds of the system's clock, which may go back.
pub fn system_now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2)
}

/// What the thread has.
pub struct Owner {
    registry: Registry,
    /// What is in the store.
    stored: State,
    store: Box<dyn Store>,
    clock: Clock,
    /// When the last turn began.
    turned: Instant,
    /// None: the store works.
    failing: Option<Failing>,
    messages: Receiver<Message>,
    published: watch::Sender<Published>,
    metrics: Arc<Metrics>,
}

/// A store that fails.
struct Failing {
    /// The registry after the change of which it is not known whether it is stored.
    attempt: Registry,
    /// What the store says.
    why: String,
    /// When it is tried again.
    retry: Instant,
}

/// An answer that waits for the store.
struct Waiting {
    asker: oneshot::Sender<Result<Answer, NotDone>>,
    answer: Result<Answer, NotDone>,
    /// Whether it tells what is not stored yet.
    is_news: bool,
}

impl Waiting {
    fn send(self, unstored: Option<&str>) {
        let answer = match unstored {
            Some(why) if self.is_news => {
                Err(NotDone::NotStored { why: why.to_owned(), maybe: true })
            }
            _ => self.answer,
        };
        // Who has gone away does not want it.
        let _ = self.asker.send(answer);
    }
}

impl Owner {
    /// A thread's work, the way to it, and what it publishes. The registry's state is in the store.
    pub fn new(
        registry: Registry,
        store: Box<dyn Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, Handle, watch::Receiver<Published>) {
        let stored = registry.state().clone();
        let (sender, messages) = sync_channel(EVENTS_WAITING_MAX);
        let (published, reader) = watch::channel(Published::of(&registry));
        let turned = Instant::now();
        let failing = None;
        let owner =
            Self { registry, stored, store, clock, turned, failing, messages, published, metrics };
        (owner, Handle { messages: sender }, reader)
    }

    /// Works until it is told to stop.
    pub fn run(mut self) {
        loop {
            let mut waiting = match self.messages.recv_timeout(TICK) {
                Ok(message) => vec![message],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            waiting.extend(self.messages.try_iter().take(EVENTS_TOGETHER_MAX - 1));
            if self.work(waiting) == Flow::Stop {
                return;
            }
        }
    }

    fn work(&mut self, waiting: Vec<Message>) -> Flow {
        let now_ms = self.clock.now_ms();
        let turned = std::mem::replace(&mut self.turned, Instant::now());
        if turned.elapsed() > STOOD_STILL {
            self.wake(now_ms);
        }
        self.retry(now_ms);
        let before = self.registry.clone();
        let more_may_wait = waiting.len() == EVENTS_TOGETHER_MAX;
        let mut flow = Flow::GoOn;
        let mut answers = Vec::with_capacity(waiting.len());
        for message in waiting {
            match message {
                Message::Ask(event, asker) => {
                    let answer = self.step(now_ms, event);
                    answers.push(Waiting { asker, answer, is_news: self.has_news() });
                }
                Message::Stop => flow = Flow::Stop,
            }
        }
        // Nobody is judged silent while his beat may be waiting here because this thread was slow.
        if !more_may_wait && self.failing.is_none() {
            let ticked = self.registry.step(now_ms, Event::Tick);
            ticked.expect("time cannot be refused");
        }
        self.metrics.events.add(answers.len() as u64);
        let unstored = self.commit().err().map(|error| self.fail(before, &error));
        answers.into_iter().for_each(|answer| answer.send(unstored.as_deref()));
        flow
    }

    /// One event. While the store fails it is done only if the map stays as it is.
    fn step(&mut self, now_ms: u64, event: Event) -> Result<Answer, NotDone> {
        let Some(failing) = &self.failing else {
            return self.registry.step(now_ms, event).map_err(NotDone::Refused);
        };
        let mut next = self.registry.clone();
        let answer = next.step(now_ms, event);
        if next.version() != self.registry.version() {
            return Err(NotDone::NotStored { why: failing.why.clone(), maybe: false });
        }
        self.registry = next;
        answer.map_err(NotDone::Refused)
    }

    /// Silence until now says nothing.
    fn wake(&mut self, now_ms: u64) {
        let woken = self.registry.step(now_ms, Event::Woken);
        woken.expect("having stood still cannot be refused");
    }

    /// Whether the map is one that is not stored yet.
    fn has_news(&self) -> bool {
        self.registry.version() != self.stored.map.version
    }

    /// The store has failed. Returns what it says.
    fn fail(&mut self, before: Registry, error: &StoreError) -> String {
        log::error!("the map does not change before the store works again: {error}");
        let attempt = std::mem::replace(&mut self.registry, before);
        let why = error.to_string();
        self.failing = Some(Failing { attempt, why: why.clone(), retry: Instant::now() + RETRY });
        why
    }

    /// Tries a store that has failed, now and then.
    fn retry(&mut self, now_ms: u64) {
        let Some(mut failing) = self.failing.take_if(|failing| failing.retry <= Instant::now())
        else {
            return;
        };
        match self.restore(&failing.attempt) {
            Ok(is_done) => {
                if is_done {
                    self.registry = failing.attempt;
                }
                self.note_stored();
                self.wake(now_ms);
                log::warn!("the store works again: the map is {}", self.stored.map.version);
            }
            Err(error) => {
                failing.why = error.to_string();
                failing.retry = Instant::now() + RETRY;
                self.failing = Some(failing);
            }
        }
    }

    /// Whether a change is stored of which that was not known. What is stored is written once more: after a failed fsync what
    /// is read may be in memory only, and where all of it can be written the next change can.
    fn restore(&mut self, attempt: &Registry) -> Result<bool, StoreError> {
        let found = chunks::read(&self.store.load()?).ok().flatten();
        let is_done = found.as_ref() == Some(attempt.state());
        let is_undone = found.as_ref() == Some(&self.stored);
        let found = found.filter(|_| is_done || is_undone);
        let found = found.ok_or(StoreError::Changed(self.stored.map.version))?;
        self.store.compare_and_set(&Change::again(&found))?;
        Ok(is_done)
    }

    /// The registry's map is stored.
    fn note_stored(&mut self) {
        if self.has_news() {
            self.note_rebuilt();
            self.stored = self.registry.state().clone();
        }
        self.note_rehomed();
        self.note_emptied();
    }

    /// An operator who reads the log learns that data is gone.
    fn note_rehomed(&mut self) {
        let more = self.registry.rehomed() - self.metrics.rehomed.get();
        if more > 0 {
            log::warn!(
                "{more} partitions had no copy left for longer than REHOME_AFTER and start again empty"
            );
            self.metrics.rehomed.add(more);
        }
    }

    /// Likewise, of copies that restarted and had kept nothing.
    fn note_emptied(&mut self) {
        let more = self.registry.emptied() - self.metrics.emptied.get();
        if more > 0 {
            log::warn!(
                "{more} partitions start again empty: all their copies restarted and kept nothing"
            );
            self.metrics.emptied.add(more);
        }
    }

    /// A map of a later generation is what came back from the workers.
    fn note_rebuilt(&self) {
        let (old, new) = (&self.stored.map, self.registry.map());
        if new.version.generation <= old.version.generation.max(1) {
            return;
        }
        let (workers, tables) = (new.workers.len(), new.tables.len());
        log::warn!(
            "rebuilt from the maps of workers: cluster {}, map {}, {workers} workers, {tables} tables, {:?}",
            new.cluster,
            new.version,
            new.settings
        );
        let missed = self.registry.waits_for();
        if !missed.is_empty() {
            let names: Vec<&str> = missed.iter().map(WorkerName::as_str).collect();
            log::warn!(
                "partitions of which {} may know more do not change before it tells its map: start it, or do without \
                 it with `firn recover --accept-data-loss`",
                names.join(", ")
            );
        }
    }

    /// Stores what has changed, then publishes it.
    fn commit(&mut self) -> Result<(), StoreError> {
        let state = self.registry.state();
        if self.has_news() {
            let started = Instant::now();
            self.store.compare_and_set(&Change::between(Some(&self.stored), state))?;
            self.note_stored();
            self.metrics.commits.add(1);
            self.metrics.commit_micros.add(started.elapsed().as_micros() as u64);
        }
        let (last, progress) = {
            let published = self.published.borrow();
            (Arc::clone(&published.map), published.progress)
        };
        if !Arc::ptr_eq(&last, self.registry.map()) || progress != self.registry.progress() {
            self.published.send_replace(Published::of(&self.registry));
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::registry::Answer;
    use crate::settings::Wishes;
    use crate::store::Memory;
    use firn_wire::ids::{ClusterId, Incarnation};
    use firn_wire::map::{TablePolicy, WorkerState};
    use firn_wire::registry::{Heartbeat, Register};

    /// What a store does with a change.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// It refuses it.
        Refuses,
        /// It stores it and says that it has failed; what comes after it refuses.
        StoresAndFails,
    }

    /// Counts changes, and fails when it is told to.
    struct Observed {
        store: Memory,
        changes: Arc<Mutex<Vec<Change>>>,
        fault: Arc<Mutex<Fault>>,
    }

    impl Store for Observed {
        fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
            self.store.load()
        }

        fn compare_and_set(&mut self, change: &Change) -> Result<(), StoreError> {
            let fault = *self.fault.lock().unwrap();
            if fault != Fault::Refuses {
                self.changes.lock().unwrap().push(change.clone());
                self.store.compare_and_set(change)?;
            }
            if fault == Fault::None {
                return Ok(());
            }
            *self.fault.lock().unwrap() = Fault::Refuses;
            let source = std::io::Error::other("no space left").into();
            Err(StoreError::Failed { what: "a write".to_owned(), source })
        }
    }

    struct Setting {
        owner: Owner,
        handle: Handle,
        published: watch::Receiver<Published>,
        changes: Arc<Mutex<Vec<Change>>>,
        fault: Arc<Mutex<Fault>>,
        metrics: Arc<Metrics>,
    }

    impl Setting {
        fn fault(&self, fault: Fault) {
            *self.fault.lock().unwrap() = fault;
        }

        /// A turn of the thread with these events.
        async fn turn(&mut self, events: Vec<Event>) -> Vec<Result<Answer, NotDone>> {
            let asked = send(&self.handle, events).await;
            let waiting = self.owner.messages.try_iter().collect();
            self.owner.work(waiting);
            let mut answers = Vec::new();
            for answer in asked {
                answers.push(answer.await.unwrap());
            }
            answers
        }

        /// The next turn tries the store again.
        fn retry_is_due(&mut self) {
            self.owner.failing.as_mut().expect("it fails").retry = Instant::now();
        }

        fn version(&self) -> String {
            self.published.borrow().map.version.to_string()
        }
    }

    fn setting() -> Setting {
        let state = State::new(ClusterId(1), 1, Wishes::default().of_a_new_cluster().unwrap());
        let changes = Arc::new(Mutex::new(Vec::new()));
        let fault = Arc::new(Mutex::new(Fault::None));
        let mut store = Observed {
            store: Memory::default(),
            changes: Arc::clone(&changes),
            fault: Arc::clone(&fault),
        };
        store.compare_and_set(&Change::between(None, &state)).unwrap();
        changes.lock().unwrap().clear();
        let metrics = Arc::new(Metrics::default());
        let clock = Clock::start();
        let registry = Registry::new(state, "uplink:1".to_owned(), None, clock.now_ms());
        let (owner, handle, published) =
            Owner::new(registry, Box::new(store), clock, Arc::clone(&metrics));
        Setting { owner, handle, published, changes, fault, metrics }
    }

    fn register() -> Event {
        Event::Register(Register {
            name: "w1".parse().unwrap(),
            incarnation: Incarnation(1),
            addresses: [("peer".to_owned(), "w1:1".to_owned())].into(),
            shards: 1,
            cluster: None,
        })
    }

    fn beat() -> Event {
        let beat = Heartbeat { incarnation: Incarnation(1), goodbye: false, leaving: false };
        Event::Beat("w1".parse().unwrap(), beat)
    }

    fn create(number: usize) -> Event {
        let name = format!("t{number}").parse().unwrap();
        Event::CreateTable { name, policy: TablePolicy::default(), first_byte: None }
    }

    /// Sends events now, so that they all wait before the thread looks; the answers come when it runs.
    async fn send(
        handle: &Handle,
        events: Vec<Event>,
    ) -> Vec<tokio::task::JoinHandle<Result<Answer, NotDone>>> {
        let mut asked = Vec::new();
        for event in events {
            let handle = handle.clone();
            let (sent, is_sent) = oneshot::channel();
            asked.push(tokio::spawn(async move {
                let mut answer = std::pin::pin!(handle.ask(event));
                let first = futures_util::poll!(answer.as_mut());
                let _ = sent.send(());
                match first {
                    std::task::Poll::Ready(answer) => answer,
                    std::task::Poll::Pending => answer.await,
                }
            }));
            is_sent.await.unwrap();
        }
        asked
    }

    #[tokio::test]
    async fn what_arrives_together_is_stored_together() {
        let Setting { owner, handle, published, changes, metrics, .. } = setting();
        let events = std::iter::once(register()).chain((0..100).map(create)).collect();
        let asked = send(&handle, events).await;
        let thread = std::thread::spawn(|| owner.run());
        for answer in asked {
            answer.await.unwrap().unwrap();
        }
        assert_eq!(changes.lock().unwrap().len(), 1, "one change of the store for 101 events");
        assert_eq!((metrics.commits.get(), metrics.events.get()), (1, 101));
        assert_eq!(published.borrow().map.version.to_string(), "1.101");
        handle.stop();
        thread.join().unwrap();
        assert!(matches!(handle.ask(create(0)).await, Err(NotDone::Stopped)));
    }

    #[tokio::test]
    async fn who_was_not_heard_while_the_thread_stood_still_is_not_silent() {
        let mut it = setting();
        it.turn(vec![register()]).await.pop().unwrap().unwrap();
        let state = |it: &Setting| it.published.borrow().map.workers[0].state;
        it.owner.clock.start_ms += 60_000;
        it.owner.turned -= 2 * STOOD_STILL;
        it.turn(vec![]).await;
        assert_eq!(state(&it), WorkerState::Up);
        it.owner.clock.start_ms += 60_000;
        it.turn(vec![]).await;
        assert_eq!(state(&it), WorkerState::Down, "a minute in which the thread ran");
    }

    /// Whether an answer says that a change was not stored, and that it may have been.
    fn not_stored(answer: &Result<Answer, NotDone>) -> Option<bool> {
        match answer {
            Err(NotDone::NotStored { why, maybe }) if why.contains("no space left") => Some(*maybe),
            _ => None,
        }
    }

    #[tokio::test]
    async fn while_the_store_fails_workers_beat_and_the_map_stays() {
        let mut it = setting();
        it.turn(vec![register(), create(1)]).await.pop().unwrap().unwrap();
        it.fault(Fault::Refuses);
        let answers = it.turn(vec![beat(), create(2), create(1)]).await;
        assert!(matches!(answers[0], Ok(Answer::Beaten(_))), "nothing had changed before it");
        assert_eq!(not_stored(&answers[1]), Some(true));
        assert_eq!(not_stored(&answers[2]), Some(true), "it would tell a version not stored");

        // Longer than any lease, and the store is tried meanwhile.
        for _ in 0..3 {
            it.owner.clock.start_ms += 60_000;
            it.retry_is_due();
            let answers = it.turn(vec![beat(), create(1), create(3)]).await;
            assert!(answers[..2].iter().all(Result::is_ok), "{answers:?}");
            assert_eq!(not_stored(&answers[2]), Some(false));
        }
        it.owner.clock.start_ms += 60_000;
        it.fault(Fault::None);
        assert_eq!(not_stored(&it.turn(vec![create(3)]).await[0]), Some(false), "not tried yet");
        assert_eq!((it.version().as_str(), it.changes.lock().unwrap().len()), ("1.2", 1));

        it.retry_is_due();
        it.turn(vec![create(3)]).await.pop().unwrap().unwrap();
        assert_eq!(it.version(), "1.3");
        let map = Arc::clone(&it.published.borrow().map);
        assert_eq!(map.workers[0].state, WorkerState::Up, "its silence says nothing");
        let names: Vec<_> = map.tables.iter().map(|table| table.name.as_str()).collect();
        assert!(names.contains(&"t3") && !names.contains(&"t2"), "{names:?}");
        assert_eq!(it.owner.stored, *it.owner.registry.state());
    }

    #[tokio::test]
    async fn a_change_that_was_stored_after_all_is_told_once_that_is_known() {
        let mut it = setting();
        it.turn(vec![register()]).await.pop().unwrap().unwrap();
        it.fault(Fault::StoresAndFails);
        assert_eq!(not_stored(&it.turn(vec![create(1)]).await[0]), Some(true));
        it.retry_is_due();
        assert_eq!(not_stored(&it.turn(vec![create(2)]).await[0]), Some(false));
        assert_eq!(it.version(), "1.1", "it is read back, but cannot be written yet");
        it.fault(Fault::None);
        it.retry_is_due();
        let answers = it.turn(vec![create(1), create(2)]).await;
        assert!(matches!(&answers[0], Ok(Answer::Table(made)) if !made.created), "{answers:?}");
        assert!(matches!(&answers[1], Ok(Answer::Table(made)) if made.created), "{answers:?}");
        assert_eq!(it.version(), "1.3");
        let versions: Vec<_> = it.changes.lock().unwrap().iter().map(version_of).collect();
        assert_eq!(versions, ["\"1.1\"", "\"1.2\"", "\"1.2\"", "\"1.3\""]);
    }

    fn version_of(change: &Change) -> String {
        String::from_utf8(change.puts[chunks::VERSION].clone()).unwrap()
    }

    #[tokio::test]
    async fn a_store_somebody_else_has_written_to_is_not_gone_on_with() {
        let mut it = setting();
        it.turn(vec![register()]).await.pop().unwrap().unwrap();
        it.fault(Fault::Refuses);
        it.turn(vec![create(1)]).await;
        it.fault(Fault::None);
        let mut other = it.owner.stored.clone();
        Arc::make_mut(&mut other.map).version.counter += 7;
        let change = Change::between(Some(&it.owner.stored), &other);
        it.owner.store.compare_and_set(&change).unwrap();
        it.retry_is_due();
        let answers = it.turn(vec![create(1)]).await;
        let Err(NotDone::NotStored { why, .. }) = &answers[0] else { panic!("{answers:?}") };
        assert!(why.contains("not map 1.1"), "{why}");
    }

    #[tokio::test]
    async fn more_than_can_wait_is_refused() {
        let Setting { owner, handle, .. } = setting();
        let asked = send(&handle, (0..EVENTS_WAITING_MAX).map(create).collect()).await;
        assert!(matches!(handle.ask(create(0)).await, Err(NotDone::Busy)));
        drop(owner);
        for answer in asked {
            assert!(matches!(answer.await.unwrap(), Err(NotDone::Stopped)));
        }
    }
}
