//! A primary's stream of batches, with this worker as the copy.
//!
//! Invariants:
//! - Batches are applied in the order in which they become whole.
//! - An acknowledgement leaves after what it acknowledges has been applied. One that says no more than a later one of the
//!   same shard need not leave.
//! - While the caller takes no acknowledgements nothing more is read.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use firn_wire::frame::{Assembler, Frame, Kind, write_part};
use firn_wire::ids::WorkerId;
use firn_wire::replica::{Ack, BadReplica, decode};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::{BUFFER_KEEP_BYTES, PeerError, READ_BYTES_MIN, empty};
use crate::execute::{Acked, Replicate};

/// Bytes of acknowledgements that wait to be taken above which a connection is no longer read from.
const ACKS_BYTES_MAX: usize = 1024 * 1024;

/// A connection that carries batches.
pub(super) struct Batches {
    replicate: Arc<dyn Replicate>,
    from: WorkerId,
    session: u64,
    input: Vec<u8>,
    assembler: Assembler,
    /// Answers that wait for a disk, and those behind them.
    held: VecDeque<(u32, Acked)>,
    acks: Acks,
    written: usize,
}

impl Batches {
    /// `session` names the connection, `input` is what has been read of it.
    pub(super) fn new(
        replicate: Arc<dyn Replicate>,
        from: WorkerId,
        session: u64,
        input: Vec<u8>,
    ) -> Self {
        let (assembler, acks) = (Assembler::default(), Acks::default());
        let held = VecDeque::new();
        Self { replicate, from, session, input, assembler, held, acks, written: 0 }
    }

