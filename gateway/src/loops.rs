//! The event loops of a process: single-threaded, each on a thread of its own. A connection is a task of one loop from its
//! start to its end, and so are the links that carry its requests on: what one loop does alone wakes no other thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task;

/// Where connections are served: event loops, by number.
#[derive(Debug, Clone)]
pub struct Lanes {
    handles: Arc<[Handle]>,
    turn: Arc<AtomicUsize>,
}

impl Lanes {
    fn new(handles: Vec<Handle>) -> Self {
        Self { handles: handles.into(), turn: Arc::default() }
    }

    /// One: the current tokio runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn here() -> Self {
        Self::new(vec![Handle::current()])
    }

    /// Where tasks are spawned, at least one.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// The one whose turn it is to take a connection.
    pub(crate) fn next(&self) -> (usize, &Handle) {
        let lane = self.turn.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        (lane, &self.handles[lane])
    }
}

/// Event loops at work. Dropping them ends them; [`Loops::stop`] also waits.
#[derive(Debug)]
pub struct Loops {
    lanes: Lanes,
    stop: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Loops {
    /// One per core.
    pub fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (stop, stopped) = watch::channel(());
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for number in 0..cores {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            threads.push(run(number, runtime, stopped.clone())?);
        }
        Ok(Self { lanes: Lanes::new(handles), stop, threads })
    }

    /// Where they take tasks.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Ends their tasks, wherever those are.
    pub async fn stop(self) {
        let Self { stop, threads, .. } = self;
        stop.send_replace(());
        let joined = task::spawn_blocking(|| threads.into_iter().try_for_each(JoinHandle::join));
        if !matches!(joined.await, Ok(Ok(()))) {
            log::error!("an event loop ended by a panic");
        }
    }
}

/// Runs an event loop until `stopped` changes or its sender is gone.
fn run(
    number: usize,
    runtime: Runtime,
    mut stopped: watch::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("loop-{number}")).spawn(move || {
        // Both a change and a sender that is gone mean the end.
        let _ = runtime.block_on(stopped.changed());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lanes_take_turns_and_end_with_their_loops() {
        let loops = Loops::start().unwrap();
        let lanes = loops.lanes().clone();
        let count = lanes.handles().len();
        let turns: Vec<usize> = (0..2 * count).map(|_| lanes.next().0).collect();
        assert_eq!(turns, (0..count).chain(0..count).collect::<Vec<_>>());
        let endless = lanes.handles()[0].spawn(std::future::pending::<()>());
        loops.stop().await;
        assert!(endless.await.unwrap_err().is_cancelled());
    }
}
