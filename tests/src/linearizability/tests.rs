//! The checker against two others that know none of its short cuts, and against histories that people can check.

use proptest::prelude::*;
use todc_utils::{Action, History, Specification, WGLChecker};

use super::*;

const STEPS_MAX: usize = 1_000_000;

type Op = Operation<u8, u8>;

fn op(call: u64, ret: u64, kind: Kind<u8>) -> Op {
    Operation { key: 0, call, ret: Some(ret), kind }
}

fn open(call: u64, kind: Kind<u8>) -> Op {
    Operation { key: 0, call, ret: None, kind }
}

fn is_right(history: &[Op]) -> bool {
    match check_key(history, STEPS_MAX) {
        Verdict::Linearizable => true,
        Verdict::Violation(_) => false,
        Verdict::GaveUp => panic!("gave up over {history:?}"),
    }
}

/// Whether an answer is right for a register that had `value`, and what it has then. Written from the words of [`Kind`].
fn apply(op: &Op, value: Option<u8>) -> (bool, Option<u8>) {
    let answered = op.ret.is_some();
    match op.kind {
        Kind::Read(seen) => (!answered || seen == value, value),
        Kind::Write(new) => (true, new),
        Kind::Cas { expect, new, done } => {
            let would = expect == value;
            (!answered || done == would, if would { new } else { value })
        }
        Kind::Remove { found } => (!answered || found == value.is_some(), None),
        Kind::Put { new, found } => (!answered || found == value.is_some(), new),
        Kind::Swap { old, new } => (!answered || old == value, new),
    }
}

/// Tries every order.
fn brute_force(left: &[Op], value: Option<u8>) -> bool {
    if left.iter().all(|op| op.ret.is_none()) {
        return true;
    }
    let until = left.iter().filter_map(|op| op.ret).min().unwrap_or(u64::MAX);
    (0..left.len()).filter(|at| left[*at].call <= until).any(|at| {
        let mut others = left.to_vec();
        let next = others.remove(at);
        let (right, after) = apply(&next, value);
        right && brute_force(&others, after)
    })
}

struct Register;

impl Specification for Register {
    type State = Option<u8>;
    type Operation = Op;

    fn init() -> Self::State {
        None
    }

    fn apply(op: &Op, state: &Self::State) -> (bool, Self::State) {
        apply(op, *state)
    }
}

/// The checker of todc-utils. It knows no open operations; one that returns after all others has the same freedom, since
/// nothing sees what takes effect last.
fn outside_checker(history: &[Op]) -> bool {
    if history.is_empty() {
        return true;
    }
    let mut events = Vec::new();
    for (process, op) in history.iter().enumerate() {
        events.push((op.call, 0, process, Action::Call(op.clone())));
        events.push((op.ret.unwrap_or(u64::MAX), 1, process, Action::Response(op.clone())));
    }
    // A call and a return at the same time are concurrent: calls first.
    events.sort_by_key(|(time, side, process, _)| (*time, *side, *process));
    let actions = events.into_iter().map(|(_, _, process, action)| (process, action)).collect();
    WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
}

fn value() -> impl Strategy<Value = Option<u8>> {
    proptest::option::weighted(0.7, 0..3u8)
}

fn kind() -> impl Strategy<Value = Kind<u8>> {
    prop_oneof![
        3 => value().prop_map(Kind::Read),
        3 => value().prop_map(Kind::Write),
        2 => (value(), value(), any::<bool>())
            .prop_map(|(expect, new, done)| Kind::Cas { expect, new, done }),
        1 => any::<bool>().prop_map(|found| Kind::Remove { found }),
        1 => (value(), any::<bool>()).prop_map(|(new, found)| Kind::Put { new, found }),
        1 => (value(), value()).prop_map(|(old, new)| Kind::Swap { old, new }),
    ]
}

fn times() -> impl Strategy<Value = (u64, Option<u64>)> {
    (0..20u64, proptest::option::weighted(0.8, 0..8u64))
        .prop_map(|(call, length)| (call, length.map(|length| call + length)))
}

/// Any history, mostly wrong.
fn arbitrary(count: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = (times(), kind()).prop_map(|((call, ret), kind)| Op { key: 0, call, ret, kind });
    proptest::collection::vec(op, 0..count)
}

/// What a register would have answered, each operation taking effect at a moment of its own; then one answer may be
/// replaced by another, so that right and wrong ones are a step apart.
fn answered_by_a_register(count: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = (0..30u64, 0..4u64, 0..4u64, kind(), 0..10u8);
    let spoilt = proptest::option::of((any::<prop::sample::Index>(), kind()));
    (proptest::collection::vec(op, 1..count), spoilt).prop_map(|(mut asked, spoilt)| {
        asked.sort_by_key(|(moment, ..)| *moment);
        let (mut value, mut history) = (None, Vec::new());
        for (moment, before, after, kind, fate) in asked {
            let (ret, applied) = match fate {
                0 => (None, true),
                1 => (None, false),
                _ => (Some(moment + after), true),
            };
            let kind = answer(kind, value);
            let op = Op { key: 0, call: moment.saturating_sub(before), ret, kind };
            value = if applied { apply(&op, value).1 } else { value };
            history.push(op);
        }
        if let Some((at, kind)) = spoilt {
            let at = at.index(history.len());
            history[at].kind = kind;
        }
        history
    })
}

