//! The line doors over a store that is a map in memory: every reply to the byte, however the lines arrive and whenever
//! the store answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use firn_gateway::execute::{About, Boxed, Execute, ProcessKind};
use firn_gateway::listen::Connections;
use firn_gateway::loops::Lanes;
use firn_gateway::{boutique, winter};
use firn_wire::command::{Command, Condition, KeyOp, Op, TableCommand};
use firn_wire::exchange::{Session, Sink};
use firn_wire::ids::{ClusterId, GroupId, MapVersion, PartitionId, TableId, TableName, Version};
use firn_wire::limits::VALUE_BYTES_HARD_MAX;
use firn_wire::map::{
    GroupRow, GroupRule, Map, MapIndex, PartitionRow, Placement, Settings, TablePolicy, TableRow,
};
use firn_wire::reply::{Failure, Reply, ReplyBuf, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// When the store answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answers {
    AtOnce,
    /// By tickets, each ready at its second poll.
    Later,
}

/// What the store has been told and done.
#[derive(Default)]
struct State {
    tables: BTreeMap<TableName, TablePolicy>,
    /// Made on another worker: the uplink knows them, this map does not yet.
    elsewhere: BTreeSet<TableName>,
    entries: BTreeMap<(TableId, Vec<u8>), Vec<u8>>,
    first_bytes: Vec<u8>,
    uplink_down: bool,
}

struct Store {
    state: Mutex<State>,
    answers: Answers,
    asked_uplink: AtomicUsize,
}

impl Store {
    fn new(answers: Answers) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), answers, asked_uplink: AtomicUsize::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn key(state: &mut State, op: &KeyOp<'_>) -> ReplyBuf {
        let at = (op.table, op.key.to_vec());
        let there = state.entries.get(&at).cloned();
        let version = Version(1);
        let reply = match (&op.op, &there) {
            _ if op.key.is_empty() => Failure::KeyEmpty.into(),
            _ if op.key == b"gone" => Failure::NoSuchTable.into(),
            _ if op.key == b"away" => Failure::Unavailable("w3\r\nis\0away".into()).into(),
            (Op::Get, Some(bytes)) => Reply::Value(Value {
                bytes,
                meta: b"",
                version: Some(version),
                expires_at: None,
                now: 0,
            }),
            (Op::Get | Op::Delete { .. }, None) => Reply::Nil,
            (Op::Delete { .. }, Some(_)) => {
                state.entries.remove(&at);
                Reply::Deleted { old: None }
            }
            (Op::Set(set), Some(_)) if set.condition == Condition::Absent => {
                Reply::NotMet { version: Some(version), old: None }
            }
            (Op::Set(set), _) => {
                state.entries.insert(at, set.value.to_vec());
                Reply::Written { version, created: there.is_none(), old: None }
            }
            other => panic!("no line asks for {other:?}"),
        };
        ReplyBuf::new(&reply)
    }

    fn table(state: &mut State, command: &TableCommand<'_>) -> ReplyBuf {
        let TableCommand::Create { name, first_byte, policy } = command else {
            panic!("no line asks for {command:?}");
        };
        let reply = match state.tables.get(*name) {
            _ if state.uplink_down => Failure::NoUplink("refused".into()).into(),
            Some(there) if there != policy => Failure::TableExists.into(),
            there => Reply::Table { id: TableId(0), created: there.is_none() },
        };
        let reply = ReplyBuf::new(&reply);
        if matches!(reply.view(), Reply::Table { created: true, .. }) {
            state.tables.insert((*name).clone(), policy.clone());
            state.first_bytes.push(*first_byte);
        }
        reply
    }
}

