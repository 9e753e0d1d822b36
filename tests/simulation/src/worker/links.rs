//! Connections to peers: streams of records, and beacons.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use firn_store::receive::{Notices, shards_of};
use firn_wire::ids::WorkerId;
use firn_wire::map::WorkerState;
use firn_wire::replica::{Ack, Batch, Beacon, Grant, decode, encode};

use super::Worker;
use crate::event::{Alarm, Event, Run, Slot};
use crate::network::{ConnectionId, End, Frame, Purpose};
use crate::scene::{Scene, worker_id};
use crate::trace::digest;

/// How long until a peer that could not be reached is dialled again, in milliseconds.
const REDIAL_MS: u64 = 50;
/// Beacons of which the answers are still waited for.
const BEACONS_OPEN_MAX: usize = 64;

/// A connection this worker has dialled, or tries to.
#[derive(Debug, Default)]
pub(super) struct Link {
    connection: Option<ConnectionId>,
    /// Batches that are not answered.
    unanswered: usize,
    /// When each beacon was sent, by its number.
    sent: BTreeMap<u64, u64>,
    number: u64,
}

impl Worker {
    /// Has a connection of each purpose to each peer that shares a partition with this worker, and to no other.
    pub(super) fn update_links(&mut self, scene: &mut Scene) {
        let peers = self.peers();
        let has = |key: &(WorkerId, Purpose)| peers.contains(&key.0);
        let gone: Vec<_> = self.links.keys().filter(|key| !has(key)).cloned().collect();
        for key in gone {
            let link = self.links.remove(&key).unwrap_or_default();
            if let Some(connection) = link.connection {
                self.link_down(scene, &key.0, key.1, connection);
                scene.network.break_off(&mut scene.queue, scene.now, connection);
            }
        }
        for peer in peers {
            for purpose in [Purpose::Stream, Purpose::Beacons] {
                if let Entry::Vacant(entry) = self.links.entry((peer.clone(), purpose)) {
                    entry.insert(Link::default());
                    self.dial(scene, &peer, purpose);
                }
            }
        }
    }

    fn peers(&self) -> BTreeSet<WorkerId> {
        let Some(map) = &self.map else { return BTreeSet::new() };
        let mut peers = BTreeSet::new();
        for row in &map.partitions {
            let wanted = row.wanted.iter().filter_map(|name| map.worker(name));
            let wanted = wanted.filter(|worker| worker.state != WorkerState::Down);
            let members = row.primary.iter().chain(&row.isr).cloned();
            let all: Vec<WorkerId> = members.chain(wanted.map(|worker| worker.id())).collect();
            if all.contains(&self.me) {
                peers.extend(all);
            }
        }
        peers.remove(&self.me);
        peers
    }

    pub(super) fn dial(&mut self, scene: &mut Scene, peer: &WorkerId, purpose: Purpose) {
        let link = self.links.get(&(peer.clone(), purpose));
        if link.is_some_and(|link| link.connection.is_none()) {
            let at = scene.now.plus_us(scene.network.delay_us());
            let from = (self.slot, self.run);
            scene.queue.put(at, Event::Dialled { from, to: peer.clone(), purpose });
        }
    }

    /// A peer was reached, or was not.
    pub fn dialled(
        &mut self,
        scene: &mut Scene,
        peer: &WorkerId,
        purpose: Purpose,
        connection: Option<ConnectionId>,
    ) {
        let Some(link) = self.links.get_mut(&(peer.clone(), purpose)) else {
            let not_wanted = connection.into_iter();
            return not_wanted
                .for_each(|id| scene.network.break_off(&mut scene.queue, scene.now, id));
        };
        let Some(connection) = connection else {
            return self.alarm_in(scene, REDIAL_MS, Alarm::Redial(peer.clone(), purpose));
        };
        *link = Link { connection: Some(connection), ..Link::default() };
        scene.trace.note(scene.now, &[11, self.run, connection], || {
            format!("{} has {purpose:?} {connection} to {peer}", self.me)
        });
        if purpose == Purpose::Stream {
            let now = self.now(scene);
            self.shards.iter_mut().for_each(|shard| shard.link_up(now, peer, connection));
        }
        self.settle(scene);
    }