/// The same question with the answer that a register with `value` gives.
fn answer(kind: Kind<u8>, value: Option<u8>) -> Kind<u8> {
    match kind {
        Kind::Read(_) => Kind::Read(value),
        Kind::Cas { expect, new, .. } => Kind::Cas { expect, new, done: expect == value },
        Kind::Remove { .. } => Kind::Remove { found: value.is_some() },
        Kind::Put { new, .. } => Kind::Put { new, found: value.is_some() },
        Kind::Swap { new, .. } => Kind::Swap { old: value, new },
        Kind::Write(new) => Kind::Write(new),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn it_agrees_with_trying_every_order(history in arbitrary(7)) {
        prop_assert_eq!(is_right(&history), brute_force(&history, None));
    }

    #[test]
    fn it_agrees_with_trying_every_order_of_what_a_register_answered(
        history in answered_by_a_register(9),
    ) {
        prop_assert_eq!(is_right(&history), brute_force(&history, None));
    }

    #[test]
    fn it_agrees_with_another_checker(history in answered_by_a_register(40)) {
        prop_assert_eq!(is_right(&history), outside_checker(&history));
    }
}

#[test]
fn a_read_must_not_go_back() {
    let write = op(0, 100, Kind::Write(Some(1)));
    let seen = op(10, 20, Kind::Read(Some(1)));
    assert!(is_right(&[write.clone(), seen.clone(), op(30, 40, Kind::Read(Some(1)))]));
    assert!(!is_right(&[write, seen, op(30, 40, Kind::Read(None))]));
}

#[test]
fn an_open_write_may_take_effect_late_or_never_but_not_before_its_call() {
    let early = op(0, 1, Kind::Read(Some(1)));
    let (write, none) = (open(2, Kind::Write(Some(1))), op(3, 4, Kind::Read(None)));
    let (one, two) = (op(100, 101, Kind::Read(Some(1))), op(50, 60, Kind::Write(Some(2))));
    assert!(is_right(&[write.clone(), none.clone()]));
    assert!(is_right(&[write.clone(), none.clone(), two, one.clone()]));
    assert!(!is_right(&[early, write.clone()]));
    let gone = op(102, 103, Kind::Read(None));
    assert!(!is_right(&[write, none, one, gone]), "what was seen cannot vanish");
}

#[test]
fn open_operations_may_need_each_other() {
    let cas = |expect, new| Kind::Cas { expect, new, done: true };
    let chain = [open(0, Kind::Write(Some(1))), open(0, cas(Some(1), Some(2)))];
    let seen = op(5, 6, Kind::Read(Some(2)));
    assert!(is_right(&[chain[0].clone(), chain[1].clone(), seen.clone()]));
    assert!(!is_right(&[chain[1].clone(), seen]));
}

#[test]
fn a_lost_write_is_told_with_what_was_seen_in_its_place() {
    let lost = Kind::Read(Some(1));
    let history = [
        op(0, 1, Kind::Write(Some(1))),
        op(2, 3, Kind::Write(Some(2))),
        op(4, 5, lost.clone()),
        op(6, 7, Kind::Read(Some(2))),
    ];
    let Verdict::Violation(stuck) = check_key(&history, STEPS_MAX) else { panic!("not found") };
    assert_eq!(stuck, Stuck { explained: 2, value: Some(2), next: vec![(4, 5, lost)] });
}

#[test]
fn keys_are_registers_of_their_own() {
    let on = |key, op: Op| Operation { key, ..op };
    let history = [
        on(1, op(0, 1, Kind::Write(Some(1)))),
        on(2, op(2, 3, Kind::Read(None))),
        on(3, op(2, 3, Kind::Read(Some(1)))),
    ];
    let report = check(history, STEPS_MAX);
    assert_eq!((report.keys, report.operations, report.is_clean()), (3, 3, false));
    assert_eq!(report.violations.iter().map(|v| v.key).collect::<Vec<_>>(), [3]);
}

/// As long as some minutes' history of a busy key: rounds of four writes at the same time, of which one in ten of all
/// is never answered, a read, and a deletion that is never answered either.
fn busy(rounds: u32) -> Vec<Operation<u8, u32>> {
    let mut history = Vec::new();
    for round in 0..rounds {
        let start = u64::from(round) * 10;
        let mut push = |call, ret: Option<u64>, kind| {
            let ret = ret.map(|ret| start + ret);
            history.push(Operation { key: 0, call: start + call, ret, kind });
        };
        for number in round * 4..round * 4 + 4 {
            let ret = (number % 10 != 0).then_some(8);
            push(u64::from(number % 4), ret, Kind::Write(Some(number)));
        }
        push(5, Some(9), Kind::Read(Some(round * 4 + 1)));
        push(9, None, Kind::Write(None));
    }
    history
}

#[test]
fn long_histories_with_many_open_operations_are_checked_to_the_end() {
    let mut history = busy(1_000);
    assert_eq!(check_key(&history, STEPS_MAX), Verdict::Linearizable);
    // A value of long ago, which was answered and written over, read again at the end.
    let stale = Kind::Read(Some(5));
    history.push(Operation { key: 0, call: 10_005, ret: Some(10_006), kind: stale });
    assert!(matches!(check_key(&history, STEPS_MAX), Verdict::Violation(_)));
}

#[test]
fn a_check_that_runs_out_says_so() {
    let report = check(busy(100), 50);
    assert_eq!((report.violations.len(), report.gave_up), (0, vec![0]));
}
