//! Replies that are shown only when they are committed, and steps that wait before they are run.

use firn_wire::command::*;
use firn_wire::exchange::{Collect, Fate, Session};
use firn_wire::reply::{Failure, Reply, ReplyBuf};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::toy::*;

fn append<'a>(key: &'a [u8], letter: &'a [u8]) -> Command<'a> {
    Command::Key(key_op(key, Op::Append { value: letter }))
}

/// Submits commands and waits for their replies in a task.
fn start(
    node: &Node,
    session: &mut Session,
    commands: &[Command<'_>],
) -> JoinHandle<Vec<ReplyBuf>> {
    let mut sink = Collect::default();
    node.router.submit(session, commands, &mut sink);
    tokio::spawn(sink.all())
}

/// A session whose replies are waited for in their order while more is submitted, as a connection does.
struct Conversation {
    session: Session,
    sinks: UnboundedSender<Collect>,
    replies: JoinHandle<Vec<ReplyBuf>>,
}

impl Conversation {
    fn new() -> Self {
        let (sinks, mut submitted) = unbounded_channel::<Collect>();
        let replies = tokio::spawn(async move {
            let mut replies = Vec::new();
            while let Some(sink) = submitted.recv().await {
                replies.extend(sink.all().await);
            }
            replies
        });
        Self { session: session(), sinks, replies }
    }

    fn say(&mut self, node: &Node, commands: &[Command<'_>]) {
        let mut sink = Collect::default();
        node.router.submit(&mut self.session, commands, &mut sink);
        assert!(self.sinks.send(sink).is_ok(), "it listens");
    }

    async fn end(self) -> Vec<ReplyBuf> {
        drop(self.sinks);
        self.replies.await.unwrap()
    }
}

/// Lets tasks do what they can do.
async fn settles() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn text(reply: &ReplyBuf) -> String {
    let Reply::Failed(failure) = reply.view() else { panic!("{reply:?}") };
    failure.to_string()
}

fn is_written(reply: &ReplyBuf) -> bool {
    matches!(reply.view(), Reply::Written { .. } | Reply::Length { .. })
}

#[tokio::test]
async fn a_held_reply_waits_and_what_follows_is_run() {
    let (nodes, _) = cluster(2, 2).await;
    let commands = [set(b"0", b"v"), get(b"0"), set(b"1", b"w"), get(b"2")];
    nodes.iter().for_each(|node| node.holds(true));
    let waiting = start(&nodes[0], &mut session(), &commands);
    assert_eq!(nodes[0].steps(), 3, "one is for the other worker");
    for step in [1, 2] {
        nodes[0].opens(step, Fate::Committed).await;
    }
    nodes[1].opens(0, Fate::Committed).await;
    settles().await;
    assert!(!waiting.is_finished());
    nodes[0].opens(0, Fate::Committed).await;
    let replies = waiting.await.unwrap();
    assert!(is_written(&replies[0]) && is_written(&replies[2]));
    assert_eq!(value(&replies[1]), Some(b"v".to_vec()));
    assert_eq!(value(&replies[3]), None);
}

/// The same at hand and by a peer.
#[tokio::test]
async fn a_write_whose_copies_may_lack_it_is_of_unknown_fate() {
    let (nodes, _) = cluster(2, 2).await;
    for (node, key) in [(&nodes[0], b"0"), (&nodes[1], b"1")] {
        node.holds(true);
        let waiting = start(&nodes[0], &mut session(), &[append(key, b"a")]);
        node.opens(0, Fate::Lost).await;
        let reply = waiting.await.unwrap().remove(0);
        assert_eq!(reply.view(), Reply::Failed(Failure::Unknown));
        assert_eq!(node.steps(), 1, "it is not run again");
    }
}

#[tokio::test]
async fn what_only_read_or_has_a_token_is_asked_again() {
    let (nodes, _) = cluster(2, 2).await;
    for (node, key) in [(&nodes[0], b"0"), (&nodes[1], b"1")] {
        node.holds(true);
        let put = key_op(key, Op::Set(Set::plain(b"v")));
        let commands = [get(key), Command::Once { token: b"token", op: put }];
        for (n, command) in commands.into_iter().enumerate() {
            let waiting = start(&nodes[0], &mut session(), &[command]);
            let fate = if n == 0 { Fate::Lost } else { Fate::Committed };
            node.opens(2 * n, fate).await;
            if n == 0 {
                node.opens(1, Fate::Committed).await;
            }
            assert!(!matches!(waiting.await.unwrap()[0].view(), Reply::Failed(_)));
            assert_eq!(node.steps(), 2 + n);
        }
    }
    let token = Command::Once { token: b"token", op: key_op(b"0", Op::Set(Set::plain(b"v"))) };
    let waiting = start(&nodes[0], &mut session(), &[token]);
    nodes[0].opens(3, Fate::Lost).await;
    nodes[0].opens(4, Fate::Committed).await;
    assert!(is_written(&waiting.await.unwrap()[0]));
}

/// One that is asked again has lost its place: what is submitted after that waits for it.
#[tokio::test]
async fn nothing_overtakes_what_is_asked_again() {
    let (nodes, _) = cluster(1, 1).await;
    let (node, mut client) = (&nodes[0], Conversation::new());
    node.holds(true);
    client.say(node, &[get(b"0")]);
    node.holds(false);
    let unpark = node.parks();
    node.opens(0, Fate::Again).await;
    settles().await;
    let gate = node.toy.parked.lock().unwrap().take();
    client.say(node, &[append(b"0", b"a")]);
    assert_eq!(node.steps(), 1, "it could be run now, and must not");
    *node.toy.parked.lock().unwrap() = gate;
    unpark();
    let replies = client.end().await;
    assert_eq!(value(&replies[0]), None);
    assert!(is_written(&replies[1]));
}

#[tokio::test]
async fn what_is_parked_goes_on_in_its_order() {
    let (nodes, _) = cluster(2, 2).await;
    for (node, key) in [(&nodes[0], b"0"), (&nodes[1], b"1")] {
        let mut client = Conversation::new();
        let unpark = node.parks();
        client.say(&nodes[0], &[append(key, b"a"), append(key, b"b")]);
        client.say(&nodes[0], &[append(key, b"c")]);
        settles().await;
        assert_eq!(node.steps(), 0);
        unpark();
        client.say(&nodes[0], &[append(key, b"d")]);
        assert!(client.end().await.iter().all(is_written));
        assert_eq!(value(&nodes[0].one(get(key)).await), Some(b"abcd".to_vec()));
    }
}

/// A handover as clients see it: requests are parked where the partition was, and answered where it is.
#[tokio::test]
async fn what_is_parked_goes_where_the_partition_goes() {
    let (nodes, map) = cluster(3, 3).await;
    for (old, key) in [(0, b"0"), (1, b"1")] {
        let unpark = nodes[old].parks();
        let waiting = start(&nodes[0], &mut session(), &[set(key, b"v"), get(key)]);
        settles().await;
        let mut moved = map.clone();
        moved.version.counter += 1 + old as u64;
        moved.row_mut(old).rev = moved.version;
        moved.row_mut(old).primary = Some(crate::fixture::worker(2));
        nodes[2].toy.maps.take(crate::fixture::delta(&moved)).await.unwrap();
        nodes[2].leads(old as u16);
        nodes[old].leaves(old as u16);
        nodes[old].toy.maps.take(crate::fixture::delta(&moved)).await.unwrap();
        unpark();
        let replies = waiting.await.unwrap();
        assert!(is_written(&replies[0]), "{replies:?}");
        assert_eq!(value(&replies[1]), Some(b"v".to_vec()));
    }
}

#[tokio::test]
async fn a_batch_waits_for_all_its_steps() {
    let (nodes, _) = cluster(2, 4).await;
    nodes.iter().for_each(|node| node.holds(true));
    let put = |key| key_op(key, Op::Set(Set::plain(b"v")));
    let ops = vec![put(b"0"), put(b"1"), put(b"2"), put(b"4"), put(b"3")];
    let batch = Command::Many { guards: vec![], ops };
    let waiting = start(&nodes[0], &mut session(), &[batch]);
    nodes[0].opens(0, Fate::Committed).await;
    nodes[1].opens(1, Fate::Committed).await;
    nodes[1].opens(0, Fate::Lost).await;
    settles().await;
    assert!(!waiting.is_finished());
    nodes[0].opens(1, Fate::Committed).await;
    let reply = waiting.await.unwrap().remove(0);
    let Reply::Many(parts) = reply.view() else { panic!("{reply:?}") };
    let failed: Vec<usize> =
        (0..5).filter(|n| matches!(parts[*n].reply(), Reply::Failed(_))).collect();
    assert_eq!(failed, [1], "only the step that was lost");
    assert_eq!(parts[1].reply(), Reply::Failed(Failure::Unknown));
}

#[tokio::test]
async fn the_deadline_ends_a_wait() {
    let (nodes, _) = cluster(2, 2).await;
    nodes.iter().for_each(|node| node.holds(true));
    let put = key_op(b"0", Op::Set(Set::plain(b"v")));
    let commands = [
        set(b"0", b"v"),
        get(b"0"),
        Command::Once { token: b"token", op: put },
        set(b"1", b"v"),
        get(b"1"),
    ];
    let replies = nodes[0].run(&mut short_session(), &commands).await;
    let unknown = Failure::Unknown.to_string();
    let want = [&unknown, "the copies of partition 0/0 do not answer", &unknown, &unknown];
    assert!(replies.iter().map(text).take(4).eq(want), "{replies:?}");
    let _never = nodes[0].parks();
    let reply = nodes[0].run(&mut short_session(), &[set(b"0", b"v")]).await.remove(0);
    assert_eq!(text(&reply), "partition 0/0 is being handed over, or its copies do not answer");
}

#[tokio::test]
async fn a_whole_table_waits_too() {
    let (nodes, _) = cluster(2, 2).await;
    nodes[0].one(set(b"0", b"v")).await;
    nodes[0].one(set(b"1", b"v")).await;
    nodes.iter().for_each(|node| node.holds(true));
    let count = Command::Count { table: TABLE };
    let waiting = start(&nodes[0], &mut session(), std::slice::from_ref(&count));
    nodes[0].opens(0, Fate::Lost).await;
    nodes[1].opens(0, Fate::Committed).await;
    nodes[0].opens(1, Fate::Committed).await;
    assert_eq!(waiting.await.unwrap()[0].view(), Reply::Count(2), "what only counted asks again");
    let flush = Command::Flush { tables: vec![TABLE] };
    let waiting = start(&nodes[0], &mut session(), &[flush]);
    nodes[1].opens(1, Fate::Committed).await;
    nodes[0].opens(2, Fate::Lost).await;
    assert_eq!(waiting.await.unwrap()[0].view(), Reply::Failed(Failure::Unknown));
    let (alone, _) = cluster(1, 2).await;
    alone[0].holds(true);
    let waiting = start(&alone[0], &mut session(), &[count]);
    alone[0].opens(1, Fate::Committed).await;
    assert_eq!(waiting.await.unwrap()[0].view(), Reply::Count(0));
}
