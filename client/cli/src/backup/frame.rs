//! The bytes of a backup: frames, each compressed and with a checksum of its own (docs/PROTOCOL.md, "Backups").
//!
//! ```text
//! FIRNBAK 1 │ frame │ frame │ …
//! a frame:  kind u8 │ raw length u32 │ stored length u32 │ crc32 u32 │ the stored bytes
//! ```
//! Little-endian. The checksum is of the frame's number (u64), the nine bytes before it and the stored bytes. They are an LZ4
//! block, or where that is no shorter the raw bytes themselves: then both lengths are the same.
//!
//! Memory is taken for what has been read, never for what a length promises: an LZ4 block grows 255 times at most.

use std::io::{self, Read, Write};

use crc32fast::Hasher;
use firn_wire::limits::{KEY_BYTES_MAX, META_BYTES_MAX, VALUE_BYTES_HARD_MAX};

/// What a backup begins with; the last byte is the form of what follows.
const MAGIC: [u8; 8] = *b"FIRNBAK\x01";
const HEAD_BYTES: usize = 13;
/// Bytes that are no part of a frame's checksum: the checksum itself.
const SUM_BYTES: usize = 4;
/// A frame of entries is closed when it passes this, in bytes.
pub(crate) const FRAME_BYTES_SOFT: usize = 256 * 1024;
/// The longest frame: one that was just below the soft bound, and the longest entry.
const FRAME_BYTES_MAX: usize =
    FRAME_BYTES_SOFT + VALUE_BYTES_HARD_MAX + KEY_BYTES_MAX + META_BYTES_MAX + 64;
/// How much longer than an LZ4 block that what it holds can be.
const LZ4_GROWTH_MAX: usize = 255;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the backup is of.
    Header,
    /// A partition begins, or begins anew: what was there of it before is void.
    Begin,
    /// Some of a partition's entries and changes.
    Data,
    /// A partition is whole.
    End,
    /// The backup is whole.
    Footer,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Header, Self::Begin, Self::Data, Self::End, Self::Footer];

    fn to_byte(self) -> u8 {
        self as u8 + 1
    }

    fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_byte() == byte)
    }
}

/// Why a file is not the backup it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup: it does not begin as one does")]
    Foreign,
    /// It is of a form this build does not know.
    #[error("it is of form {0}, which this firn does not read: use the firn that wrote it")]
    Form(u8),
    /// It ends too early.
    #[error("it is cut short at byte {0}")]
    Cut(u64),
    /// Something in it is not as it was written.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the frame begins.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl FileError {
    pub(crate) fn damaged(at: u64, what: impl ToString) -> Self {
        Self::Damaged { at, what: what.to_string() }
    }
}

/// A frame to be written.
#[derive(Debug)]
pub(crate) struct Packed {
    kind: Kind,
    raw_length: usize,
    stored: Vec<u8>,
}

impl Packed {
    /// Compresses a frame's bytes.
    ///
    /// # Panics
    /// When there are more than a frame holds.
    pub(crate) fn new(kind: Kind, raw: Vec<u8>) -> Self {
        assert!(raw.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", raw.len());
        let (raw_length, block) = (raw.len(), lz4_flex::block::compress(&raw));
        let stored = if block.len() < raw_length { block } else { raw };
        Self { kind, raw_length, stored }
    }
}

/// Writes frames.
pub(crate) struct Writer<W> {
    out: W,
    number: u64,
    bytes: u64,
    sum: Hasher,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    pub(crate) fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, number: 0, bytes: 0, sum: Hasher::new() };
        writer.put(&MAGIC)?;
        Ok(writer)
    }

    /// Appends a frame.
    pub(crate) fn write(&mut self, frame: &Packed) -> io::Result<()> {
        let length = |length: usize| u32::try_from(length).expect("a frame is below 4 GiB");
        let mut head = [0; HEAD_BYTES];
        head[0] = frame.kind.to_byte();
        head[1..5].copy_from_slice(&length(frame.raw_length).to_le_bytes());
        head[5..9].copy_from_slice(&length(frame.stored.len()).to_le_bytes());
        let sum = sum_of(self.number, &head, &frame.stored);
        head[9..].copy_from_slice(&sum.to_le_bytes());
        self.put(&head)?;
        self.put(&frame.stored)?;
        self.number += 1;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Frames so far.
    pub(crate) fn frames(&self) -> u64 {
        self.number
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The checksum of all bytes so far.
    pub(crate) fn sum(&self) -> u32 {
        self.sum.clone().finalize()
    }

    /// Gives back what it wrote to, everything written.
    pub(crate) fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn sum_of(number: u64, head: &[u8; HEAD_BYTES], stored: &[u8]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(&head[..HEAD_BYTES - SUM_BYTES]);
    sum.update(stored);
    sum.finalize()
}

/// A frame that was read.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its number, from 0.
    pub(crate) number: u64,
    /// Where it begins in the file.
    pub(crate) at: u64,
    /// The checksum of all bytes before it.
    pub(crate) sum_before: u32,
    pub(crate) kind: Kind,
    /// Its raw bytes.
    pub(crate) body: Vec<u8>,
}

/// Reads frames.
pub(crate) struct Reader<R> {
    input: R,
    number: u64,
    at: u64,
    sum: Hasher,
}

impl<R: Read> Reader<R> {
    /// Reads how a backup begins.
    pub(crate) fn new(input: R) -> Result<Self, FileError> {
        let mut reader = Self { input, number: 0, at: 0, sum: Hasher::new() };
        let magic = reader.take(MAGIC.len())?;
        let known = magic.len().min(MAGIC.len() - 1);
        if magic[..known] != MAGIC[..known] || magic.is_empty() {
            return Err(FileError::Foreign);
        }
        match magic.get(known) {
            Some(form) if *form == MAGIC[known] => Ok(reader),
            Some(form) => Err(FileError::Form(*form)),
            None => Err(FileError::Cut(reader.at)),
        }
    }

    /// Where the next frame begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next frame; None: the file ends here.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FileError> {
        let (at, sum_before) = (self.at, self.sum.clone().finalize());
        let head = self.take(HEAD_BYTES)?;
        if head.is_empty() {
            return Ok(None);
        }
        let head: [u8; HEAD_BYTES] = head.try_into().map_err(|_| FileError::Cut(self.at))?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (raw_length, stored_length) = (word(1) as usize, word(5) as usize);
        if raw_length > FRAME_BYTES_MAX || stored_length > raw_length {
            return Err(FileError::damaged(at, "a frame has a length that no frame has"));
        }
        let stored = self.take(stored_length)?;
        if stored.len() < stored_length {
            return Err(FileError::Cut(self.at));
        }
        if sum_of(self.number, &head, &stored) != word(9) {
            return Err(FileError::damaged(at, "a frame does not match its checksum"));
        }
        let kind = Kind::of_byte(head[0])
            .ok_or_else(|| FileError::damaged(at, "a frame of a kind this firn does not know"))?;
        let body = unpacked(stored, raw_length)
            .ok_or_else(|| FileError::damaged(at, "a frame cannot be unpacked"))?;
        self.number += 1;
        Ok(Some(Frame { number: self.number - 1, at, sum_before, kind, body }))
    }

    /// Reads so many bytes, or what there is.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        self.sum.update(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes)
    }
}

