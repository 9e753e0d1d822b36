//! What is said of a command: a row of the table.

/// A command, or a subcommand. `H` is what decides for its requests.
pub(super) struct Spec<H> {
    /// In lower case; a subcommand's is `command|subcommand`.
    pub(super) name: &'static str,
    pub(super) arity: i16,
    /// Decides what to do for a request whose arity is right.
    pub(super) handler: H,
    pub(super) flags: u16,
    pub(super) group: Group,
    pub(super) keys: &'static [KeySpec],
    pub(super) tips: &'static [&'static str],
    /// Since which version redis-server has it.
    pub(super) since: &'static str,
    pub(super) summary: &'static str,
}

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Connection,
    Generic,
    Server,
    String,
    Transactions,
}

impl Group {
    /// Its name in COMMAND DOCS.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Generic => "generic",
            Self::Server => "server",
            Self::String => "string",
            Self::Transactions => "transactions",
        }
    }
}

/// Where some keys of a command stand, and what it does with them.
#[derive(Debug)]
pub(super) struct KeySpec {
    /// The first.
    pub(super) first: u8,
    /// The last, counted from the first; -1 is the last word.
    pub(super) last: i8,
    pub(super) step: u8,
    pub(super) flags: &'static [&'static str],
}

pub(super) const WRITE: u16 = 1;
pub(super) const READONLY: u16 = 1 << 1;
pub(super) const DENYOOM: u16 = 1 << 2;
pub(super) const ADMIN: u16 = 1 << 3;
pub(super) const NOSCRIPT: u16 = 1 << 4;
pub(super) const LOADING: u16 = 1 << 5;
pub(super) const STALE: u16 = 1 << 6;
pub(super) const SKIP_SLOWLOG: u16 = 1 << 7;
pub(super) const FAST: u16 = 1 << 8;
pub(super) const NO_AUTH: u16 = 1 << 9;
pub(super) const ALLOW_BUSY: u16 = 1 << 10;
/// The names of the flags above, by bit, as COMMAND shows them.
const FLAG_NAMES: [&str; 11] = [
    "write",
    "readonly",
    "denyoom",
    "admin",
    "noscript",
    "loading",
    "stale",
    "skip_slowlog",
    "fast",
    "no_auth",
    "allow_busy",
];
/// Not for others to see: it has subcommands.
pub(super) const CONTAINER: u16 = 1 << 11;
/// Not for others to see: MULTI does not queue it.
pub(super) const NOT_QUEUED: u16 = 1 << 12;
/// Not for others to see: it changes something other than the store.
pub(super) const CHANGES: u16 = 1 << 13;
/// Not for others to see: in the category of what may hurt.
pub(super) const DANGEROUS: u16 = 1 << 14;
/// Not for others to see: in the category of what is about keys of any type.
pub(super) const KEYSPACE: u16 = 1 << 15;

impl<H> Spec<H> {
    /// The names of its flags.
    pub(super) fn flag_names(&self) -> Vec<&'static str> {
        let set = |bit: usize| self.flags >> bit & 1 == 1;
        FLAG_NAMES.iter().enumerate().filter(|(bit, _)| set(*bit)).map(|(_, name)| *name).collect()
    }

    /// The names of its categories.
    pub(super) fn categories(&self) -> Vec<&'static str> {
        let has = |flag| self.flags & flag != 0;
        // What is nothing without a subcommand is about nothing.
        let about = |group| self.group == group && !(has(CONTAINER) && self.arity < -1);
        let all = [
            ("keyspace", has(KEYSPACE) || about(Group::Generic)),
            ("read", has(READONLY)),
            ("write", has(WRITE)),
            ("string", about(Group::String)),
            ("admin", has(ADMIN)),
            ("fast", has(FAST)),
            ("slow", !has(FAST)),
            ("dangerous", has(ADMIN | DANGEROUS)),
            ("connection", about(Group::Connection)),
            ("transaction", about(Group::Transactions)),
        ];
        all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
    }

    /// Whether it has subcommands.
    pub(super) fn is_container(&self) -> bool {
        self.flags & CONTAINER != 0
    }

    /// Whether it is run at once, also after MULTI.
    pub(super) fn runs_in_multi(&self) -> bool {
        self.flags & NOT_QUEUED != 0
    }

    /// Whether it changes something other than the store.
    pub(super) fn changes_connection(&self) -> bool {
        self.flags & CHANGES != 0
    }

    /// Whether a request of so many words, the name included, can be its.
    pub(super) fn takes(&self, words: usize) -> bool {
        let bound = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { words >= bound } else { words == bound }
    }

    /// The command it is a subcommand of.
    pub(super) fn container(&self) -> Option<&'static str> {
        self.name.split_once('|').map(|(container, _)| container)
    }
}
