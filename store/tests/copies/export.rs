//! Backups of a partition that is written to, part by part.

use std::collections::BTreeMap;

use firn_store::export::Part;
use firn_wire::command::{Condition, Export, Op, Set};
use firn_wire::exchange::Fate;
use firn_wire::ids::Version;
use firn_wire::record::{Effect, Effects};
use proptest::prelude::*;

use super::world::{AT, Done, TABLE, World};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a backup has read so far.
#[derive(Default)]
struct Backup {
    since: Option<Version>,
    from: u64,
    entries: Entries,
    /// Entries the partition has, as the last part says.
    count: u64,
    is_whole: bool,
}

impl Backup {
    /// Reads the next part at a worker; false when it must begin anew. The part is shown once it is committed.
    fn read(&mut self, world: &mut World, n: usize) -> bool {
        let export = Export { since: self.since, from: self.from };
        let now = world.clock();
        let (part, until) = world.shards[n].export(now, (AT, TABLE), export).expect("it leads");
        if let Some(until) = until {
            world.shards[n].hold(AT, until, u32::MAX);
            world.carry();
            assert_eq!(world.fates.remove(&u32::MAX), Some(Fate::Committed));
        }
        part.map(|part| self.take(&part)).is_some()
    }

    fn take(&mut self, part: &Part) {
        let part = part.reply();
        for effect in Effects::of(part.effects) {
            match effect.expect("whole effects") {
                Effect::Put(put) => {
                    self.entries.insert(put.key.to_vec(), put.value.to_vec());
                }
                Effect::Delete { key, .. } => {
                    self.entries.remove(key);
                }
                Effect::Flush { .. } => self.entries.clear(),
                other => panic!("{other:?}"),
            }
        }
        self.since = Some(part.at);
        self.is_whole = part.next.is_none();
        self.from = part.next.unwrap_or_default();
        self.count = part.counts.iter().map(|(_, entries)| entries).sum();
    }
}

/// What is done between two parts.
#[derive(Debug, Clone)]
enum Act {
    Put(u16, usize),
    Delete(u16),
    Flush,
}

fn key(number: u16) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn act(world: &mut World, n: usize, act: &Act, model: &mut Entries) {
    let done = match act {
        Act::Put(number, length) => {
            let value = vec![*number as u8; *length];
            model.insert(key(*number), value.clone());
            world.run(n, &key(*number), Op::Set(Set::plain(&value)))
        }
        Act::Delete(number) => {
            model.remove(&key(*number));
            let delete = Op::Delete { condition: Condition::Always, want_old: false };
            world.run(n, &key(*number), delete)
        }
        Act::Flush => {
            model.clear();
            let (now, map) = (world.clock(), world.index());
            world.shards[n].flush(now, &map, AT, TABLE).expect("it leads");
            return;
        }
    };
    assert!(matches!(done, Done::Reply(_) | Done::Held(_)), "{done:?}");
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => (0u16..300, 0usize..4_000).prop_map(|(number, length)| Act::Put(number, length)),
        8 => (0u16..300).prop_map(Act::Delete),
        1 => Just(Act::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written between the parts, the whole is the partition at the moment of the last one; with a copy and
    /// without, where no log is kept otherwise.
    #[test]
    fn the_whole_is_the_partition_at_the_last_part(
        copies in 1usize..3,
        filled in 0u16..300,
        rounds in proptest::collection::vec(proptest::collection::vec(acts(), 0..20), 30),
    ) {
        let mut world = World::new(copies, copies, &[0, 1][..copies]);
        world.pass(500);
        let mut model = Entries::new();
        (0..filled).for_each(|n| act(&mut world, 0, &Act::Put(n, 2_000), &mut model));
        let mut backup = Backup::default();
        for round in &rounds {
            prop_assert!(backup.read(&mut world, 0), "the log has what is missing");
            if backup.is_whole {
                break;
            }
            round.iter().for_each(|it| act(&mut world, 0, it, &mut model));
        }
        while !backup.is_whole {
            prop_assert!(backup.read(&mut world, 0));
        }
        prop_assert_eq!(backup.count, model.len() as u64);
        prop_assert!(backup.entries == model);
    }
}

#[test]
fn it_goes_on_at_the_next_primary() {
    let mut world = World::new(2, 2, &[0, 1]);
    world.pass(500);
    let value = "v".repeat(1_000);
    (0..500).for_each(|n| world.store(0, &format!("k{n}"), &value));
    let mut backup = Backup::default();
    assert!(backup.read(&mut world, 0) && !backup.is_whole);
    world.store(0, "k1", "new");
    world.away.push(0);
    world.pass(2_800);
    assert_eq!(world.primary(), 1);
    world.store(1, "k2", "newer");
    while !backup.is_whole {
        assert!(backup.read(&mut world, 1));
    }
    assert_eq!(backup.entries.len(), 500);
    assert_eq!(
        (&backup.entries[&b"k1"[..]][..], &backup.entries[&b"k2"[..]][..]),
        (&b"new"[..], &b"newer"[..])
    );
}

#[test]
fn what_the_log_has_not_is_not_gone_on_from() {
    let mut world = World::new(1, 1, &[0]);
    world.pass(500);
    let value = "v".repeat(1_000);
    (0..500).for_each(|n| world.store(0, &format!("k{n}"), &value));
    let mut backup = Backup::default();
    assert!(backup.read(&mut world, 0) && !backup.is_whole);
    world.store(0, "k1", "new");
    assert!(backup.read(&mut world, 0), "it is logged for the backup");
    world.pass(61_000);
    world.store(0, "k1", "newer");
    assert!(!backup.read(&mut world, 0), "it is not any more");
    let other = Export {
        since: Some(Version(backup.since.expect("a part was read").0 + (7 << 44))),
        from: 0,
    };
    let now = world.clock();
    let (part, _) = world.shards[0].export(now, (AT, TABLE), other).expect("it leads");
    assert!(part.is_none(), "no record of that reign was ever written here");
}

/// A worker alone in a cluster that is to have three copies takes writes, as long as nobody has a copy. That a backup
/// has its records kept must not turn them away.
#[test]
fn a_backup_turns_no_writes_away() {
    let mut world = World::new(1, 1, &[0]);
    world.map.groups[0].copies = 3;
    world.publish();
    world.pass(500);
    world.store(0, "k", "1");
    let mut backup = Backup::default();
    assert!(backup.read(&mut world, 0));
    world.store(0, "k", "2");
    assert_eq!(world.get(0, "k").as_deref(), Some("2"));
}
