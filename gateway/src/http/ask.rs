//! Asking the store for one reply: a sink with one slot, so that a reply at hand is read where it lies.

use firn_wire::command::Command;
use firn_wire::exchange::{Session, Sink, Ticket};
use firn_wire::reply::Reply;

use crate::execute::Execute;

enum Slot<T> {
    Empty,
    Ready(T),
    Waiting(Ticket),
}

struct One<T, F> {
    read: F,
    slot: Slot<T>,
}

impl<T, F: FnMut(Reply<'_>) -> T> Sink for One<T, F> {
    fn put(&mut self, slot: usize, reply: Reply<'_>) {
        assert_eq!(slot, 0, "one command has one slot");
        self.slot = Slot::Ready((self.read)(reply));
    }
    fn wait(&mut self, slot: usize, ticket: Ticket) {
        assert_eq!(slot, 0, "one command has one slot");
        self.slot = Slot::Waiting(ticket);
    }
}

/// Runs one command; `read` takes what is needed from its reply (a shard may be locked meanwhile: copy, never wait).
pub(super) async fn ask<T>(
    execute: &dyn Execute,
    session: &mut Session,
    command: Command<'_>,
    read: impl FnMut(Reply<'_>) -> T,
) -> T {
    let mut sink = One { read, slot: Slot::Empty };
    execute.submit(session, &[command], &mut sink);
    match sink.slot {
        Slot::Ready(answer) => answer,
        Slot::Waiting(ticket) => (sink.read)(ticket.await.view()),
        Slot::Empty => unreachable!("submit fills every slot"),
    }
}
