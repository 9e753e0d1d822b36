//! What a link shares with its task: the calls it took, and how much they hold.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use firn_wire::ids::WorkerId;
use firn_wire::secret::Secret;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::Call;
use crate::maps::Maps;

/// Who calls: the same for all links of a process.
pub(crate) struct Caller {
    pub(crate) me: WorkerId,
    pub(crate) secret: Secret,
    /// Where links learn the cluster's id.
    pub(crate) maps: Arc<Maps>,
}

/// What a link shares with its task.
pub(crate) struct Line {
    pub(crate) caller: Arc<Caller>,
    pub(crate) peer: WorkerId,
    pub(crate) address: String,
    /// Where its task runs.
    pub(crate) lane: Handle,
    pub(crate) inbox: Mutex<Inbox>,
    /// The task has something to look at.
    pub(crate) wake: Notify,
    pub(crate) route: AtomicU64,
    pub(crate) bytes: AtomicUsize,
    pub(crate) messages: AtomicUsize,
    pub(crate) closed: AtomicBool,
}

/// What waits for the task, and whether there is one.
pub(crate) struct Inbox {
    pub(crate) state: State,
    pub(crate) calls: Vec<Arc<Call>>,
    /// Connections in a row that did not come about.
    pub(crate) failures: u32,
}

/// Whether a link has a task.
pub(crate) enum State {
    /// No task; the next call starts one.
    Idle,
    /// There is a task.
    Running,
    /// No task, and none before then.
    Resting(Instant),
}

impl Line {
    /// What waits.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no holder panics")
    }

    /// Calls taken since the last look, in order.
    pub(crate) fn take_calls(&self, into: &mut Vec<Arc<Call>>) {
        std::mem::swap(&mut self.inbox().calls, into);
    }

    /// Whether nobody can send any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A call is no longer held.
    pub(crate) fn release(&self, call: &Call) {
        self.bytes.fetch_sub(call.bytes().len(), Ordering::Relaxed);
        self.messages.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends calls that nobody waits for any more, before there is a connection.
    pub(crate) fn give_up_late(&self) {
        let now = Instant::now();
        let late =
            self.inbox().calls.extract_if(.., |call| call.deadline <= now).collect::<Vec<_>>();
        self.give_up(late);
    }

    /// Ends calls that were taken and not sent.
    pub(crate) fn give_up(&self, calls: Vec<Arc<Call>>) {
        for call in calls {
            self.release(&call);
            call.give_up();
        }
    }
}