impl Execute for Store {
    fn submit(&self, _: &mut Session, commands: &[Command<'_>], sink: &mut dyn Sink) {
        for (slot, command) in commands.iter().enumerate() {
            let mut state = self.state();
            let reply = match command {
                Command::Key(op) => Self::key(&mut state, op),
                Command::Table(command) => Self::table(&mut state, command),
                other => panic!("no line asks for {other:?}"),
            };
            match self.answers {
                Answers::AtOnce => sink.put(slot, reply.view()),
                Answers::Later => sink.wait(
                    slot,
                    Box::pin(async move {
                        tokio::task::yield_now().await;
                        reply
                    }),
                ),
            }
        }
    }

    fn map(&self) -> Arc<MapIndex> {
        Arc::new(MapIndex::new(map(&self.state().tables)).expect("one group"))
    }

    fn find_table<'a>(&'a self, name: &'a TableName) -> Boxed<'a, Option<TableId>> {
        self.asked_uplink.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut state = self.state();
            if !state.elsewhere.remove(name) {
                return None;
            }
            state.tables.insert(name.clone(), TablePolicy::default());
            Some(id(&state.tables, name))
        })
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn about(&self) -> About {
        About {
            name: "w1".to_owned(),
            kind: ProcessKind::Worker,
            not_ready: None,
            uptime: Duration::ZERO,
            uplink_heard: None,
            entries: 0,
            memory_bytes: 0,
            shards: 1,
        }
    }
}

/// Ids that survive new tables: the name's own bytes.
fn id(tables: &BTreeMap<TableName, TablePolicy>, name: &TableName) -> TableId {
    assert!(tables.contains_key(name));
    TableId(name.as_str().bytes().fold(7, |id, b| id * 31 % 65_521 + u32::from(b)))
}

fn map(tables: &BTreeMap<TableName, TablePolicy>) -> Map {
    let version = MapVersion { generation: 1, counter: tables.len() as u64 + 1 };
    let group = GroupId(0);
    let mut rows: Vec<_> = tables
        .keys()
        .map(|name| TableRow {
            id: id(tables, name),
            name: name.clone(),
            group,
            pinned: None,
            policy: TablePolicy::default(),
            rev: version,
        })
        .collect();
    rows.sort_by_key(|row| row.id);
    Map {
        cluster: ClusterId(1),
        version,
        format: firn_wire::map::FORMAT,
        settings: Settings {
            key_integer: Default::default(),
            partitions: 1,
            placement: Placement::Modulo,
            copies: 1,
            expect_workers: 1,
            name_ranges: vec![],
            worker_lease_ms: 1_000,
            replication: Default::default(),
        },
        workers: vec![],
        seats: vec![],
        groups: vec![GroupRow {
            id: group,
            copies: 1,
            partitions: 1,
            rule: GroupRule::Keys,
            rev: version,
        }],
        partitions: vec![Arc::new(PartitionRow {
            id: PartitionId { group, number: 0 },
            rev: version,
            epoch: Default::default(),
            primary: None,
            isr: vec![],
            wanted: vec![],
            released: false,
        })],
        tables: rows,
    }
}

#[derive(Clone, Copy, Debug)]
enum DoorKind {
    Boutique,
    Winter,
}

async fn connect(door: DoorKind, store: &Arc<Store>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let (execute, connections) = (Arc::clone(store) as Arc<dyn Execute>, Arc::default());
    let _: &Arc<Connections> = &connections;
    match door {
        DoorKind::Boutique => {
            tokio::spawn(boutique::listen(listener, Lanes::here(), execute, connections))
        }
        DoorKind::Winter => {
            tokio::spawn(winter::listen(listener, Lanes::here(), execute, connections))
        }
    };
    TcpStream::connect(address).await.expect("the listener is there")
}

/// Sends all in pieces of `piece` bytes, ends its side, and gives all that comes back.
async fn talk(door: DoorKind, store: &Arc<Store>, piece: usize, sent: &[u8]) -> String {
    let mut socket = connect(door, store).await;
    socket.set_nodelay(true).expect("a connected socket takes options");
    let (mut reader, mut writer) = socket.split();
    let write = async {
        for piece in sent.chunks(piece) {
            // Fails when the door has closed, which is what some of the tests want.
            let _ = writer.write_all(piece).await;
        }
        let _ = writer.shutdown().await;
    };
    let mut reply = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), reader.read_to_end(&mut reply));
    let ((), read) = tokio::join!(write, read);
    read.expect("an end within a minute").expect("a clean end");
    String::from_utf8(reply).expect("only text was written")
}

