//! A store in a map, for tests of this listener alone. What it does not do it answers as invalid. Keys that start with
//! `far` are answered by a ticket, as those of another worker are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firn_wire::command::{
    Command, Condition, Cursor, Expiry, Filter, KeyOp, Op, Scan, TableCommand,
};
use firn_wire::exchange::{Session, Sink};
use firn_wire::ids::{
    ClusterId, Epoch, GroupId, MapVersion, PartitionId, TableId, TableName, Version,
};
use firn_wire::key::KeyInteger;
use firn_wire::map::{
    GroupRow, GroupRule, Map, MapIndex, PartitionRow, Placement, Settings, TablePolicy, TableRow,
    WorkerRow, WorkerState,
};
use firn_wire::reply::{Failure, Found, Reply, ReplyBuf, Row, Value};

use crate::execute::{About, Boxed, Execute, ProcessKind};

/// The value limit of the table `small`, in bytes.
pub(crate) const SMALL: u64 = 8;
/// What its clock shows, Unix milliseconds.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// Four workers, 1,024 partitions, the tables `default` and `small`.
pub(crate) fn map() -> MapIndex {
    let rev = MapVersion { generation: 1, counter: 5 };
    let worker = |number: usize| WorkerRow {
        name: format!("w{number}").parse().unwrap(),
        incarnation: Default::default(),
        addresses: BTreeMap::from([("http".to_owned(), "kv.example.org:80".to_owned())]),
        shards: 4,
        state: WorkerState::Up,
        since_ms: NOW,
        rev,
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    let partition = |number: u16| PartitionRow {
        id: PartitionId { group: GroupId(0), number },
        rev,
        epoch: Epoch(1),
        primary: Some(workers[usize::from(number) % 4].id()),
        isr: vec![workers[usize::from(number) % 4].id()],
        wanted: vec![workers[usize::from(number) % 4].name.clone()],
        released: false,
    };
    let table = |id: u32, name: &str, policy: TablePolicy| TableRow {
        id: TableId(id),
        name: name.parse().unwrap(),
        group: GroupId(0),
        pinned: None,
        policy,
        rev,
    };
    let small = TablePolicy { value_bytes_max: Some(SMALL), ..TablePolicy::default() };
    let group =
        GroupRow { id: GroupId(0), copies: 1, partitions: 1_024, rule: GroupRule::Keys, rev };
    let settings = Settings {
        key_integer: KeyInteger::Crc16,
        partitions: 1_024,
        placement: Placement::Modulo,
        copies: 1,
        expect_workers: 4,
        name_ranges: Vec::new(),
        worker_lease_ms: 3_000,
        replication: Default::default(),
    };
    MapIndex::new(Map {
        cluster: ClusterId(1),
        version: rev,
        format: 1,
        settings,
        partitions: (0..1_024).map(partition).map(Arc::new).collect(),
        workers,
        seats: Vec::new(),
        groups: vec![group],
        tables: vec![table(0, "default", TablePolicy::default()), table(1, "small", small)],
    })
    .unwrap()
}

#[derive(Debug, Clone)]
struct Entry {
    value: Vec<u8>,
    meta: Vec<u8>,
    version: Version,
    expires_at: Option<u64>,
}

#[derive(Default)]
struct Store {
    entries: BTreeMap<(TableId, Vec<u8>), Entry>,
    written: u64,
    tokens: BTreeMap<Vec<u8>, ReplyBuf>,
}

/// The store.
pub(crate) struct Fake {
    store: Mutex<Store>,
    map: Mutex<Arc<MapIndex>>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { store: Mutex::default(), map: Mutex::new(Arc::new(map())) })
    }

    fn table(&self, command: &TableCommand<'_>) -> Reply<'static> {
        let mut shared = self.map.lock().unwrap();
        let mut map = shared.map().clone();
        let reply = match command {
            TableCommand::Create { name, policy, .. } => match shared.table(name) {
                Some(row) => Reply::Table { id: row.id, created: false },
                None => {
                    let id = TableId(map.tables.len() as u32);
                    let like = map.tables[0].clone();
                    let (name, policy) = ((*name).clone(), policy.clone());
                    map.tables.push(TableRow { id, name, policy, ..like });
                    Reply::Table { id, created: true }
                }
            },
            TableCommand::Drop { name } => {
                map.tables.retain(|row| row.name != **name);
                Reply::Done(map.tables.len() < shared.tables.len())
            }
            TableCommand::Alter { .. } => Reply::Failed(Failure::NoUplink("refused".into())),
        };
        *shared = Arc::new(MapIndex::new(map).unwrap());
        reply
    }
}

fn holds(condition: Condition<'_>, entry: Option<&Entry>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => entry.is_none(),
        Condition::Present => entry.is_some(),
        Condition::Version(version) => entry.is_some_and(|entry| entry.version == version),
        Condition::Equal(value) => entry.is_some_and(|entry| entry.value == value),
    }
}

fn expires(expiry: Expiry, now: Option<u64>) -> Option<u64> {
    match expiry {
        Expiry::Default | Expiry::Never => None,
        Expiry::Keep => now,
        Expiry::After(ms) => Some(NOW + ms),
        Expiry::At(ms) => Some(ms),
    }
}

