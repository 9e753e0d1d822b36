//! A cluster of small stores in one process.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firn_gateway::execute::Answer;
use firn_gateway::listen::Connections;
use firn_gateway::loops::Lanes;
use firn_gateway::peer::{Identity, Inside, listen};
use firn_wire::command::*;
use firn_wire::exchange::{Collect, Fate, Role, Session, Sink};
use firn_wire::ids::*;
use firn_wire::map::{Map, MapIndex};
use firn_wire::message::{Ask, Head};
use firn_wire::reply::*;
use firn_wire::secret::Secret;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::asked;
use crate::fixture;
use crate::gate::{Gate, Held};
use crate::links::Links;
use crate::local::{Local, NotNow, Stepped};
use crate::maps::Maps;
use crate::router::Router;

pub(crate) const TABLE: TableId = TableId(0);

type Entries = BTreeMap<(Cursor, Vec<u8>), (Vec<u8>, Version)>;

/// What a worker holds.
pub(crate) struct Toy {
    me: WorkerId,
    pub(crate) maps: Arc<Maps>,
    pub(crate) leads: Mutex<HashSet<PartitionId>>,
    entries: Mutex<Entries>,
    versions: AtomicUsize,
    /// Asks that came in.
    pub(crate) requests: AtomicUsize,
    /// Replies to writes of the key `slow` wait for a permit.
    pub(crate) gate: Arc<Semaphore>,
    /// Whether replies are held.
    pub(crate) holds: AtomicBool,
    /// What held replies wait for, in the order of their steps.
    pub(crate) gates: Mutex<Vec<Arc<Gate>>>,
    /// What every step waits for before it is run.
    pub(crate) parked: Mutex<Option<Arc<Gate>>>,
    /// Steps that were run.
    pub(crate) steps: AtomicUsize,
}

fn place(map: &MapIndex, key: &KeyOp<'_>) -> (Cursor, Vec<u8>) {
    let partition = map.locate(key.table, key.key).unwrap().number;
    let hash = key
        .key
        .iter()
        .fold(7u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (Cursor { partition, position: Cursor::position_of(hash) }, key.key.to_vec())
}

impl Toy {
    fn leads_it(&self, partition: PartitionId) -> bool {
        self.leads.lock().unwrap().contains(&partition)
    }

    fn apply(&self, map: &MapIndex, key: &KeyOp<'_>, answer: &mut dyn FnMut(Reply<'_>)) {
        let mut entries = self.entries.lock().unwrap();
        let at = place(map, key);
        let old = entries.get(&at).cloned();
        let mut write = |value: Vec<u8>| {
            let version = Version(self.versions.fetch_add(1, Ordering::Relaxed) as u64 + 1);
            entries.insert(at.clone(), (value, version));
            version
        };
        let held = old.as_ref().map(|(_, version)| *version);
        let holds = |condition| match condition {
            Condition::Absent => held.is_none(),
            Condition::Version(wanted) => held == Some(wanted),
            _ => true,
        };
        match key.op {
            Op::Get => match &old {
                None => answer(Reply::Nil),
                Some((bytes, version)) => answer(Reply::Value(Value {
                    bytes,
                    meta: b"",
                    version: Some(*version),
                    expires_at: None,
                    now: 0,
                })),
            },
            Op::Inspect => answer(old.map_or(Reply::Nil, |_| Reply::Done(true))),
            Op::Set(set) if holds(set.condition) => {
                let version = write(set.value.to_vec());
                answer(Reply::Written { version, created: old.is_none(), old: None });
            }
            Op::Append { value } => {
                let whole = [&old.unwrap_or_default().0[..], value].concat();
                let length = whole.len() as u64;
                answer(Reply::Length { length, version: Some(write(whole)) });
            }
            Op::Delete { condition, .. } if holds(condition) => {
                answer(entries.remove(&at).map_or(Reply::Nil, |_| Reply::Deleted { old: None }));
            }
            Op::Set(_) | Op::Delete { .. } => answer(Reply::NotMet { version: held, old: None }),
            _ => panic!("the toy has no {:?}", key.op),
        }
    }

    fn run(&self, map: &MapIndex, step: &Step<'_, '_>, answer: &mut dyn FnMut(Reply<'_>)) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let entries = self.entries.lock().unwrap();
        let holds = |guard: &Guard<'_>| {
            let key = KeyOp { table: guard.table, key: guard.key, op: Op::Get };
            entries.get(&place(map, &key)).map(|(_, version)| *version) == guard.version
        };
        let all_hold = step.guards.iter().all(holds);
        drop(entries);
        for op in step.ops {
            if all_hold { self.apply(map, op, answer) } else { answer(Reply::Aborted) }
        }
    }

    fn held(&self, reply: ReplyBuf, wrote: bool) -> Held {
        let gate = Gate::new();
        self.gates.lock().unwrap().push(Arc::clone(&gate));
        Held { gates: vec![gate], reply, wrote }
    }

    fn page(&self, scan: &Scan<'_>, partitions: &[u16]) -> ReplyBuf {
        let entries = self.entries.lock().unwrap();
        let mut own = entries
            .range((scan.from, Vec::new())..)
            .filter(|((at, _), _)| partitions.contains(&at.partition));
        let rows =
            own.by_ref().take(scan.count as usize).map(|((at, key), (value, version))| Row {
                at: *at,
                key,
                version: *version,
                expires_at: None,
                length: value.len() as u64,
                value: None,
                meta: b"",
            });
        let rows = rows.collect();
        ReplyBuf::new(&Reply::Page { next: own.next().map(|((at, _), _)| *at), rows })
    }
}

