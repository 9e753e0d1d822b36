//! What can go wrong, and what goes wrong next. Pure: drawn from a seed.

use std::fmt;
use std::time::Duration;

use super::network::Rule;
use crate::choices::Choices;

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and a start after this time.
    Kill(String, Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Stop(String, Duration),
    /// SIGTERM, and a start when it has ended.
    Terminate(String),
    /// A new worker joins.
    Join,
    /// A worker is drained, stopped and started again.
    Drain(String),
    /// A worker is drained, stopped and forgotten.
    Remove(String),
    /// kill -9 of the uplink, and a start after this time.
    UplinkKill(Duration),
    /// A change of the map that changes nothing else.
    Patch,
    /// Every connection between two workers breaks, once.
    Break(String, String),
    /// The network does something for a time.
    Network(Trouble, Duration),
}

/// Something the network does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing gets from the first to the second.
    OneWay(String, String),
    /// Nothing gets from either to the other.
    TwoWays(String, String),
    /// Connections between two break, and new ones are refused.
    Refused(String, String),
    /// A worker reaches nobody, and nobody it, but clients.
    Isolated(String),
    /// What two workers say to each other is late by this much.
    Late(String, String, Duration),
    /// This many bytes a second pass between two workers.
    Slow(String, String, u32),
    /// Nobody reaches the uplink.
    UplinkCut,
    /// One worker does not reach the uplink.
    UplinkCutFor(String),
    /// Proposals arrive, and their verdicts are lost.
    VerdictsLost,
    /// What a worker and the uplink say to each other is late by this much.
    UplinkLate(String, Duration),
}

impl Fault {
    /// What is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(..) => "kill -9",
            Self::Stop(..) => "SIGSTOP",
            Self::Terminate(_) => "SIGTERM",
            Self::Join => "join",
            Self::Drain(_) => "drain",
            Self::Remove(_) => "drain for good",
            Self::UplinkKill(_) => "uplink kill -9",
            Self::Patch => "patch",
            Self::Break(..) => "connections broken",
            Self::Network(trouble, _) => trouble.kind(),
        }
    }

    /// Whether it ends a worker, or may do so: then every partition has to have all its copies before.
    pub fn ends_a_worker(&self) -> bool {
        use Fault::{Drain, Kill, Remove, Terminate};
        matches!(self, Kill(..) | Terminate(_) | Drain(_) | Remove(_))
    }
}

impl Trouble {
    fn kind(&self) -> &'static str {
        match self {
            Self::OneWay(..) => "one-way cut",
            Self::TwoWays(..) => "two-way cut",
            Self::Refused(..) => "connections refused",
            Self::Isolated(_) => "isolation",
            Self::Late(..) => "delay",
            Self::Slow(..) => "throttle",
            Self::UplinkCut => "uplink cut",
            Self::UplinkCutFor(_) => "uplink cut for one",
            Self::VerdictsLost => "verdicts lost",
            Self::UplinkLate(..) => "uplink delay",
        }
    }

    /// What it means for each direction between two processes, of `workers` and [`super::network::UPLINK`].
    pub fn rules(&self, workers: &[String]) -> Vec<(String, String, Rule)> {
        let hold = Rule { hold: true, ..Rule::default() };
        let late = |delay: &Duration| Rule { delay: *delay, ..Rule::default() };
        let uplink = super::network::UPLINK.to_owned();
        let both = |one: &String, other: &String, rule: &Rule| {
            let direction = |a: &String, b: &String| (a.clone(), b.clone(), rule.clone());
            vec![direction(one, other), direction(other, one)]
        };
        let with_uplink = |worker: &String| both(worker, &uplink, &hold);
        match self {
            Self::OneWay(from, to) => vec![(from.clone(), to.clone(), hold)],
            Self::TwoWays(one, other) => both(one, other, &hold),
            Self::Refused(one, other) => {
                both(one, other, &Rule { refuse: true, ..Rule::default() })
            }
            Self::Isolated(alone) => {
                let others = workers.iter().filter(|worker| *worker != alone).chain([&uplink]);
                others.flat_map(|other| both(alone, other, &hold)).collect()
            }
            Self::Late(one, other, delay) => both(one, other, &late(delay)),
            Self::Slow(one, other, pace) => {
                both(one, other, &Rule { bytes_per_second: Some(*pace), ..Rule::default() })
            }
            Self::UplinkCut => workers.iter().flat_map(with_uplink).collect(),
            Self::UplinkCutFor(worker) => with_uplink(worker),
            Self::VerdictsLost => {
                let rule = Rule { lose_verdicts: true, ..Rule::default() };
                let to_uplink = |worker: &String| (worker.clone(), uplink.clone(), rule.clone());
                workers.iter().map(to_uplink).collect()
            }
            Self::UplinkLate(worker, delay) => both(worker, &uplink, &late(delay)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Kill(name, away) => write!(f, "{kind} of {name}, back after {away:.1?}"),
            Self::Stop(name, time) => write!(f, "{kind} of {name} for {time:.1?}"),
            Self::Terminate(name) | Self::Drain(name) | Self::Remove(name) => {
                write!(f, "{kind}: {name}")
            }
            Self::UplinkKill(time) => write!(f, "{kind}, back after {time:.1?}"),
            Self::Join | Self::Patch => f.write_str(kind),
            Self::Break(one, other) => write!(f, "{kind} between {one} and {other}"),
            Self::Network(trouble, time) => write!(f, "{kind} for {time:.1?}: {trouble:?}"),
        }
    }
}

