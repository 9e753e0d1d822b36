//! A registry with its store, as its owner would run them, and a memory of all that was published.

use std::collections::BTreeMap;
use std::sync::Arc;

use firn_uplink::chunks::{self, Change};
use firn_uplink::registry::{Answer, Event, Refusal, Registry};
use firn_uplink::settings::Wishes;
use firn_uplink::state::State;
use firn_uplink::store::{Memory, Store};
use firn_wire::ids::{ClusterId, WorkerName};
use firn_wire::map::Map;

use crate::invariants::{self, Reigns};

pub(crate) const CLUSTER: ClusterId = ClusterId(0xc1);
const OWN_ADDRESS: &str = "127.0.0.1:4000";

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) registry: Registry,
    stored: State,
    store: Memory,
    /// Every map published, the oldest first.
    pub(crate) maps: Vec<Arc<Map>>,
    reigns: Reigns,
    /// Maps that workers have seen, by their names.
    pub(crate) seen: BTreeMap<WorkerName, Map>,
    wishes: Wishes,
}

impl World {
    pub(crate) fn new(wishes: Wishes) -> Self {
        let settings = wishes.clone().of_a_new_cluster().expect("a script's settings make sense");
        let state = State::new(CLUSTER, 7, settings);
        let mut store = Memory::default();
        store.compare_and_set(&Change::between(None, &state)).expect("the store is empty");
        let registry = Registry::new(state.clone(), OWN_ADDRESS.to_owned(), None, 0);
        Self {
            now_ms: 0,
            registry,
            stored: state,
            store,
            maps: Vec::new(),
            reigns: Reigns::default(),
            seen: BTreeMap::new(),
            wishes,
        }
    }

    /// The uplink is killed, and starts again with an empty store.
    pub(crate) fn lose(&mut self, rebuild: bool) {
        let settings = self.wishes.clone().of_a_new_cluster().expect("as at first");
        self.stored = State::new(ClusterId(0xc2), 8, settings);
        self.store = Memory::default();
        let first = Change::between(None, &self.stored);
        self.store.compare_and_set(&first).expect("the store is empty");
        self.registry =
            Registry::new(self.stored.clone(), OWN_ADDRESS.to_owned(), None, self.now_ms);
        if rebuild {
            self.registry.expect_maps();
        }
        self.maps.clear();
    }

    /// One event now, stored and published as its owner would.
    pub(crate) fn step(&mut self, event: Event) -> Result<Answer, Refusal> {
        let before = Arc::clone(self.registry.map());
        let answer = self.registry.step(self.now_ms, event);
        let after = self.registry.map();
        invariants::check_step(&before, after);
        if after.version != before.version {
            self.store();
            self.maps.push(Arc::clone(self.registry.map()));
            self.reigns.check(self.registry.map());
            invariants::check_history(&self.maps, self.registry.history());
        }
        answer
    }

    fn store(&mut self) {
        let state = self.registry.state().clone();
        let change = Change::between(Some(&self.stored), &state);
        self.store.compare_and_set(&change).expect("nobody else writes");
        assert_eq!(self.read().as_ref(), Some(&state), "what is stored is not what was to be");
        self.stored = state;
    }

    fn read(&mut self) -> Option<State> {
        let values = self.store.load().expect("memory does not fail");
        chunks::read(&values).expect("what was written reads")
    }

    /// The uplink is killed and starts again, now, from its store.
    pub(crate) fn restart(&mut self, wishes: Wishes) -> Result<(), String> {
        let mut state = self.read().expect("a first start has stored a state");
        state.set_settings(wishes.of_the_cluster(&state.map.settings)?);
        self.registry = Registry::new(state, OWN_ADDRESS.to_owned(), None, self.now_ms);
        if self.registry.version() != self.stored.map.version {
            self.maps.push(Arc::clone(self.registry.map()));
        }
        self.store();
        Ok(())
    }
}
