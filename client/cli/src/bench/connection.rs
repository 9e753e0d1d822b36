//! One connection of a run: sends at its pace, keeps up to `pipeline` requests under way, times the answers.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::load::{Action, Actions, Pace};
use super::speech::Speech;
use super::tally::Tally;

/// Bytes of requests above which no more are queued until some are written.
const OUT_BYTES_MAX: usize = 1024 * 1024;

/// What one connection is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How it speaks.
    pub(crate) speech: Speech,
    /// What it asks.
    pub(crate) actions: Actions,
    /// When.
    pub(crate) pace: Pace,
    /// Says that a request of an open loop is due.
    pub(crate) wake: Arc<Notify>,
    /// Requests it may have under way, at least 1.
    pub(crate) pipeline: usize,
    /// The value it writes.
    pub(crate) value: Bytes,
    /// When the run began.
    pub(crate) start: Instant,
    /// No request is intended to start later than this after `start`; None: all of `actions` are sent.
    pub(crate) end: Option<Duration>,
    /// How long it waits for an answer, and for the answers still to come after `end`.
    pub(crate) patience: Duration,
}

/// Runs a plan on a connection. Never fails: what goes wrong is in the tally.
pub(crate) async fn run(mut socket: TcpStream, plan: Plan, answered: &AtomicU64) -> Tally {
    let planned = plan.end.and_then(|end| plan.pace.planned(end));
    let mut connection = Connection {
        plan,
        planned,
        sent: 0,
        exhausted: false,
        open: VecDeque::new(),
        out: Vec::new(),
        written: 0,
        input: Vec::with_capacity(64 * 1024),
        tally: Tally::default(),
    };
    let (reader, writer) = socket.split();
    if let Err(error) = connection.drive(reader, writer, answered).await {
        connection.tally.note(error.to_string());
    }
    connection.finish()
}

struct Connection {
    plan: Plan,
    /// Requests an open loop is to send; None: as many as there is time for.
    planned: Option<u64>,
    sent: u64,
    exhausted: bool,
    open: VecDeque<(Action, Instant)>,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    tally: Tally,
}

impl Connection {
    /// When the next request is to start; None: there is none.
    fn due(&self, now: Instant) -> Option<Instant> {
        let Plan { pace, start, end, .. } = &self.plan;
        match pace.intended(self.sent) {
            _ if self.exhausted => None,
            Some(intended) => (self.planned? > self.sent).then(|| *start + intended),
            None => end.is_none_or(|end| now < *start + end).then_some(now),
        }
    }

    /// Queues what is due and has room.
    fn send(&mut self, now: Instant) {
        while self.open.len() < self.plan.pipeline && self.unwritten() < OUT_BYTES_MAX {
            let Some(due) = self.due(now).filter(|due| *due <= now) else { return };
            let Some(action) = self.plan.actions.next() else {
                self.exhausted = true;
                return;
            };
            self.plan.speech.request(action, &self.plan.value, &mut self.out);
            self.open.push_back((action, due));
            self.sent += 1;
        }
    }

    /// Times every whole answer that has come. Returns how many.
    fn receive(&mut self, now: Instant) -> Result<u64, String> {
        let (mut taken, mut count) = (0, 0);
        while let Some((length, answer)) = self.plan.speech.answer(&self.input[taken..])? {
            let (action, intended) =
                self.open.pop_front().ok_or("an answer nobody has asked for")?;
            self.tally.answered(action, answer, now - intended);
            taken += length;
            count += 1;
        }
        self.input.drain(..taken);
        Ok(count)
    }

    async fn drive(
        &mut self,
        mut reader: ReadHalf<'_>,
        writer: WriteHalf<'_>,
        answered: &AtomicU64,
    ) -> io::Result<()> {
        let mut heard = Instant::now();
        loop {
            let now = Instant::now();
            self.send(now);
            self.write(&writer)?;
            let next = self.due(now);
            if self.open.is_empty() && next.is_none() {
                return Ok(());
            }
            let end = self.plan.end.map(|end| self.plan.start + end + self.plan.patience);
            let silence = (!self.open.is_empty()).then(|| heard + self.plan.patience);
            let give_up = [end, silence].into_iter().flatten().min();
            let may_send = next.is_some() && self.open.len() < self.plan.pipeline;
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(io::Error::other("the server closed the connection"));
                    }
                    heard = Instant::now();
                    let count = self.receive(heard).map_err(io::Error::other)?;
                    answered.fetch_add(count, Ordering::Relaxed);
                }
                ready = writer.writable(), if self.unwritten() > 0 => ready?,
                () = self.plan.wake.notified(), if may_send => {
                    // Silence is counted from when there was something to answer.
                    if self.open.is_empty() {
                        heard = Instant::now();
                    }
                }
                () = sleep_until(give_up.unwrap_or(now)), if give_up.is_some() => {
                    let patience = humantime::format_duration(self.plan.patience);
                    return Err(io::Error::other(format!("no answer for {patience}")));
                }
            }
        }
    }

    fn write(&mut self, writer: &WriteHalf<'_>) -> io::Result<()> {
        if self.unwritten() == 0 {
            return Ok(());
        }
        match writer.try_write(&self.out[self.written..]) {
            Ok(count) => self.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.written == self.out.len() || self.written > OUT_BYTES_MAX {
            self.out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Counts what has no answer, the requests of an open loop that were never sent among them.
    fn finish(mut self) -> Tally {
        let now = Instant::now();
        for (action, intended) in std::mem::take(&mut self.open) {
            self.tally.unanswered(action, now - intended);
        }
        for n in self.sent..self.planned.unwrap_or(self.sent) {
            let intended = self.plan.pace.intended(n).expect("only an open loop has a plan");
            if let Some(action) = self.plan.actions.next() {
                let waited = now.saturating_duration_since(self.plan.start + intended);
                self.tally.unanswered(action, waited);
            }
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    fn plan(actions: Actions, pace: Pace, pipeline: usize) -> Plan {
        Plan {
            speech: Speech::Resp,
            actions,
            pace,
            wake: Arc::default(),
            pipeline,
            value: Bytes::from_static(b"v"),
            start: Instant::now(),
            end: None,
            patience: Duration::from_secs(5),
        }
    }

    /// A server that reads `requests` SETs of one byte before it answers `replies` of them and closes.
    async fn server(requests: usize, replies: usize) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            Speech::Resp.request(Action::Put(0), b"v", &mut request);
            let mut all = vec![0; requests * request.len()];
            socket.read_exact(&mut all).await.unwrap();
            socket.write_all(&b"+OK\r\n".repeat(replies)).await.unwrap();
        });
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn a_pipeline_is_filled_before_the_first_answer() {
        let answered = AtomicU64::new(0);
        let plan = plan(Actions::Fill(0..8), Pace::Closed, 8);
        let tally = run(server(8, 8).await, plan, &answered).await;
        assert_eq!(tally.verdict(), Ok(()));
        assert_eq!(answered.into_inner(), 8);
    }

    #[tokio::test]
    async fn requests_an_open_loop_could_not_send_are_counted() {
        let answered = AtomicU64::new(0);
        let pace = Pace::of(Some(1e6), 0, 1);
        let mut plan = plan(Actions::drawn(1, 1, 0.0), pace, 2);
        plan.end = Some(Duration::from_micros(10));
        let tally = run(server(2, 1).await, plan, &answered).await;
        assert_eq!(answered.into_inner(), 1);
        assert_eq!((tally.unanswered, tally.refused), (9, 0));
        assert!(tally.trouble.is_some());
    }
}
