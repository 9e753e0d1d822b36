//! INFO: what there is to say about this process, in sections.

use std::fmt::Write as _;

use firn_wire::command::Command;
use firn_wire::exchange::Session;
use firn_wire::reply::Reply;

use super::conversation::Conversation;
use super::greeting::REDIS_VERSION;
use super::plan::{Plan, Steps};
use super::refusal::Refusal;
use super::replication::followers;
use super::sections::{Section, Sections};
use super::words::Words;
use super::write;
use crate::execute::{About, run};
use crate::listen::CONNECTIONS_MAX;

pub(super) fn info<'a>(_: &mut Conversation, words: Words<'a, '_>) -> Result<Plan<'a>, Refusal> {
    Ok(Plan::Run(Steps::Info { sections: Sections::read(words) }))
}

impl Conversation {
    /// Shows sections.
    pub(super) async fn info(
        &mut self,
        sections: &Sections,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) {
        let about = self.execute.about();
        let counts = match sections.0.contains(&Section::Keyspace) {
            true => self.counts(session).await,
            false => Vec::new(),
        };
        let mut text = String::new();
        for section in &sections.0 {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let lines = match section {
                Section::Server => server(&about),
                Section::Clients => self.clients(),
                Section::Memory => memory(&about),
                Section::Persistence => lines(&[("loading", "0"), ("aof_enabled", "0")]),
                Section::Replication => {
                    let followers = followers(&self.execute.map(), &about.name).to_string();
                    lines(&[("role", "master"), ("connected_slaves", &followers)])
                }
                Section::Cluster => lines(&[("cluster_enabled", "0")]),
                Section::Keyspace => keyspace(&counts),
                Section::Stats | Section::Cpu | Section::Modules | Section::ErrorStats => {
                    String::new()
                }
            };
            let _ = write!(text, "# {}\r\n{lines}", section.title());
        }
        write::verbatim(out, self.dialect, text.as_bytes());
    }

    /// Keys of each database that answers.
    async fn counts(&self, session: &mut Session) -> Vec<(u32, u64)> {
        let databases: Vec<_> = self.databases().collect();
        let commands: Vec<_> =
            databases.iter().map(|(_, table)| Command::Count { table: *table }).collect();
        let replies = run(&*self.execute, session, &commands).await;
        let count = |reply: Reply<'_>| match reply {
            Reply::Count(count) => Some(count),
            _ => None,
        };
        let counted = databases.iter().zip(&replies);
        counted.filter_map(|((number, _), reply)| Some((*number, count(reply.view())?))).collect()
    }

    fn clients(&self) -> String {
        let connected = self.clients.count().to_string();
        let most = CONNECTIONS_MAX.to_string();
        let numbers = [
            ("connected_clients", connected.as_str()),
            ("maxclients", most.as_str()),
            ("blocked_clients", "0"),
        ];
        lines(&numbers)
    }
}

fn lines(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect()
}

fn server(about: &About) -> String {
    let seconds = about.uptime.as_secs();
    lines(&[
        ("redis_version", REDIS_VERSION),
        ("redis_mode", "standalone"),
        ("firn_version", env!("CARGO_PKG_VERSION")),
        ("firn_name", &about.name),
        ("firn_shards", &about.shards.to_string()),
        ("os", std::env::consts::OS),
        ("arch_bits", &usize::BITS.to_string()),
        ("process_id", &std::process::id().to_string()),
        ("uptime_in_seconds", &seconds.to_string()),
        ("uptime_in_days", &(seconds / 86_400).to_string()),
    ])
}

fn memory(about: &About) -> String {
    lines(&[
        ("used_memory", &about.memory_bytes.to_string()),
        ("maxmemory", "0"),
        ("maxmemory_policy", "noeviction"),
    ])
}

/// Databases with keys. How many of them expire is not counted.
fn keyspace(counts: &[(u32, u64)]) -> String {
    let with_keys = counts.iter().filter(|(_, count)| *count > 0);
    with_keys
        .map(|(number, count)| format!("db{number}:keys={count},expires=0,avg_ttl=0\r\n"))
        .collect()
}
