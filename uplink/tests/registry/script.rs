//! The language of golden scripts. A line that starts with `>` does something; the lines below it are what comes of it.
//!
//! - `cluster [expect=N] [partitions=N] [placement=P] [copies=N] [lease=MS] [ranges=a-g,h-z] [replace=MS] [forget=MS]
//!   [rehome=MS]`: a new cluster, of one copy unless said otherwise, with the fast profile of leases; first line
//! - `at MS`: it is that late now · `tick`: and that is noticed · `woken`: the uplink stood still until now
//! - `register NAME@RUN peer=HOST:PORT [http=…] [shards=N] [cluster=HEX]`
//! - `beat NAME@RUN …` · `leave NAME@RUN …` · `goodbye NAME@RUN …`: one or several
//! - `claim NAME@RUN G/P [rev=V] [epoch=N] [primary=NAME@RUN] [isr=NAME@RUN,…] [kept=EPOCH/SEQUENCE]`, several with `+` between: what is left
//!   out is as a claim has it · `propose …`: likewise, what is left out is as the row has it, `epoch=next` one more
//! - `sync`: every partition becomes what is wanted, as far as workers are up, all of them a step at a time
//! - `create TABLE [first=C] [POLICY AS JSON]` · `alter TABLE PATCH` · `drop TABLE`
//! - `drain NAME` · `forget NAME` · `recover [accept] [NAME]` · `settings PATCH`
//! - `restart [as cluster]`: the uplink ends and starts again from its store
//! - `see NAME …`: these workers see the map · `lose [rebuild]`: the uplink ends and starts again with an empty store, as
//!   an operator says who wants the cluster back · `tell NAME@RUN`: the worker tells the map it has seen last
//! - `map` · `partitions` · `changes VERSION` · `status` · `movement`: what is to be read

use std::collections::BTreeMap;
use std::time::Duration;

use firn_uplink::registry::Event;
use firn_uplink::settings::{Rehoming, ReplicationWishes, Wishes, name_ranges, placement};
use firn_wire::ids::{Epoch, GroupId, Incarnation, PartitionId, TableName, WorkerId, WorkerName};
use firn_wire::map::Map;
use firn_wire::registry::{Heartbeat, Kept, KnownMap, Proposal, Recover, Register};

use crate::show;
use crate::workers;
use crate::world::World;

/// Runs a script and gives it back with what came of each line.
pub(crate) fn run(script: &str) -> String {
    let mut world: Option<World> = None;
    let mut out = String::new();
    for line in script.lines() {
        match line.strip_prefix("> ") {
            Some(command) => {
                out.push_str(line);
                out.push('\n');
                out.push_str(&blocked(&command_line(&mut world, command)));
            }
            None if line.starts_with('#') => {
                out.push_str(line);
                out.push('\n');
            }
            None => {}
        }
    }
    out
}

/// The outcome of a command, then a blank line.
fn blocked(text: &str) -> String {
    match text.trim_end() {
        "" => "\n".to_owned(),
        text => format!("{text}\n\n"),
    }
}

fn command_line(world: &mut Option<World>, command: &str) -> String {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    if verb == "cluster" {
        let wishes = wishes(rest);
        let (lease, grant) = (Duration::from_millis(800), Duration::from_millis(1_000));
        let replication =
            ReplicationWishes { lease: Some(lease), grant: Some(grant), ..wishes.replication };
        let copies = wishes.copies.or(Some(1));
        *world = Some(World::new(Wishes { copies, replication, ..wishes }));
        return String::new();
    }
    let world = world.as_mut().expect("a script starts with a cluster");
    match verb {
        "at" => world.now_ms = rest.parse().expect("milliseconds"),
        "restart" => {
            if let Err(why) = world.restart(wishes(rest)) {
                return why;
            }
        }
        "see" => {
            let map = Map::clone(world.registry.map());
            world.seen.extend(rest.split(' ').map(|name| (worker(name), map.clone())));
        }
        "lose" => world.lose(rest == "rebuild"),
        "map" => return show::map(world.registry.map()),
        "partitions" => return show::partitions(world.registry.map()),
        "status" => return show::status(world.registry.map()),
        "movement" => {
            let movement = world.registry.progress().at(world.now_ms);
            return serde_json::to_string(&movement).expect("it is plain data");
        }
        "sync" => {
            return format!("{} proposals", workers::move_all(world));
        }
        "beat" | "leave" | "goodbye" => {
            let beats = rest.split(' ').map(|who| show::answer(world.step(beat(verb, who))));
            let mut answers: Vec<String> = beats.collect();
            answers.dedup();
            return answers.join("\n");
        }
        "changes" => {
            let after = rest.parse().expect("a map version");
            let delta = world.registry.history().delta(world.registry.map(), Some(after));
            return delta.map_or("ahead".to_owned(), |delta| show::delta(&delta));
        }
        _ => {
            let event = event(world, verb, rest);
            return show::answer(world.step(event));
        }
    }
    String::new()
}

