//! The subcommands of COMMAND, and HELP of every command that has some.

use firn_wire::glob;

use super::conversation::{Conversation, Handler};
use super::lookup::Commands;
use super::plan::Plan;
use super::refusal::Refusal;
use super::spec::{self, KeySpec};
use super::words::Words;
use super::write::{self, Dialect};

type Planned<'a> = Result<Plan<'a>, Refusal>;
type Spec = spec::Spec<Handler>;
type Table = &'static Commands<Handler>;

fn strings(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| write::bulk(out, text.as_bytes()));
}

/// The position of its first key, of the last, and the step between them; zeros where it has none.
fn key_range(command: &Spec) -> (u8, i8, u8) {
    let (Some(first), Some(last)) = (command.keys.first(), command.keys.last()) else {
        return (0, 0, 0);
    };
    let end = if last.last < 0 { last.last } else { last.first as i8 + last.last };
    (first.first, end, first.step)
}

/// A command as clients read it.
fn write_info(out: &mut Vec<u8>, dialect: Dialect, commands: Table, command: &Spec) {
    write::array(out, 10);
    write::bulk(out, command.name.as_bytes());
    write::integer(out, command.arity);
    let flags = command.flag_names();
    write::set(out, dialect, flags.len());
    flags.iter().for_each(|flag| write::simple(out, flag));
    let (first, last, step) = key_range(command);
    write::integer(out, first);
    write::integer(out, last);
    write::integer(out, step);
    let categories = command.categories();
    write::set(out, dialect, categories.len());
    categories.iter().for_each(|category| write::simple(out, &format!("@{category}")));
    write::set(out, dialect, command.tips.len());
    strings(out, command.tips);
    write::set(out, dialect, command.keys.len());
    command.keys.iter().for_each(|keys| write_keys(out, dialect, keys));
    let subcommands = commands.subcommands(command);
    write::set(out, dialect, subcommands.len());
    subcommands.iter().for_each(|sub| write_info(out, dialect, commands, sub));
}

fn write_keys(out: &mut Vec<u8>, dialect: Dialect, keys: &KeySpec) {
    write::map(out, dialect, 3);
    strings(out, &["flags"]);
    write::set(out, dialect, keys.flags.len());
    keys.flags.iter().for_each(|flag| write::simple(out, flag));
    strings(out, &["begin_search"]);
    write::map(out, dialect, 2);
    strings(out, &["type", "index", "spec"]);
    write::map(out, dialect, 1);
    strings(out, &["index"]);
    write::integer(out, keys.first);
    strings(out, &["find_keys"]);
    write::map(out, dialect, 2);
    strings(out, &["type", "range", "spec"]);
    write::map(out, dialect, 3);
    strings(out, &["lastkey"]);
    write::integer(out, keys.last);
    strings(out, &["keystep"]);
    write::integer(out, keys.step);
    strings(out, &["limit"]);
    write::integer(out, 0);
}

fn write_all(out: &mut Vec<u8>, dialect: Dialect, commands: Table) {
    write::array(out, commands.top().count());
    commands.top().for_each(|command| write_info(out, dialect, commands, command));
}

pub(super) fn all<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    let commands = conversation.commands;
    Ok(Plan::written(|out| write_all(out, conversation.dialect, commands)))
}

pub(super) fn count<'a>(conversation: &mut Conversation, _: Words<'a, '_>) -> Planned<'a> {
    let commands = conversation.commands;
    Ok(Plan::written(|out| write::integer(out, commands.top().count())))
}

pub(super) fn info<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let commands = conversation.commands;
    let dialect = conversation.dialect;
    Ok(Plan::written(|out| {
        if words.len() == 2 {
            return write_all(out, dialect, commands);
        }
        write::array(out, words.len() - 2);
        for name in words.from(2) {
            match commands.find_name(name) {
                Some(place) => write_info(out, dialect, commands, commands.at(place)),
                None => write::null(out, dialect),
            }
        }
    }))
}

