//! A worker's dealings with the uplink: registration, signs of life, the map, proposals.

use std::sync::Arc;

use firn_client::delta::merge;
use firn_store::decide::Sent;
use firn_uplink::registry::RefusalKind;
use firn_wire::ids::{Incarnation, MapVersion, PartitionId};
use firn_wire::map::MapIndex;
use firn_wire::registry::{Heartbeat, KnownMap, MapDelta, Proposal, Register, Verdict};

use super::{Life, Worker};
use crate::event::Alarm;
use crate::scene::{Scene, worker_name};
use crate::uplink::{Request, Response, Told};

/// How often a worker that is not registered tries to be, in milliseconds.
const REGISTER_MS: u64 = 200;
/// How long an answer to proposals may take, in milliseconds.
const PROPOSE_MS: u64 = 1_000;
/// How long an answer to a question for a newer map may take, in milliseconds.
const POLL_MS: u64 = 2_000;
/// For how long an answer of the uplink shows that it is there, in milliseconds.
const FRESH_MS: u64 = 1_000;

/// What is known of the uplink.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// How often to beat; None: not registered.
    heartbeat_ms: Option<u64>,
    /// When it last answered, by the lease clock.
    heard: Option<u64>,
    beat: Option<(u64, u64)>,
    poll: Option<u64>,
    post: Option<(u64, Vec<(PartitionId, MapVersion)>)>,
    /// Whether the uplink knows that this worker leaves, and its map of then or a newer one is in force here.
    pub(super) has_said_so: bool,
    said_leaving: bool,
    known_leaving: Option<MapVersion>,
    /// The generation of the map that an uplink was told: no other map of it is taken any more.
    closed: u32,
}

impl Membership {
    /// Whether the uplink has answered lately.
    pub(super) fn is_fresh(&self, lease_ms: u64) -> bool {
        self.heard.is_some_and(|heard| heard + FRESH_MS > lease_ms)
    }
}

impl Worker {
    pub(super) fn beat(&mut self, scene: &mut Scene) {
        let every_ms = self.membership.heartbeat_ms;
        self.alarm_in(scene, every_ms.unwrap_or(REGISTER_MS), Alarm::Beat);
        let (name, incarnation) = (worker_name(self.slot), Incarnation(self.run));
        let request = match every_ms {
            None => Request::Register(Register {
                name,
                incarnation,
                addresses: [("peer".to_owned(), format!("machine{}:1", self.slot))].into(),
                shards: self.build.shards,
                cluster: self.map.as_ref().map(|map| map.cluster),
            }),
            Some(_) => {
                let leaving = self.life == Life::Leaving;
                self.membership.said_leaving = leaving;
                Request::Beat(name, Heartbeat { incarnation, goodbye: false, leaving })
            }
        };
        let sent = self.now(scene).lease_ms;
        let number = scene.ask_uplink((self.slot, self.run), request);
        self.membership.beat = Some((number, sent));
        if self.membership.poll.is_none() {
            self.poll(scene);
        }
    }

    fn poll(&mut self, scene: &mut Scene) {
        let version = self.map.as_ref().map(|map| map.version).unwrap_or_default();
        let number = scene.ask_uplink((self.slot, self.run), Request::Poll(version));
        self.membership.poll = Some(number);
        self.alarm_in(scene, POLL_MS, Alarm::GiveUp(number));
    }

    /// Sends proposals, if none are on their way.
    pub(super) fn propose(&mut self, scene: &mut Scene, proposals: Vec<Proposal>) {
        if proposals.is_empty() {
            return;
        }
        let named = proposals.iter().map(|p| (p.partition, p.rev)).collect();
        if self.membership.post.is_some() {
            return self.fate_of(scene, named, Sent::NotSent);
        }
        for Proposal { partition, rev, epoch, primary, isr, .. } in &proposals {
            let isr: Vec<String> = isr.iter().map(ToString::to_string).collect();
            scene.trace.note(
                scene.now,
                &[20, self.run, u64::from(partition.number), u64::from(epoch.0)],
                || {
                    let (me, epoch) = (&self.me, epoch.0);
                    format!("{me} proposes {partition} {rev}: epoch {epoch}, {primary}, {isr:?}")
                },
            );
        }
        let number = scene.ask_uplink((self.slot, self.run), Request::Propose(proposals));
        self.membership.post = Some((number, named));
        self.alarm_in(scene, PROPOSE_MS, Alarm::GiveUp(number));
    }

