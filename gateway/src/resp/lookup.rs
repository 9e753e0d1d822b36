//! From a request's first words to its command.

use std::borrow::Cow;

use super::refusal::Refusal;
use super::spec::Spec;
use super::words::Words;

/// Where a command stands in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(pub(super) u8);

/// A free slot.
const FREE: u8 = u8::MAX;

/// Slots of the index: twice the commands at least, so that a search ends soon.
const SLOTS: usize = 512;

/// FNV-1a over a name in lower case.
const fn hash(mut state: u32, name: &[u8]) -> u32 {
    let mut at = 0;
    while at < name.len() {
        state = (state ^ name[at].to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    state
}
const HASH_START: u32 = 0x811C_9DC5;

/// The table of commands, and how a name finds its row.
pub(super) struct Commands<H: 'static> {
    specs: &'static [Spec<H>],
    /// Places by hash of the name, open addressing; [`FREE`] where there is none.
    index: [u8; SLOTS],
}

impl<H> Commands<H> {
    /// The table of these rows.
    pub(super) const fn new(specs: &'static [Spec<H>]) -> Self {
        assert!(specs.len() * 2 <= SLOTS && specs.len() < FREE as usize);
        let mut index = [FREE; SLOTS];
        let mut place = 0;
        while place < specs.len() {
            let mut slot = hash(HASH_START, specs[place].name.as_bytes()) as usize % SLOTS;
            while index[slot] != FREE {
                slot = (slot + 1) % SLOTS;
            }
            index[slot] = place as u8;
            place += 1;
        }
        Self { specs, index }
    }

    /// Every command, each followed by its subcommands.
    pub(super) fn all(&self) -> &'static [Spec<H>] {
        self.specs
    }

    /// The commands, without their subcommands.
    pub(super) fn top(&self) -> impl Iterator<Item = &'static Spec<H>> + use<H> {
        self.specs.iter().filter(|command| command.container().is_none())
    }

    /// The subcommands of a command.
    pub(super) fn subcommands(&self, of: &Spec<H>) -> Vec<&'static Spec<H>> {
        self.specs.iter().filter(|command| command.container() == Some(of.name)).collect()
    }

    /// The command at a place.
    pub(super) fn at(&self, place: Place) -> &'static Spec<H> {
        &self.specs[usize::from(place.0)]
    }

    /// Finds the command whose hash is `hash` and whose name `is` takes.
    fn find_hashed(&self, hash: u32, is: impl Fn(&[u8]) -> bool) -> Option<Place> {
        let mut slot = hash as usize % SLOTS;
        while self.index[slot] != FREE {
            let place = Place(self.index[slot]);
            if is(self.at(place).name.as_bytes()) {
                return Some(place);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    /// A command by its full name, in any case.
    pub(super) fn find_name(&self, name: &[u8]) -> Option<Place> {
        self.find_hashed(hash(HASH_START, name), |own| own.eq_ignore_ascii_case(name))
    }

    fn find_subcommand(&self, container: &'static str, name: &[u8]) -> Option<Place> {
        let state = hash(hash(HASH_START, container.as_bytes()), b"|");
        self.find_hashed(hash(state, name), |own| {
            let sub =
                own.strip_prefix(container.as_bytes()).and_then(|rest| rest.strip_prefix(b"|"));
            sub.is_some_and(|sub| sub.eq_ignore_ascii_case(name))
        })
    }

    /// The command or subcommand of a request, whatever its arity; None where there is none.
    pub(super) fn lookup(&self, words: Words<'_, '_>) -> Option<Place> {
        let name = words.at(0);
        // A subcommand's full name is no command.
        let place = self.find_name(name).filter(|place| self.at(*place).container().is_none())?;
        match words.get(1).filter(|_| self.at(place).is_container()) {
            Some(sub) => self.find_subcommand(self.at(place).name, sub),
            None => Some(place),
        }
    }

    /// The command or subcommand of a request, its arity checked.
    pub(super) fn find(&self, words: Words<'_, '_>) -> Result<Place, Refusal> {
        let place = self.lookup(words).ok_or_else(|| self.unknown(words))?;
        match self.at(place).takes(words.len()) {
            true => Ok(place),
            false => Err(Refusal::arity(self.at(place).name)),
        }
    }

    /// The error about a request whose command or subcommand is not there.
    pub(super) fn unknown(&self, words: Words<'_, '_>) -> Refusal {
        if let Some((container, sub)) = self.find_name(words.at(0)).zip(words.get(1)) {
            let after = format!("'. Try {} HELP.", self.at(container).name.to_uppercase());
            return Refusal::quoting("ERR unknown subcommand '", quoted(sub, QUOTED_MAX), &after);
        }
        let mut args = Vec::new();
        for word in words.from(1) {
            if args.len() >= QUOTED_MAX {
                break;
            }
            let shown = quoted(word, QUOTED_MAX - args.len());
            args.extend_from_slice(&[b"'", shown, b"' "].concat());
        }
        let text = [
            b"ERR unknown command '",
            quoted(words.at(0), QUOTED_MAX),
            b"', with args beginning with: ",
            &args,
        ];
        Refusal(Cow::Owned(text.concat()))
    }
}

/// Bytes of a request that the error about an unknown command quotes.
const QUOTED_MAX: usize = 128;

/// A word as C shows it in an error: up to a NUL, and not too much of it.
fn quoted(word: &[u8], most: usize) -> &[u8] {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    &word[..word.len().min(most)]
}

/// Whether a request's first word is that of an HTTP request: a page in a browser that was made to speak to us. Then
/// nothing is answered and nothing more is read; redis-server does the same.
pub(super) fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"POST") || word.eq_ignore_ascii_case(b"Host:")
}
