//! What a shard knows of another worker: the link to it, the lease it has given, the grants it was given.

use std::collections::VecDeque;

use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::map::MapIndex;

use super::log::Position;

/// The outgoing connection to a worker, over which it is sent what it copies.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Which connection.
    pub(crate) session: u64,
    /// Everything before was looked through for records it should have.
    pub(crate) sent: Position,
    /// Batches that were sent; the number of the last.
    pub(crate) batches: u64,
    /// Those it has not acknowledged, by number, each with the position it reaches to.
    pub(crate) open: VecDeque<(u64, Position)>,
    /// The last batch it has acknowledged; 0: none.
    pub(crate) answered: u64,
    /// The position that one reaches to.
    pub(crate) acked: Position,
    /// Since when an acknowledgement is owed, in milliseconds of the lease clock.
    pub(crate) owes_since: Option<u64>,
    /// Whether any partition may have something to say to it besides records.
    pub(crate) restless: bool,
    /// Partitions whose entries it is sent.
    pub(crate) copying: Vec<PartitionId>,
    /// Whether one of these may go on.
    pub(crate) goes_on: bool,
}

impl Link {
    pub(crate) fn new(session: u64, end: Position) -> Self {
        Self {
            session,
            sent: end,
            batches: 0,
            open: VecDeque::new(),
            answered: 0,
            acked: Position::default(),
            owes_since: None,
            restless: true,
            copying: Vec::new(),
            goes_on: false,
        }
    }

    /// What it is sent entries of may go on, if there is such.
    pub(crate) fn go_on(&mut self) {
        self.goes_on = !self.copying.is_empty();
    }

    /// A batch that reaches to `sent` is sent; its number.
    pub(crate) fn send(&mut self, now: u64) -> u64 {
        self.batches += 1;
        self.open.push_back((self.batches, self.sent));
        self.owes_since.get_or_insert(now);
        self.batches
    }

    /// It has acknowledged a batch, and with it all before.
    pub(crate) fn answer(&mut self, number: u64, now: u64) {
        while let Some((batch, position)) = self.open.front().copied() {
            if batch > number {
                break;
            }
            (self.answered, self.acked) = (batch, position);
            self.open.pop_front();
        }
        self.owes_since = (!self.open.is_empty()).then_some(now);
    }
}

/// Another worker. All times are milliseconds of this worker's lease clock.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) id: WorkerId,
    pub(crate) link: Option<Link>,
    /// Whether this run of it was the registered one at the last look; see [`Peers::register`].
    pub(crate) is_registered: bool,
    /// Until when it has granted us to lead what we share.
    pub(crate) lease_until: u64,
    /// When we last heard a beacon of its: until then plus G we neither seek nor support another primary for what it
    /// leads.
    pub(crate) heard: Option<u64>,
    /// Its clock then, Unix milliseconds.
    pub(crate) clock: u64,
}

impl Peer {
    pub(crate) fn new(id: WorkerId) -> Self {
        Self { id, link: None, is_registered: false, lease_until: 0, heard: None, clock: 0 }
    }
}

/// The workers a shard knows. A place stays a worker's until it is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Peers(Vec<Peer>);

impl Peers {
    /// The place of a worker, given to it if it has none.
    pub(crate) fn place(&mut self, id: &WorkerId) -> usize {
        if let Some(at) = self.find(id) {
            return at;
        }
        let vacant = self.find(&WorkerId::default());
        if let Some(at) = vacant {
            self.0[at] = Peer::new(id.clone());
        } else {
            self.0.push(Peer::new(id.clone()));
        }
        vacant.unwrap_or(self.0.len() - 1)
    }

    /// Notes which of them are registered: asked once for all partitions.
    pub(crate) fn register(&mut self, map: &MapIndex) {
        for Peer { id, is_registered, .. } in &mut self.0 {
            let row = map.worker(&id.name);
            *is_registered = row.is_some_and(|row| row.incarnation == id.incarnation);
        }
    }

    /// How many places there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Forgets workers to which there is no connection and that are not `needed`: earlier runs, mostly.
    pub(crate) fn forget(&mut self, needed: impl Fn(usize, &WorkerId) -> bool) {
        for (at, peer) in self.0.iter_mut().enumerate() {
            if peer.link.is_none() && !needed(at, &peer.id) {
                *peer = Peer::new(WorkerId::default());
            }
        }
    }

    /// The place of a worker that is known.
    pub(crate) fn find(&self, id: &WorkerId) -> Option<usize> {
        self.0.iter().position(|peer| peer.id == *id)
    }

    /// All links.
    pub(crate) fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.0.iter_mut().filter_map(|peer| peer.link.as_mut())
    }

    /// The link to a worker, if it is this connection.
    pub(crate) fn link(&mut self, at: usize, session: u64) -> Option<&mut Link> {
        self.0[at].link.as_mut().filter(|link| link.session == session)
    }
}

impl std::ops::Index<usize> for Peers {
    type Output = Peer;
    fn index(&self, at: usize) -> &Peer {
        &self.0[at]
    }
}

impl std::ops::IndexMut<usize> for Peers {
    fn index_mut(&mut self, at: usize) -> &mut Peer {
        &mut self.0[at]
    }
}
