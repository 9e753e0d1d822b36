//! What is written again here and must give redis-server's results, compared with the real one: no worker is needed.

use firn_tests::redis::{RedisServer, Talk, text};
use firn_wire::{glob, key, long_double};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Random cases from proptest's fixed seed, asked one after the other.
fn cases<S: Strategy>(count: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config { cases: count, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let checked = TestRunner::new_with_rng(config, rng).run(&strategy, |case| {
        test(case);
        Ok(())
    });
    checked.expect("equal to redis-server");
}

fn ask(talk: &std::cell::RefCell<Talk>, words: &[&[u8]]) -> Vec<u8> {
    talk.borrow_mut().ask(words)
}

#[test]
fn fractions_are_added_as_redis_adds_them() {
    let Some(server) = RedisServer::start() else { return };
    let talk = std::cell::RefCell::new(server.connect());
    let number = || {
        prop_oneof![
            4 => "-?[0-9]{1,20}(\\.[0-9]{0,20})?",
            2 => "-?[0-9]{0,5}\\.[0-9]{1,25}",
            2 => "-?[0-9]{1,19}(\\.[0-9]{0,5})?[eE][-+]?[0-9]{1,2}",
            1 => "-?[1-9](\\.[0-9]{0,30})?e-?(49[0-9]{2}|[0-9]{3})",
            1 => "[-+]?0[xX][0-9a-fA-F]{1,18}(\\.[0-9a-f]{0,5})?(p[-+]?[0-9]{1,3})?",
            1 => "[-+]?[0-9.eExXpPinfa ]{0,8}",
            1 => any::<f64>().prop_map(|number| format!("{number}")),
            1 => Just("inf".to_owned()),
        ]
    };
    cases(8_000, (number(), number()), |(value, by)| {
        ask(&talk, &[b"SET", b"k", value.as_bytes()]);
        let reply = ask(&talk, &[b"INCRBYFLOAT", b"k", by.as_bytes()]);
        let want = match text(&reply) {
            Some(sum) => Ok(sum.to_vec()),
            None if reply.ends_with(b"not a valid float\r\n") => {
                Err(long_double::FloatError::NotFloat)
            }
            None => Err(long_double::FloatError::NotFinite),
        };
        let show = |result: &Result<Vec<u8>, _>| {
            result
                .as_ref()
                .map(|sum| String::from_utf8_lossy(sum).into_owned())
                .map_err(|error| *error)
        };
        let got = long_double::add(value.as_bytes(), by.as_bytes());
        assert_eq!(show(&got), show(&want), "{value:?} + {by:?}");
    });
}

#[test]
fn patterns_match_as_redis_matches_them() {
    let Some(server) = RedisServer::start() else { return };
    let talk = std::cell::RefCell::new(server.connect());
    let pattern = "[ab*?\\[\\]^\\-\\\\]{0,12}";
    cases(8_000, (pattern, "[ab\\-\\]\\[^]{1,8}"), |(pattern, name)| {
        ask(&talk, &[b"FLUSHALL"]);
        ask(&talk, &[b"SET", name.as_bytes(), b""]);
        let reply = ask(&talk, &[b"KEYS", pattern.as_bytes()]);
        let got = glob::matches(pattern.as_bytes(), name.as_bytes());
        assert_eq!(got, reply.starts_with(b"*1"), "{pattern:?} {name:?}");
    });
}

#[test]
fn slots_are_those_of_redis() {
    let Some(server) = RedisServer::start_cluster() else { return };
    let talk = std::cell::RefCell::new(server.connect());
    let name = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[ab{}]{0,12}".prop_map(String::into_bytes),
    ];
    cases(4_000, name, |name| {
        let reply = ask(&talk, &[b"CLUSTER", b"KEYSLOT", &name]);
        assert_eq!(format!(":{}\r\n", key::slot(&name)).as_bytes(), reply, "{name:?}");
    });
}