fn event(world: &World, verb: &str, rest: &str) -> Event {
    let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        "register" => Event::Register(registration(first, more)),
        "tell" => {
            let WorkerId { name, incarnation } = id(first);
            let map = world.seen[&name].clone();
            Event::Tell(name, Box::new(KnownMap { incarnation, hash_seed: 7, map }))
        }
        "tick" => Event::Tick,
        "woken" => Event::Woken,
        "claim" | "propose" => {
            Event::Propose(rest.split(" + ").map(|one| proposal(world, verb, one)).collect())
        }
        "create" => {
            let (first_byte, policy) = match more.strip_prefix("first=") {
                Some(more) => (more.bytes().next(), more[1..].trim()),
                None => (None, more),
            };
            let policy = if policy.is_empty() { "{}" } else { policy };
            let policy = serde_json::from_str(policy).expect("a policy");
            Event::CreateTable { name: table(first), policy, first_byte }
        }
        "alter" => {
            let patch = serde_json::from_str(more).expect("a JSON object");
            Event::AlterTable(table(first), patch)
        }
        "drop" => Event::DropTable(table(first)),
        "forget" => Event::Forget(first.parse().expect("a worker's name")),
        "drain" => Event::Drain(first.parse().expect("a worker's name")),
        "recover" => {
            let (accept_data_loss, worker) = match first {
                "accept" => (true, more),
                _ => (false, rest),
            };
            let worker = (!worker.is_empty()).then(|| worker.parse().expect("a worker's name"));
            Event::Recover(Recover { accept_data_loss, worker })
        }
        "settings" => Event::AlterSettings(serde_json::from_str(rest).expect("a JSON object")),
        _ => panic!("{verb:?} is no command of a script"),
    }
}

fn beat(verb: &str, who: &str) -> Event {
    let WorkerId { name, incarnation } = id(who);
    let (goodbye, leaving) = (verb == "goodbye", verb == "leave");
    Event::Beat(name, Heartbeat { incarnation, goodbye, leaving })
}

fn worker(text: &str) -> WorkerName {
    text.parse().expect("a worker's name")
}

fn table(text: &str) -> TableName {
    TableName::from_registry(text).expect("a table's name")
}

fn named(words: &str) -> BTreeMap<&str, &str> {
    words.split_whitespace().map(|word| word.split_once('=').expect("NAME=VALUE")).collect()
}

fn wishes(words: &str) -> Wishes {
    let words = named(words);
    let number = |name: &str| words.get(name).map(|text| text.parse::<u16>().expect("a number"));
    let time = |name: &str| number(name).map(|ms| Duration::from_millis(ms.into()));
    let ranges =
        words.get("ranges").map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
    Wishes {
        key_integer: words.get("keys").map(|text| text.parse().expect("a conversion")),
        partitions: number("partitions"),
        placement: words.get("placement").map(|text| placement(text).expect("a placement")),
        copies: number("copies").map(|copies| copies as u8),
        expect_workers: number("expect"),
        name_ranges: ranges.map(|texts| name_ranges(&texts).expect("ranges")),
        worker_lease: time("lease"),
        replication: ReplicationWishes {
            replace_after: time("replace"),
            forget_after: time("forget"),
            rehome_after: time("rehome").map(Rehoming::After),
            ..ReplicationWishes::default()
        },
    }
}

fn id(text: &str) -> WorkerId {
    let (name, run) = text.split_once('@').expect("NAME@RUN");
    let incarnation = Incarnation(u64::from_str_radix(run, 16).expect("hex digits"));
    WorkerId { name: name.parse().expect("a worker's name"), incarnation }
}

fn registration(who: &str, words: &str) -> Register {
    let mut words = named(words);
    let shards = words.remove("shards").map_or(4, |text| text.parse().expect("a number"));
    let cluster = words.remove("cluster").map(|text| text.parse().expect("32 hex digits"));
    let id = id(who);
    let addresses = words.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (name, incarnation) = (id.name, id.incarnation);
    Register { name, incarnation, addresses: addresses.collect(), shards, cluster }
}

fn proposal(world: &World, verb: &str, words: &str) -> Proposal {
    let mut words = words.splitn(3, ' ');
    let by = id(words.next().expect("who claims"));
    let (group, number) = words.next().and_then(|text| text.split_once('/')).expect("G/P");
    let number = number.parse().expect("a number");
    let partition = PartitionId { group: GroupId(group.parse().expect("a number")), number };
    let given = named(words.next().unwrap_or(""));
    let row = world.registry.map().partitions.iter().find(|row| row.id == partition);
    let rev = row.map(|row| row.rev).unwrap_or_default();
    let epoch = row.map_or(0, |row| row.epoch.0);
    let (old_primary, old_isr) = match (verb, row) {
        ("propose", Some(row)) => (row.primary.clone(), row.isr.clone()),
        _ => (None, vec![by.clone()]),
    };
    let as_given = |text: &&str| match *text {
        "next" => epoch + 1,
        text => text.parse().expect("a number"),
    };
    let own_epoch = if verb == "claim" { epoch + 1 } else { epoch };
    let ids = |text: &&str| text.split(',').filter(|one| !one.is_empty()).map(id).collect();
    Proposal {
        partition,
        rev: given.get("rev").map_or(rev, |text| text.parse().expect("a map version")),
        epoch: Epoch(given.get("epoch").map_or(own_epoch, as_given)),
        primary: given.get("primary").map_or(old_primary.unwrap_or(by.clone()), |text| id(text)),
        isr: given.get("isr").map_or(old_isr, ids),
        kept: given.get("kept").map(|text| kept(text)),
        by,
    }
}

fn kept(text: &str) -> Kept {
    let (epoch, sequence) = text.split_once('/').expect("EPOCH/SEQUENCE");
    let number = |text: &str| text.parse::<u32>().expect("a number");
    Kept { epoch: Epoch(number(epoch)), sequence: number(sequence).into() }
}