fn write_docs(out: &mut Vec<u8>, dialect: Dialect, commands: Table, command: &Spec) {
    let subcommands = commands.subcommands(command);
    let group = command.group.name();
    strings(out, &[command.name]);
    write::map(out, dialect, 3 + usize::from(!subcommands.is_empty()));
    strings(out, &["summary", command.summary, "since", command.since, "group", group]);
    if !subcommands.is_empty() {
        strings(out, &["subcommands"]);
        write::map(out, dialect, subcommands.len());
        subcommands.iter().for_each(|sub| write_docs(out, dialect, commands, sub));
    }
}

pub(super) fn docs<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let commands = conversation.commands;
    let found: Vec<&Spec> = match words.len() {
        2 => commands.top().collect(),
        _ => words
            .from(2)
            .filter_map(|name| commands.find_name(name))
            .map(|place| commands.at(place))
            .collect(),
    };
    Ok(Plan::written(|out| {
        write::map(out, conversation.dialect, found.len());
        found.iter().for_each(|command| write_docs(out, conversation.dialect, commands, command));
    }))
}

pub(super) fn list<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let commands = conversation.commands;
    let names: Vec<&str> = match words.len() {
        2 => commands.top().map(|command| command.name).collect(),
        5 if words.at(2).eq_ignore_ascii_case(b"FILTERBY") => filtered(
            commands,
            &words.at(3).to_ascii_lowercase(),
            &words.at(4).to_ascii_lowercase(),
        )?,
        _ => return Err(Refusal::SYNTAX),
    };
    Ok(Plan::written(|out| {
        write::array(out, names.len());
        strings(out, &names);
    }))
}

/// The names that pass a filter; there are no modules.
fn filtered(commands: Table, by: &[u8], what: &[u8]) -> Result<Vec<&'static str>, Refusal> {
    let passes = |command: &&Spec| match by {
        b"pattern" => glob::matches(what, command.name.as_bytes()),
        b"aclcat" => command.categories().iter().any(|name| name.as_bytes() == what),
        _ => false,
    };
    match by {
        b"pattern" | b"aclcat" | b"module" => {
            Ok(commands.all().iter().filter(passes).map(|command| command.name).collect())
        }
        _ => Err(Refusal::SYNTAX),
    }
}

pub(super) fn getkeys<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let commands = conversation.commands;
    let request = words.tail(2).expect("the arity says that there is one");
    let place = commands.lookup(request);
    let command = commands.at(place.ok_or(Refusal::new("ERR Invalid command specified"))?);
    if command.keys.is_empty() {
        return Err(Refusal::new("ERR The command has no key arguments"));
    }
    if !command.takes(request.len()) {
        return Err(Refusal::new("ERR Invalid number of arguments specified for command"));
    }
    let (first, last, step) = key_range(command);
    let last = if last < 0 { request.len() - 1 } else { last as usize };
    let positions = (usize::from(first)..=last).step_by(usize::from(step));
    let keys: Vec<&[u8]> = positions.filter_map(|at| request.get(at)).collect();
    Ok(Plan::written(|out| {
        write::array(out, keys.len());
        keys.iter().for_each(|key| write::bulk(out, key));
    }))
}

pub(super) fn help<'a>(conversation: &mut Conversation, words: Words<'a, '_>) -> Planned<'a> {
    let commands = conversation.commands;
    let place = commands.find_name(words.at(0)).expect("HELP was found by its command's name");
    let container = commands.at(place);
    let lines: Vec<String> = commands
        .subcommands(container)
        .iter()
        .map(|sub| format!("{}: {}", sub.name.replace('|', " ").to_uppercase(), sub.summary))
        .collect();
    Ok(Plan::written(|out| {
        write::array(out, lines.len());
        lines.iter().for_each(|line| write::simple(out, line));
    }))
}
