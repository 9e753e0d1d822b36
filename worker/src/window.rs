//! What a stream has sent and its peer has not acknowledged.

use std::collections::VecDeque;
use std::time::Instant;

/// Batches under way, by shard. A batch is named by the id of its message; the ids of a stream count up.
#[derive(Debug)]
pub(crate) struct Window {
    /// Id and bytes of each and when it was sent, in that order.
    shards: Vec<VecDeque<(u32, usize, Instant)>>,
    /// Bytes of all.
    bytes: usize,
}

impl Window {
    /// Nothing is under way from so many shards.
    pub(crate) fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| VecDeque::new()).collect(), bytes: 0 }
    }

    /// Bytes under way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// A batch is under way.
    pub(crate) fn sent(&mut self, shard: usize, id: u32, bytes: usize) {
        self.shards[shard].push_back((id, bytes, Instant::now()));
        self.bytes += bytes;
    }

    /// A batch is acknowledged, and with it those before it of its shard. Returns its bytes and when it was sent; None: no
    /// such batch is under way.
    pub(crate) fn acknowledged(&mut self, shard: usize, id: u32) -> Option<(usize, Instant)> {
        let batches = self.shards.get_mut(shard)?;
        let last = batches.iter().position(|(sent, ..)| *sent == id)?;
        let (_, bytes, sent) = batches[last];
        let freed: usize = batches.drain(..=last).map(|(_, bytes, _)| bytes).sum();
        self.bytes -= freed;
        Some((bytes, sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_for_its_shard_up_to_its_batch() {
        let mut window = Window::new(2);
        for (shard, id) in [(0, u32::MAX), (1, 0), (0, 1), (0, 2)] {
            window.sent(shard, id, 10);
        }
        assert!(window.acknowledged(0, 1).is_some());
        assert_eq!(window.bytes(), 20);
        for (shard, id) in [(0, u32::MAX), (1, 2), (2, 0)] {
            assert_eq!(window.acknowledged(shard, id), None, "{shard} {id}");
        }
        assert!(window.acknowledged(1, 0).is_some() && window.acknowledged(0, 2).is_some());
        assert!(window.is_empty());
    }
}