    fn fate_of(
        &mut self,
        scene: &mut Scene,
        proposals: Vec<(PartitionId, MapVersion)>,
        sent: Sent,
    ) {
        let now = self.now(scene);
        for (partition, rev) in proposals {
            let at = firn_wire::map::shard_of(partition, self.build.shards);
            self.shards[at].proposed(now, partition, rev, sent);
            self.touched.insert(at);
        }
    }

    /// A request has had long enough.
    pub(super) fn give_up(&mut self, scene: &mut Scene, number: u64) {
        if self.membership.poll == Some(number) {
            return self.poll(scene);
        }
        if let Some((_, named)) = self.membership.post.take_if(|(post, _)| *post == number) {
            self.fate_of(scene, named, Sent::Maybe);
        }
    }

    /// The uplink answers.
    pub fn told(&mut self, scene: &mut Scene, told: Told) {
        let now = self.now(scene);
        if !matches!(told.what, Response::NoListener) {
            self.membership.heard = Some(now.lease_ms);
        }
        if let Some((_, sent)) = self.membership.beat.take_if(|(beat, _)| *beat == told.number) {
            self.beaten(scene, sent, &told.what);
        } else if self.membership.poll == Some(told.number) {
            self.membership.poll = None;
            if let Response::Map(map) = told.what {
                if map.version.generation > self.membership.closed {
                    let map = self.merged(map);
                    self.adopt(scene, map);
                }
                self.poll(scene);
            }
        } else if let Some((_, named)) =
            self.membership.post.take_if(|(post, _)| *post == told.number)
        {
            self.judged(scene, named, &told.what);
        }
        let newest = self.map.as_ref().map(|map| map.version);
        self.membership.has_said_so |=
            self.membership.known_leaving.is_some_and(|version| newest >= Some(version));
        self.settle(scene);
    }

    /// A map that came, with rows that are newer here.
    fn merged(&self, map: Arc<MapIndex>) -> Arc<MapIndex> {
        let newer = self.map.as_ref().filter(|old| old.version < map.version);
        let Some(old) = newer.filter(|_| map.version.generation > 1) else { return map };
        let delta = MapDelta::whole(map.map().clone());
        Arc::new(merge(Some(old.map()), delta).expect("the whole map is one"))
    }

    /// An uplink that has lost its map is told the one here.
    fn tell(&mut self, scene: &mut Scene) {
        let Some(map) = &self.map else { return };
        self.membership.closed = map.version.generation;
        let (name, incarnation) = (worker_name(self.slot), Incarnation(self.run));
        let known = KnownMap { incarnation, hash_seed: 7, map: map.map().clone() };
        scene.trace.note(scene.now, &[22, self.run, map.version.counter], || {
            format!("{} tells map {}", self.me, map.version)
        });
        scene.ask_uplink((self.slot, self.run), Request::Tell(name, Box::new(known)));
    }

    /// The uplink is in the generation of this version.
    fn open(&mut self, version: MapVersion) {
        let before = version.generation.saturating_sub(1);
        self.membership.closed = self.membership.closed.min(before);
    }

    fn beaten(&mut self, scene: &mut Scene, sent: u64, what: &Response) {
        match what {
            Response::Registered(registered) => {
                self.membership.heartbeat_ms = Some(registered.heartbeat_ms);
                self.open(registered.version);
                self.poll(scene);
            }
            Response::Beaten(version) => {
                self.open(*version);
                if self.membership.said_leaving && self.life == Life::Leaving {
                    self.membership.known_leaving.get_or_insert(*version);
                }
                let now = self.now(scene);
                self.shards.iter_mut().for_each(|shard| shard.vouched(now, sent));
            }
            Response::Refused(RefusalKind::SendMap) => self.tell(scene),
            Response::Refused(RefusalKind::UnknownWorker) => self.membership.heartbeat_ms = None,
            Response::Refused(RefusalKind::OtherIncarnation) => {
                scene.trace.note(scene.now, &[21, self.run], || format!("{} is expelled", self.me));
                self.life = Life::Ended;
            }
            _ => {}
        }
    }

    fn judged(
        &mut self,
        scene: &mut Scene,
        named: Vec<(PartitionId, MapVersion)>,
        what: &Response,
    ) {
        match what {
            Response::Verdicts(verdicts) => {
                let is_refused =
                    |(at, _): &(usize, _)| matches!(verdicts.get(*at), Some(Verdict::Refused(_)));
                let refused = named.into_iter().enumerate().filter(is_refused);
                let refused = refused.map(|(_, named)| named).collect();
                self.fate_of(scene, refused, Sent::Refused);
            }
            Response::NoListener => self.fate_of(scene, named, Sent::NotSent),
            _ => self.fate_of(scene, named, Sent::Refused),
        }
    }
}
