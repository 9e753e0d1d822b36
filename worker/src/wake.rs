//! How a shard's news for a peer gets the stream to that peer going.
//!
//! Invariant: news that a shard has when its lock is given back are looked for by the stream after that. `expect` is
//! called and `take` is followed by a look under the shard's lock, so whichever comes first, none is missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use firn_wire::ids::WorkerId;
use tokio::sync::Notify;

/// Which shards may have something for a peer, and the stream that waits for that.
#[derive(Debug)]
pub(crate) struct Wake {
    peer: WorkerId,
    /// By shard. Set once for however many writes until the stream has looked, so that a burst wakes it once.
    news: Vec<AtomicBool>,
    notify: Notify,
}

impl Wake {
    /// For a worker with so many shards. A new stream looks at all.
    pub(crate) fn new(peer: WorkerId, shards: u16) -> Self {
        let news = (0..shards).map(|_| AtomicBool::new(true)).collect();
        Self { peer, news, notify: Notify::new() }
    }

    /// The peer.
    pub(crate) fn peer(&self) -> &WorkerId {
        &self.peer
    }

    /// A shard has news.
    fn rouse(&self, shard: usize) {
        self.news[shard].store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether a shard may have news since the last call: look.
    pub(crate) fn take(&self, shard: usize) -> bool {
        self.news[shard].swap(false, Ordering::AcqRel)
    }

    /// Waits for news that came since the last wait.
    pub(crate) async fn roused(&self) {
        self.notify.notified().await;
    }
}

/// The streams of a worker, as its shards see them.
#[derive(Debug, Default)]
pub(crate) struct Wakes(ArcSwap<Vec<Arc<Wake>>>);

impl Wakes {
    /// These and no others from now on.
    pub(crate) fn set(&self, wakes: Vec<Arc<Wake>>) {
        self.0.store(Arc::new(wakes));
    }

    /// The streams to be roused by a shard: those it has news for, and that do not know yet. To be called under its lock.
    pub(crate) fn expect(
        &self,
        shard: usize,
        has_news: impl Fn(&WorkerId) -> bool,
    ) -> Vec<Arc<Wake>> {
        let wakes = self.0.load();
        let unaware = wakes.iter().filter(|wake| !wake.news[shard].load(Ordering::Acquire));
        unaware.filter(|wake| has_news(&wake.peer)).cloned().collect()
    }

    /// Rouses them. To be called after the lock was given back: whoever wakes may want it.
    pub(crate) fn rouse(wakes: &[Arc<Wake>], shard: usize) {
        wakes.iter().for_each(|wake| wake.rouse(shard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::ids::Incarnation;

    fn peer(name: &str) -> WorkerId {
        WorkerId { name: name.parse().unwrap(), incarnation: Incarnation(1) }
    }

    #[tokio::test]
    async fn a_burst_rouses_once() {
        let wakes = Wakes::default();
        let [a, b] = ["a", "b"].map(|name| Arc::new(Wake::new(peer(name), 2)));
        wakes.set(vec![Arc::clone(&a), Arc::clone(&b)]);
        assert!(wakes.expect(1, |_| true).is_empty(), "new streams look at every shard anyway");
        assert!([&a, &b].iter().all(|wake| wake.take(0) && wake.take(1) && !wake.take(1)));

        for round in 0..3 {
            let expected = wakes.expect(1, |id| *id == peer("b"));
            assert_eq!(expected.len(), usize::from(round == 0));
            Wakes::rouse(&expected, 1);
        }
        b.roused().await;
        assert!(b.take(1) && !b.take(0) && !a.take(1));
        assert_eq!(
            wakes.expect(1, |id| *id == peer("b")).len(),
            1,
            "it has looked: the next counts"
        );
    }
}
