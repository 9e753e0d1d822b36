//! Commands find their data, keep their order, and come to an honest end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use firn_wire::command::*;
use firn_wire::exchange::{Collect, Session};
use firn_wire::ids::{MapVersion, TableId};
use firn_wire::map::Map;
use firn_wire::reply::{Failure, Reply, ReplyBuf};
use firn_wire::secret::Secret;

use super::toy::*;
use crate::fixture;
use crate::links::Links;
use crate::local::Nothing;
use crate::maps::Maps;
use crate::router::Router;

fn keys(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_string().into_bytes()).collect()
}

#[tokio::test]
async fn a_key_written_anywhere_is_read_everywhere() {
    let (nodes, map) = cluster(3, 6).await;
    let keys = keys(60);
    for (n, key) in keys.iter().enumerate() {
        let reply = nodes[n % 3].one(set(key, key)).await;
        assert!(matches!(reply.view(), Reply::Written { created: true, .. }), "{reply:?}");
    }
    let gets: Vec<Command<'_>> = keys.iter().map(|key| get(key)).collect();
    for node in &nodes {
        let replies = node.run(&mut session(), &gets).await;
        assert!(replies.iter().map(value).eq(keys.iter().cloned().map(Some)));
    }
    let maps = Arc::new(Maps::alone(Arc::new(firn_wire::map::MapIndex::new(map).unwrap())));
    let links =
        Links::here("client@0000000000000001".parse().unwrap(), secret(), Arc::clone(&maps));
    let replies = run(&Router::new(Nothing, maps, links, None), &mut session(), &gets).await;
    assert!(replies.iter().map(value).eq(keys.iter().cloned().map(Some)), "without shards too");
}

#[tokio::test]
async fn a_batch_is_answered_in_the_order_of_its_operations() {
    let (nodes, _) = cluster(3, 6).await;
    let keys = keys(100);
    let each = |op: fn(&[u8]) -> Op<'_>| Command::Many {
        guards: vec![],
        ops: keys.iter().map(|key| key_op(key, op(key))).collect(),
    };
    nodes[0].one(each(|key| Op::Set(Set::plain(key)))).await;
    let reply = nodes[1].one(each(|_| Op::Get)).await;
    let Reply::Many(parts) = reply.view() else { panic!("{reply:?}") };
    let values = parts.iter().map(|part| match part.reply() {
        Reply::Value(value) => value.bytes.to_vec(),
        other => panic!("{other:?}"),
    });
    assert!(values.eq(keys.iter().cloned()));
}

/// A pipeline that asks for more than one response may hold: the rest is asked for again, in order.
#[tokio::test]
async fn long_replies_come_and_what_follows_them_keeps_its_order() {
    let (nodes, _) = cluster(2, 2).await;
    let old = vec![b'o'; 1024 * 1024];
    nodes[0].one(set(b"1", &old)).await;
    let mut commands = vec![get(b"1"); 40];
    commands.push(set(b"1", b"new"));
    commands.push(get(b"1"));
    let replies = nodes[0].run(&mut session(), &commands).await;
    assert!(replies[..40].iter().all(|reply| value(reply).as_ref() == Some(&old)));
    assert_eq!(value(&replies[41]), Some(b"new".to_vec()));
}

/// A worker refuses a request, is given the partition, and only then gets what was sent behind it.
#[tokio::test]
async fn nothing_overtakes_what_was_refused() {
    let (nodes, _) = cluster(2, 2).await;
    let mut session = session();
    let mut sinks = Vec::new();
    nodes[1].leaves(1);
    for letter in [b"a", b"b", b"c"] {
        let append = Command::Key(key_op(b"1", Op::Append { value: letter }));
        let mut sink = Collect::default();
        nodes[0].router.submit(&mut session, &[append], &mut sink);
        sinks.push(sink);
        while nodes[1].toy.requests.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        nodes[1].leads(1);
    }
    for sink in sinks {
        let reply = sink.all().await.remove(0);
        assert!(matches!(reply.view(), Reply::Length { .. }), "{reply:?}");
    }
    assert_eq!(value(&nodes[0].one(get(b"1")).await), Some(b"abc".to_vec()));
}

