//! Messages on their way out of one link, their parts taken in turn.
//!
//! Invariants:
//! - Messages of one stream leave one after the other, in the order they were pushed.
//! - Each stream that has something to send gets one frame per round, so a long message holds up no other stream.
//! - At most [`STREAMS_OPEN_MAX`] messages are begun and not ended, fewer than a receiver allows.

use std::collections::{HashMap, VecDeque};

use crate::frame::{Kind, write_part};
use crate::limits::MESSAGES_OPEN_MAX;

/// Streams taken in turn at once; further ones wait for a place.
pub const STREAMS_OPEN_MAX: usize = MESSAGES_OPEN_MAX / 2;

struct Waiting<M> {
    id: u32,
    message: M,
}

struct Begun<M> {
    stream: u64,
    id: u32,
    message: M,
    sent: usize,
}

/// What a stream does when it is its turn.
enum Turn<M> {
    Begin(u64),
    GoOn(Begun<M>),
}

/// See the module's page.
pub struct Rotation<M> {
    kind: Kind,
    /// What each stream with a turn has to send after what it has begun.
    streams: HashMap<u64, VecDeque<Waiting<M>>>,
    turns: VecDeque<Turn<M>>,
    /// How many turns are [`Turn::GoOn`].
    begun: usize,
    /// Bytes of the messages not yet written to their ends.
    bytes: usize,
}

impl<M: AsRef<[u8]>> Rotation<M> {
    /// Nothing to send yet; all messages are of `kind`.
    pub fn new(kind: Kind) -> Self {
        Self { kind, streams: HashMap::new(), turns: VecDeque::new(), begun: 0, bytes: 0 }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Bytes of the messages not yet written to their ends.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a message at the end of its stream.
    pub fn push(&mut self, stream: u64, id: u32, message: M) {
        self.bytes += message.as_ref().len();
        let waiting = self.streams.entry(stream).or_insert_with(|| {
            self.turns.push_back(Turn::Begin(stream));
            VecDeque::new()
        });
        waiting.push_back(Waiting { id, message });
    }

    /// Appends frames until `out` has `limit` bytes or nothing is left. `begin` is asked before a message's first frame;
    /// one it refuses is dropped.
    pub fn fill(&mut self, out: &mut Vec<u8>, limit: usize, mut begin: impl FnMut(u32) -> bool) {
        while out.len() < limit
            && let Some(turn) = self.turns.pop_front()
        {
            match turn {
                Turn::GoOn(begun) => {
                    self.begun -= 1;
                    self.write_frame(begun, out);
                }
                Turn::Begin(stream) if self.begun == STREAMS_OPEN_MAX => {
                    self.turns.push_back(Turn::Begin(stream));
                }
                Turn::Begin(stream) => {
                    if let Some(begun) = self.next_of(stream, &mut begin) {
                        self.write_frame(begun, out);
                    }
                }
            }
        }
    }

    /// The stream's next message; None forgets the stream, which has none.
    fn next_of(&mut self, stream: u64, begin: &mut impl FnMut(u32) -> bool) -> Option<Begun<M>> {
        let waiting = self.streams.get_mut(&stream).expect("a stream with a turn has its queue");
        while let Some(Waiting { id, message }) = waiting.pop_front() {
            if begin(id) {
                return Some(Begun { stream, id, message, sent: 0 });
            }
            self.bytes -= message.as_ref().len();
        }
        self.streams.remove(&stream);
        None
    }

    fn write_frame(&mut self, mut begun: Begun<M>, out: &mut Vec<u8>) {
        match write_part(self.kind, begun.id, begun.message.as_ref(), begun.sent, out) {
            Some(sent) => {
                begun.sent = sent;
                self.begun += 1;
                self.turns.push_back(Turn::GoOn(begun));
            }
            None => {
                self.bytes -= begun.message.as_ref().len();
                self.turns.push_back(Turn::Begin(begun.stream));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, PAYLOAD_BYTES_MAX};

    /// The ids of the frames, in the order they are written.
    fn order(rotation: &mut Rotation<Vec<u8>>, begin: impl FnMut(u32) -> bool) -> Vec<u32> {
        let mut out = Vec::new();
        rotation.fill(&mut out, usize::MAX, begin);
        assert!(rotation.is_empty() && rotation.streams.is_empty());
        assert_eq!(rotation.bytes(), 0);
        let (mut ids, mut at) = (Vec::new(), 0);
        while at < out.len() {
            let (frame, taken) = Frame::read(&out[at..]).unwrap().unwrap();
            ids.push(frame.id);
            at += taken;
        }
        ids
    }

    fn long() -> Vec<u8> {
        vec![0; 2 * PAYLOAD_BYTES_MAX + 1]
    }

    #[test]
    fn a_long_message_holds_up_its_own_stream_only() {
        let mut rotation = Rotation::new(Kind::Request);
        rotation.push(7, 0, long());
        rotation.push(7, 1, vec![]);
        rotation.push(8, 2, vec![]);
        rotation.push(9, 3, long());
        assert_eq!(order(&mut rotation, |_| true), [0, 2, 3, 0, 3, 0, 3, 1]);
    }

    #[test]
    fn what_is_refused_leaves_no_trace() {
        let mut rotation = Rotation::new(Kind::Request);
        for id in 0..4 {
            rotation.push(7, id, vec![]);
        }
        assert_eq!(order(&mut rotation, |id| id % 2 == 1), [1, 3]);
    }

    #[test]
    fn the_open_messages_are_bounded() {
        let message = long();
        let mut rotation = Rotation::new(Kind::Response);
        for id in 0..MESSAGES_OPEN_MAX as u32 {
            rotation.push(u64::from(id), id, &message[..]);
        }
        let mut begun = std::collections::HashSet::new();
        for _ in 0..STREAMS_OPEN_MAX + 10 {
            rotation.fill(&mut Vec::new(), 1, |id| begun.insert(id));
        }
        assert_eq!(begun.len(), STREAMS_OPEN_MAX);
        while !rotation.is_empty() {
            rotation.fill(&mut Vec::new(), 1, |id| begun.insert(id));
        }
        assert_eq!(begun.len(), MESSAGES_OPEN_MAX);
    }
}