/// The raw bytes of a frame; None: they do not come out as long as they should.
fn unpacked(stored: Vec<u8>, raw_length: usize) -> Option<Vec<u8>> {
    if stored.len() == raw_length {
        return Some(stored);
    }
    if raw_length > stored.len().saturating_mul(LZ4_GROWTH_MAX) {
        return None;
    }
    let raw = lz4_flex::block::decompress(&stored, raw_length).ok()?;
    (raw.len() == raw_length).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for (kind, body) in frames {
            writer.write(&Packed::new(*kind, body.clone())).unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Kind, Vec<u8>)>, FileError> {
        let (mut reader, mut frames) = (Reader::new(bytes)?, Vec::new());
        while let Some(frame) = reader.next()? {
            frames.push((frame.kind, frame.body));
        }
        Ok(frames)
    }

    #[test]
    fn what_is_something_else_is_named() {
        assert!(matches!(read(b""), Err(FileError::Foreign)));
        assert!(matches!(read(b"PK\x03\x04 no backup"), Err(FileError::Foreign)));
        assert!(matches!(read(b"FIRNBAK\x02"), Err(FileError::Form(2))));
        assert!(matches!(read(b"FIRNBA"), Err(FileError::Cut(6))));
    }

    #[test]
    fn frames_in_another_order_are_noticed() {
        let frames = [(Kind::Data, vec![1; 40]), (Kind::Data, vec![2; 40])];
        let bytes = written(&frames);
        let (first, second) = bytes[8..].split_at((bytes.len() - 8) / 2);
        let swapped = [&bytes[..8], second, first].concat();
        assert!(matches!(read(&swapped), Err(FileError::Damaged { at: 8, .. })));
    }

    #[test]
    fn a_length_takes_no_memory_before_its_bytes_are_there() {
        let mut bytes = MAGIC.to_vec();
        bytes.push(Kind::Data.to_byte());
        bytes.extend_from_slice(&(FRAME_BYTES_MAX as u32).to_le_bytes());
        bytes.extend_from_slice(&(FRAME_BYTES_MAX as u32 - 1).to_le_bytes());
        bytes.extend_from_slice(&[0; 10]);
        assert!(matches!(read(&bytes), Err(FileError::Cut(_))));
        assert!(unpacked(vec![0; 10], FRAME_BYTES_MAX).is_none());
    }

    fn frames() -> impl Strategy<Value = Vec<(Kind, Vec<u8>)>> {
        let body = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            (any::<u8>(), 0usize..100_000).prop_map(|(byte, length)| vec![byte; length]),
        ];
        proptest::collection::vec((proptest::sample::select(&Kind::ALL[..]), body), 0..8)
    }

    proptest! {
        #[test]
        fn frames_come_back(frames in frames()) {
            prop_assert_eq!(read(&written(&frames)).unwrap(), frames);
        }

        #[test]
        fn a_flipped_bit_is_an_error(frames in frames(), at in any::<usize>(), bit in 0u8..8) {
            let mut bytes = written(&frames);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&[&MAGIC[..], &bytes].concat());
        }
    }
}
