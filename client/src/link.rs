//! One outgoing connection to a peer: calls go in without waiting, their replies come out in any order.
//!
//! Invariants:
//! - A call that was taken ends: answered, not sent, or lost.
//! - Calls of one stream leave in the order they were taken, as long as the connection lasts. Each connection is a route of
//!   its own ([`Link::route`]), so who relies on that order names the route and is turned away when it is another by now.
//! - What is held for calls without an answer is bounded: [`LINK_BYTES_MAX`], [`LINK_MESSAGES_MAX`].

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use firn_wire::ids::WorkerId;
use firn_wire::limits::{LINK_BYTES_MAX, LINK_MESSAGES_MAX};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::{Call, Outcome};
use crate::connection::{Ended, TICK, run};
use crate::follow::{pause, random};
use crate::greet::{GreetError, connect};
use crate::line::{Caller, Inbox, Line, State};

/// See the module's page. Connects when it is used.
pub(crate) struct Link {
    line: Arc<Line>,
}

static ROUTES: AtomicU64 = AtomicU64::new(1);

impl Link {
    pub(crate) fn new(caller: Arc<Caller>, peer: WorkerId, address: String, lane: Handle) -> Self {
        let inbox = Inbox { state: State::Idle, calls: Vec::new(), failures: 0 };
        Self {
            line: Arc::new(Line {
                caller,
                peer,
                address,
                lane,
                inbox: Mutex::new(inbox),
                wake: Notify::new(),
                route: AtomicU64::new(ROUTES.fetch_add(1, Ordering::Relaxed)),
                bytes: AtomicUsize::new(0),
                messages: AtomicUsize::new(0),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// A number of this link's connection that no other route of this process has; never 0.
    pub(crate) fn route(&self) -> u64 {
        self.line.route.load(Ordering::Acquire)
    }

    /// Takes a closed call, unless the link's route is no longer `route`. Never waits.
    pub(crate) fn send(&self, route: u64, call: Arc<Call>) {
        let mut inbox = self.line.inbox();
        if self.route() != route {
            drop(inbox);
            return call.give_up();
        }
        let bytes = call.bytes().len();
        let full = self.line.bytes.load(Ordering::Relaxed) + bytes > LINK_BYTES_MAX
            || self.line.messages.load(Ordering::Relaxed) >= LINK_MESSAGES_MAX;
        if full {
            drop(inbox);
            return call.complete(Outcome::Full);
        }
        match inbox.state {
            State::Running => {}
            State::Resting(until) if Instant::now() < until => {
                drop(inbox);
                return call.give_up();
            }
            State::Idle | State::Resting(_) => {
                inbox.state = State::Running;
                self.line.lane.spawn(Arc::clone(&self.line).live());
            }
        }
        self.line.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.line.messages.fetch_add(1, Ordering::Relaxed);
        inbox.calls.push(call);
        drop(inbox);
        self.line.wake.notify_one();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.line.closed.store(true, Ordering::Release);
        self.line.wake.notify_one();
    }
}

impl Line {
    /// One connection, from its first call to its end.
    async fn live(self: Arc<Self>) {
        let ended = match self.connect().await {
            Ok(socket) => {
                self.inbox().failures = 0;
                run(&self, socket).await
            }
            Err(error) => Ended::Failed(error.to_string()),
        };
        self.end(ended);
    }

    async fn connect(&self) -> Result<tokio::net::TcpStream, GreetError> {
        let Caller { me, secret, maps, .. } = &*self.caller;
        let cluster = maps.load().cluster;
        let connecting = connect(&self.address, cluster, me, &self.peer, secret);
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                done = &mut connecting => return done,
                () = tokio::time::sleep(TICK) => self.give_up_late(),
            }
        }
    }

    /// The connection is gone, or never was; what it still holds has been given up by its loop.
    fn end(self: Arc<Self>, ended: Ended) {
        let waiting = {
            let mut inbox = self.inbox();
            self.route.store(ROUTES.fetch_add(1, Ordering::Relaxed), Ordering::Release);
            inbox.state = match &ended {
                Ended::Unused => State::Idle,
                Ended::Failed(why) => {
                    inbox.failures = inbox.failures.saturating_add(1);
                    let Self { peer, address, .. } = &*self;
                    match inbox.failures {
                        1 => log::warn!("the link to {peer} at {address} is down: {why}"),
                        _ => log::debug!("the link to {peer} at {address} is down: {why}"),
                    }
                    State::Resting(Instant::now() + pause(inbox.failures, random()))
                }
            };
            std::mem::take(&mut inbox.calls)
        };
        self.give_up(waiting);
    }
}