/// Sends pairs of line and reply at once and byte by byte, to a store that answers at once and later.
async fn expect(door: DoorKind, pairs: &[(&str, &str)]) {
    let sent: String = pairs.iter().map(|(line, _)| *line).collect();
    let wanted: String = pairs.iter().map(|(_, reply)| *reply).collect();
    for answers in [Answers::AtOnce, Answers::Later] {
        for piece in [1, 7, usize::MAX] {
            let got = talk(door, &Store::new(answers), piece, sent.as_bytes()).await;
            assert_eq!(got, wanted, "{door:?}, {answers:?}, {piece} bytes at a time");
        }
    }
}

#[tokio::test]
async fn boutique_answers_to_the_byte() {
    expect(
        DoorKind::Boutique,
        &[
            ("PUT shoes red 7\n", "NOT FOUND\r\n"),
            ("GET shoes red\r\n", "NOT FOUND\r\n"),
            ("DELETE shoes red\r\n", "NOT FOUND\r\n"),
            ("CREATE shoes\r\n", "OK\r\n"),
            ("CREATE shoes\n", "OK\r\n"),
            ("GET shoes red\n", "\r\nOK\r\n"),
            ("PUT shoes red 7\r\n", "OK\r\n"),
            ("PUT  shoes\tred   8  \r\n", "OK\r\n"),
            ("GET shoes red\r\n", "8\r\nOK\r\n"),
            ("DELETE shoes red\r\n", "OK\r\n"),
            ("DELETE shoes red\r\n", "OK\r\n"),
            ("GET shoes red\r\n", "\r\nOK\r\n"),
            ("\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
            ("get shoes red\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
            ("GET shoes\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
            ("GET shoes red blue\r\n", "COMMAND NOT IMPLEMENTED\r\n"),
            ("CREATE ../Über\r\n", "OK\r\n"),
            ("PUT ../Über é è\r\n", "OK\r\n"),
            ("GET ../Über é\r\n", "è\r\nOK\r\n"),
            ("GET shoes é\r\n", "\r\nOK\r\n"),
            ("GET shoes away\r\n", "ERROR w3??is?away\r\n"),
            ("GET shoes gone\r\n", "NOT FOUND\r\n"),
            ("GET ../Über é\r\n", "è\r\nOK\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn winter_answers_to_the_byte() {
    expect(
        DoorKind::Winter,
        &[
            ("PUTNEW snow k v\n", "missing table\n"),
            ("GET snow k\r\n", "missing table\n"),
            ("DELETE snow k\n", "missing table\n"),
            ("CREATE snow\r\n", "created\n"),
            ("CREATE snow\n", "already created\n"),
            ("GET snow k\n", "nil\n"),
            ("PUTNEW snow k the first  one \r\n", "ok\n"),
            ("PUTNEW snow k the second\n", "ok\n"),
            ("GET snow k\n", "the first  one \n"),
            ("DELETE snow k\n", "ok\n"),
            ("DELETE snow k\n", "ok\n"),
            ("GET snow k\n", "nil\n"),
            ("PUTNEW snow k \n", "ok\n"),
            ("GET snow k\n", "\n"),
            ("PUTNEW snow  v\n", "error the key is empty\n"),
            ("GET snow\n", "error missing arguments: GET table key\n"),
            ("\r\n", "\n"),
            ("\n", "\n"),
            ("MELT snow\n", "unrecognized command MELT\n"),
            ("GET snow away\n", "error w3??is?away\n"),
            ("GET snow gone\n", "missing table\n"),
            ("GET snow k\n", "\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_table_made_elsewhere_is_asked_for_once() {
    let store = Store::new(Answers::AtOnce);
    store.state().elsewhere.insert("snow".parse().unwrap());
    let sent = b"PUTNEW snow k v\nGET snow k\nGET snow k\n";
    assert_eq!(talk(DoorKind::Winter, &store, usize::MAX, sent).await, "ok\nv\nv\n");
    assert_eq!(store.asked_uplink.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_the_uplink_a_known_table_is_there_and_no_new_one_is_made() {
    let store = Store::new(Answers::Later);
    let made = talk(DoorKind::Boutique, &store, usize::MAX, b"CREATE shoes\nCREATE Hats\n").await;
    assert_eq!(made, "OK\r\nOK\r\n");
    {
        let mut state = store.state();
        assert_eq!(state.first_bytes, b"sH", "as the user wrote them");
        assert!(state.tables.values().all(|p| p.placement == Some(GroupRule::NameRanges)));
        state.uplink_down = true;
    }
    let sent = b"CREATE shoes\nCREATE coats\nPUT shoes red 7\n";
    let reply = talk(DoorKind::Boutique, &store, usize::MAX, sent).await;
    assert_eq!(reply, "OK\r\nERROR the uplink does not answer: refused\r\nOK\r\n");
}

#[tokio::test]
async fn a_table_of_another_door_exists_already() {
    let store = Store::new(Answers::AtOnce);
    assert_eq!(talk(DoorKind::Winter, &store, 99, b"CREATE both\n").await, "created\n");
    assert_eq!(talk(DoorKind::Boutique, &store, 99, b"CREATE both\n").await, "OK\r\n");
    let sent = b"CREATE both\nPUTNEW both k v\n";
    assert_eq!(talk(DoorKind::Winter, &store, 99, sent).await, "already created\nok\n");
    assert_eq!(talk(DoorKind::Boutique, &store, 99, b"GET both k\n").await, "v\r\nOK\r\n");
}

#[tokio::test]
async fn a_value_with_line_ends_is_given_as_it_is() {
    let store = Store::new(Answers::AtOnce);
    talk(DoorKind::Winter, &store, 99, b"CREATE t\nPUTNEW t k v\n").await;
    for value in store.state().entries.values_mut() {
        *value = b"two\r\nlines".to_vec();
    }
    assert_eq!(talk(DoorKind::Winter, &store, 99, b"GET t k\n").await, "two\r\nlines\n");
    assert_eq!(talk(DoorKind::Boutique, &store, 99, b"GET t k\n").await, "two\r\nlines\r\nOK\r\n");
}

#[tokio::test]
async fn a_line_of_the_largest_value_passes_and_a_longer_one_ends_the_connection() {
    let store = Store::new(Answers::AtOnce);
    let mut sent = b"CREATE t\nPUTNEW t k ".to_vec();
    sent.resize(sent.len() + VALUE_BYTES_HARD_MAX, b'x');
    sent.extend_from_slice(b"\nGET t none\nPUTNEW t long ");
    sent.resize(sent.len() + VALUE_BYTES_HARD_MAX + (4 << 20), b'x');
    let reply = talk(DoorKind::Winter, &store, 1 << 20, &sent).await;
    let wanted =
        format!("created\nok\nnil\nerror the line is longer than {} bytes\n", (64 << 20) + 65_536);
    assert_eq!(reply, wanted);
    assert_eq!(store.state().entries.len(), 1);
}

#[tokio::test]
async fn a_browser_sent_here_gets_nothing_done() {
    let store = Store::new(Answers::AtOnce);
    let sent = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:6060\r\n\r\nCREATE t\r\n";
    let reply = talk(DoorKind::Winter, &store, 99, sent).await;
    assert_eq!(reply, "unrecognized command POST\nunrecognized command Host:\n");
    assert!(store.state().tables.is_empty());
}

/// Closing while bytes are unread resets the connection, and the client's next write fails before it has read why.
#[tokio::test]
async fn a_client_that_still_writes_gets_the_last_words() {
    let mut socket = connect(DoorKind::Boutique, &Store::new(Answers::AtOnce)).await;
    socket.write_all(b"Host: x\r\n").await.expect("the door listens");
    socket.write_all(&vec![b'x'; 8 << 20]).await.expect("the door reads on");
    socket.shutdown().await.expect("the connection is there");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).await.expect("a clean end");
    assert_eq!(reply, "COMMAND NOT IMPLEMENTED\r\n");
}