    fn link_down(
        &mut self,
        scene: &mut Scene,
        peer: &WorkerId,
        purpose: Purpose,
        connection: ConnectionId,
    ) {
        scene.trace.note(scene.now, &[12, self.run, connection], || {
            format!("{} loses {purpose:?} {connection} to {peer}", self.me)
        });
        if purpose == Purpose::Stream {
            let now = self.now(scene);
            self.shards.iter_mut().for_each(|shard| shard.link_down(now, peer, connection));
        }
    }

    /// Something arrives over a connection: `end` is ours, `peer` the other's.
    pub fn arrives(
        &mut self,
        scene: &mut Scene,
        (connection, end, purpose): (ConnectionId, End, Purpose),
        peer: (Slot, Run),
        frame: Frame,
    ) {
        let peer = worker_id(peer.0, peer.1);
        match (frame, end, purpose) {
            (Frame::Over, End::Dialler, _) => self.lost(scene, &peer, purpose, connection),
            (Frame::Over, End::Listener, _) => {
                self.disk.iter_mut().for_each(|disk| disk.forget(connection));
            }
            (Frame::Bytes(bytes), End::Listener, Purpose::Stream) => {
                self.take_batch(scene, &peer, connection, &bytes);
            }
            (Frame::Bytes(bytes), End::Dialler, Purpose::Stream) => {
                self.take_ack(scene, &peer, connection, &bytes);
            }
            (Frame::Bytes(bytes), End::Listener, Purpose::Beacons) => {
                self.answer_beacon(scene, &peer, connection, &bytes);
            }
            (Frame::Bytes(bytes), End::Dialler, Purpose::Beacons) => {
                self.take_grant(scene, &peer, connection, &bytes);
            }
        }
        self.settle(scene);
    }

    fn lost(
        &mut self,
        scene: &mut Scene,
        peer: &WorkerId,
        purpose: Purpose,
        connection: ConnectionId,
    ) {
        let Some(link) = self.links.get_mut(&(peer.clone(), purpose)) else { return };
        if link.connection != Some(connection) {
            return;
        }
        *link = Link::default();
        self.link_down(scene, peer, purpose, connection);
        self.dial(scene, peer, purpose);
    }

    /// Sends every peer what the shards have for it.
    pub(super) fn send_news(&mut self, scene: &mut Scene) {
        let now = self.now(scene);
        for ((peer, purpose), link) in &mut self.links {
            let Some(connection) = link.connection else { continue };
            if *purpose != Purpose::Stream {
                continue;
            }
            for shard in &mut self.shards {
                while link.unanswered < self.build.batches_max && shard.has_news(peer) {
                    let bytes_max = self.build.batch_bytes_max;
                    let Some(batch) = shard.fill(now, peer, connection, bytes_max) else { break };
                    link.unanswered += 1;
                    scene.trace.note(scene.now, &[13, connection, digest(&batch)], || {
                        format!("{} → {peer} {}", self.me, shown_batch(&batch))
                    });
                    let Scene { network, queue, now, .. } = scene;
                    network.send(queue, *now, connection, End::Listener, batch);
                }
            }
        }
    }

    fn take_batch(
        &mut self,
        scene: &mut Scene,
        peer: &WorkerId,
        session: ConnectionId,
        bytes: &[u8],
    ) {
        let now = self.now(scene);
        let batch: Batch<'_> = decode(bytes).expect("the network does not change bytes");
        let (mut notices, mut concerned) = (Notices::default(), BTreeSet::new());
        for item in &batch.items {
            for at in shards_of(item, self.build.shards) {
                self.shards[at].receive(now, peer, session, item, &mut notices);
                self.touched.insert(at);
                concerned.insert(at);
            }
        }
        let ack = notices.into_ack(batch.shard, batch.number);
        scene.trace.note(scene.now, &[14, session, digest(&ack)], || {
            format!("{} answers {peer} {}", self.me, shown_ack(&ack))
        });
        let durable = batch.durable.then(|| concerned.into_iter().collect());
        self.acknowledge(scene, session, ack, durable);
    }