#[tokio::test]
async fn a_value_of_the_largest_size_and_many_short_ones_pass() {
    let (nodes, _) = cluster(2, 2).await;
    let large = vec![b'x'; firn_wire::limits::VALUE_BYTES_HARD_MAX];
    let mut commands = vec![set(b"1", &large)];
    let keys = keys(20_000);
    commands.extend(keys.iter().skip(2).map(|key| set(key, key)));
    commands.push(get(b"1"));
    commands.extend(keys.iter().skip(2).map(|key| get(key)));
    let mut session = Session { timeout: std::time::Duration::from_secs(60), ..session() };
    let replies = nodes[0].run(&mut session, &commands).await;
    let values = replies[keys.len() - 1..].iter().map(value);
    let want = std::iter::once(&large).chain(&keys[2..]).cloned().map(Some);
    assert!(values.eq(want));
}

/// The map after partition `number` has gone to a worker.
fn moved(map: &Map, number: usize, worker: usize) -> Map {
    let mut map = map.clone();
    map.version = MapVersion { generation: 1, counter: map.version.counter + 1 };
    map.row_mut(number).rev = map.version;
    map.row_mut(number).primary = Some(fixture::worker(worker));
    map
}

#[tokio::test]
async fn a_stale_map_is_healed_without_the_uplink() {
    let (nodes, map) = cluster(3, 3).await;
    nodes[2].toy.maps.take(fixture::delta(&moved(&map, 1, 2))).await.unwrap();
    nodes[1].toy.maps.take(fixture::delta(&moved(&map, 1, 2))).await.unwrap();
    nodes[1].leaves(1);
    nodes[2].leads(1);
    nodes[0].one(set(b"1", b"v")).await;
    assert_eq!(value(&nodes[2].one(get(b"1")).await), Some(b"v".to_vec()));
    let asked = nodes[1].toy.requests.load(Ordering::Relaxed);
    nodes[0].one(get(b"1")).await;
    assert_eq!(nodes[1].toy.requests.load(Ordering::Relaxed), asked, "it has learnt the way");
}

/// A partition goes from the node that serves the client to another and back, while requests for it are in a pipeline:
/// some are answered at hand, some refused and tried again, and all are applied in their order.
#[tokio::test]
async fn order_holds_while_a_partition_moves() {
    let (nodes, map) = cluster(2, 2).await;
    let letters = b"abcdefghijklmnopqrstuvwxyz";
    let mut session = session();
    let mut map = map;
    let mut sinks = Vec::new();
    for (n, letter) in letters.iter().enumerate() {
        match n % 8 {
            2 => nodes[0].leaves(0),
            4 => {
                map = moved(&map, 0, 1);
                for node in &nodes {
                    node.toy.maps.take(fixture::delta(&map)).await.unwrap();
                }
                nodes[1].leads(0);
            }
            6 => {
                nodes[1].leaves(0);
                map = moved(&map, 0, 0);
                for node in &nodes {
                    node.toy.maps.take(fixture::delta(&map)).await.unwrap();
                }
                nodes[0].leads(0);
            }
            _ => {}
        }
        let append = Op::Append { value: std::slice::from_ref(letter) };
        let mut sink = Collect::default();
        let commands = [Command::Key(key_op(b"0", append))];
        nodes[0].router.submit(&mut session, &commands, &mut sink);
        sinks.push(sink);
        if n % 8 == 7 {
            for (n, sink) in sinks.drain(..).enumerate() {
                let reply = sink.all().await.remove(0);
                let Reply::Length { .. } = reply.view() else { panic!("{n}: {reply:?}") };
            }
            // The toys share nothing: what one has written stays behind. Each must be in order.
        }
    }
    for sink in sinks {
        sink.all().await;
    }
    let mut seen = Vec::new();
    for (worker, node) in nodes.iter().enumerate() {
        node.leads(0);
        map = moved(&map, 0, worker);
        node.toy.maps.take(fixture::delta(&map)).await.unwrap();
        let written = value(&node.one(get(b"0")).await).unwrap_or_default();
        assert!(written.is_sorted(), "worker {worker}: {}", String::from_utf8_lossy(&written));
        seen.extend(written);
    }
    seen.sort_unstable();
    assert_eq!(seen, letters, "each is applied once");
}

