//! Every reply of tiers 0 and 1 compared byte for byte with Debian's redis-server, over random requests from a fixed
//! seed. What depends on time, order or identity passes a named normalisation ([`Equal`]); what redis-server 7.0 lacks
//! and the differences docs/PROTOCOL.md lists are left out.

mod resp {
    pub(crate) mod requests;
}

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use firn_tests::redis::{RedisServer, Talk, elements, request, text};
use firn_tests::{Choices, Cluster};
use resp::requests::{Equal, Request, Requests};

/// Requests of one run.
const REQUESTS: usize = 25_000;

/// One of the workers under test.
fn target(cluster: &Cluster, number: usize) -> SocketAddr {
    cluster.worker(number % cluster.workers().len()).resp()
}

/// The same client of redis-server and of ours.
struct Pair {
    redis: Talk,
    ours: Talk,
}

impl Pair {
    fn ask(&mut self, words: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        (self.redis.ask(words), self.ours.ask(words))
    }

    /// Sends requests in one piece and compares the replies that come.
    fn compare(&mut self, requests: &[Request]) {
        let bytes: Vec<u8> = requests.iter().flat_map(|one| request(&one.words)).collect();
        self.redis.send(&bytes);
        self.ours.send(&bytes);
        let spoken = requests.iter().filter(|one| !one.silent);
        let replies: Vec<(&Request, Vec<u8>, Vec<u8>)> =
            spoken.map(|one| (one, self.redis.reply(), self.ours.reply())).collect();
        for (one, redis, ours) in &replies {
            if !equal(one.equal, redis, ours) {
                let words: Vec<String> = one.words.iter().map(|word| show(word)).collect();
                let (how, redis, ours) = (one.equal, show(redis), show(ours));
                panic!(
                    "{words:?} ({how:?})\nredis: {redis}\nours:  {ours}\nsent together: {}",
                    show(&bytes)
                );
            }
        }
    }

    /// *order*: a key that redis-server has too, and none where it has none.
    fn compare_random_key(&mut self) {
        let (redis, ours) = self.ask(&[b"RANDOMKEY"]);
        if ours.starts_with(b"_") || ours.starts_with(b"$-1") {
            assert_eq!(show(&redis), show(&ours));
        } else {
            let key = text(&ours).expect("a key");
            assert_eq!(self.redis.ask(&[b"EXISTS", key]), b":1\r\n", "{}", show(key));
        }
    }

    /// Scans to the end and compares what came, whatever the pages were.
    fn compare_scan(&mut self, options: &[&[u8]]) {
        let scan = |talk: &mut Talk| {
            let (mut found, mut cursor) = (Vec::new(), b"0".to_vec());
            loop {
                let reply = talk.ask(&[&[b"SCAN".as_slice(), &cursor], options].concat());
                let parts = elements(&reply).expect("a page");
                found.extend(elements(parts[1]).expect("keys").iter().map(|key| key.to_vec()));
                cursor = text(parts[0]).expect("a cursor").to_vec();
                if cursor == b"0" {
                    found.sort();
                    found.dedup();
                    return found;
                }
            }
        };
        assert_eq!(scan(&mut self.redis), scan(&mut self.ours), "{options:?}");
    }
}

/// The start of bytes, for people.
fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(600)].escape_ascii().to_string()
}

fn equal(how: Equal, redis: &[u8], ours: &[u8]) -> bool {
    let error = redis.first() == Some(&b'-') || ours.first() == Some(&b'-');
    match how {
        _ if error => redis == ours,
        Equal::Exact => redis == ours,
        Equal::Near(most) => match (number(redis), number(ours)) {
            (Some(a), Some(b)) if a > 0 && b > 0 => (a - b).abs() < most,
            _ => redis == ours,
        },
        Equal::AnyOrder => sorted(redis) == sorted(ours),
        Equal::Kind => kind(redis) == kind(ours),
        Equal::Hello => without_id(redis) == without_id(ours),
        Equal::Clients => client_fields(redis) == client_fields(ours),
        Equal::Info => info_lines(redis) == info_lines(ours),
    }
}

fn number(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}

/// Elements in order; those of a map stay in pairs.
fn sorted(reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let elements = elements(reply)?;
    let width = if reply.first() == Some(&b'%') { 2 } else { 1 };
    let mut all: Vec<Vec<u8>> = elements.chunks(width).map(<[&[u8]]>::concat).collect();
    all.sort();
    Some(all)
}

fn kind(reply: &[u8]) -> (Option<u8>, Option<usize>) {
    let null = reply.starts_with(b"$-1") || reply.starts_with(b"_");
    (reply.first().filter(|_| !null).copied(), elements(reply).map(|all| all.len()))
}

fn without_id(reply: &[u8]) -> Vec<Vec<u8>> {
    let all = elements(reply).expect("a map");
    let id = all.iter().position(|one| text(one) == Some(b"id")).expect("an id");
    let others = all.iter().enumerate().filter(|(at, _)| *at != id + 1);
    [reply[..1].to_vec()].into_iter().chain(others.map(|(_, one)| one.to_vec())).collect()
}

fn client_fields(reply: &[u8]) -> Vec<String> {
    let shown = ["name=", "db=", "multi=", "cmd=", "user=", "resp="];
    let text = String::from_utf8_lossy(text(reply).expect("a text")).into_owned();
    let fields =
        text.split([' ', '\n']).filter(|field| shown.iter().any(|name| field.starts_with(name)));
    fields.map(str::to_owned).collect()
}