    pub(super) async fn serve(
        &mut self,
        mut reader: ReadHalf<'_>,
        writer: WriteHalf<'_>,
    ) -> Result<(), PeerError> {
        loop {
            self.take_frames()?;
            self.acks.close();
            self.write(&writer)?;
            if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
                self.input.reserve(BUFFER_KEEP_BYTES);
            }
            let waiting = self.acks.out.len() - self.written;
            tokio::select! {
                biased;
                ready = writer.writable(), if waiting > 0 => ready?,
                () = first_of(&mut self.held), if !self.held.is_empty() => self.release()?,
                read = reader.read_buf(&mut self.input), if waiting < ACKS_BYTES_MAX => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), PeerError> {
        let mut taken = 0;
        while let Some((frame, length)) = Frame::read(&self.input[taken..])? {
            if frame.kind != Kind::Batch {
                return Err(PeerError::Kind(frame.kind));
            }
            let id = frame.id;
            let message = self.assembler.take(frame)?;
            taken += length;
            if let Some(message) = message {
                let acked = self.replicate.batch(&self.from, self.session, &message)?;
                self.held.push_back((id, acked));
                self.release_free()?;
            }
        }
        if taken == self.input.len() {
            empty(&mut self.input);
        } else {
            self.input.drain(..taken);
        }
        Ok(())
    }

    /// The first answer need not wait any more.
    fn release(&mut self) -> Result<(), PeerError> {
        if let Some((_, acked)) = self.held.front_mut() {
            acked.after = None;
        }
        self.release_free()
    }

    /// Answers in their order, up to the first that has to wait.
    fn release_free(&mut self) -> Result<(), PeerError> {
        while let Some((id, acked)) = self.held.pop_front_if(|(_, acked)| acked.after.is_none()) {
            self.acks.push(id, acked.ack)?;
        }
        Ok(())
    }

    /// Writes as much as the socket takes.
    fn write(&mut self, writer: &WriteHalf<'_>) -> Result<(), PeerError> {
        while self.written < self.acks.out.len() {
            match writer.try_write(&self.acks.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.written = 0;
        empty(&mut self.acks.out);
        Ok(())
    }
}

/// Waits for what the first answer waits for.
async fn first_of(held: &mut VecDeque<(u32, Acked)>) {
    if let Some((_, Acked { after: Some(after), .. })) = held.front_mut() {
        after.await;
    }
}

/// Acknowledgements on their way out.
#[derive(Default)]
struct Acks {
    /// For each shard of the primary, the last one, with the id of its batch, while a later one may make it needless.
    last: BTreeMap<u16, (u32, Vec<u8>)>,
    /// Frames.
    out: Vec<u8>,
}

impl Acks {
    fn push(&mut self, id: u32, bytes: Vec<u8>) -> Result<(), BadReplica> {
        let ack: Ack<'_> = decode(&bytes)?;
        let (shard, is_plain) = (ack.shard, ack.notices.is_empty());
        if is_plain {
            self.last.insert(shard, (id, bytes));
        } else {
            // What it refuses must be heard before any later batch is, so it is not put off.
            self.last.remove(&shard);
            write(id, &bytes, &mut self.out);
        }
        Ok(())
    }

    /// Nothing more is at hand: what was put off leaves.
    fn close(&mut self) {
        while let Some((_, (id, bytes))) = self.last.pop_first() {
            write(id, &bytes, &mut self.out);
        }
    }
}

fn write(id: u32, ack: &[u8], out: &mut Vec<u8>) {
    let mut next = Some(0);
    while let Some(sent) = next {
        next = write_part(Kind::Ack, id, ack, sent, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::replica::{Batch, Notice, Refusal, encode};
    use std::sync::Mutex;

    /// Acknowledges everything; refuses those with an odd number.
    #[derive(Default)]
    struct Follower(Mutex<Vec<(u16, u64)>>);

    impl Replicate for Follower {
        fn batch(&self, _: &WorkerId, session: u64, bytes: &[u8]) -> Result<Acked, BadReplica> {
            assert_eq!(session, 7);
            let Batch { shard, number, durable, .. } = decode(bytes)?;
            self.0.lock().unwrap().push((shard, number));
            let refuse = Notice::Refuse {
                partition: Default::default(),
                epoch: Default::default(),
                sequence: number,
                why: Refusal::Gap,
            };
            let notices = if number % 2 == 1 { vec![refuse] } else { Vec::new() };
            let ack = encode(&Ack { shard, number, notices });
            let after = durable.then(|| Box::pin(std::future::pending()) as _);
            Ok(Acked { ack, after })
        }

        fn beacons(&self, _: WorkerId, _: std::net::TcpStream, _: Vec<u8>) {
            panic!("these are batches");
        }
    }

    /// Those with the number 100 are to be on disk first.
    fn frames(batches: &[(u16, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, (shard, number)) in (0..).zip(batches) {
            let (shard, number, durable) = (*shard, *number, *number == 100);
            let batch = Batch { shard, number, durable, items: Vec::new() };
            let payload = encode(&batch);
            Frame { kind: Kind::Batch, last: true, id, payload: &payload }.write(&mut out);
        }
        out
    }

    /// The acknowledgements that leave: id, shard, number.
    fn answers(copy: &Arc<Follower>, batches: &[(u16, u64)]) -> Vec<(u32, u16, u64)> {
        let replicate = Arc::clone(copy) as Arc<dyn Replicate>;
        let mut batches = Batches::new(replicate, WorkerId::default(), 7, frames(batches));
        batches.take_frames().unwrap();
        batches.acks.close();
        let (mut answers, mut at) = (Vec::new(), 0);
        while let Some((frame, length)) = Frame::read(&batches.acks.out[at..]).unwrap() {
            let Ack { shard, number, .. } = decode(frame.payload).unwrap();
            answers.push((frame.id, shard, number));
            at += length;
        }
        answers
    }

    #[test]
    fn the_last_acknowledgement_of_a_shard_says_it_all() {
        let (copy, sent) = (Arc::default(), [(1, 2), (0, 4), (1, 6), (1, 8)]);
        assert_eq!(answers(&copy, &sent), [(1, 0, 4), (3, 1, 8)]);
        assert_eq!(*copy.0.lock().unwrap(), sent, "each is applied, in order");
    }

    #[test]
    fn a_refusal_is_heard_before_later_numbers() {
        let sent = [(1, 2), (1, 3), (1, 4), (1, 6), (1, 7)];
        assert_eq!(answers(&Arc::default(), &sent), [(1, 1, 3), (4, 1, 7)]);
    }

    #[test]
    fn what_waits_for_a_disk_holds_up_what_is_behind_it() {
        let sent = [(1, 2), (1, 100), (0, 4), (1, 102)];
        assert_eq!(answers(&Arc::default(), &sent), [(0, 1, 2)]);
    }

    #[test]
    fn what_is_no_batch_ends_the_connection() {
        let mut input = frames(&[(0, 2)]);
        Frame { kind: Kind::Ack, last: true, id: 1, payload: b"" }.write(&mut input);
        let copy: Arc<Follower> = Arc::default();
        let mut batches = Batches::new(copy, WorkerId::default(), 7, input);
        assert!(matches!(batches.take_frames(), Err(PeerError::Kind(Kind::Ack))));
        let whole = frames(&[(0, 2)]);
        batches.input = whole[..whole.len() - 1].to_vec();
        batches.take_frames().unwrap();
        assert_eq!(batches.input.len(), whole.len() - 1, "the rest is still to come");
    }
}