#[tokio::test]
async fn guards_bind_one_partition() {
    let (nodes, _) = cluster(2, 2).await;
    let version = match nodes[0].one(set(b"1", b"a")).await.view() {
        Reply::Written { version, .. } => version,
        other => panic!("{other:?}"),
    };
    let guard = |key, version| Guard { table: TABLE, key, version };
    let put = |key| key_op(key, Op::Set(Set::plain(b"b")));
    type IsRight = fn(&Reply<'_>) -> bool;
    let cases: [(Guard<'_>, Vec<KeyOp<'_>>, IsRight); 5] = [
        (guard(b"1", None), vec![put(b"3")], |reply| *reply == Reply::Aborted),
        (guard(b"1", None), vec![], |reply| *reply == Reply::Aborted),
        (guard(b"1", Some(version)), vec![put(b"2")], |reply| {
            *reply == Reply::Failed(Failure::CrossPartition)
        }),
        (guard(b"5", None), vec![], |reply| matches!(reply, Reply::Many(all) if all.is_empty())),
        (
            guard(b"1", Some(version)),
            vec![put(b"1"), put(b"3")],
            |reply| matches!(reply, Reply::Many(all) if all.len() == 2),
        ),
    ];
    for (n, (guard, ops, is_right)) in cases.into_iter().enumerate() {
        let reply = nodes[0].one(Command::Many { guards: vec![guard], ops }).await;
        assert!(is_right(&reply.view()), "case {n}: {reply:?}");
    }
}

fn copy_to<'a>(to: &'a [u8], replace: bool, remove: bool) -> Op<'a> {
    Op::Copy { table: TABLE, to, replace, remove }
}

#[tokio::test]
async fn a_key_is_renamed_from_one_worker_to_another() {
    let (nodes, _) = cluster(2, 2).await;
    let copy = |op| Command::Key(key_op(b"1", op));
    let node = &nodes[0];
    assert_eq!(node.one(copy(copy_to(b"2", false, true))).await.view(), Reply::Nil);
    node.one(set(b"1", b"one")).await;
    node.one(set(b"2", b"two")).await;
    assert_eq!(node.one(copy(copy_to(b"2", false, true))).await.view(), Reply::Done(false));
    let mut session = session();
    let commands = [
        copy(copy_to(b"2", true, true)),
        get(b"1"),
        get(b"2"),
        set(b"1", b"new"),
        Command::Many {
            guards: vec![],
            ops: vec![
                key_op(b"2", Op::Append { value: b"!" }),
                key_op(b"2", copy_to(b"3", false, true)),
                key_op(b"3", Op::Append { value: b"?" }),
            ],
        },
        get(b"2"),
        get(b"3"),
    ];
    let replies = node.run(&mut session, &commands).await;
    assert_eq!(replies[0].view(), Reply::Done(true));
    let values = [1, 2, 5, 6].map(|n| value(&replies[n]));
    assert_eq!(values, [None, Some(b"one".to_vec()), None, Some(b"one!?".to_vec())]);
}

