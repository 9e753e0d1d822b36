//! From a request's first words to its command.

use std::borrow::Cow;

use super::commands::{COMMANDS, Spec};
use super::plan::Refusal;
use super::words::Words;

/// Where a command stands in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(pub(super) u8);

/// A free slot.
const FREE: u8 = u8::MAX;

/// Slots of [`INDEX`]: twice the commands at least, so that a search ends soon.
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

/// Places by hash of the name, open addressing; [`FREE`] where there is none.
static INDEX: [u8; SLOTS] = {
    assert!(COMMANDS.len() * 2 <= SLOTS && COMMANDS.len() < FREE as usize);
    let mut slots = [FREE; SLOTS];
    let mut place = 0;
    while place < COMMANDS.len() {
        let mut slot = hash(HASH_START, COMMANDS[place].name.as_bytes()) as usize % SLOTS;
        while slots[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = place as u8;
        place += 1;
    }
    slots
};

/// Finds the command whose hash is `hash` and whose name `is` takes.
fn find_hashed(hash: u32, is: impl Fn(&[u8]) -> bool) -> Option<Place> {
    let mut slot = hash as usize % SLOTS;
    while INDEX[slot] != FREE {
        let place = Place(INDEX[slot]);
        if is(at(place).name.as_bytes()) {
            return Some(place);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// A command by its full name, in any case.
pub(super) fn find_name(name: &[u8]) -> Option<Place> {
    find_hashed(hash(HASH_START, name), |own| own.eq_ignore_ascii_case(name))
}

fn find_subcommand(container: &'static str, name: &[u8]) -> Option<Place> {
    let state = hash(hash(HASH_START, container.as_bytes()), b"|");
    find_hashed(hash(state, name), |own| {
        let sub = own.strip_prefix(container.as_bytes()).and_then(|rest| rest.strip_prefix(b"|"));
        sub.is_some_and(|sub| sub.eq_ignore_ascii_case(name))
    })
}

/// The command at a place.
pub(super) fn at(place: Place) -> &'static Spec {
    &COMMANDS[usize::from(place.0)]
}

/// The command or subcommand of a request, whatever its arity; None where there is none.
pub(super) fn lookup(words: Words<'_, '_>) -> Option<Place> {
    let name = words.at(0);
    // A subcommand's full name is no command.
    let place = find_name(name).filter(|place| at(*place).container().is_none())?;
    match words.get(1).filter(|_| at(place).is_container()) {
        Some(sub) => find_subcommand(at(place).name, sub),
        None => Some(place),
    }
}

/// The command or subcommand of a request, its arity checked.
pub(super) fn find(words: Words<'_, '_>) -> Result<Place, Refusal> {
    let place = lookup(words).ok_or_else(|| unknown(words))?;
    match at(place).takes(words.len()) {
        true => Ok(place),
        false => Err(Refusal::arity(at(place).name)),
    }
}

/// Bytes of a request that the error about an unknown command quotes.
const QUOTED_MAX: usize = 128;

/// A word as C shows it in an error: up to a NUL, and not too much of it.
fn quoted(word: &[u8], most: usize) -> &[u8] {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    &word[..word.len().min(most)]
}

/// The error about a request whose command or subcommand is not there.
pub(super) fn unknown(words: Words<'_, '_>) -> Refusal {
    if let Some((container, sub)) = find_name(words.at(0)).zip(words.get(1)) {
        let after = format!("'. Try {} HELP.", at(container).name.to_uppercase());
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

/// Whether a request's first word is that of an HTTP request: a page in a browser that was made to speak to us. Then
/// nothing is answered and nothing more is read; redis-server does the same.
pub(super) fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"POST") || word.eq_ignore_ascii_case(b"Host:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::words::Kept;

    fn found(request: &str) -> Result<&'static str, String> {
        let mut kept = Kept::default();
        request.split(' ').for_each(|word| kept.push_word(word.as_bytes()));
        kept.finish();
        let words = kept.requests().next().expect("a request");
        let text = |Refusal(text): Refusal| String::from_utf8_lossy(&text).into_owned();
        find(words).map(|place| at(place).name).map_err(text)
    }

    #[test]
    fn every_command_is_found_by_its_name() {
        for command in COMMANDS {
            let place = find_name(command.name.to_uppercase().as_bytes()).expect(command.name);
            assert_eq!(at(place).name, command.name);
            assert!(!command.since.is_empty() && !command.summary.is_empty(), "{}", command.name);
        }
    }

    #[test]
    fn requests_find_commands_and_subcommands_or_an_error() {
        assert_eq!(found("gEt k"), Ok("get"));
        assert_eq!(found("client SETNAME x"), Ok("client|setname"));
        assert_eq!(found("COMMAND"), Ok("command"));
        assert_eq!(found("ping x y"), Ok("ping"));
        let errors = [
            ("get", "ERR wrong number of arguments for 'get' command"),
            ("client", "ERR wrong number of arguments for 'client' command"),
            ("client id x", "ERR wrong number of arguments for 'client|id' command"),
            ("client nothing", "ERR unknown subcommand 'nothing'. Try CLIENT HELP."),
            ("command nothing", "ERR unknown subcommand 'nothing'. Try COMMAND HELP."),
            ("client|id", "ERR unknown command 'client|id', with args beginning with: "),
            ("nothing a b", "ERR unknown command 'nothing', with args beginning with: 'a' 'b' "),
        ];
        for (request, want) in errors {
            assert_eq!(found(request), Err(want.to_owned()), "{request}");
        }
    }

    #[test]
    fn an_unknown_command_is_quoted_in_part() {
        let long = "x".repeat(300);
        let error = found(&format!("{long} {long} {long}")).expect_err("no such command");
        let (name, args) = (&long[..128], &long[..128]);
        let want = format!("ERR unknown command '{name}', with args beginning with: '{args}' ");
        assert_eq!(error, want);
    }
}
