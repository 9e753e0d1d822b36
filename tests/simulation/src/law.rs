//! The rules in force in a world: all, or all but one that is taken out to see what it is for.

use firn_store::rules::{Rule, Rules};
use firn_uplink::registry::ClaimRule;

/// A rule of what is around the shards, which the simulation does as the real worker does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellRule {
    /// What is read back is synced before anybody counts on it.
    ReadIsSynced,
    /// What is new is written within a tenth of a second.
    WrittenInTime,
    /// What is written is synced within a second.
    SyncedInTime,
}

impl ShellRule {
    const ALL: [Self; 3] = [Self::ReadIsSynced, Self::WrittenInTime, Self::SyncedInTime];
}

/// A rule that can be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Of the shards.
    Store(Rule),
    /// Of the registry.
    Claim(ClaimRule),
    /// Of what is around the shards.
    Shell(ShellRule),
}

impl Mutation {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let store = Rule::ALL.into_iter().map(Self::Store);
        let claims = ClaimRule::ALL.into_iter().map(Self::Claim);
        store.chain(claims).chain(ShellRule::ALL.into_iter().map(Self::Shell)).collect()
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|mutation| mutation.name() == name)
    }

    /// Its rule's name.
    pub fn name(self) -> String {
        match self {
            Self::Store(rule) => format!("{rule:?}"),
            Self::Claim(rule) => format!("{rule:?}"),
            Self::Shell(rule) => format!("{rule:?}"),
        }
    }

    /// Whether it is about what is on disk, so that only worlds with disks can miss it.
    pub fn is_of_disks(self) -> bool {
        match self {
            Self::Store(rule) => rule >= Rule::DiskAwaited,
            Self::Claim(_) | Self::Shell(_) => true,
        }
    }
}

/// See the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Law {
    /// The rule that is taken out; None: all are in force.
    pub without: Option<Mutation>,
}

impl Law {
    /// All rules but one.
    pub fn without(mutation: Mutation) -> Self {
        Self { without: Some(mutation) }
    }

    /// The rules of the shards.
    pub fn store(self) -> Rules {
        match self.without {
            Some(Mutation::Store(rule)) => Rules::without(rule),
            _ => Rules::all(),
        }
    }

    /// The rule of claims that is taken out.
    pub fn claim(self) -> Option<ClaimRule> {
        match self.without {
            Some(Mutation::Claim(rule)) => Some(rule),
            _ => None,
        }
    }

    /// Whether a rule of what is around the shards is in force.
    pub fn keeps_shell(self, rule: ShellRule) -> bool {
        self.without != Some(Mutation::Shell(rule))
    }
}
