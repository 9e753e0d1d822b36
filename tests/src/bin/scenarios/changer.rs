//! One who changes the map as fast as the uplink answers, and knows what it must be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use firn_tests::client::http;
use firn_tests::{Choices, Http};
use firn_wire::ids::MapVersion;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// Tables of each changer.
const TABLES: usize = 40;
/// Numbers of the setting that is changed, in milliseconds: from here on.
const SETTING_MS: u64 = 10_000;
/// And so many of them, within what the setting may be.
const SETTINGS: u64 = 500_000;

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// A table: its value is its `ttl_ms`, none when it is not there.
    Table(String),
    /// `replace_after_ms` of the settings.
    Setting,
}

/// What is known of a thing.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// As of the last change that was answered.
    value: Option<u64>,
    /// As of the change the kill left without an answer.
    perhaps: Option<Option<u64>>,
}

/// See the module's page. Nobody else changes its things.
#[derive(Debug)]
pub(crate) struct Changer {
    things: BTreeMap<Thing, Known>,
    choices: Choices,
    /// Changes that were answered.
    pub(crate) answered: u64,
    /// Versions they were answered with, and for what, since they were last taken.
    pub(crate) versions: Vec<(MapVersion, String)>,
    /// Answers that should not be.
    pub(crate) refused: Vec<String>,
}

/// A value no change had before.
fn next_value() -> u64 {
    static VALUES: AtomicU64 = AtomicU64::new(1);
    VALUES.fetch_add(1, Ordering::Relaxed)
}

impl Changer {
    /// One with tables of its own; the first of them has the setting too.
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        let tables = (0..TABLES).map(|table| Thing::Table(format!("c{number}-{table}")));
        let setting = (number == 0).then_some(Thing::Setting);
        let things = tables.chain(setting).map(|thing| (thing, Known::default())).collect();
        let choices = Choices(seed.wrapping_add(number));
        Self { things, choices, answered: 0, versions: Vec::new(), refused: Vec::new() }
    }

    /// Changes things until the uplink does not answer.
    pub(crate) async fn run(mut self, url: String) -> Self {
        let http = http();
        while self.change(&http, &url).await {}
        self
    }

    /// Changes one thing. Returns whether there was an answer.
    async fn change(&mut self, http: &Client, url: &str) -> bool {
        let place = self.choices.below(self.things.len() as u64) as usize;
        let (thing, known) = self.things.iter_mut().nth(place).expect("the place is below");
        let drops = self.choices.one_in(4) && *thing != Thing::Setting && known.value.is_some();
        let value = (!drops).then(|| match thing {
            Thing::Table(_) => next_value(),
            Thing::Setting => SETTING_MS + next_value() % SETTINGS,
        });
        let (method, path, body) = request(thing, known.value, value);
        let what = format!("{method} {path} {body}");
        let Some((status, answer)) = send(http, method, format!("{url}{path}"), body).await else {
            known.perhaps = Some(value);
            return false;
        };
        if !(200..300).contains(&status) {
            self.refused.push(format!("{what}: {status} {answer}"));
            return true;
        }
        known.value = value;
        self.answered += 1;
        let version = answer["version"].as_str().and_then(|text| text.parse().ok());
        self.versions.extend(version.map(|version| (version, what)));
        true
    }

    /// Compares what is there with what must be: what was answered, or what may have been done without an answer. Returns
    /// what is not.
    pub(crate) fn missing(&mut self, there: &BTreeMap<Thing, u64>) -> Vec<String> {
        let mut missing = Vec::new();
        for (thing, known) in &mut self.things {
            let found = there.get(thing).copied();
            let never_set = *thing == Thing::Setting && known.value.is_none();
            if found != known.value && Some(found) != known.perhaps && !never_set {
                missing.push(format!("{thing:?} is {found:?} and must be {known:?}"));
            }
            *known = Known { value: found, perhaps: None };
        }
        missing
    }
}

/// The request that makes a thing's value from what it is.
fn request(thing: &Thing, now: Option<u64>, value: Option<u64>) -> (Method, String, Value) {
    let Thing::Table(name) = thing else {
        let settings = json!({ "replication": { "replace_after_ms": value } });
        return (Method::PATCH, "/v1/settings".to_owned(), settings);
    };
    let path = format!("/v1/tables/{name}");
    match (now, value) {
        (_, None) => (Method::DELETE, path, Value::Null),
        (None, Some(ttl)) => (Method::PUT, path, json!({ "ttl_ms": ttl })),
        (Some(_), Some(ttl)) => (Method::PATCH, path, json!({ "ttl_ms": ttl })),
    }
}

/// Status and answer; None: there is no whole one.
async fn send(http: &Client, method: Method, url: String, body: Value) -> Option<(u16, Value)> {
    let request = http.request(method, url);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}

/// Every table's and the setting's value, as an uplink has them.
///
/// # Panics
/// When it does not say.
pub(crate) fn there(uplink: SocketAddr) -> BTreeMap<Thing, u64> {
    let mut http = Http::connect(uplink);
    let mut ask = |path: &str| {
        let answer = http.ask("GET", path, "", "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    };
    let (tables, settings) = (ask("/v1/tables"), ask("/v1/settings"));
    let value = |row: &Value| {
        let name = row["name"].as_str()?.to_owned();
        Some((Thing::Table(name), row["policy"]["ttl_ms"].as_u64()?))
    };
    let tables = tables.as_array().expect("rows").iter().filter_map(value);
    let setting = settings["replication"]["replace_after_ms"].as_u64();
    tables.chain(setting.map(|ms| (Thing::Setting, ms))).collect()
}
