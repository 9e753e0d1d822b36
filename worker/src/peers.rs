//! Who a worker has copies in common with.

use std::collections::{BTreeMap, BTreeSet};

use firn_wire::ids::{WorkerId, WorkerName};
use firn_wire::map::{MapIndex, PartitionRow, WorkerState};
use firn_wire::news::{News, Reading};

/// Workers, and where each is reached; None: this run of it is not the registered one, so nobody new can reach it.
pub(crate) type Peers = BTreeMap<WorkerId, Option<String>>;

/// The other workers that the map in force names in a row with this one.
pub(crate) struct Company {
    me: WorkerId,
    reading: Reading,
    peers: Peers,
}

impl Company {
    /// Of no map yet.
    pub(crate) fn new(me: WorkerId) -> Self {
        Self { me, reading: Reading::default(), peers: Peers::new() }
    }

    /// Reads a newer map. Who is in no row any more is found out when a worker changes.
    pub(crate) fn read(&mut self, map: &MapIndex) -> &Peers {
        let news = self.reading.read(map);
        if news == News::All {
            self.peers.clear();
        }
        self.peers.extend(peers(&self.me, map, news));
        &self.peers
    }
}

/// Those named in rows that are news.
fn peers(me: &WorkerId, map: &MapIndex, news: News) -> Peers {
    let (mut runs, mut names) = (BTreeSet::<&WorkerId>::new(), BTreeSet::<&WorkerName>::new());
    for row in map.partitions.iter().filter(|row| news.has(row) && concerns(row, me)) {
        runs.extend(row.primary.iter().chain(&row.isr));
        names.extend(&row.wanted);
    }
    let wanted = names.into_iter().filter_map(|name| map.worker(name));
    let wanted = wanted.filter(|row| row.state != WorkerState::Down).map(|row| row.id());
    let all: BTreeSet<WorkerId> = runs.into_iter().cloned().chain(wanted).collect();
    all.into_iter().filter(|id| id != me).map(|id| (id.clone(), address(map, &id))).collect()
}

fn concerns(row: &PartitionRow, me: &WorkerId) -> bool {
    row.primary.as_ref() == Some(me) || row.has_in_sync(me) || row.wants(&me.name)
}

fn address(map: &MapIndex, id: &WorkerId) -> Option<String> {
    let row = map.worker(&id.name).filter(|row| row.incarnation == id.incarnation)?;
    row.addresses.get("peer").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{id, map, worker};

    #[test]
    fn those_of_the_same_rows_are_peers() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| id(name, 1));
        let up = |id: &WorkerId| worker(id.clone(), WorkerState::Up);
        let down = worker(d.clone(), WorkerState::Down);
        let map = map(
            vec![up(&a), up(&b), up(&c), down],
            &[(std::slice::from_ref(&b), &["b", "a", "d"]), (std::slice::from_ref(&c), &["c"])],
        );
        let got = Company::new(a.clone()).read(&map).clone();
        assert_eq!(got, [(b, Some("b:1".to_owned()))].into(), "c shares no row, d is down");
        assert_eq!(*Company::new(c.clone()).read(&map), BTreeMap::new());
    }

    #[test]
    fn an_earlier_run_is_a_peer_that_cannot_be_dialled() {
        let (a, old, new) = (id("a", 1), id("b", 1), id("b", 2));
        let workers =
            vec![worker(a.clone(), WorkerState::Up), worker(new.clone(), WorkerState::Up)];
        let map = map(workers, &[(&[a.clone(), old.clone()], &["a", "b"])]);
        let want = [(old, None), (new, Some("b:1".to_owned()))];
        assert_eq!(*Company::new(a.clone()).read(&map), want.into());
    }
}
