//! The search for an order: depth first over what has taken effect so far, each such place visited once.
//!
//! What keeps it small, each without loss (L is any right order of what is left):
//! - An operation that holds now and never changes anything is taken at once: moved to the front of L, it leaves L right.
//!   A write of what the register has already is none of these: in L it may stand where it undoes another.
//! - An open operation is taken only where the next one needs it. One that the next does not need can change places with
//!   it, or be left out when the next one overwrites it; one at the end can be left out.
//! - Of open operations that do the same, the one called first is taken: it may stand wherever another may.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use super::{Kind, Operation};

/// A value's number within one history; [`ABSENT`] is no entry.
type Value = u32;

const ABSENT: Value = 0;

/// What a check of one key found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<V> {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    Violation(Stuck<V>),
    /// The bound was reached before either was known.
    GaveUp,
}

/// The furthest a search came that found no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck<V> {
    /// Answered operations that could be explained.
    pub explained: usize,
    /// What the register has then.
    pub value: Option<V>,
    /// The answered operations of which one has to be next and none can: call, return and what was answered.
    pub next: Vec<(u64, u64, Kind<V>)>,
}

/// What the register must have for an operation to have been answered as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guard {
    Any,
    Is(Value),
    Not(Value),
}

impl Guard {
    fn presence(found: bool) -> Self {
        if found { Self::Not(ABSENT) } else { Self::Is(ABSENT) }
    }
}

/// What an answer says: what the register had, and has since. None: it has what it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    guard: Guard,
    then: Option<Value>,
}

impl Step {
    fn holds(self, value: Value) -> bool {
        match self.guard {
            Guard::Any => true,
            Guard::Is(needed) => value == needed,
            Guard::Not(barred) => value != barred,
        }
    }

    /// Whether the register has afterwards what it had, wherever it holds.
    fn is_still(self) -> bool {
        match (self.guard, self.then) {
            (_, None) => true,
            (Guard::Is(value), Some(then)) => value == then,
            _ => false,
        }
    }

    fn after(self, value: Value) -> Value {
        self.then.unwrap_or(value)
    }
}

/// An operation that was answered.
#[derive(Debug)]
struct Known {
    call: u64,
    ret: u64,
    step: Step,
    /// Its place in the history.
    place: usize,
}

/// Operations that were not answered and would do the same, by their calls in order.
#[derive(Debug)]
struct Open {
    step: Step,
    calls: Vec<u64>,
}

/// A place in the search: what has taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Config {
    /// All answered operations below it have.
    low: usize,
    /// And these, ascending, above it.
    ahead: Vec<usize>,
    /// Of each kind of open ones as many as this, the first called; kinds of which none has are left out.
    open: Vec<(usize, usize)>,
    /// What the register has.
    value: Value,
    /// What it had before the open operation that came last; None: the last one was no open one. The next one must not
    /// hold with it.
    before: Option<Value>,
}

/// One key's history, made ready.
#[derive(Debug)]
pub(super) struct Search<'a, K, V> {
    history: &'a [Operation<K, V>],
    values: Vec<&'a V>,
    /// By call.
    known: Vec<Known>,
    open: Vec<Open>,
}

impl<'a, K, V: Eq + Hash + Clone> Search<'a, K, V> {
    pub(super) fn new(history: &'a [Operation<K, V>]) -> Self {
        let mut numbers = Numbers::default();
        let mut known = Vec::new();
        let mut open: BTreeMap<Step, Vec<u64>> = BTreeMap::new();
        for (place, Operation { call, ret, kind, .. }) in history.iter().enumerate() {
            let Some(step) = numbers.step(kind, ret.is_some()) else { continue };
            match *ret {
                Some(ret) => {
                    assert!(*call <= ret, "called at {call}, returned at {ret}");
                    known.push(Known { call: *call, ret, step, place });
                }
                None => open.entry(step).or_default().push(*call),
            }
        }
        known.sort_by_key(|known| (known.call, known.ret));
        let sorted = |(step, mut calls): (Step, Vec<u64>)| {
            calls.sort_unstable();
            Open { step, calls }
        };
        let open = open.into_iter().map(sorted).collect();
        Self { history, values: numbers.values, known, open }
    }

    pub(super) fn run(&self, steps_max: usize) -> Verdict<V> {
        let start =
            Config { low: 0, ahead: Vec::new(), open: Vec::new(), value: ABSENT, before: None };
        let mut furthest = start.clone();
        let (mut seen, mut left) = (HashSet::new(), vec![start]);
        while let Some(config) = left.pop() {
            if config.low == self.known.len() {
                return Verdict::Linearizable;
            }
            if !seen.insert(config.clone()) {
                continue;
            }
            if seen.len() > steps_max {
                return Verdict::GaveUp;
            }
            if config.before.is_none() && config.explained() > furthest.explained() {
                furthest = config.clone();
            }
            self.push_next(&config, &mut left);
        }
        Verdict::Violation(self.stuck(&furthest))
    }