#[tokio::test]
async fn a_table_is_counted_scanned_and_flushed_as_a_whole() {
    let (nodes, map) = cluster(3, 12).await;
    let keys = keys(500);
    let sets: Vec<Command<'_>> = keys.iter().map(|key| set(key, key)).collect();
    nodes[1].run(&mut session(), &sets).await;
    // A partition has moved, and only its new leader and the one that asks first know.
    let newer = moved(&map, 5, 0);
    nodes[0].leads(5);
    nodes[2].leaves(5);
    for node in &nodes[1..] {
        node.toy.maps.take(fixture::delta(&newer)).await.unwrap();
    }
    let here = keys.iter().filter(|key| number(key) % 12 != 5).count() as u64;
    let count = Command::Count { table: TABLE };
    for node in &nodes[1..] {
        assert_eq!(node.one(count.clone()).await.view(), Reply::Count(here));
    }
    nodes[0].toy.maps.take(fixture::delta(&newer)).await.unwrap();
    for count in [1, 10, 1000] {
        let (mut from, mut seen) = (Cursor::default(), BTreeSet::new());
        loop {
            let scan = Scan { from, count, filter: Filter::All, values: false };
            let reply = nodes[0].one(Command::Scan { table: TABLE, scan }).await;
            let Reply::Page { next, rows } = reply.view() else { panic!("{reply:?}") };
            assert!(rows.is_sorted_by_key(|row| row.at));
            for row in rows {
                assert!(seen.insert(row.key.to_vec()), "{count}: twice");
            }
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(seen.len() as u64, here, "pages of {count}");
    }
    let random = Command::Random { table: TABLE };
    let reply = nodes[2].one(random.clone()).await;
    assert!(matches!(reply.view(), Reply::Page { rows, .. } if rows.len() == 1), "{reply:?}");
    // Replies and effects keep their order around what concerns the whole table.
    let flush = Command::Flush { tables: vec![TABLE] };
    let commands = [count.clone(), flush, count.clone(), set(b"1", b"v"), count, random];
    let replies = nodes[0].run(&mut session(), &commands).await;
    let counts = [0, 1, 2, 4].map(|n| replies[n].view());
    assert_eq!(counts, [here, here, 0, 1].map(Reply::Count));
    assert!(matches!(replies[5].view(), Reply::Page { rows, .. } if rows[0].key == b"1"));
}

#[tokio::test]
async fn what_is_wrong_in_itself_goes_nowhere() {
    let (nodes, _) = cluster(2, 2).await;
    let long = vec![b'1'; firn_wire::limits::KEY_BYTES_MAX + 1];
    let token = vec![0; firn_wire::limits::ONCE_BYTES_MAX + 1];
    let missing = KeyOp { table: TableId(77), key: b"1", op: Op::Get };
    let cases = [
        (get(b""), "the key is empty"),
        (get(&long), "the key is longer than 4096 bytes"),
        (Command::Key(key_op(b"1", copy_to(b"", true, true))), "the key is empty"),
        (Command::Key(missing), "there is no such table"),
        (Command::Count { table: TableId(77) }, "there is no such table"),
        (Command::Flush { tables: vec![TableId(77)] }, "there is no such table"),
        (Command::Once { token: &token, op: key_op(b"1", Op::Get) }, "an idempotency key of 257"),
    ];
    for (command, want) in cases {
        let reply = nodes[0].one(command).await;
        let Reply::Failed(failure) = reply.view() else { panic!("{reply:?}") };
        assert!(failure.to_string().starts_with(want), "{failure}");
    }
    assert_eq!(nodes[1].toy.requests.load(Ordering::Relaxed), 0);
}

fn failure(reply: &ReplyBuf) -> String {
    let Reply::Failed(failure) = reply.view() else { panic!("{reply:?}") };
    failure.to_string()
}

#[tokio::test]
async fn who_does_not_answer_is_named() {
    let (nodes, _) = cluster(2, 2).await;
    nodes[1].stop_listening();
    while tokio::net::TcpStream::connect(address(nodes[0].router.map().map(), 1)).await.is_ok() {}
    let count = Command::Count { table: TABLE };
    let many = Command::Many { guards: vec![], ops: vec![key_op(b"0", Op::Get)] };
    let commands = [get(b"1"), set(b"1", b"v"), count, many];
    let replies = nodes[0].run(&mut short_session(), &commands).await;
    for reply in &replies[..3] {
        let want = "worker w1, which leads partition 0/1, does not answer";
        assert_eq!(failure(reply), want);
    }
    assert!(matches!(replies[3].view(), Reply::Many(_)), "others do not suffer");
}

#[tokio::test]
async fn a_write_without_an_answer_is_of_unknown_fate() {
    let (nodes, _) = cluster(2, 2).await;
    let mut session = short_session();
    let commands = [set(b"slow", b"v"), get(b"slow")];
    assert_eq!(nodes[0].router.map().locate(TABLE, b"slow").unwrap().number, 1);
    let replies = nodes[0].run(&mut session, &commands).await;
    assert_eq!(replies[0].view(), Reply::Failed(Failure::Unknown));
    assert_eq!(nodes[1].toy.requests.load(Ordering::Relaxed), 2, "neither was sent again");
}

#[tokio::test]
async fn a_partition_without_a_primary_is_waited_for() {
    let (nodes, map) = cluster(2, 2).await;
    let mut without = moved(&map, 1, 1);
    without.row_mut(1).primary = None;
    nodes[0].toy.maps.take(fixture::delta(&without)).await.unwrap();
    let reply = nodes[0].run(&mut short_session(), &[get(b"1")]).await.remove(0);
    assert_eq!(failure(&reply), "partition 0/1 has no primary");
    let router = nodes[0].router.clone();
    let waiting = tokio::spawn(async move { run(&router, &mut session(), &[get(b"1")]).await });
    tokio::task::yield_now().await;
    nodes[0].toy.maps.take(fixture::delta(&moved(&without, 1, 1))).await.unwrap();
    assert_eq!(waiting.await.unwrap()[0].view(), Reply::Nil);
}

#[tokio::test]
async fn a_peer_without_the_secret_is_no_peer() {
    let (_nodes, map) = cluster(1, 1).await;
    let maps = Arc::new(Maps::alone(Arc::new(firn_wire::map::MapIndex::new(map).unwrap())));
    for wrong in [Secret::default(), "another secret!!!".parse().unwrap()] {
        let me = "client@0000000000000001".parse().unwrap();
        let links = Links::here(me, wrong, Arc::clone(&maps));
        let router = Router::new(Nothing, Arc::clone(&maps), links, None);
        let reply = run(&router, &mut short_session(), &[get(b"1")]).await.remove(0);
        assert!(failure(&reply).ends_with("does not answer"), "{reply:?}");
    }
}
