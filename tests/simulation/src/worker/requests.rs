//! What clients ask of a worker.

use firn_store::shard::{Ran, Refused};
use firn_wire::command::Step;
use firn_wire::exchange::Fate;
use firn_wire::ids::{PartitionId, Version};
use firn_wire::map::shard_of;
use firn_wire::reply::{Reply, ReplyBuf};

use super::Worker;
use crate::client::ALL;
use crate::event::Event;
use crate::network::Place;
use crate::question::{Answer, Ask, Outcome};
use crate::scene::Scene;

/// A question that waits in a shard.
pub(super) struct Waiting {
    ask: Ask,
    /// Its reply, which may not be shown yet; None: nothing was run.
    reply: Option<ReplyBuf>,
}

/// What a client was shown: what has it must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Where.
    pub partition: PartitionId,
    /// The version; None: nothing was there, or is any more.
    pub version: Option<Version>,
}

impl Worker {
    /// A question has come.
    pub fn asked(&mut self, scene: &mut Scene, ask: Ask) {
        self.serve(scene, ask);
        self.settle(scene);
    }

    fn serve(&mut self, scene: &mut Scene, ask: Ask) {
        let Some(map) = self.map.clone() else {
            return self.answer(scene, &ask, Outcome::NotHere);
        };
        let now = self.now(scene);
        let question = &ask.question;
        let partition = question.partition;
        let (once, ops) = (question.once.as_deref(), [question.op()]);
        let step = Step { partition, once, guards: &[], ops: &ops };
        let at = shard_of(partition, self.build.shards);
        self.touched.insert(at);
        let shard = &mut self.shards[at];
        let may_hold = shard.may_hold(&step);
        let mut reply = None;
        let ran = shard.step(now, &map, &step, &mut |r| reply = Some(ReplyBuf::new(&r)));
        match ran {
            Ok(Ran { until: None, .. }) => {
                let reply = reply.expect("each operation is answered");
                self.answer(scene, &ask, Outcome::Replied(reply));
            }
            Ok(Ran { until: Some(until), .. }) => {
                assert!(
                    may_hold,
                    "the reply to {:?} was to be shown at once and has to wait for {until:?}",
                    ask.question
                );
                let token = scene.number();
                shard.hold(partition, until, token);
                self.waiting.insert(token, Waiting { ask, reply });
            }
            Err(Refused::Wait) if ask.alone => {
                let token = scene.number();
                shard.park(partition, token);
                self.waiting.insert(token, Waiting { ask, reply: None });
            }
            Err(Refused::Wait | Refused::NotLed) => self.answer(scene, &ask, Outcome::NotHere),
        }
    }

    /// Ends waits that are over; whether there were any.
    pub(super) fn resolve(&mut self, scene: &mut Scene) -> bool {
        let fates: Vec<(u64, Fate)> =
            self.shards.iter_mut().flat_map(|shard| shard.take_fates()).collect();
        let any = !fates.is_empty();
        for (token, fate) in fates {
            let Some(Waiting { ask, reply }) = self.waiting.remove(&token) else { continue };
            match (fate, reply) {
                (Fate::Committed, Some(reply)) => {
                    self.answer(scene, &ask, Outcome::Replied(reply));
                }
                (Fate::Again, None) => self.serve(scene, ask),
                (Fate::Lost, Some(_)) => self.answer(scene, &ask, Outcome::Lost),
                (fate, _) => panic!("the fate of {} cannot be {fate:?}", ask.operation),
            }
        }
        any
    }

    fn answer(&self, scene: &mut Scene, ask: &Ask, outcome: Outcome) {
        if let Outcome::Replied(reply) = &outcome {
            self.note_shown(scene, ask, &reply.view());
        }
        scene.trace.note(scene.now, &[30, self.run, ask.operation], || {
            let text = match &outcome {
                Outcome::Replied(reply) => format!("{:?}", reply.view()),
                other => format!("{other:?}"),
            };
            format!("{} answers {}.{}: {text}", self.me, ask.operation, ask.attempt)
        });
        let (here, there) = (Place::Machine(self.slot), Place::Machine(ask.through));
        if scene.network.is_open(here, there) {
            let delay = if here == there { 20 } else { scene.network.delay_us() };
            let Ask { operation, attempt, .. } = *ask;
            let answer = Answer { operation, attempt, outcome };
            scene.queue.put(scene.now.plus_us(delay), Event::Answer(answer));
        }
    }

    fn note_shown(&self, scene: &mut Scene, ask: &Ask, reply: &Reply<'_>) {
        let version = match reply {
            Reply::Value(value) => value.version,
            Reply::Written { version, .. } | Reply::Number { version, .. } => Some(*version),
            Reply::NotMet { version, .. } => *version,
            _ => None,
        };
        if ask.question.table == ALL {
            scene.shown.push(Shown { partition: ask.question.partition, version });
        }
    }
}