impl Local for Arc<Toy> {
    fn me(&self) -> Option<&WorkerId> {
        Some(&self.me)
    }

    fn step(
        &self,
        map: &MapIndex,
        step: &Step<'_, '_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Result<Stepped, NotNow> {
        if !self.leads_it(step.partition) {
            return Err(NotNow::NotLed);
        }
        if let Some(gate) = &*self.parked.lock().unwrap() {
            return Err(NotNow::Wait(Arc::clone(gate)));
        }
        if !self.holds.load(Ordering::Relaxed) {
            self.run(map, step, answer);
            return Ok(Stepped::Answered);
        }
        let mut replies = Vec::new();
        self.run(map, step, &mut |reply| replies.push(ReplyBuf::new(&reply)));
        let reply = match &replies[..] {
            [one] => one.clone(),
            many => {
                let parts = many.iter().map(|reply| Part::new(reply.as_bytes()));
                ReplyBuf::new(&Reply::Many(parts.collect()))
            }
        };
        Ok(Stepped::Held(self.held(reply, step.ops.iter().any(|op| !op.op.is_read()))))
    }

    fn wide(
        &self,
        _: &MapIndex,
        wide: &Wide<'_>,
        answer: &mut dyn FnMut(Reply<'_>),
    ) -> Option<Held> {
        let leads =
            |number: &u16| self.leads_it(PartitionId { group: wide.group, number: *number });
        let (led, refused): (Vec<u16>, Vec<u16>) = wide.partitions.iter().partition(|n| leads(n));
        let reply = match &wide.op {
            WideOp::Scan(scan) => self.page(scan, &led),
            WideOp::Export(_) => ReplyBuf::new(&Reply::Nil),
            op => {
                let mut entries = self.entries.lock().unwrap();
                let (led, kept): (Entries, Entries) = entries
                    .clone()
                    .into_iter()
                    .partition(|((at, _), _)| led.contains(&at.partition));
                if matches!(op, WideOp::Flush) {
                    *entries = kept;
                }
                ReplyBuf::new(&Reply::Count(led.len() as u64))
            }
        };
        let reply = Reply::Wide { refused, reply: Part::new(reply.as_bytes()) };
        if self.holds.load(Ordering::Relaxed) {
            return Some(self.held(ReplyBuf::new(&reply), matches!(wide.op, WideOp::Flush)));
        }
        answer(reply);
        None
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

/// The toy behind a peer listener.
struct Door(Arc<Toy>);

impl Answer for Door {
    fn answer(&self, head: &Head, asks: &[Ask<'_>], sink: &mut dyn Sink) {
        let Self(toy) = self;
        toy.requests.fetch_add(1, Ordering::Relaxed);
        let [Ask::Step(step)] = asks else {
            return asked::answer(toy, &toy.maps, head, asks, sink);
        };
        let is_write = !step.as_step().is_repeatable();
        if !is_write || step.ops.iter().all(|op| op.key != b"slow") {
            return asked::answer(toy, &toy.maps, head, asks, sink);
        }
        let (gate, mut slow) = (Arc::clone(&toy.gate), Collect::default());
        asked::answer(toy, &toy.maps, head, asks, &mut slow);
        let late = async move {
            gate.acquire().await.unwrap().forget();
            slow.all().await.remove(0)
        };
        sink.wait(0, Box::pin(late));
    }
}

/// A worker: its store, its router and its peer listener.
pub(crate) struct Node {
    pub(crate) toy: Arc<Toy>,
    pub(crate) router: Router<Arc<Toy>>,
    listener: JoinHandle<()>,
}

impl Node {
    pub(crate) fn leads(&self, number: u16) {
        self.toy.leads.lock().unwrap().insert(partition(number));
    }

    pub(crate) fn leaves(&self, number: u16) {
        self.toy.leads.lock().unwrap().remove(&partition(number));
    }

    /// Opens the gate of the step that was run as number `step`, once it was.
    pub(crate) async fn opens(&self, step: usize, fate: Fate) {
        loop {
            let gate = self.toy.gates.lock().unwrap().get(step).cloned();
            match gate {
                Some(gate) => return gate.open(fate),
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// Steps wait, until what this gives is called.
    pub(crate) fn parks(&self) -> impl FnOnce() + use<> {
        let (toy, gate) = (Arc::clone(&self.toy), Gate::new());
        *toy.parked.lock().unwrap() = Some(Arc::clone(&gate));
        move || {
            *toy.parked.lock().unwrap() = None;
            gate.open(Fate::Again);
        }
    }

    pub(crate) fn steps(&self) -> usize {
        self.toy.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn holds(&self, holds: bool) {
        self.toy.holds.store(holds, Ordering::Relaxed);
    }

    /// No new connections.
    pub(crate) fn stop_listening(&self) {
        self.listener.abort();
    }

    pub(crate) async fn run(
        &self,
        session: &mut Session,
        commands: &[Command<'_>],
    ) -> Vec<ReplyBuf> {
        run(&self.router, session, commands).await
    }

    pub(crate) async fn one(&self, command: Command<'_>) -> ReplyBuf {
        self.run(&mut session(), &[command]).await.remove(0)
    }
}

pub(crate) async fn run<L: Local>(
    router: &Router<L>,
    session: &mut Session,
    commands: &[Command<'_>],
) -> Vec<ReplyBuf> {
    let mut sink = Collect::default();
    router.submit(session, commands, &mut sink);
    sink.all().await
}

pub(crate) fn session() -> Session {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    Session::new(NEXT.fetch_add(1, Ordering::Relaxed) as u64, Role::Admin)
}

/// A session that waits no longer than it takes to show that nobody answers.
pub(crate) fn short_session() -> Session {
    Session { timeout: Duration::from_millis(300), ..session() }
}

pub(crate) fn partition(number: u16) -> PartitionId {
    PartitionId { group: GroupId(0), number }
}

pub(crate) fn secret() -> Secret {
    "0123456789abcdef".parse().unwrap()
}

/// `workers` nodes with `partitions` dealt in turn; key `N` is in partition N mod `partitions`.
pub(crate) async fn cluster(workers: usize, partitions: u16) -> (Vec<Node>, Map) {
    let mut map = fixture::map(workers, partitions);
    let mut listeners = Vec::new();
    for row in &mut map.workers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        row.addresses.insert("peer".to_owned(), address);
        listeners.push(listener);
    }
    let nodes = listeners.into_iter().enumerate();
    (nodes.map(|(number, listener)| node(number, listener, &map)).collect(), map)
}

fn node(number: usize, listener: TcpListener, map: &Map) -> Node {
    let me = fixture::worker(number);
    let index = Arc::new(MapIndex::new(map.clone()).unwrap());
    let maps = Arc::new(Maps::alone(index));
    let leads = map.partitions.iter().filter(|row| row.primary.as_ref() == Some(&me));
    let toy = Arc::new(Toy {
        me: me.clone(),
        maps: Arc::clone(&maps),
        leads: Mutex::new(leads.map(|row| row.id).collect()),
        entries: Mutex::default(),
        versions: AtomicUsize::new(0),
        requests: AtomicUsize::new(0),
        gate: Arc::new(Semaphore::new(0)),
        holds: AtomicBool::new(false),
        gates: Mutex::default(),
        parked: Mutex::default(),
        steps: AtomicUsize::new(0),
    });
    let inside = Inside { answer: Arc::new(Door(Arc::clone(&toy))), replicate: None };
    let identity = Identity { cluster: map.cluster, worker: me.clone(), secret: secret() };
    let connections = Arc::<Connections>::default();
    let listener = tokio::spawn(listen(listener, Lanes::here(), inside, identity, connections));
    let links = Links::here(me, secret(), Arc::clone(&maps));
    Node { router: Router::new(Arc::clone(&toy), maps, links, None), toy, listener }
}

/// Where a worker's peer listener is.
pub(crate) fn address(map: &Map, number: usize) -> SocketAddr {
    map.workers[number].addresses["peer"].parse().unwrap()
}

pub(crate) fn get(key: &[u8]) -> Command<'_> {
    Command::Key(key_op(key, Op::Get))
}

pub(crate) fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    Command::Key(key_op(key, Op::Set(Set::plain(value))))
}

pub(crate) fn key_op<'a>(key: &'a [u8], op: Op<'a>) -> KeyOp<'a> {
    KeyOp { table: TABLE, key, op }
}

/// The value of a reply to a get.
pub(crate) fn value(reply: &ReplyBuf) -> Option<Vec<u8>> {
    match reply.view() {
        Reply::Nil => None,
        Reply::Value(value) => Some(value.bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// The number a key is.
pub(crate) fn number(key: &[u8]) -> usize {
    std::str::from_utf8(key).unwrap().parse().unwrap()
}
