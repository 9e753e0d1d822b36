//! What a stream has sent and its peer has not acknowledged.

use std::collections::VecDeque;

/// Batches under way, by shard. A batch is named by the id of its message; the ids of a stream count up.
#[derive(Debug)]
pub(crate) struct Window {
    /// Id and bytes of each, in the order they were sent.
    shards: Vec<VecDeque<(u32, usize)>>,
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
        self.shards[shard].push_back((id, bytes));
        self.bytes += bytes;
    }

    /// A batch is acknowledged, and with it those before it of its shard. False: none of the kind is under way.
    pub(crate) fn acknowledged(&mut self, shard: usize, id: u32) -> bool {
        let Some(batches) = self.shards.get_mut(shard) else { return false };
        let Some(last) = batches.iter().position(|(sent, _)| *sent == id) else { return false };
        let freed: usize = batches.drain(..=last).map(|(_, bytes)| bytes).sum();
        self.bytes -= freed;
        true
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
        assert!(window.acknowledged(0, 1));
        assert_eq!(window.bytes(), 20);
        for (shard, id) in [(0, u32::MAX), (1, 2), (2, 0)] {
            assert!(!window.acknowledged(shard, id), "{shard} {id}");
        }
        assert!(window.acknowledged(1, 0) && window.acknowledged(0, 2) && window.is_empty());
    }
}
