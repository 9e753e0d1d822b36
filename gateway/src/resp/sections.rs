//! The sections of INFO.

use super::words::Words;

/// A part of INFO. Their order is the order they are shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    ErrorStats,
    Cluster,
    Keyspace,
}

impl Section {
    /// All, with the titles they are shown under.
    const ALL: [(Self, &'static str); 11] = [
        (Self::Server, "Server"),
        (Self::Clients, "Clients"),
        (Self::Memory, "Memory"),
        (Self::Persistence, "Persistence"),
        (Self::Stats, "Stats"),
        (Self::Replication, "Replication"),
        (Self::Cpu, "CPU"),
        (Self::Modules, "Modules"),
        (Self::ErrorStats, "Errorstats"),
        (Self::Cluster, "Cluster"),
        (Self::Keyspace, "Keyspace"),
    ];

    /// The title it is shown under.
    pub(super) fn title(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The sections one INFO asks for, in order.
#[derive(Debug)]
pub(super) struct Sections(pub(super) Vec<Section>);

impl Sections {
    /// Reads an INFO's words.
    pub(super) fn read(words: Words<'_, '_>) -> Self {
        let whole = |word: &[u8]| {
            ["all", "default", "everything"]
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        };
        let all = words.len() == 1 || words.from(1).any(whole);
        let asked = |title: &str| {
            all || words.from(1).any(|word| word.eq_ignore_ascii_case(title.as_bytes()))
        };
        let chosen = Section::ALL.iter().filter(|(_, title)| asked(title));
        Self(chosen.map(|(section, _)| *section).collect())
    }
}