/// The workers faults are drawn for.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'w> {
    /// Those that run, two at least.
    pub up: &'w [String],
    /// Whether another may join.
    pub may_join: bool,
    /// Whether one may be removed.
    pub may_remove: bool,
}

/// Draws a fault.
pub fn draw(choices: &mut Choices, scene: Scene<'_>) -> Fault {
    let at = choices.below(scene.up.len() as u64) as usize;
    let other = (at + 1 + choices.below(scene.up.len() as u64 - 1) as usize) % scene.up.len();
    let (one, other) = (scene.up[at].clone(), scene.up[other].clone());
    let mut between = |low, high| Duration::from_millis(choices.between(low, high) as u64);
    let (away, short, long) = (between(0, 4_000), between(100, 5_000), between(500, 7_000));
    let (delay, uplink_delay) = (between(5, 300), between(100, 2_500));
    let pace = choices.between(20_000, 500_000) as u32;
    let network = |trouble| Fault::Network(trouble, long);
    match choices.below(100) {
        0..18 => Fault::Kill(one, away),
        18..28 => Fault::Stop(one, short),
        28..36 => Fault::Terminate(one),
        36..42 => network(Trouble::OneWay(one, other)),
        42..48 => network(Trouble::TwoWays(one, other)),
        48..52 => network(Trouble::Refused(one, other)),
        52..58 => network(Trouble::Isolated(one)),
        58..62 => network(Trouble::Late(one, other, delay)),
        62..66 => network(Trouble::Slow(one, other, pace)),
        66..70 => Fault::UplinkKill(long),
        70..73 => network(Trouble::UplinkCut),
        73..76 => network(Trouble::UplinkCutFor(one)),
        76..80 => network(Trouble::VerdictsLost),
        80..83 => network(Trouble::UplinkLate(one, uplink_delay)),
        83..87 => Fault::Break(one, other),
        87..92 if scene.may_join => Fault::Join,
        87..92 if scene.may_remove => Fault::Remove(one),
        87..95 => Fault::Drain(one),
        _ => Fault::Patch,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_drawn_and_the_same_seed_draws_the_same() {
        let up = ["w1", "w2", "w3"].map(str::to_owned);
        let scene = |may_join| Scene { up: &up, may_join, may_remove: true };
        let drawn = |seed| {
            let mut choices = Choices(seed);
            let fault = |round| draw(&mut choices, scene(round % 2 == 0));
            (0..500).map(fault).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let kinds: BTreeSet<_> = drawn(1).iter().map(Fault::kind).collect();
        assert_eq!(kinds.len(), 19, "{kinds:?}");
    }

    #[test]
    fn a_one_way_cut_is_one_way_and_an_isolated_worker_reaches_nobody() {
        let workers = ["w1", "w2", "w3"].map(str::to_owned);
        let [one, other, _] = workers.clone();
        let cut = |trouble: Trouble| -> BTreeSet<(String, String)> {
            let held = trouble.rules(&workers).into_iter().filter(|(.., rule)| rule.hold);
            held.map(|(from, to, _)| (from, to)).collect()
        };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(cut(Trouble::OneWay(one.clone(), other)), [pair("w1", "w2")].into());
        let around = ["w2", "w3", "uplink"].map(|other| [pair("w1", other), pair(other, "w1")]);
        assert_eq!(cut(Trouble::Isolated(one)), around.concat().into_iter().collect());
    }
}
