//! Random events; the world checks the invariants after each.

use std::sync::Arc;
use std::time::Duration;

use firn_uplink::registry::{Answer, Event, Refusal};
use firn_uplink::settings::{Rehoming, ReplicationWishes, Wishes};
use firn_wire::ids::{ClusterId, Epoch, Incarnation, MapVersion, WorkerId, WorkerName};
use firn_wire::map::{GroupRule, Map, Placement, TablePolicy, WorkerRow};
use firn_wire::registry::{Heartbeat, Proposal, Recover, Register, Verdict};
use firn_wire::status::{Roll, Status};
use proptest::prelude::*;
use serde_json::json;

use crate::workers;
use crate::world::{CLUSTER, World};

/// What may happen; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Happening {
    Register { name: u8, run: u8, port: u8, other_cluster: bool },
    Beat { name: u8, run: u8, goodbye: bool, leaving: bool },
    Propose { by: u8, partition: u8, old_rev: bool, next: bool, primary: u8, isr: Vec<u8> },
    MoveAll,
    Drain { name: u8 },
    Recover { accept: bool, name: Option<u8> },
    Patch { replace_ms: u16 },
    Woken,
    Claim { by: u8, run: u8, partition: u8, honest: bool },
    ClaimAll { by: u8 },
    Create { table: u8, copies: Option<u8>, by_name: bool, first_byte: Option<u8> },
    Alter { table: u8, ttl_ms: u16 },
    Drop { table: u8 },
    Forget { name: u8 },
    Wait { ms: u16 },
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        4 => (0..6u8, 0..6u8, 0..8u8, prop::bool::weighted(0.05))
            .prop_map(|(name, run, port, other_cluster)| Register { name, run, port, other_cluster }),
        4 => (0..6u8, 0..6u8, prop::bool::weighted(0.3), prop::bool::weighted(0.2))
            .prop_map(|(name, run, goodbye, leaving)| Beat { name, run, goodbye, leaving }),
        6 => (0..6u8, any::<u8>(), prop::bool::weighted(0.1), any::<bool>(), 0..6u8,
                proptest::collection::vec(0..6u8, 0..4))
            .prop_map(|(by, partition, old_rev, next, primary, isr)| {
                Propose { by, partition, old_rev, next, primary, isr }
            }),
        2 => Just(MoveAll),
        1 => (0..6u8).prop_map(|name| Drain { name }),
        1 => (any::<bool>(), proptest::option::of(0..6u8))
            .prop_map(|(accept, name)| Recover { accept, name }),
        1 => (0..2_000u16).prop_map(|replace_ms| Patch { replace_ms }),
        1 => Just(Woken),
        3 => (0..6u8, 0..6u8, any::<u8>(), any::<bool>())
            .prop_map(|(by, run, partition, honest)| Claim { by, run, partition, honest }),
        3 => (0..6u8).prop_map(|by| ClaimAll { by }),
        3 => (0..5u8, proptest::option::of(0..5u8), any::<bool>(), any::<Option<u8>>())
            .prop_map(|(table, copies, by_name, first_byte)| Create { table, copies, by_name, first_byte }),
        1 => (0..5u8, 0..3u16).prop_map(|(table, ttl_ms)| Alter { table, ttl_ms }),
        2 => (0..5u8).prop_map(|table| Drop { table }),
        1 => (0..6u8).prop_map(|name| Forget { name }),
        3 => (0..1_500u16).prop_map(|ms| Wait { ms }),
        1 => Just(Restart),
    ]
}

fn worker(name: u8) -> WorkerName {
    format!("w{name}").parse().unwrap()
}

fn claim(world: &World, by: WorkerId, place: usize, honest: bool) -> Proposal {
    let row = &world.registry.map().partitions[place];
    let rev = if honest { row.rev } else { MapVersion::default() };
    let (primary, isr) = (by.clone(), vec![by.clone()]);
    Proposal { by, partition: row.id, rev, epoch: Epoch(row.epoch.0 + 1), primary, isr, kept: None }
}

fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    match value {
        serde_json::Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

/// One proposal at most is applied on a rev, and one is only if it knows it.
fn check_verdicts(before: &Map, event: &Event, answer: &Result<Answer, Refusal>) {
    let (Event::Propose(proposals), Ok(Answer::Verdicts(verdicts))) = (event, answer) else {
        return;
    };
    assert_eq!(proposals.len(), verdicts.len());
    for (proposal, verdict) in proposals.iter().zip(verdicts) {
        if let Verdict::Applied(version) = verdict {
            let row = before.partitions.iter().find(|row| row.id == proposal.partition);
            assert_eq!(row.map(|row| row.rev), Some(proposal.rev), "{proposal:?}");
            assert!(*version > proposal.rev, "{proposal:?}");
        }
    }
}

/// Everyone who is registered runs again, and nobody leaves; those who lost everything claim it.
fn all_come_back(world: &mut World, runs: &mut u64) {
    world.now_ms += 10_000;
    world.step(Event::Tick).unwrap();
    let rows: Vec<(WorkerName, String)> = world
        .registry
        .map()
        .workers
        .iter()
        .map(|row| (row.name.clone(), row.addresses["peer"].clone()))
        .collect();
    for (place, (name, _)) in rows.into_iter().enumerate() {
        *runs += 1;
        let addresses = [("peer".to_owned(), format!("back:{}", place + 1))].into();
        let incarnation = Incarnation(*runs);
        let register = Register { name, incarnation, addresses, shards: 1, cluster: None };
        world.step(Event::Register(register)).unwrap();
    }
    // Newcomers wait for a second; silence of a lease would be too long.
    for _ in 0..2 {
        world.now_ms += 500;
        let ids: Vec<WorkerId> = world.registry.map().workers.iter().map(WorkerRow::id).collect();
        for WorkerId { name, incarnation } in ids {
            let beat = Heartbeat { incarnation, goodbye: false, leaving: false };
            world.step(Event::Beat(name, beat)).unwrap();
        }
        world.step(Event::Tick).unwrap();
    }
}

/// The event of a happening, where there is one now.
fn event(world: &mut World, happening: &Happening) -> Option<Event> {
    let run = |run: u8| Incarnation(u64::from(run) + 1);
    Some(match *happening {
        Happening::Register { name, run: r, port, other_cluster } => Event::Register(Register {
            name: worker(name),
            incarnation: run(r),
            addresses: [("peer".to_owned(), format!("127.0.0.1:{}", u16::from(port) + 1))].into(),
            shards: 4,
            cluster: other_cluster.then_some(ClusterId(CLUSTER.0 + 1)),
        }),
        Happening::Beat { name, run: r, goodbye, leaving } => {
            Event::Beat(worker(name), Heartbeat { incarnation: run(r), goodbye, leaving })
        }
        Happening::Propose { by, partition, old_rev, next, primary, ref isr } => {
            let map = world.registry.map();
            let place = usize::from(partition).checked_rem(map.partitions.len())?;
            let row = &map.partitions[place];
            // The registered run where there is one, so that many of these apply.
            let id = |name: u8| match map.workers.iter().find(|row| row.name == worker(name)) {
                Some(row) => row.id(),
                None => WorkerId { name: worker(name), incarnation: run(1) },
            };
            let rev = if old_rev { MapVersion::default() } else { row.rev };
            let epoch = Epoch(row.epoch.0 + u32::from(next));
            let primary = if next { id(primary) } else { row.primary.clone()? };
            let isr = [primary.clone()].into_iter().chain(isr.iter().map(|name| id(*name)));
            let isr = isr.collect();
            Event::Propose(vec![Proposal {
                by: id(by),
                partition: row.id,
                rev,
                epoch,
                primary,
                isr,
                kept: None,
            }])
        }
        Happening::MoveAll => {
            if world.registry.version() != MapVersion::default() {
                workers::move_all(world);
            }
            return None;
        }
        Happening::Drain { name } => Event::Drain(worker(name)),
        Happening::Recover { accept, name } => {
            Event::Recover(Recover { accept_data_loss: accept, worker: name.map(worker) })
        }
        Happening::Patch { replace_ms } => Event::AlterSettings(object(
            json!({ "replication": { "replace_after_ms": replace_ms } }),
        )),
        Happening::Woken => Event::Woken,
        Happening::Claim { by, run: r, partition, honest } => {
            let count = world.registry.map().partitions.len();
            let place = usize::from(partition).checked_rem(count)?;
            let by = WorkerId { name: worker(by), incarnation: run(r) };
            Event::Propose(vec![claim(world, by, place, honest)])
        }
        Happening::ClaimAll { by } => {
            let map = world.registry.map();
            let by = map.workers.iter().find(|row| row.name == worker(by))?.id();
            let all = 0..map.partitions.len();
            Event::Propose(all.map(|place| claim(world, by.clone(), place, true)).collect())
        }
        Happening::Create { table, copies, by_name, first_byte } => Event::CreateTable {
            name: format!("t{table}").parse().unwrap(),
            policy: TablePolicy {
                copies,
                placement: by_name.then_some(GroupRule::NameRanges),
                ..TablePolicy::default()
            },
            first_byte,
        },
        Happening::Alter { table, ttl_ms } => {
            let patch = object(json!({ "ttl_ms": ttl_ms }));
            Event::AlterTable(format!("t{table}").parse().unwrap(), patch)
        }
        Happening::Drop { table } => Event::DropTable(format!("t{table}").parse().unwrap()),
        Happening::Forget { name } => Event::Forget(worker(name)),
        Happening::Wait { ms } => {
            world.now_ms += u64::from(ms);
            Event::Tick
        }
        Happening::Restart => {
            world.restart(Wishes::default()).unwrap();
            return None;
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn invariants_hold_whatever_happens(
        expect in 1..4u16,
        copies in 1..4u8,
        sticky in any::<bool>(),
        rehomes in any::<bool>(),
        happenings in proptest::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::new(Wishes {
            partitions: Some(4),
            copies: Some(copies),
            placement: Some(if sticky { Placement::Sticky } else { Placement::Modulo }),
            expect_workers: Some(expect),
            worker_lease: Some(Duration::from_secs(1)),
            replication: ReplicationWishes {
                lease: Some(Duration::from_millis(800)),
                grant: Some(Duration::from_millis(1_000)),
                replace_after: Some(Duration::from_secs(1)),
                forget_after: Some(Duration::from_secs(2)),
                rehome_after: rehomes.then_some(Rehoming::After(Duration::from_secs(4))),
                ..ReplicationWishes::default()
            },
            ..Wishes::default()
        });
        for happening in &happenings {
            if let Some(event) = event(&mut world, happening) {
                let before = Arc::clone(world.registry.map());
                // Refusals are as good as any other outcome here.
                let answer = world.step(event.clone());
                check_verdicts(&before, &event, &answer);
            }
        }
        // Whatever has happened: once all are there again, everything comes to where it should be and stays there.
        if world.registry.version() == MapVersion::default() {
            return Ok(());
        }
        all_come_back(&mut world, &mut 1_000);
        workers::claim_all(&mut world);
        workers::move_all(&mut world);
        let map = Arc::clone(world.registry.map());
        let status = Status::of(&map);
        prop_assert_eq!((status.unserved, status.moving), (0, 0), "{:?}", &status.findings);
        for row in &map.partitions {
            let group = map.groups.iter().find(|group| group.id == row.id.group).unwrap();
            let copies = usize::from(group.copies).min(map.workers.len());
            prop_assert_eq!(Roll::of(&map).copies(row), copies, "{:?}", row);
        }
        let settled = world.registry.version();
        world.step(Event::Tick).unwrap();
        prop_assert_eq!(world.registry.version(), settled);
    }

    /// However often workers restart, one claim brings everything back under the newest runs, and a second one nothing.
    #[test]
    fn restarted_workers_claim_what_they_led(restarts in proptest::collection::vec(0..3u8, 1..12)) {
        let wishes = Wishes { partitions: Some(16), copies: Some(1), expect_workers: Some(3), ..Wishes::default() };
        let mut world = World::new(wishes);
        let mut runs = [1u64; 3];
        let register = |world: &mut World, name: u8, run: u64| {
            let addresses = [("peer".to_owned(), format!("w{name}:1"))].into();
            let incarnation = Incarnation(run);
            let register = Register { name: worker(name), incarnation, addresses, shards: 1, cluster: None };
            world.step(Event::Register(register)).unwrap();
            WorkerId { name: worker(name), incarnation }
        };
        for name in 0..3 {
            register(&mut world, name, 1);
        }
        for name in restarts {
            let place = usize::from(name);
            let goodbye = Heartbeat { incarnation: Incarnation(runs[place]), goodbye: true, leaving: false };
            world.step(Event::Beat(worker(name), goodbye)).unwrap();
            runs[place] += 1;
            let id = register(&mut world, name, runs[place]);
            let led = |world: &World| {
                let rows = world.registry.map().partitions.iter();
                rows.filter(|row| row.primary.as_ref() == Some(&id)).count()
            };
            let applied = |world: &mut World| {
                let all = (0..16).map(|place| claim(world, id.clone(), place, true)).collect();
                match world.step(Event::Propose(all)) {
                    Ok(firn_uplink::registry::Answer::Verdicts(verdicts)) => {
                        verdicts.iter().filter(|v| matches!(v, Verdict::Applied(_))).count()
                    }
                    other => panic!("{other:?}"),
                }
            };
            prop_assert_eq!(led(&world), 0);
            let claimed = applied(&mut world);
            prop_assert!(claimed == 5 || claimed == 6, "{}", claimed);
            prop_assert_eq!(led(&world), claimed);
            prop_assert_eq!(applied(&mut world), 0);
        }
    }
}
