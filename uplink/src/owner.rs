//! The one thread that owns the registry and its store: events in, stored changes out.
//!
//! Events that arrive together are one change of the store: one fsync for all of them. An event is answered, and its map
//! published, only after that. When the store fails the thread ends: what is on disk is then not known, so nothing more
//! is promised; who asks later is told that the uplink has stopped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use firn_wire::ids::WorkerName;
use firn_wire::map::Map;
use tokio::sync::{oneshot, watch};

use crate::chunks::Change;
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
    /// The uplink stops, or its store has failed. Whether the event was done is not known.
    Stopped,
}

enum Message {
    Ask(Event, oneshot::Sender<Result<Answer, Refusal>>),
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
            Ok(answer) => answer.map_err(NotDone::Refused),
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
    messages: Receiver<Message>,
    published: watch::Sender<Published>,
    metrics: Arc<Metrics>,
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
        let owner = Self { registry, stored, store, clock, turned, messages, published, metrics };
        (owner, Handle { messages: sender }, reader)
    }

    /// Works until it is told to stop or the store fails.
    pub fn run(mut self) -> Result<(), StoreError> {
        loop {
            let mut waiting = match self.messages.recv_timeout(TICK) {
                Ok(message) => vec![message],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            waiting.extend(self.messages.try_iter().take(EVENTS_TOGETHER_MAX - 1));
            if self.work(waiting)? == Flow::Stop {
                return Ok(());
            }
        }
    }

    fn work(&mut self, waiting: Vec<Message>) -> Result<Flow, StoreError> {
        let now_ms = self.clock.now_ms();
        let turned = std::mem::replace(&mut self.turned, Instant::now());
        if turned.elapsed() > STOOD_STILL {
            let woken = self.registry.step(now_ms, Event::Woken);
            woken.expect("having stood still cannot be refused");
        }
        let more_may_wait = waiting.len() == EVENTS_TOGETHER_MAX;
        let mut flow = Flow::GoOn;
        let mut answers = Vec::with_capacity(waiting.len());
        for message in waiting {
            match message {
                Message::Ask(event, asker) => {
                    answers.push((asker, self.registry.step(now_ms, event)));
                }
                Message::Stop => flow = Flow::Stop,
            }
        }
        // Nobody is judged silent while his beat may be waiting here because this thread was slow.
        if !more_may_wait {
            let ticked = self.registry.step(now_ms, Event::Tick);
            ticked.expect("time cannot be refused");
            self.note_rehomed();
        }
        self.note_emptied();
        self.metrics.events.add(answers.len() as u64);
        self.commit()?;
        for (asker, answer) in answers {
            // Who has gone away does not want it.
            let _ = asker.send(answer);
        }
        Ok(flow)
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
        if state.map.version != self.stored.map.version {
            let started = Instant::now();
            self.store.compare_and_set(&Change::between(Some(&self.stored), state))?;
            self.note_rebuilt();
            self.stored = self.registry.state().clone();
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
    use firn_wire::registry::Register;

    /// Counts changes, and fails from one on.
    struct Observed {
        store: Memory,
        changes: Arc<Mutex<Vec<Change>>>,
        fails_from: usize,
    }

    impl Store for Observed {
        fn load(&self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
            self.store.load()
        }

        fn compare_and_set(&mut self, change: &Change) -> Result<(), StoreError> {
            let mut changes = self.changes.lock().unwrap();
            if changes.len() == self.fails_from {
                let source = std::io::Error::other("no space left").into();
                return Err(StoreError::Failed { what: "a write".to_owned(), source });
            }
            changes.push(change.clone());
            self.store.compare_and_set(change)
        }
    }

    struct Setting {
        owner: Owner,
        handle: Handle,
        published: watch::Receiver<Published>,
        changes: Arc<Mutex<Vec<Change>>>,
        metrics: Arc<Metrics>,
    }

    fn setting(fails_from: usize) -> Setting {
        let state = State::new(ClusterId(1), 1, Wishes::default().of_a_new_cluster().unwrap());
        let changes = Arc::new(Mutex::new(Vec::new()));
        let mut store =
            Observed { store: Memory::default(), changes: Arc::clone(&changes), fails_from };
        store.compare_and_set(&Change::between(None, &state)).unwrap();
        changes.lock().unwrap().clear();
        let metrics = Arc::new(Metrics::default());
        let clock = Clock::start();
        let registry = Registry::new(state, "uplink:1".to_owned(), None, clock.now_ms());
        let (owner, handle, published) =
            Owner::new(registry, Box::new(store), clock, Arc::clone(&metrics));
        Setting { owner, handle, published, changes, metrics }
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
        let Setting { owner, handle, published, changes, metrics } = setting(usize::MAX);
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
        thread.join().unwrap().unwrap();
        assert!(matches!(handle.ask(create(0)).await, Err(NotDone::Stopped)));
    }

    #[tokio::test]
    async fn who_was_not_heard_while_the_thread_stood_still_is_not_silent() {
        let Setting { mut owner, handle, published, .. } = setting(usize::MAX);
        let asked = send(&handle, vec![register()]).await;
        let waiting = owner.messages.try_iter().collect();
        owner.work(waiting).unwrap();
        for answer in asked {
            answer.await.unwrap().unwrap();
        }
        let state = || published.borrow().map.workers[0].state;
        owner.clock.start_ms += 60_000;
        owner.turned -= 2 * STOOD_STILL;
        owner.work(Vec::new()).unwrap();
        assert_eq!(state(), WorkerState::Up);
        owner.clock.start_ms += 60_000;
        owner.work(Vec::new()).unwrap();
        assert_eq!(state(), WorkerState::Down, "a minute in which the thread ran");
    }

    #[tokio::test]
    async fn a_store_that_fails_ends_everything_and_nothing_unstored_is_told() {
        let Setting { owner, handle, published, .. } = setting(1);
        let thread = std::thread::spawn(|| owner.run());
        handle.ask(register()).await.unwrap();
        assert!(matches!(handle.ask(create(1)).await, Err(NotDone::Stopped)));
        let failed = thread.join().unwrap().unwrap_err();
        assert!(failed.to_string().contains("no space left"), "{failed}");
        assert_eq!(published.borrow().map.version.to_string(), "1.1");
        assert!(published.has_changed().is_err(), "readers see that nothing more comes");
    }

    #[tokio::test]
    async fn more_than_can_wait_is_refused() {
        let Setting { owner, handle, .. } = setting(usize::MAX);
        let asked = send(&handle, (0..EVENTS_WAITING_MAX).map(create).collect()).await;
        assert!(matches!(handle.ask(create(0)).await, Err(NotDone::Busy)));
        drop(owner);
        for answer in asked {
            assert!(matches!(answer.await.unwrap(), Err(NotDone::Stopped)));
        }
    }
}