impl Store {
    fn op(&mut self, at: &KeyOp<'_>) -> ReplyBuf {
        let key = (at.table, at.key.to_vec());
        let old = self.entries.get(&key).cloned();
        self.written += 1;
        let version = Version::new(Epoch(1), self.written);
        let mut write = |value: Vec<u8>, meta: &[u8], expires_at| {
            let entry = Entry { value, meta: meta.to_vec(), version, expires_at };
            self.entries.insert(key.clone(), entry);
        };
        let view = |entry: &'_ Entry| Found {
            length: entry.value.len() as u64,
            memory: 0,
            version: entry.version,
            expires_at: entry.expires_at,
            now: NOW,
        };
        let reply = match (&at.op, &old) {
            (Op::Get | Op::Inspect | Op::Expire { .. } | Op::GetExpire { .. }, None) => {
                match at.op {
                    Op::Expire { .. } => Reply::Done(false),
                    _ => Reply::Nil,
                }
            }
            (Op::Inspect, Some(entry)) => Reply::Found(view(entry)),
            (Op::Get | Op::GetExpire { .. }, Some(entry)) => {
                if let Op::GetExpire { expiry } = at.op {
                    write(entry.value.clone(), &entry.meta, expires(expiry, entry.expires_at));
                }
                Reply::Value(Value {
                    bytes: &entry.value,
                    meta: &entry.meta,
                    version: Some(entry.version),
                    expires_at: entry.expires_at,
                    now: NOW,
                })
            }
            (Op::Expire { expiry, .. }, Some(entry)) => {
                write(entry.value.clone(), &entry.meta, expires(*expiry, None));
                Reply::Done(true)
            }
            (Op::Set(set), _) if holds(set.condition, old.as_ref()) => {
                let kept = old.as_ref().and_then(|entry| entry.expires_at);
                write(set.value.to_vec(), set.meta, expires(set.expiry, kept));
                Reply::Written { version, created: old.is_none(), old: None }
            }
            (Op::Delete { .. }, None) => Reply::Nil,
            (Op::Delete { condition, want_old }, Some(entry)) if holds(*condition, Some(entry)) => {
                self.entries.remove(&key);
                Reply::Deleted { old: want_old.then_some(&*entry.value) }
            }
            (Op::Set(_) | Op::Delete { .. }, _) => {
                Reply::NotMet { version: old.as_ref().map(|entry| entry.version), old: None }
            }
            (Op::Increment { by }, _) => {
                let text = old.as_ref().map_or(&b"0"[..], |entry| &entry.value);
                let number = std::str::from_utf8(text).unwrap().parse::<i64>();
                match number.map(|number| number.checked_add(*by)) {
                    Err(_) => Reply::Failed(Failure::NotInteger),
                    Ok(None) => Reply::Failed(Failure::Overflow),
                    Ok(Some(value)) => {
                        write(value.to_string().into_bytes(), b"", None);
                        Reply::Number { value, version }
                    }
                }
            }
            (Op::Append { value }, _) => {
                let mut all = old.as_ref().map(|entry| entry.value.clone()).unwrap_or_default();
                all.extend_from_slice(value);
                let length = all.len() as u64;
                write(all, b"", None);
                Reply::Length { length, version: Some(version) }
            }
            _ => Reply::Failed(Failure::Invalid("not in this fake".into())),
        };
        ReplyBuf::new(&reply)
    }

    /// Keys in order; a place is the number of keys before it.
    fn scan(&self, table: TableId, scan: &Scan<'_>) -> ReplyBuf {
        let matches = |key: &[u8]| match scan.filter {
            Filter::Prefix(prefix) => key.starts_with(prefix),
            _ => true,
        };
        let keys = self.entries.iter().filter(|((of, _), _)| *of == table);
        let mut rows = Vec::new();
        let mut next = None;
        for (position, ((_, key), entry)) in (0..).zip(keys) {
            let at = Cursor { partition: 0, position };
            if at < scan.from || !matches(key) {
                continue;
            }
            if rows.len() == scan.count as usize {
                next = Some(at);
                break;
            }
            let (version, length) = (entry.version, entry.value.len() as u64);
            let expires_at = entry.expires_at;
            rows.push(Row { at, key, version, expires_at, length, value: None, meta: b"" });
        }
        ReplyBuf::new(&Reply::Page { next, rows })
    }
}

impl Execute for Fake {
    fn submit(&self, _: &mut Session, commands: &[Command<'_>], sink: &mut dyn Sink) {
        let mut store = self.store.lock().unwrap();
        for (slot, command) in commands.iter().enumerate() {
            let mut far = false;
            let reply = match command {
                Command::Key(op) => {
                    far = op.key.starts_with(b"far");
                    store.op(op)
                }
                Command::Once { token, op } => match store.tokens.get(*token) {
                    Some(reply) => reply.clone(),
                    None => {
                        let reply = store.op(op);
                        store.tokens.insert(token.to_vec(), reply.clone());
                        reply
                    }
                },
                Command::Scan { table, scan } => store.scan(*table, scan),
                Command::Table(command) => ReplyBuf::new(&self.table(command)),
                _ => Failure::Invalid("not in this fake".into()).into(),
            };
            match far {
                true => sink.wait(slot, Box::pin(async move { reply })),
                false => sink.put(slot, reply.view()),
            }
        }
    }

    fn map(&self) -> Arc<MapIndex> {
        Arc::clone(&self.map.lock().unwrap())
    }

    fn find_table<'a>(&'a self, _: &'a TableName) -> Boxed<'a, Option<TableId>> {
        Box::pin(async { None })
    }

    fn now_ms(&self) -> u64 {
        NOW
    }

    fn about(&self) -> About {
        About {
            name: "w0".to_owned(),
            kind: ProcessKind::Worker,
            not_ready: None,
            uptime: Duration::from_secs(1),
            uplink_heard: None,
            entries: 0,
            memory_bytes: 0,
            shards: 4,
        }
    }
}
