//! What no step can do: copying and renaming between partitions, alone and within a batch.

use std::sync::Arc;

use firn_wire::command::{Command, Condition, Expiry, KeyOp, Op, Set};
use firn_wire::exchange::{Collect, Session, Ticket};
use firn_wire::ids::Version;
use firn_wire::reply::{Failure, Reply, ReplyBuf, Value};
use tokio::time::Instant;

use crate::core::{Asker, Core};
use crate::local::Local;
use crate::parts::Parts;
use crate::plan::crosses;
use crate::submission::Submission;

impl<L: Local> Submission<'_, L> {
    /// A ticket for one copy between partitions.
    pub(crate) fn copy_across(&mut self, op: &KeyOp<'_>) -> Ticket {
        let (core, asker, owned) = (Arc::clone(self.core), self.asker(), Owned::new(&[*op]));
        self.everywhere(async move { copy(&core, asker, &owned.ops()[0]).await })
    }

    /// A ticket for a batch with such copies: the operations between them are batches of their own, one after the other.
    pub(crate) fn in_turn(&mut self, ops: &[KeyOp<'_>]) -> Ticket {
        let (core, asker, owned) = (Arc::clone(self.core), self.asker(), Owned::new(ops));
        self.everywhere(async move {
            let ops = owned.ops();
            let map = core.maps.load();
            let mut parts = Parts::new(ops.len(), false);
            let mut start = 0;
            while start < ops.len() {
                let rest = &ops[start..];
                let plain = rest.iter().position(|op| crosses(&map, op)).unwrap_or(rest.len());
                if plain == 0 {
                    parts.put(start, &copy(&core, asker, &rest[0]).await.view());
                    start += 1;
                } else {
                    let places: Vec<usize> = (start..start + plain).collect();
                    let reply = core.batch(asker, rest[..plain].to_vec()).await;
                    parts.put_step(&places, &reply.view());
                    start += plain;
                }
            }
            parts.gather(Vec::new(), ops.len()).await
        })
    }
}

/// Operations that outlive their submission.
struct Owned(Vec<u8>);

impl Owned {
    fn new(ops: &[KeyOp<'_>]) -> Self {
        Self(postcard::to_stdvec(ops).expect("operations have no unserialisable part"))
    }

    fn ops(&self) -> Vec<KeyOp<'_>> {
        postcard::from_bytes(&self.0).expect("written above")
    }
}

impl<L: Local> Core<L> {
    /// A batch on its own.
    async fn batch(self: &Arc<Self>, asker: Asker, ops: Vec<KeyOp<'_>>) -> ReplyBuf {
        let timeout = asker.deadline.saturating_duration_since(Instant::now());
        let session = Session::new(asker.stream, asker.role);
        let mut session = Session { lane: asker.lane, timeout, ..session };
        let mut sink = Collect::default();
        {
            let view = self.maps.view();
            let mut submission = Submission::new(self, &view, &mut session);
            submission.take(0, &Command::Many { guards: Vec::new(), ops }, &mut sink);
            submission.finish();
        }
        sink.all().await.pop().expect("one command has one reply")
    }
}

/// Read, write where it may be written, remove what was read if it is still that: a crash in between leaves both keys,
/// never none.
async fn copy<L: Local>(core: &Arc<Core<L>>, asker: Asker, op: &KeyOp<'_>) -> ReplyBuf {
    let Op::Copy { table, to, replace, remove } = op.op else {
        unreachable!("only copies cross partitions")
    };
    let mut condition = if replace { Condition::Always } else { Condition::Absent };
    loop {
        let source = core.one(asker, KeyOp { op: Op::Get, ..*op }).await;
        let Reply::Value(value) = source.view() else { return source };
        let set = KeyOp { table, key: to, op: Op::Set(set_of(&value, condition)) };
        let written = core.one(asker, set).await;
        let copied = match written.view() {
            Reply::Written { version, .. } => version,
            Reply::NotMet { .. } => return ReplyBuf::new(&Reply::Done(false)),
            _ => return written,
        };
        let done = ReplyBuf::new(&Reply::Done(true));
        if !remove {
            return done;
        }
        let read = value.version.expect("a value that is there has a version");
        match remove_if(core, asker, op, read).await {
            Removed::Gone => return done,
            Removed::Failed(reply) => return reply,
            // It changed after it was read: copy that, over our own copy only.
            Removed::Changed if Instant::now() < asker.deadline => {
                condition = Condition::Version(copied);
            }
            Removed::Changed => {
                let text = "the key changes too fast to be renamed; both names are there now";
                return Failure::Unavailable(text.into()).into();
            }
        }
    }
}

fn set_of<'a>(value: &Value<'a>, condition: Condition<'a>) -> Set<'a> {
    let expiry = value.expires_at.map_or(Expiry::Never, Expiry::At);
    Set { value: value.bytes, meta: value.meta, expiry, condition, want_old: false }
}

enum Removed {
    Gone,
    Changed,
    Failed(ReplyBuf),
}

async fn remove_if<L: Local>(
    core: &Arc<Core<L>>,
    asker: Asker,
    source: &KeyOp<'_>,
    version: Version,
) -> Removed {
    let delete = Op::Delete { condition: Condition::Version(version), want_old: false };
    let reply = core.one(asker, KeyOp { op: delete, ..*source }).await;
    match reply.view() {
        Reply::Deleted { .. } | Reply::Nil | Reply::NotMet { version: None, .. } => Removed::Gone,
        Reply::NotMet { .. } => Removed::Changed,
        _ => Removed::Failed(reply),
    }
}