    fn take_ack(
        &mut self,
        scene: &mut Scene,
        peer: &WorkerId,
        session: ConnectionId,
        bytes: &[u8],
    ) {
        let now = self.now(scene);
        let ack: Ack<'_> = decode(bytes).expect("the network does not change bytes");
        if let Some(link) = self.links.get_mut(&(peer.clone(), Purpose::Stream))
            && link.connection == Some(session)
        {
            link.unanswered -= 1;
        }
        let at = usize::from(ack.shard);
        self.shards[at].acked(now, peer, session, &ack);
        self.touched.insert(at);
    }

    pub(super) fn beacons(&mut self, scene: &mut Scene) {
        let every_ms = self.map.as_ref().map_or(20, |m| m.settings.replication.beacon_ms());
        self.alarm_in(scene, every_ms, Alarm::Beacon);
        let now = self.now(scene);
        let map = self.map.as_ref().map(|map| map.version).unwrap_or_default();
        for ((_, purpose), link) in &mut self.links {
            let Some(connection) = link.connection else { continue };
            if *purpose != Purpose::Beacons {
                continue;
            }
            link.number += 1;
            let beacon = Beacon { number: link.number, clock: now.unix_ms, map };
            link.sent.insert(link.number, now.lease_ms);
            if link.sent.len() > BEACONS_OPEN_MAX {
                link.sent.pop_first();
            }
            scene.trace.note(scene.now, &[15, connection, beacon.number], || {
                format!("{} beacon {} over {connection}", self.me, beacon.number)
            });
            let Scene { network, queue, now, .. } = scene;
            network.send(queue, *now, connection, End::Listener, encode(&beacon));
        }
    }

    fn answer_beacon(
        &mut self,
        scene: &mut Scene,
        peer: &WorkerId,
        connection: ConnectionId,
        bytes: &[u8],
    ) {
        let Some(map) = &self.map else { return };
        let grant_ms = map.settings.replication.grant_ms;
        let now = self.now(scene);
        let beacon: Beacon = decode(bytes).expect("the network does not change bytes");
        let mut except = Vec::new();
        for shard in &mut self.shards {
            shard.heard(now, peer, &beacon, &mut except);
        }
        self.touched.extend(0..self.shards.len());
        scene.trace.note(scene.now, &[16, connection, beacon.number, except.len() as u64], || {
            format!("{} grants {} to {peer} except {except:?}", self.me, beacon.number)
        });
        let grant = Grant { number: beacon.number, grant_ms, except };
        let Scene { network, queue, now, .. } = scene;
        network.send(queue, *now, connection, End::Dialler, encode(&grant));
    }

    fn take_grant(
        &mut self,
        scene: &mut Scene,
        peer: &WorkerId,
        connection: ConnectionId,
        bytes: &[u8],
    ) {
        let now = self.now(scene);
        let grant: Grant = decode(bytes).expect("the network does not change bytes");
        let Some(link) = self.links.get_mut(&(peer.clone(), Purpose::Beacons)) else { return };
        if link.connection != Some(connection) {
            return;
        }
        let Some(sent_lease_ms) = link.sent.remove(&grant.number) else { return };
        for shard in &mut self.shards {
            shard.granted(now, peer, sent_lease_ms, &grant);
        }
        self.touched.extend(0..self.shards.len());
    }
}

fn shown_batch(bytes: &[u8]) -> String {
    match decode::<Batch<'_>>(bytes) {
        Ok(batch) => crate::shown::batch(&batch),
        Err(error) => error.to_string(),
    }
}

fn shown_ack(bytes: &[u8]) -> String {
    match decode::<Ack<'_>>(bytes) {
        Ok(ack) => format!("{ack:?}"),
        Err(error) => error.to_string(),
    }
}
