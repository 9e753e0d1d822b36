//! Frames between workers: how messages are cut so that a long one does not hold up a short one.
//!
//! ```text
//!  0        2     3      4            8            12           16
//!  ┌────────┬─────┬──────┬────────────┬────────────┬────────────┬──────────────────────┐
//!  │ F1 52  │kind │ last │ id         │ length     │ crc32      │ payload, 0…262,128 B │
//!  └────────┴─────┴──────┴────────────┴────────────┴────────────┴──────────────────────┘
//! ```
//! Numbers are little-endian. `crc32` covers bytes 0 to 11 and the payload. A message is the payloads of the frames of one
//! kind and id up to the one whose `last` is 1. Requests of one connection take ids 0, 1, 2, … (wrapping); a response
//! carries its request's id.

use std::collections::HashMap;

use crate::limits::{FRAME_BYTES_MAX, LINK_BYTES_MAX, MESSAGE_BYTES_MAX, MESSAGES_OPEN_MAX};

/// Bytes before a frame's payload.
pub const HEADER_BYTES: usize = 16;
/// Longest payload.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;

const MAGIC: [u8; 2] = [0xF1, 0x52];

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Asks forwarded by a router: [`crate::message::read_request`].
    Request = 1,
    /// Their replies: [`crate::message::read_response`].
    Response = 2,
    /// What a primary's shard sends a copy: [`crate::replica::Batch`].
    Batch = 3,
    /// What the copy answers: [`crate::replica::Ack`].
    Ack = 4,
    /// A sign of life between workers: [`crate::replica::Beacon`].
    Beacon = 5,
    /// What it is answered: [`crate::replica::Grant`].
    Grant = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let kinds =
            [Self::Request, Self::Response, Self::Batch, Self::Ack, Self::Beacon, Self::Grant];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Bytes that are no frame. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not our protocol.
    #[error("a frame starts with {0:02x}{1:02x}, not f152")]
    Magic(u8, u8),
    /// A kind this build does not know.
    #[error("frame kind {0} is not known")]
    Kind(u8),
    /// `last` is neither 0 nor 1.
    #[error("frame flag {0} is neither 0 nor 1")]
    Last(u8),
    /// Too long.
    #[error("a frame of {0} bytes is longer than {PAYLOAD_BYTES_MAX}")]
    Length(u32),
    /// Damaged.
    #[error("a frame's checksum is {0:08x}, its bytes give {1:08x}")]
    Checksum(u32, u32),
    /// The parts of a message add up to too much.
    #[error("a message is longer than {MESSAGE_BYTES_MAX} bytes")]
    Message,
    /// Too many messages begun and not ended.
    #[error("more than {MESSAGES_OPEN_MAX} messages are open")]
    Open,
    /// The messages begun and not ended add up to too much.
    #[error("open messages are longer than {LINK_BYTES_MAX} bytes")]
    Held,
}

/// One frame, its payload still in the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What its message is.
    pub kind: Kind,
    /// Whether it ends its message.
    pub last: bool,
    /// Its message.
    pub id: u32,
    /// Its part of the message.
    pub payload: &'a [u8],
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(payload);
    crc.finalize()
}

impl<'a> Frame<'a> {
    /// The kind of the first frame of `input`, which need not be whole; None while even its header is not all there.
    pub fn kind_of(input: &[u8]) -> Result<Option<Kind>, FrameError> {
        if input.len() >= 2 && input[..2] != MAGIC {
            return Err(FrameError::Magic(input[0], input[1]));
        }
        if input.len() < HEADER_BYTES {
            return Ok(None);
        }
        Kind::from_byte(input[2]).ok_or(FrameError::Kind(input[2])).map(Some)
    }

