//! One direction of one connection: bytes in, what the rules do to them, bytes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::rule::{Carried, Name, Rules};

const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks on their way; the sender waits with more, as with a full window.
const CHUNKS_MAX: usize = 64;
/// How a proposal begins.
const PROPOSAL: &[u8] = b"POST /v1/map/changes ";

/// A direction of a connection.
pub(super) struct Pump {
    pub(super) from: Name,
    pub(super) to: Name,
    pub(super) rules: watch::Receiver<Rules>,
    /// Whether the connection carries a proposal whose verdict is to be lost.
    pub(super) verdict_is_lost: Arc<AtomicBool>,
    /// Whether this is the direction of answers.
    pub(super) answers: bool,
    /// Where what arrives is counted.
    pub(super) carried: Carried,
}

/// Bytes and the time before which they do not arrive.
type Chunk = (Instant, Vec<u8>);

impl Pump {
    /// Carries bytes until the side they come from has ended and all are delivered, or the other side takes no more.
    pub(super) async fn run(self, input: OwnedReadHalf, output: OwnedWriteHalf, first: Vec<u8>) {
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let taking = async {
            self.take(input, first, sender).await;
            std::future::pending().await
        };
        tokio::select! {
            () = taking => {}
            () = self.give(output, receiver) => {}
        }
    }

    /// Reads, and stamps what was read.
    async fn take(&self, mut input: OwnedReadHalf, first: Vec<u8>, on: mpsc::Sender<Chunk>) {
        let mut chunk = first;
        loop {
            if !chunk.is_empty() {
                let rule = self.rules.borrow().rule(&self.from, &self.to);
                if rule.lose_verdicts && chunk.starts_with(PROPOSAL) {
                    self.verdict_is_lost.store(true, Ordering::Relaxed);
                }
                if on.send((Instant::now() + rule.delay, chunk)).await.is_err() {
                    return;
                }
            }
            chunk = Vec::with_capacity(CHUNK_BYTES);
            match input.read_buf(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Writes what was read, when the rules let it pass.
    async fn give(&self, mut output: OwnedWriteHalf, mut chunks: mpsc::Receiver<Chunk>) {
        let mut rules = self.rules.clone();
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            let passes = rules.wait_for(|rules| !rules.holds(&self.from, &self.to)).await;
            let Ok(pace) = passes.map(|rules| rules.rule(&self.from, &self.to).bytes_per_second)
            else {
                return;
            };
            if let Some(pace) = pace {
                sleep(Duration::from_secs_f64(chunk.len() as f64 / f64::from(pace))).await;
            }
            let is_lost = self.answers && self.verdict_is_lost.load(Ordering::Relaxed);
            if is_lost || output.write_all(&chunk).await.is_err() {
                return;
            }
            let mut carried = self.carried.lock().expect("no holder panics");
            *carried.entry((self.from.clone(), self.to.clone())).or_default() += chunk.len() as u64;
        }
    }
}
