//! Whether every partition takes writes: asked of each after the faults, until it has answered.

use std::collections::BTreeMap;
use std::rc::Rc;

use firn_wire::ids::PartitionId;
use firn_wire::map::MapIndex;
use firn_wire::reply::Reply;

use crate::client::ALL;
use crate::event::{Event, Slot};
use crate::question::{Action, Answer, Ask, Outcome, Question};
use crate::scene::{Scene, slot_of};

/// Partitions that have not answered, with a key that is in them and the operations that are on their way.
#[derive(Debug, Default)]
pub struct Probe {
    open: BTreeMap<PartitionId, (Vec<u8>, Vec<u64>)>,
}

impl Probe {
    /// Asks all partitions that have keys.
    pub fn new(map: &MapIndex) -> Self {
        let mut open = BTreeMap::new();
        for number in 0..200 {
            let key = format!("p{number}").into_bytes();
            let partition = map.locate(ALL, &key).expect("the first tables are in every map");
            open.entry(partition).or_insert((key, Vec::new()));
        }
        Self { open }
    }

    /// Asks again where nothing was answered: whoever leads by this map, through some machine that it can be asked from.
    pub fn ask(&mut self, scene: &mut Scene, map: &MapIndex) {
        for (partition, (key, operations)) in &mut self.open {
            let row = map.partition(*partition);
            let Some(primary) = row.and_then(|row| row.primary.as_ref()) else { continue };
            let slot: Slot = slot_of(&primary.name);
            let number = scene.number();
            operations.push(number);
            let question = Question {
                table: ALL,
                key: key.clone(),
                partition: *partition,
                once: None,
                action: Action::Set { new: b"probe".to_vec(), ttl_ms: None },
            };
            let ask = Ask {
                operation: number,
                attempt: 1,
                through: slot,
                to: (slot, primary.incarnation.0),
                alone: false,
                question: Rc::new(question),
            };
            scene.queue.put(scene.now.plus_us(20), Event::Ask(ask));
        }
    }

    /// An answer has come, perhaps to a probe. Only one that says it is written counts.
    pub fn answered(&mut self, answer: &Answer) {
        let Outcome::Replied(reply) = &answer.outcome else { return };
        if matches!(reply.view(), Reply::Written { .. }) {
            self.open.retain(|_, (_, operations)| !operations.contains(&answer.operation));
        }
    }

    /// Partitions that have not answered.
    pub fn open(&self) -> Vec<PartitionId> {
        self.open.keys().copied().collect()
    }
}
