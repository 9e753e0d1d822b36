//! Copies, one partition and one scenario at a time: what the rules are for, without loss or chance.

mod export;
mod world;

use firn_wire::command::Op;
use firn_wire::exchange::Fate;
use firn_wire::ids::Epoch;
use firn_wire::replica::{Ack, Batch, Beacon, Item, Notice, Refusal, decode};
use world::{AT, Done, World, worker};

fn same(world: &World, a: usize, b: usize) {
    let (a, b) = (world.view(a), world.view(b));
    assert_eq!((a.sequence, a.digest, &a.history), (b.sequence, b.digest, &b.history));
    assert!(a.is_whole && b.is_whole);
}

#[test]
fn a_write_is_answered_when_every_copy_has_it() {
    let mut world = World::new(2, 2, &[0, 1]);
    world.pass(500);
    let Done::Held(token) = world.set(0, "k", "v") else { panic!("not held") };
    assert_eq!(world.fates.get(&token), None);
    let Done::Held(read) = world.run(0, b"k", Op::Get) else { panic!("shown too early") };
    assert_eq!(world.get(0, "other"), None);
    world.carry();
    assert_eq!(world.fates.get(&token), Some(&Fate::Committed));
    assert_eq!(world.fates.get(&read), Some(&Fate::Committed));
    assert_eq!(world.get(0, "k").as_deref(), Some("v"));
    assert!(matches!(world.set(1, "k", "v"), Done::NotLed));
    same(&world, 0, 1);
}

#[test]
fn a_copy_succeeds_a_silent_primary_with_all_that_was_acknowledged() {
    let mut world = World::new(2, 2, &[0, 1]);
    world.pass(500);
    (0..100).for_each(|n| world.store(0, &format!("k{n}"), "v"));
    world.away.push(0);
    world.pass(2_400);
    assert_eq!(world.primary(), 0, "its grant may still live");
    assert!(matches!(world.run(0, b"k1", Op::Get), Done::Parked), "its lease does not");
    world.pass(300);
    assert_eq!((world.primary(), world.isr()), (1, vec![1]));
    for n in 0..100 {
        assert_eq!(world.get(1, &format!("k{n}")).as_deref(), Some("v"));
    }
    world.store(1, "new", "v");

    world.away.clear();
    world.publish();
    world.pass(1_500);
    assert_eq!(world.isr().len(), 2, "it is in sync again");
    assert_eq!(world.primary(), 0, "and leads again, as it should");
    assert_eq!(world.get(0, "new").as_deref(), Some("v"));
    same(&world, 0, 1);
}

#[test]
fn what_a_lost_primary_wrote_alone_is_undone_when_it_returns() {
    let mut world = World::new(2, 2, &[1, 0]);
    world.pass(500);
    let primary = world.primary();
    let other = 1 - primary;
    world.store(primary, "k", "old");
    world.store(primary, "kept", "v");
    world.away.push(primary);
    world.pass(10);
    let lost = match world.set(primary, "k", "lost") {
        Done::Held(token) => token,
        other => panic!("{other:?}"),
    };
    world.set(primary, "only there", "lost");
    world.pass(2_800);
    assert_eq!(world.primary(), other);
    assert_eq!(world.get(other, "k").as_deref(), Some("old"));
    world.away.clear();
    world.publish();
    world.pass(1_000);
    assert_eq!(world.fates.get(&lost), Some(&Fate::Lost));
    let now = world.primary();
    assert_eq!(world.get(now, "k").as_deref(), Some("old"));
    assert_eq!(world.get(now, "only there"), None);
    assert_eq!(world.get(now, "kept").as_deref(), Some("v"));
    same(&world, 0, 1);
}

#[test]
fn a_backup_that_is_gone_is_taken_out_and_what_it_missed_is_all_it_is_sent() {
    let mut world = World::new(2, 2, &[0, 1]);
    world.pass(500);
    (0..5_000).for_each(|n| world.store(0, &format!("k{n}"), "0123456789"));
    world.away.push(1);
    world.pass(10);
    let Done::Held(token) = world.set(0, "k", "v") else { panic!("not held") };
    world.pass(2_100);
    assert_eq!((world.isr(), world.fates.get(&token)), (vec![0], Some(&Fate::Committed)));
    (0..100).for_each(|n| world.store(0, &format!("k{n}"), "changed"));
    let before = world.carried;
    world.away.clear();
    world.publish();
    world.pass(1_000);
    assert_eq!(world.isr().len(), 2);
    let carried = world.carried - before;
    assert!(carried < 20_000, "{carried} bytes for a hundred records");
    same(&world, 0, 1);
}

/// A copy that was taken out saw a row without its name and dropped what it had; its primary saw only the row after
/// that, in which it was wanted again, and went on sending it what was new. It was added for that.
#[test]
fn a_copy_that_was_not_wanted_for_a_moment_has_everything_before_it_is_added() {
    let mut world = World::new(2, 2, &[0, 1]);
    world.pass(500);
    world.store(0, "k", "v");
    world.change(|row| row.isr.truncate(1));
    world.map.version.counter += 1;
    let (version, row) = (world.map.version, world.map.row_mut(0));
    (row.rev, row.wanted) = (version, vec![world::worker(0).name]);
    let (now, map) = (world.clock(), world.index());
    world.shards[1].adopt(now, &map);
    world.change(|row| row.wanted.push(worker(1).name));
    world.pass(500);
    assert_eq!(world.isr(), [0, 1]);
    same(&world, 0, 1);
    world.away.push(0);
    world.pass(3_200);
    assert_eq!(world.get(1, "k").as_deref(), Some("v"));
}

