//! How far each shard's disk has come, for those who wait for it.

use firn_store::disk::Mark;
use tokio::sync::watch;

/// A mark for each shard.
#[derive(Debug)]
pub(crate) struct Synced(Vec<watch::Sender<Mark>>);

impl Synced {
    /// Nothing is on disk yet.
    pub(crate) fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| watch::Sender::new(Mark::default())).collect())
    }

    /// A shard's disk has come this far.
    pub(super) fn tell(&self, shard: usize, mark: Mark) {
        self.0[shard].send_replace(mark);
    }

    /// Sees how far a shard's disk comes.
    pub(crate) fn watch(&self, shard: usize) -> watch::Receiver<Mark> {
        self.0[shard].subscribe()
    }
}
