//! Tables and the map through an uplink that is played by the test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use firn_wire::command::{Command, TableCommand};
use firn_wire::ids::{MapVersion, TableId, TableName};
use firn_wire::map::{Map, MapIndex, TablePolicy, TableRow};
use firn_wire::registry::TableMade;
use firn_wire::reply::{Failure, Reply, ReplyBuf};
use firn_wire::secret::Secret;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::toy::{run, session};
use crate::client::{Client, ClientConfig, ClientError};
use crate::fixture;
use crate::follow::follow;
use crate::links::Links;
use crate::local::Nothing;
use crate::maps::Maps;
use crate::router::Router;
use crate::uplink::Uplink;

/// A registry of tables behind a little HTTP.
struct Registry {
    map: Mutex<Map>,
    changed: watch::Sender<MapVersion>,
    /// Requests for the map.
    asked: AtomicUsize,
}

impl Registry {
    fn map(&self) -> Map {
        self.map.lock().unwrap().clone()
    }

    fn change(&self, change: impl FnOnce(&mut Map)) {
        let mut map = self.map.lock().unwrap();
        map.version.counter += 1;
        change(&mut map);
        self.changed.send_replace(map.version);
    }

    fn put(&self, name: &str) -> (u16, String) {
        let name: TableName = name.parse().unwrap();
        let known = self.map().tables.into_iter().find(|row| row.name == name);
        let created = known.is_none();
        let table = known.unwrap_or_else(|| {
            let old = self.map();
            TableRow { id: TableId(old.tables.len() as u32), name, ..old.tables[0].clone() }
        });
        if created {
            self.change(|map| map.tables.push(table.clone()));
        }
        let made = TableMade { table, created, version: self.map().version };
        (if created { 201 } else { 200 }, serde_json::to_string(&made).unwrap())
    }

    fn delete(&self, name: &str) -> (u16, String) {
        if !self.map().tables.iter().any(|row| row.name.as_str() == name) {
            return (404, String::new());
        }
        self.change(|map| map.tables.retain(|row| row.name.as_str() != name));
        (204, String::new())
    }

    async fn delta(&self, query: &str) -> (u16, String) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (after, wait) = query.strip_prefix("after=").unwrap().split_once("&wait=").unwrap();
        let after: MapVersion = after.parse().unwrap();
        let mut changes = self.changed.subscribe();
        while wait != "0ms" && *changes.borrow_and_update() <= after {
            changes.changed().await.unwrap();
        }
        let map = self.map();
        match map.version > after {
            true => (200, serde_json::to_string(&fixture::delta(&map)).unwrap()),
            false => (304, String::new()),
        }
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        let mut input = Vec::new();
        while let Some(end) = head_end(&mut socket, &mut input).await {
            let head = String::from_utf8(input.drain(..end).collect()).unwrap();
            let body = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = body.map_or(0, |length| length.parse().unwrap());
            while input.len() < length {
                assert!(socket.read_buf(&mut input).await.unwrap() > 0);
            }
            input.drain(..length);
            let mut words = head.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let (status, body) = match (method, path.strip_prefix("/v1/tables/")) {
                ("GET", None) => self.delta(query).await,
                ("PUT", Some("taken")) => (409, "{}".to_owned()),
                ("PUT", Some(name)) => self.put(name),
                ("DELETE", Some(name)) => self.delete(name),
                _ => (404, String::new()),
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}");
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn head_end(socket: &mut TcpStream, input: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            return Some(end + 4);
        }
        if socket.read_buf(input).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

struct Played {
    registry: Arc<Registry>,
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Played {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let map = fixture::map(1, 1);
        let changed = watch::Sender::new(map.version);
        let asked = AtomicUsize::new(0);
        let registry = Arc::new(Registry { map: Mutex::new(map), changed, asked });
        let served = Arc::clone(&registry);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(Arc::clone(&served).serve(socket));
            }
        });
        Self { registry, url, task }
    }

    fn router(&self) -> Router<Nothing> {
        let index = MapIndex::new(self.registry.map()).unwrap();
        let maps = Arc::new(Maps::alone(Arc::new(index)));
        let me = "client@0000000000000001".parse().unwrap();
        let links = Links::here(me, Secret::default(), Arc::clone(&maps));
        let uplink = Arc::new(Uplink::new(&self.url, Secret::default()).unwrap());
        Router::new(Nothing, maps, links, Some(uplink))
    }
}

fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

async fn change(router: &Router<Nothing>, change: TableCommand<'_>) -> ReplyBuf {
    run(router, &mut session(), &[Command::Table(change)]).await.remove(0)
}

fn create(name: &TableName) -> TableCommand<'_> {
    TableCommand::Create { name, first_byte: b't', policy: TablePolicy::default() }
}

#[tokio::test]
async fn a_table_made_through_one_is_found_by_all_at_once() {
    let played = Played::new().await;
    let (one, other) = (played.router(), played.router());
    for n in 0..100 {
        let name = name(&format!("t{n}"));
        assert_eq!(other.find_table(&name).await, None);
        let reply = change(&one, create(&name)).await;
        let Reply::Table { id, created: true } = reply.view() else { panic!("{reply:?}") };
        assert_eq!(one.map().table(&name).map(|row| row.id), Some(id), "here without asking");
        assert_eq!(other.find_table(&name).await, Some(id));
    }
    let again = change(&other, create(&name("t7"))).await;
    assert!(matches!(again.view(), Reply::Table { created: false, .. }), "{again:?}");
    for was_there in [true, false] {
        let reply = change(&other, TableCommand::Drop { name: &name("t99") }).await;
        assert_eq!(reply.view(), Reply::Done(was_there));
        assert!(other.map().table(&name("t99")).is_none());
    }
}

#[tokio::test]
async fn refusals_of_the_uplink_have_their_names() {
    let played = Played::new().await;
    let router = played.router();
    let reply = change(&router, create(&name("taken"))).await;
    assert_eq!(reply.view(), Reply::Failed(Failure::TableExists));
    let (missing, patch) = (name("missing"), "{}");
    let reply = change(&router, TableCommand::Alter { name: &missing, patch }).await;
    assert_eq!(reply.view(), Reply::Failed(Failure::NoSuchTable));
}

#[tokio::test]
async fn a_storm_of_unknown_names_is_one_question() {
    let played = Played::new().await;
    let router = played.router();
    let names: Vec<TableName> = (0..500).map(|n| name(&format!("t{n}"))).collect();
    let found = join_all(names.iter().map(|name| router.find_table(name))).await;
    assert!(found.iter().all(Option::is_none));
    let asked = played.registry.asked.load(Ordering::Relaxed);
    assert!((1..=2).contains(&asked), "{asked} requests");
}

#[tokio::test]
async fn without_an_uplink_the_map_decides() {
    let played = Played::new().await;
    let router = played.router();
    drop(played);
    assert_eq!(router.find_table(&name("default")).await, Some(TableId(0)));
    assert_eq!(router.find_table(&name("missing")).await, None);
    let reply = change(&router, create(&name("t"))).await;
    assert!(matches!(reply.view(), Reply::Failed(Failure::NoUplink(_))), "{reply:?}");
}

#[tokio::test]
async fn a_change_reaches_who_follows() {
    let played = Played::new().await;
    let router = played.router();
    let uplink = Arc::new(Uplink::new(&played.url, Secret::default()).unwrap());
    let mut changes = router.maps().changes();
    let follower = tokio::spawn(follow(Arc::clone(router.maps()), uplink));
    for n in 2..5 {
        played.registry.put(&format!("t{n}"));
        while router.map().tables.len() <= n {
            changes.changed().await.unwrap();
        }
    }
    follower.abort();
}

#[tokio::test]
async fn a_program_connects_by_one_address_of_a_list() {
    let played = Played::new().await;
    let config = |servers: String| ClientConfig {
        servers,
        secret: Secret::default(),
        timeout: std::time::Duration::from_secs(5),
    };
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let client = Client::connect(config(format!("{closed},{}", played.url))).await.unwrap();
    assert!(client.create_table(&name("t"), TablePolicy::default()).await.unwrap());
    assert!(client.drop_table(&name("t")).await.unwrap());
    let missing = client.get(&name("t"), b"k").await;
    assert_eq!(missing, Err(ClientError::NoSuchTable("t".to_owned())));
    let short = ClientConfig { timeout: std::time::Duration::from_millis(200), ..config(closed) };
    let refused = Client::connect(short).await.err();
    assert!(matches!(refused, Some(ClientError::Unavailable(_))), "{refused:?}");
}
