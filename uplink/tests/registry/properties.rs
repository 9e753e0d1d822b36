//! Random events; the world checks the invariants after each.

use firn_uplink::registry::Event;
use firn_uplink::settings::Wishes;
use firn_wire::ids::{ClusterId, Epoch, Incarnation, MapVersion, WorkerId, WorkerName};
use firn_wire::map::{GroupRule, Placement, TablePolicy};
use firn_wire::registry::{Heartbeat, Proposal, Register, Verdict};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{CLUSTER, World};

/// What may happen; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Happening {
    Register { name: u8, run: u8, port: u8, other_cluster: bool },
    Beat { name: u8, run: u8, goodbye: bool },
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
        4 => (0..6u8, 0..6u8, prop::bool::weighted(0.3))
            .prop_map(|(name, run, goodbye)| Beat { name, run, goodbye }),
        3 => (0..6u8, 0..6u8, any::<u8>(), any::<bool>())
            .prop_map(|(by, run, partition, honest)| Claim { by, run, partition, honest }),
        3 => (0..6u8).prop_map(|by| ClaimAll { by }),
        3 => (0..5u8, proptest::option::of(0..10u8), any::<bool>(), any::<Option<u8>>())
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
    Proposal { by, partition: row.id, rev, epoch: Epoch(row.epoch.0 + 1), primary, isr }
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
        Happening::Beat { name, run: r, goodbye } => {
            Event::Beat(worker(name), Heartbeat { incarnation: run(r), goodbye })
        }
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
            let serde_json::Value::Object(patch) = json!({ "ttl_ms": ttl_ms }) else {
                unreachable!()
            };
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
        happenings in proptest::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::new(Wishes {
            partitions: Some(8),
            copies: Some(copies),
            placement: Some(if sticky { Placement::Sticky } else { Placement::Modulo }),
            expect_workers: Some(expect),
            worker_lease: Some(std::time::Duration::from_secs(1)),
            ..Wishes::default()
        });
        for happening in &happenings {
            if let Some(event) = event(&mut world, happening) {
                // Refusals are as good as any other outcome here.
                let _ = world.step(event);
            }
        }
    }

    /// However often workers restart, one claim brings everything back under the newest runs, and a second one nothing.
    #[test]
    fn restarted_workers_claim_what_they_led(restarts in proptest::collection::vec(0..3u8, 1..12)) {
        let wishes = Wishes { partitions: Some(16), expect_workers: Some(3), ..Wishes::default() };
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
            let goodbye = Heartbeat { incarnation: Incarnation(runs[place]), goodbye: true };
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