#[test]
fn a_new_worker_is_filled_while_writes_go_on_and_then_leads() {
    let mut world = World::new(2, 1, &[0]);
    world.pass(500);
    (0..3_000).for_each(|n| world.store(0, &format!("k{n}"), "v"));
    world.change(|row| row.wanted = vec![worker(1).name]);
    let mut n = 0;
    while world.primary() == 0 && n < 200 {
        world.set(0, &format!("k{}", n * 7), "changed");
        world.set(0, &format!("new{n}"), "v");
        world.run(
            0,
            format!("k{}", n * 11).as_bytes(),
            Op::Delete { condition: firn_wire::command::Condition::Always, want_old: false },
        );
        world.pass(10);
        n += 1;
    }
    world.pass(200);
    assert_eq!((world.primary(), world.isr()), (1, vec![1]), "after {n} rounds");
    assert!((5..200).contains(&n), "{n} rounds");
    assert_eq!(world.get(1, "k2999").as_deref(), Some("v"));
    assert_eq!(world.get(1, "new1").as_deref(), Some("v"));
    assert_eq!(world.get(1, "k0"), None);
}

#[test]
fn requests_wait_during_a_handover_and_go_on_at_the_new_primary() {
    let mut world = World::new(2, 2, &[0, 1]);
    world.pass(500);
    world.store(0, "k", "v");
    world.change(|row| row.wanted.reverse());
    world.pass(500);
    assert_eq!(world.primary(), 1);
    assert_eq!(world.get(1, "k").as_deref(), Some("v"));
    world.store(1, "k", "w");
    same(&world, 0, 1);
    assert!(matches!(world.run(0, b"k", Op::Get), Done::NotLed));
}

#[test]
fn with_three_copies_the_third_supports_a_successor_only_when_its_grants_have_run_out() {
    let mut world = World::new(3, 3, &[0, 1, 2]);
    world.pass(500);
    world.store(0, "k", "v");
    world.away.push(0);
    world.pass(2_900);
    assert_ne!(world.primary(), 0);
    let primary = world.primary();
    assert_eq!(world.get(primary, "k").as_deref(), Some("v"));
    world.store(primary, "k", "w");
    world.away.clear();
    world.publish();
    world.pass(2_000);
    assert_eq!(world.isr().len(), 3);
    for n in [1, 2] {
        same(&world, 0, n);
    }
}

#[test]
fn who_is_told_to_stop_is_out_before_it_is_gone() {
    let mut world = World::new(3, 3, &[0, 1, 2]);
    world.pass(500);
    world.told_to_stop(1);
    world.pass(500);
    assert_eq!(world.isr(), [0, 2]);
    world.away.push(1);
    world.store(0, "k", "v"); // nobody waits for who is gone
    world.told_to_stop(2);
    world.pass(500);
    assert_eq!(world.isr(), [0, 2], "one is too few: it waits for another");
}

/// A copy succeeded a primary that stood still, gave the partition to a third worker and dropped it. The first one woke, still
/// on the old map, and was granted a lease by it: it served what had long been overwritten.
#[test]
fn who_has_given_a_partition_on_grants_no_lease_of_it_to_a_primary_of_before() {
    let mut world = World::new(3, 2, &[0, 1]);
    world.pass(300);
    let known = world.map.version;
    world.away = vec![0];
    world.pass(4_000);
    assert_eq!(world.primary(), 1);
    world.change(|row| row.wanted = vec![worker(2).name]);
    world.pass(3_000);
    assert_eq!((world.primary(), world.isr()), (2, vec![2]));
    assert!(world.shards[1].views(world.clock()).is_empty(), "it is not there any more");
    let newest = world.map.version;
    let mut granted = |map| {
        let (now, mut except) = (world.clock(), Vec::new());
        let beacon = Beacon { number: 1, clock: now.unix_ms, map };
        world.shards[1].heard(now, &worker(0), &beacon, &mut except);
        except.is_empty()
    };
    assert!(!granted(known));
    assert!(granted(newest));
}

/// A copy refused what was sent before it was asked, so it was asked again. Its first answer came after that and was taken for
/// the second, though it may have dropped in between what it had.
#[test]
fn an_answer_to_an_earlier_question_is_no_answer() {
    let (mut world, copy) = (World::new(2, 1, &[0, 1]), worker(1));
    let fill = |world: &mut World| {
        let (now, map) = (world.clock(), world.index());
        world.shards[0].tick(now, &map, true, &mut Vec::new());
        world.shards[0].fill(now, &copy, 7, 4_096)
    };
    let says = |world: &mut World, number, notice| {
        let ack = Ack { shard: 0, number, notices: vec![notice] };
        let now = world.clock();
        world.shards[0].acked(now, &copy, 7, &ack);
    };
    let (epoch, sequence) = (Epoch(1), Some(0));
    let at = Notice::At { partition: AT, epoch, sequence, divergent: &[], resume: None };
    let now = world.clock();
    world.shards[0].link_up(now, &copy, 7);
    assert!(fill(&mut world).is_some(), "it is asked");
    says(&mut world, 0, Notice::Refuse { partition: AT, epoch, sequence: 0, why: Refusal::Gap });
    world.now += 100;
    assert!(fill(&mut world).is_some(), "it is asked again");
    says(&mut world, 1, at.clone());
    assert_eq!(fill(&mut world), None);
    says(&mut world, 2, at);
    let next = fill(&mut world).expect("it is told where to go on");
    let next: Batch<'_> = decode(&next).expect("the test made it so");
    assert!(matches!(next.items[0], Item::Base { .. }), "{next:?}");
}
