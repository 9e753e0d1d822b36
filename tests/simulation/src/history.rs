//! What clients saw, for the checkers.

use std::collections::BTreeMap;

use firn_tests::linearizability::{self, Kind, Operation};
use firn_wire::ids::TableId;
use firn_wire::reply::Reply;

use crate::question::{Action, Question};

/// Steps of the search for one key before it gives up.
const STEPS_MAX: usize = 2_000_000;
/// Operations of one register that may stay open.
const OPEN_MAX: usize = 10;

/// A key of a table.
pub type Key = (TableId, Vec<u8>);

/// What an increment gave, or what a counter was seen to be; None: not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    call: u64,
    ret: Option<u64>,
    value: i64,
    is_read: bool,
}

/// The operations on keys whose writes wait for all copies.
#[derive(Debug, Default)]
pub struct History {
    registers: Vec<Operation<Key, Vec<u8>>>,
    counters: BTreeMap<Key, Vec<Counted>>,
    /// Operations on each register that stay open to the end.
    open: BTreeMap<Key, usize>,
}

/// A reply that its question cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd(pub String);

impl History {
    /// An operation on a counter or register was answered.
    pub fn answered(
        &mut self,
        question: &Question,
        (call, ret): (u64, u64),
        reply: &Reply<'_>,
    ) -> Result<(), Odd> {
        let odd = || Odd(format!("{:?} was answered {reply:?}", question.action));
        let key = (question.table, question.key.clone());
        if is_counter(&question.key) {
            let (value, is_read) = counted(reply).ok_or_else(odd)?;
            let counted = Counted { call, ret: Some(ret), value, is_read };
            self.counters.entry(key).or_default().push(counted);
            return Ok(());
        }
        let kind = kind_of(&question.action, reply).ok_or_else(odd)?;
        self.note_end(question, call, matches!(kind, Kind::Write(Some(_))));
        self.registers.push(Operation { key, call, ret: Some(ret), kind });
        Ok(())
    }

    /// A write's fate is unknown.
    pub fn unknown(&mut self, question: &Question, call: u64) {
        let key = (question.table, question.key.clone());
        if is_counter(&question.key) {
            let counted = Counted { call, ret: None, value: 0, is_read: false };
            self.counters.entry(key).or_default().push(counted);
            return;
        }
        let kind = match &question.action {
            Action::Get | Action::GetRange | Action::GetExpire | Action::Increment => return,
            Action::Set { new, .. } => Kind::Write(Some(new.clone())),
            Action::SetAbsent { new } => {
                Kind::Cas { expect: None, new: Some(new.clone()), done: true }
            }
            Action::SetEqual { expect, new } => {
                Kind::Cas { expect: Some(expect.clone()), new: Some(new.clone()), done: true }
            }
            Action::Swap { new } => Kind::Swap { old: None, new: Some(new.clone()) },
            Action::Delete => Kind::Remove { found: true },
        };
        self.note_end(question, call, true);
        self.push_open(key, call, kind);
    }

    /// Whether a register has as many open operations as it may: with each the search may take twice as long.
    pub fn is_open_enough(&self, table: TableId, key: &[u8]) -> bool {
        self.open.get(&(table, key.to_vec())).is_some_and(|open| *open >= OPEN_MAX)
    }

    fn push_open(&mut self, key: Key, call: u64, kind: Kind<Vec<u8>>) {
        *self.open.entry(key.clone()).or_default() += 1;
        self.registers.push(Operation { key, call, ret: None, kind });
    }

    /// A value with an expiry goes at some moment after it came, or not before the end: a deletion of just this value, of
    /// unknown fate.
    fn note_end(&mut self, question: &Question, call: u64, is_written: bool) {
        if let Action::Set { new, ttl_ms: Some(_) } = &question.action
            && is_written
        {
            let key = (question.table, question.key.clone());
            let kind = Kind::Cas { expect: Some(new.clone()), new: None, done: true };
            self.push_open(key, call, kind);
        }
    }

    /// What no register and no counter can have done; and for how many keys that could not be found out.
    pub fn check(self) -> (Vec<(Key, String)>, usize) {
        let report = linearizability::check(self.registers, STEPS_MAX);
        let mut wrong = Vec::new();
        for violation in &report.violations {
            let name = shown(&violation.key);
            let what = format!("history: {name} is no register: {:?}", violation.stuck);
            wrong.push((violation.key.clone(), what));
        }
        for (key, counted) in &self.counters {
            if let Err(why) = check_counter(counted) {
                wrong.push((key.clone(), format!("history: {} is no counter: {why}", shown(key))));
            }
        }
        (wrong, report.gave_up.len())
    }
}

fn shown((table, key): &Key) -> String {
    format!("{} of table {}", String::from_utf8_lossy(key), table.0)
}

/// Whether a key is only incremented and read.
pub fn is_counter(key: &[u8]) -> bool {
    key.starts_with(b"c")
}

fn counted(reply: &Reply<'_>) -> Option<(i64, bool)> {
    match reply {
        Reply::Number { value, .. } => Some((*value, false)),
        Reply::Nil => Some((0, true)),
        Reply::Value(value) if value.bytes.is_empty() => Some((0, true)),
        Reply::Value(value) => Some((std::str::from_utf8(value.bytes).ok()?.parse().ok()?, true)),
        _ => None,
    }
}