    /// Pushes the places one step further; what is to be tried first comes last.
    fn push_next(&self, config: &Config, left: &mut Vec<Config>) {
        let (candidates, until) = self.candidates(config);
        let fits = |step: Step| {
            step.holds(config.value) && !config.before.is_some_and(|before| step.holds(before))
        };
        let (fitting, barred): (Vec<usize>, Vec<usize>) =
            candidates.into_iter().partition(|at| fits(self.known[*at].step));
        if let Some(at) = fitting.iter().find(|at| self.known[**at].step.is_still()) {
            left.push(config.with_known(*at, self.known[*at].step));
            return;
        }
        let open = self.open_candidates(config, until);
        let mut needs: Vec<Step> = barred.iter().map(|at| self.known[*at].step).collect();
        needs.extend(open.iter().map(|kind| self.open[*kind].step));
        needs.retain(|need| !need.holds(config.value));
        for kind in open {
            let step = self.open[kind].step;
            if fits(step) && needs.iter().any(|need| need.holds(step.after(config.value))) {
                left.push(config.with_open(kind, step));
            }
        }
        left.extend(fitting.iter().rev().map(|at| config.with_known(*at, self.known[*at].step)));
    }

    /// The kinds of open operations of which one may come next.
    fn open_candidates(&self, config: &Config, until: u64) -> Vec<usize> {
        let called = |kind: &usize| {
            let call = self.open[*kind].calls.get(config.used(*kind));
            call.is_some_and(|call| *call <= until)
        };
        (0..self.open.len()).filter(called).collect()
    }

    /// The answered operations that may come next, and the time before which whatever comes next was called: the first
    /// return of what is left.
    fn candidates(&self, config: &Config) -> (Vec<usize>, u64) {
        let (mut found, mut until) = (Vec::new(), u64::MAX);
        for at in config.low..self.known.len() {
            let known = &self.known[at];
            if known.call > until {
                break;
            }
            if config.ahead.binary_search(&at).is_err() {
                until = until.min(known.ret);
                found.push(at);
            }
        }
        (found, until)
    }

    fn stuck(&self, config: &Config) -> Stuck<V> {
        let answered = |at: usize| {
            let known = &self.known[at];
            (known.call, known.ret, self.history[known.place].kind.clone())
        };
        let value = config.value.checked_sub(1).map(|at| self.values[at as usize].clone());
        let next = self.candidates(config).0.into_iter().map(answered).collect();
        Stuck { explained: config.explained(), value, next }
    }
}

impl Config {
    /// Answered operations that have taken effect.
    fn explained(&self) -> usize {
        self.low + self.ahead.len()
    }

    /// How many open operations of a kind have taken effect.
    fn used(&self, kind: usize) -> usize {
        self.open.iter().find(|(of, _)| *of == kind).map_or(0, |(_, used)| *used)
    }

    fn with_known(&self, at: usize, step: Step) -> Self {
        let mut next = Self { value: step.after(self.value), before: None, ..self.clone() };
        let place = next.ahead.partition_point(|other| *other < at);
        next.ahead.insert(place, at);
        let settled = (next.low..).zip(&next.ahead).take_while(|(low, at)| low == *at).count();
        next.low += settled;
        next.ahead.drain(..settled);
        next
    }

    fn with_open(&self, kind: usize, step: Step) -> Self {
        let (value, before) = (step.after(self.value), Some(self.value));
        let mut next = Self { value, before, ..self.clone() };
        match next.open.binary_search_by_key(&kind, |(of, _)| *of) {
            Ok(place) => next.open[place].1 += 1,
            Err(place) => next.open.insert(place, (kind, 1)),
        }
        next
    }
}

/// Values in the order they were first met; the first has number 1.
struct Numbers<'a, V> {
    values: Vec<&'a V>,
    by_value: HashMap<&'a V, Value>,
}

impl<V> Default for Numbers<'_, V> {
    fn default() -> Self {
        Self { values: Vec::new(), by_value: HashMap::new() }
    }
}

impl<'a, V: Eq + Hash> Numbers<'a, V> {
    fn number(&mut self, value: &'a Option<V>) -> Value {
        let Some(value) = value else { return ABSENT };
        *self.by_value.entry(value).or_insert_with(|| {
            self.values.push(value);
            Value::try_from(self.values.len()).expect("a history fits into memory")
        })
    }

    /// What an answer says, or what an operation without one would do; None: nothing to be checked.
    fn step(&mut self, kind: &'a Kind<V>, answered: bool) -> Option<Step> {
        let step = |guard, then| Some(Step { guard, then });
        match (kind, answered) {
            (Kind::Read(value), true) => step(Guard::Is(self.number(value)), None),
            (Kind::Read(_), false) => None,
            (Kind::Write(value), _) => step(Guard::Any, Some(self.number(value))),
            (Kind::Cas { expect, done: false, .. }, true) => {
                step(Guard::Not(self.number(expect)), None)
            }
            (Kind::Cas { expect, new, .. }, _) => {
                step(Guard::Is(self.number(expect)), Some(self.number(new)))
            }
            (Kind::Remove { found }, true) => step(Guard::presence(*found), Some(ABSENT)),
            (Kind::Remove { .. }, false) => step(Guard::Any, Some(ABSENT)),
            (Kind::Put { new, found }, true) => {
                step(Guard::presence(*found), Some(self.number(new)))
            }
            (Kind::Put { new, .. }, false) => step(Guard::Any, Some(self.number(new))),
            (Kind::Swap { old, new }, true) => {
                step(Guard::Is(self.number(old)), Some(self.number(new)))
            }
            (Kind::Swap { new, .. }, false) => step(Guard::Any, Some(self.number(new))),
        }
    }
}
