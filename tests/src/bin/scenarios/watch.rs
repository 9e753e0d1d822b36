//! What the uplink says of the cluster, noted all the time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firn_tests::chaos::control::Control;
use serde_json::Value;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(10);

/// What was said at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// When it was answered.
    pub(crate) at: Instant,
    /// Partitions that are not led and held by whom they should be.
    pub(crate) moving: u64,
    /// Partitions with fewer copies than they should have.
    pub(crate) short: u64,
    /// Partitions the watched worker leads.
    pub(crate) leads: u64,
}

/// Somebody who asks until told to end.
#[derive(Debug)]
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    looks: Arc<Mutex<Vec<Look>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to ask about the cluster and one worker.
    pub(crate) fn start(uplink: SocketAddr, worker: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let looks = Arc::<Mutex<Vec<Look>>>::default();
        let (name, ends, into) = (worker.to_owned(), Arc::clone(&over), Arc::clone(&looks));
        let thread = thread::spawn(move || {
            let control = Control::default();
            while !ends.load(Ordering::Relaxed) {
                if let Some(look) = look(&control, uplink, &name) {
                    into.lock().expect("no holder panics").push(look);
                }
                thread::sleep(EVERY);
            }
        });
        Self { over, looks, thread: Some(thread) }
    }

    /// The last of what was said; None: nothing yet.
    pub(crate) fn last(&self) -> Option<Look> {
        self.looks.lock().expect("no holder panics").last().copied()
    }

    /// Everything that was said.
    pub(crate) fn end(mut self) -> Vec<Look> {
        self.stop();
        std::mem::take(&mut self.looks.lock().expect("no holder panics"))
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn look(control: &Control, uplink: SocketAddr, worker: &str) -> Option<Look> {
    let ask = |path: &str| -> Option<Value> {
        let (_, body) = control.ask(uplink, "GET", path, &Value::Null)?;
        serde_json::from_slice(&body).ok()
    };
    let (standing, rows) = (ask("/v1/cluster")?, ask("/v1/workers")?);
    let row = rows.as_array()?.iter().find(|row| row["name"] == worker);
    Some(Look {
        at: Instant::now(),
        moving: standing["partitions_moving"].as_u64()?,
        short: standing["partitions_short_of_copies"].as_u64()?,
        leads: row.and_then(|row| row["leads"].as_u64()).unwrap_or(0),
    })
}
