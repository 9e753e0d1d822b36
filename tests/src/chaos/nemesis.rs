//! Who makes the faults, and takes them back.
//!
//! Two faults at most are in force at a time, and no two concern the same connections. What ends a worker is done only to
//! a cluster in which every partition has all its copies, and what the network does to proposals is over by then: a
//! removal still on its way could make the worker that is ended the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::fault::{Fault, Scene, Trouble, draw};
use super::fleet::Fleet;
use super::member::{Afterwards, Condition, Member};
use super::network::{Rule, UPLINK};
use crate::choices::Choices;

/// Faults in force at once.
const ACTIVE_MAX: usize = 2;
/// How long a cluster may take to have all its copies before another fault is chosen.
const WHOLE_PATIENCE: Duration = Duration::from_secs(15);
/// How long a worker that was told to stop may be disturbed. It ends after its `DRAIN_TIMEOUT` whether or not it could
/// hand over, so it is left most of that.
const DISTURB: Duration = Duration::from_secs(3);
/// How often everybody is looked after.
const TICK: Duration = Duration::from_millis(50);

/// What is to be done when a fault is over.
#[derive(Debug)]
enum Undo {
    Continue(String),
    StartUplink,
    /// The rules of these directions.
    Heal(Vec<(String, String)>),
}

#[derive(Debug)]
struct Active {
    until: Instant,
    undo: Undo,
}

/// See the module's page.
pub struct Nemesis<'f> {
    fleet: &'f mut Fleet,
    choices: Choices,
    workers_max: usize,
    workers_min: usize,
    active: Vec<Active>,
    /// Faults made, by kind.
    pub counts: BTreeMap<&'static str, u64>,
    say: Box<dyn FnMut(&str) + 'f>,
}

impl<'f> Nemesis<'f> {
    /// One that draws from `seed` and tells of each fault.
    pub fn new(fleet: &'f mut Fleet, seed: u64, say: impl FnMut(&str) + 'f) -> Self {
        let workers_min = fleet.members.len();
        Self {
            fleet,
            choices: Choices(seed),
            workers_min,
            workers_max: workers_min + 2,
            active: Vec::new(),
            counts: BTreeMap::new(),
            say: Box::new(say),
        }
    }

    /// Makes faults until `end`, then takes everything back.
    pub fn rage(&mut self, end: Instant) {
        while Instant::now() < end {
            let pause = Duration::from_millis(self.choices.between(100, 2_000) as u64);
            self.wait(end.min(Instant::now() + pause));
            if self.active.len() < ACTIVE_MAX {
                self.strike(end);
            }
        }
        while let Some(active) = self.active.pop() {
            self.undo(active.undo);
        }
        self.fleet.network.heal();
    }

    /// Looks after everybody, and ends what is over, until `end`.
    fn wait(&mut self, end: Instant) {
        loop {
            self.tick();
            if Instant::now() >= end {
                return;
            }
            std::thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    fn tick(&mut self) {
        self.fleet.poll();
        let now = Instant::now();
        while let Some(at) = self.active.iter().position(|active| active.until <= now) {
            let active = self.active.remove(at);
            self.undo(active.undo);
        }
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Continue(name) => self.fleet.set_stopped(&name, false),
            Undo::StartUplink => self.fleet.set_uplink(true),
            Undo::Heal(directions) => {
                for (from, to) in directions {
                    self.fleet.network.set(&from, &to, Rule::default());
                    if from == UPLINK || to == UPLINK {
                        // What is still on its way to the uplink never arrives: see the module's page.
                        self.fleet.network.break_between(&from, &to);
                    }
                }
            }
        }
    }

    /// One fault, if what is drawn can be done now.
    fn strike(&mut self, end: Instant) {
        let up: Vec<String> = self.names(|condition| condition == Condition::Up);
        if up.len() < 2 || self.fleet.members.values().any(is_leaving_in_peace) {
            return;
        }
        let count = self.fleet.members.len();
        let scene = Scene {
            up: &up,
            may_join: count < self.workers_max,
            may_remove: count > self.workers_min,
        };
        let fault = draw(&mut self.choices, scene);
        if fault.ends_a_worker() && !self.becomes_whole(end) {
            return;
        }
        match self.make(&fault) {
            Ok(()) => {
                *self.counts.entry(fault.kind()).or_default() += 1;
                (self.say)(&fault.to_string());
            }
            Err(why) => (self.say)(&format!("(not done: {fault}: {why})")),
        }
    }

    /// Waits until every partition has all its copies and nothing is in force.
    fn becomes_whole(&mut self, end: Instant) -> bool {
        let end = end.min(Instant::now() + WHOLE_PATIENCE);
        while Instant::now() < end {
            self.wait(Instant::now() + 4 * TICK);
            if self.active.is_empty() && self.fleet.is_whole() {
                return true;
            }
        }
        false
    }

    fn names(&self, which: impl Fn(Condition) -> bool) -> Vec<String> {
        let members = self.fleet.members.iter();
        members
            .filter(|(_, member)| which(member.condition))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn make(&mut self, fault: &Fault) -> Result<(), &'static str> {
        let fleet = &mut *self.fleet;
        match fault {
            Fault::Kill(name, away) => fleet.kill(name, *away),
            Fault::Terminate(name) => {
                fleet.terminate(name);
                Ok(())
            }
            Fault::Drain(name) => fleet.drain(name, Afterwards::Return),
            Fault::Remove(name) => fleet.drain(name, Afterwards::StayAway),
            Fault::Join => {
                fleet.join();
                Ok(())
            }
            Fault::Patch => fleet.touch_table("loose"),
            Fault::Break(one, other) => {
                fleet.network.break_between(one, other);
                Ok(())
            }
            Fault::Stop(name, time) => {
                fleet.set_stopped(name, true);
                self.later(*time, Undo::Continue(name.clone()));
                Ok(())
            }
            Fault::UplinkKill(time) => self.kill_uplink(*time),
            Fault::Network(trouble, time) => self.trouble(trouble, *time),
        }
    }

    fn later(&mut self, time: Duration, undo: Undo) {
        self.active.push(Active { until: Instant::now() + time, undo });
    }

    fn kill_uplink(&mut self, time: Duration) -> Result<(), &'static str> {
        if !self.fleet.uplink_runs() {
            return Err("it is away already");
        }
        self.fleet.set_uplink(false);
        self.later(time, Undo::StartUplink);
        Ok(())
    }

    fn trouble(&mut self, trouble: &Trouble, time: Duration) -> Result<(), &'static str> {
        let names = self.names(|_| true);
        let rules = trouble.rules(&names);
        let pairs = |directions: &[(String, String)]| -> BTreeSet<(String, String)> {
            let sorted = |(a, b): &(String, String)| (a.min(b).clone(), a.max(b).clone());
            directions.iter().map(sorted).collect()
        };
        let directions: Vec<_> =
            rules.iter().map(|(from, to, _)| (from.clone(), to.clone())).collect();
        let wanted = pairs(&directions);
        let taken = self.active.iter().any(|active| match &active.undo {
            Undo::Heal(directions) => !pairs(directions).is_disjoint(&wanted),
            _ => false,
        });
        if taken {
            return Err("the network does something there already");
        }
        for (from, to, rule) in rules {
            let refused = rule.refuse;
            self.fleet.network.set(&from, &to, rule);
            if refused {
                self.fleet.network.break_between(&from, &to);
            }
        }
        self.later(time, Undo::Heal(directions));
        Ok(())
    }
}

fn is_leaving_in_peace(member: &Member) -> bool {
    member.condition == Condition::Leaving && member.since.elapsed() > DISTURB
}