fn kind_of(action: &Action, reply: &Reply<'_>) -> Option<Kind<Vec<u8>>> {
    let owned = |bytes: &[u8]| bytes.to_vec();
    Some(match (action, reply) {
        (Action::Get | Action::GetExpire, Reply::Nil) => Kind::Read(None),
        (Action::Get | Action::GetExpire, Reply::Value(value)) => {
            Kind::Read(Some(owned(value.bytes)))
        }
        (Action::GetRange, Reply::Value(value)) => {
            Kind::Read(value.version.map(|_| owned(value.bytes)))
        }
        (Action::Set { new, .. }, Reply::Written { .. }) => Kind::Write(Some(new.clone())),
        (Action::SetAbsent { new }, Reply::Written { .. }) => {
            Kind::Cas { expect: None, new: Some(new.clone()), done: true }
        }
        (Action::SetAbsent { new }, Reply::NotMet { .. }) => {
            Kind::Cas { expect: None, new: Some(new.clone()), done: false }
        }
        (Action::SetEqual { expect, new }, reply) => Kind::Cas {
            expect: Some(expect.clone()),
            new: Some(new.clone()),
            done: match reply {
                Reply::Written { .. } => true,
                Reply::NotMet { .. } => false,
                _ => return None,
            },
        },
        (Action::Swap { new }, Reply::Written { old, .. }) => {
            Kind::Swap { old: old.map(owned), new: Some(new.clone()) }
        }
        (Action::Delete, Reply::Deleted { .. }) => Kind::Remove { found: true },
        (Action::Delete, Reply::Nil) => Kind::Remove { found: false },
        _ => return None,
    })
}

/// Whether answers could be those of a counter that each increment raises by one, once: a linear check, since every value
/// of a counter is there once.
fn check_counter(counted: &[Counted]) -> Result<(), String> {
    let mut answered: Vec<&Counted> = counted.iter().filter(|c| c.ret.is_some()).collect();
    answered.sort_by_key(|c| (c.value, c.is_read));
    for pair in answered.windows(2) {
        if pair[0].value == pair[1].value && !pair[1].is_read {
            return Err(format!("two increments gave {}", pair[0].value));
        }
    }
    // From the highest value down: nothing higher was answered before this was asked.
    let mut earliest_end = u64::MAX;
    let mut at = answered.len();
    while at > 0 {
        let value = answered[at - 1].value;
        let first = answered[..at].iter().rposition(|c| c.value != value).map_or(0, |p| p + 1);
        let same = &answered[first..at];
        if let Some(late) = same.iter().find(|c| c.call > earliest_end) {
            return Err(format!("{value} was given at {:?} after a higher one", late.ret));
        }
        check_reads_follow(same)?;
        let ends = same.iter().filter_map(|c| c.ret);
        earliest_end = earliest_end.min(ends.min().unwrap_or(u64::MAX));
        at = first;
    }
    let asked_before = |end: u64| counted.iter().filter(|c| !c.is_read && c.call < end).count();
    match answered.iter().find(|c| c.value > asked_before(c.ret.unwrap_or(0)) as i64) {
        Some(c) => Err(format!("{} was given when fewer increments had been asked for", c.value)),
        None => Ok(()),
    }
}

/// A value is not read before the increment that makes it is asked for.
fn check_reads_follow(same: &[&Counted]) -> Result<(), String> {
    let Some(made) = same.iter().find(|c| !c.is_read) else { return Ok(()) };
    match same.iter().find(|c| c.is_read && c.ret.is_some_and(|end| end < made.call)) {
        Some(read) => Err(format!("{} was read before it was made", read.value)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(call: u64, ret: u64, value: i64, is_read: bool) -> Counted {
        Counted { call, ret: Some(ret), value, is_read }
    }

    #[test]
    fn a_counter_counts_each_increment_once() {
        let good = [counted(1, 4, 1, false), counted(2, 3, 2, false), counted(5, 6, 2, true)];
        assert_eq!(check_counter(&good), Ok(()));
        let twice = [counted(1, 2, 1, false), counted(3, 4, 1, false)];
        assert!(check_counter(&twice).unwrap_err().contains("two increments"));
        let stale = [counted(1, 2, 1, false), counted(3, 4, 2, false), counted(5, 6, 1, true)];
        assert!(check_counter(&stale).unwrap_err().contains("after a higher"));
        let lost = [counted(1, 2, 1, false), counted(3, 4, 0, true)];
        assert!(check_counter(&lost).unwrap_err().contains("after a higher"));
        let invented = [counted(1, 2, 1, false), counted(3, 4, 3, false)];
        assert!(check_counter(&invented).unwrap_err().contains("fewer increments"));
        let early = [counted(1, 2, 1, true), counted(3, 4, 1, false)];
        assert!(check_counter(&early).is_err());
    }

    #[test]
    fn an_increment_of_unknown_fate_may_count_once() {
        let open = Counted { call: 1, ret: None, value: 0, is_read: false };
        assert_eq!(check_counter(&[open, counted(2, 3, 2, false)]), Ok(()));
        assert_eq!(check_counter(&[open, counted(2, 3, 1, false)]), Ok(()));
        assert!(check_counter(&[open, counted(2, 3, 3, false)]).is_err());
    }
}