    /// Reads the first frame of `input` and the bytes it took; None while it is not all there.
    pub fn read(input: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(kind) = Self::kind_of(input)? else { return Ok(None) };
        if input[3] > 1 {
            return Err(FrameError::Last(input[3]));
        }
        let length = number(input, 8);
        if length as usize > PAYLOAD_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        let end = HEADER_BYTES + length as usize;
        let Some(payload) = input.get(HEADER_BYTES..end) else { return Ok(None) };
        let (said, is) = (number(input, 12), checksum(&input[..12], payload));
        if said != is {
            return Err(FrameError::Checksum(said, is));
        }
        Ok(Some((Self { kind, last: input[3] == 1, id: number(input, 4), payload }, end)))
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// When the payload is longer than [`PAYLOAD_BYTES_MAX`].
    pub fn write(&self, out: &mut Vec<u8>) {
        assert!(self.payload.len() <= PAYLOAD_BYTES_MAX, "payload of {} bytes", self.payload.len());
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.push(self.kind as u8);
        out.push(u8::from(self.last));
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        let crc = checksum(&out[start..], self.payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(self.payload);
    }
}

/// Appends the part of `message` that starts at `sent`, as one frame; returns where the next part starts, None after the
/// last.
pub fn write_part(
    kind: Kind,
    id: u32,
    message: &[u8],
    sent: usize,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let end = message.len().min(sent + PAYLOAD_BYTES_MAX);
    let last = end == message.len();
    Frame { kind, last, id, payload: &message[sent..end] }.write(out);
    (!last).then_some(end)
}

/// Puts messages together from frames that may be interleaved. Memory grows with what arrives, never with what is
/// announced.
#[derive(Debug, Default)]
pub struct Assembler {
    open: HashMap<(Kind, u32), Vec<u8>>,
    /// Bytes in `open`.
    held: usize,
}

impl Assembler {
    /// Takes a frame; gives its message when it was the last part.
    pub fn take(&mut self, frame: Frame<'_>) -> Result<Option<Vec<u8>>, FrameError> {
        let name = (frame.kind, frame.id);
        if frame.last && !self.open.contains_key(&name) {
            return Ok(Some(frame.payload.to_vec()));
        }
        if self.open.len() >= MESSAGES_OPEN_MAX && !self.open.contains_key(&name) {
            return Err(FrameError::Open);
        }
        let parts = self.open.entry(name).or_default();
        if parts.len() + frame.payload.len() > MESSAGE_BYTES_MAX {
            return Err(FrameError::Message);
        }
        if self.held + frame.payload.len() > LINK_BYTES_MAX {
            return Err(FrameError::Held);
        }
        self.held += frame.payload.len();
        parts.extend_from_slice(frame.payload);
        let whole = if frame.last { self.open.remove(&name) } else { None };
        self.held -= whole.as_ref().map_or(0, Vec::len);
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(kind: Kind, id: u32, message: &[u8]) -> Vec<Vec<u8>> {
        let (mut frames, mut next) = (Vec::new(), Some(0));
        while let Some(sent) = next {
            let mut out = Vec::new();
            next = write_part(kind, id, message, sent, &mut out);
            frames.push(out);
        }
        frames
    }

    #[test]
    fn interleaved_messages_come_out_whole() {
        let long = vec![7u8; 3 * PAYLOAD_BYTES_MAX + 5];
        let a = parts(Kind::Request, 1, &long);
        let b = parts(Kind::Request, 2, b"short");
        assert_eq!((a.len(), b.len()), (4, 1));
        let order = [&a[0], &b[0], &a[1], &a[2], &a[3]];
        let mut assembler = Assembler::default();
        let mut done = Vec::new();
        for bytes in order {
            let (frame, taken) = Frame::read(bytes).unwrap().unwrap();
            assert_eq!(taken, bytes.len());
            done.extend(assembler.take(frame).unwrap());
        }
        assert_eq!(done, [b"short".to_vec(), long]);
    }

    #[test]
    fn a_flipped_bit_is_found_and_a_cut_frame_waits() {
        let frame = parts(Kind::Response, 9, b"payload").remove(0);
        for end in 0..frame.len() {
            assert_eq!(Frame::read(&frame[..end]), Ok(None), "cut at {end}");
        }
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes that do not come; everything else is an error.
            assert!(!matches!(Frame::read(&bad), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn too_many_open_messages_are_refused() {
        let mut assembler = Assembler::default();
        let frame = |id| Frame { kind: Kind::Request, last: false, id, payload: b"x" };
        for id in 0..MESSAGES_OPEN_MAX as u32 {
            assert_eq!(assembler.take(frame(id)), Ok(None));
        }
        assert_eq!(assembler.take(frame(u32::MAX)), Err(FrameError::Open));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::read(&bytes);
        }
    }
}