/// How many entries expire, and when, is not counted by us: a listed difference.
fn info_lines(reply: &[u8]) -> Vec<String> {
    let shown = ["redis_version", "redis_mode", "arch_bits", "loading", "role", "cluster_enabled"];
    let text = String::from_utf8_lossy(text(reply).expect("a text")).into_owned();
    let wanted = text.lines().filter_map(|line| match line.split_once(":keys=") {
        Some((database, rest)) => Some(format!("{database} {}", rest.split(',').next()?)),
        None if line.starts_with('#') => Some(line.to_owned()),
        None => shown.iter().any(|name| line.starts_with(name)).then(|| line.to_owned()),
    });
    wanted.collect()
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("before the year 292,277,026,596")
}

#[test]
fn random_requests_are_answered_as_redis_answers_them() {
    let Some(server) = RedisServer::start() else { return };
    let cluster = Cluster::start(4);
    let connect = |n| Pair { redis: server.connect(), ours: Talk::connect(target(&cluster, n)) };
    let mut pairs = [0, 1, 2].map(connect);
    pairs[1].compare(&[Request::line("HELLO 3", Equal::Hello)]);
    let later = unix_seconds();
    let mut requests = Requests { choices: Choices(20_261_121), later };
    let mut count = 0;
    while count < REQUESTS {
        let pair = &mut pairs[requests.choices.below(3) as usize];
        let mut together = requests.next();
        for _ in 0..requests.choices.below(12) {
            together.append(&mut requests.next());
        }
        pair.compare(&together);
        count += together.len();
        if requests.choices.one_in(20) {
            pair.compare_random_key();
            let count = requests.choices.of(&["1", "3", "1000"]).as_bytes();
            let pattern = requests.choices.of(&["*", "key:*", "*[0-2]"]).as_bytes();
            pair.compare_scan(&[b"COUNT", count, b"MATCH", pattern, b"type", b"string"]);
        }
    }
}

/// The commands of tiers 0 and 1 that have no subcommands and of which redis-server says nothing in prose.
const DESCRIBED: &str = "auth ping echo quit reset select hello info time dbsize get setnx setex psetex getset getdel \
    mget mset msetnx incr decr incrby decrby incrbyfloat append strlen getrange substr setrange del unlink exists touch \
    type ttl pttl expire pexpire expireat pexpireat expiretime pexpiretime persist rename renamenx copy randomkey keys \
    scan flushdb flushall multi exec discard watch unwatch client|id client|getname client|setname client|info \
    client|list client|kill client|reply client|no-evict command|count command|docs command|getkeys command|info \
    command|list wait config|get config|set config|resetstat object|encoding object|freq object|idletime object|refcount \
    memory|usage nothing";

#[test]
fn commands_are_described_as_redis_describes_them() {
    let Some(server) = RedisServer::start() else { return };
    let cluster = Cluster::alone();
    let mut pair = Pair { redis: server.connect(), ours: Talk::connect(target(&cluster, 0)) };
    for hello in [b"2", b"3"] {
        pair.ask(&[b"HELLO", hello]);
        for name in DESCRIBED.split_whitespace() {
            let (redis, ours) = pair.ask(&[b"COMMAND", b"INFO", name.as_bytes()]);
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(show(&ours), show(&redis), "{name}");
        }
    }
}

#[test]
fn bytes_that_are_no_request_are_answered_as_redis_answers_them() {
    let Some(server) = RedisServer::start() else { return };
    let cluster = Cluster::alone();
    let long = [b"*".as_slice(), &[b'1'; 70_000]].concat();
    let inputs: [&[u8]; 27] = [
        b"*2147483648\r\n",
        b"*-2\r\nPING\r\nQUIT\r\n",
        b"*1\r\n$-2\r\n",
        b"*1\r\n$9223372036854775807\r\n",
        b"*0\r\n*1\r\n$4\r\nQUIT\r\n",
        b"\r\nPING\r\n\n \r\nQUIT\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n\n\r\n",
        b"*1\r\n\xff\r\n",
        b"*abc\r\n",
        b"*+1\r\n",
        b"*01\r\n",
        b"*\r\n",
        b"*1\r\n$\r\n",
        b"PING \"a b\"\r\nQUIT\r\n",
        b"PING \"a\r\n",
        b"PING 'a'b\r\n",
        b"PING a\"b c\"\r\nQUIT\r\n",
        b"PING \"\\x41\\n\\q\"\r\nPING 'it\\'s'\r\n\"\"\r\nQUIT\r\n",
        &long[1..],
        &long,
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"*2\r\n$5\r\nhost:\r\n$1\r\na\r\n",
        b"QUIT\r\nPING\r\n",
        b"*3\r\n$3\r\nfoo\r\n$4\r\na\r\nb\r\n$3\r\na\0b\r\nQUIT\r\n",
        b"GET\r\nfoo bar\r\nquit now\r\n",
    ];
    for input in inputs {
        let (mut redis, mut ours) = (server.connect(), Talk::connect(target(&cluster, 0)));
        redis.send(input);
        ours.send(input);
        let show = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let start = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
        assert_eq!(show(ours.rest()), show(redis.rest()), "{start:?}");
    }
}
