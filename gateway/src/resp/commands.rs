//! The commands: one table that lookups, arity errors, COMMAND and CLIENT LIST come from.
//!
//! What a row says of a command (arity, flags, key positions, categories, tips) is what redis-server 7.0 says of it;
//! arity counts the name, and a negative one is a minimum.

use super::conversation::{Conversation, Handler};
use super::lookup::Commands;
use super::plan::Plan;
use super::refusal::Refusal;
use super::spec::{
    ADMIN, ALLOW_BUSY, CHANGES, CONTAINER, DANGEROUS, DENYOOM, FAST, Group, KEYSPACE, KeySpec,
    LOADING, NO_AUTH, NOSCRIPT, NOT_QUEUED, READONLY, SKIP_SLOWLOG, STALE, Spec, WRITE,
};
use super::words::Words;
use super::{
    client, command, config, expiry, greeting, info, keys, object, replication, scan, strings,
    transaction,
};

const fn key(first: u8, flags: &'static [&'static str]) -> KeySpec {
    KeySpec { first, last: 0, step: 1, flags }
}

const fn keys_of_all(step: u8, flags: &'static [&'static str]) -> KeySpec {
    KeySpec { first: 1, last: -1, step, flags }
}

const SESSION: u16 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | CHANGES;
const AT_ANY_TIME: u16 = LOADING | STALE;
const CLIENT: u16 = NOSCRIPT | AT_ANY_TIME | CHANGES;
const TRANSACTION: u16 = NOSCRIPT | AT_ANY_TIME | FAST | ALLOW_BUSY;

const fn row(
    name: &'static str,
    arity: i16,
    handler: Handler,
    group: Group,
    flags: u16,
) -> Spec<Handler> {
    Spec { name, arity, handler, flags, group, keys: &[], tips: &[], since: "", summary: "" }
}
const fn connection(name: &'static str, arity: i16, handler: Handler, flags: u16) -> Spec<Handler> {
    row(name, arity, handler, Group::Connection, flags)
}
const fn generic(name: &'static str, arity: i16, handler: Handler, flags: u16) -> Spec<Handler> {
    row(name, arity, handler, Group::Generic, flags)
}
const fn server(name: &'static str, arity: i16, handler: Handler, flags: u16) -> Spec<Handler> {
    row(name, arity, handler, Group::Server, flags)
}
const fn string(name: &'static str, arity: i16, handler: Handler, flags: u16) -> Spec<Handler> {
    row(name, arity, handler, Group::String, flags)
}
const fn transactions(
    name: &'static str,
    arity: i16,
    handler: Handler,
    flags: u16,
) -> Spec<Handler> {
    row(name, arity, handler, Group::Transactions, flags)
}

impl Spec<Handler> {
    const fn keys(self, keys: &'static [KeySpec]) -> Self {
        Self { keys, ..self }
    }
    const fn tips(self, tips: &'static [&'static str]) -> Self {
        Self { tips, ..self }
    }
    const fn doc(self, since: &'static str, summary: &'static str) -> Self {
        Self { since, summary, ..self }
    }
}

const READ_META: &[KeySpec] = &[key(1, &["RO"])];
const READ: &[KeySpec] = &[key(1, &["RO", "access"])];
const READ_SECOND: &[KeySpec] = &[key(2, &["RO"])];
const UPDATE: &[KeySpec] = &[key(1, &["RW", "update"])];
const READ_UPDATE: &[KeySpec] = &[key(1, &["RW", "access", "update"])];
const READ_DELETE: &[KeySpec] = &[key(1, &["RW", "access", "delete"])];
const INSERT: &[KeySpec] = &[key(1, &["OW", "insert"])];
const OVERWRITE: &[KeySpec] = &[key(1, &["OW", "update"])];
const READ_SET: &[KeySpec] = &[key(1, &["RW", "access", "update", "variable_flags"])];
const APPEND: &[KeySpec] = &[key(1, &["RW", "insert"])];
const READ_ALL: &[KeySpec] = &[keys_of_all(1, &["RO", "access"])];
const READ_META_ALL: &[KeySpec] = &[keys_of_all(1, &["RO"])];
const DELETE_ALL: &[KeySpec] = &[keys_of_all(1, &["RM", "delete"])];
const OVERWRITE_PAIRS: &[KeySpec] = &[keys_of_all(2, &["OW", "update"])];
const INSERT_PAIRS: &[KeySpec] = &[keys_of_all(2, &["OW", "insert"])];
const MOVE: &[KeySpec] = &[key(1, &["RW", "access", "delete"]), key(2, &["OW", "update"])];
const MOVE_NEW: &[KeySpec] = &[key(1, &["RW", "access", "delete"]), key(2, &["OW", "insert"])];
const COPY: &[KeySpec] = &[key(1, &["RO", "access"]), key(2, &["OW", "update"])];

const VARIES: &[&str] = &["nondeterministic_output"];
const VARIES_IN_ORDER: &[&str] = &["nondeterministic_output_order"];
const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const MULTI_SHARD_SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// Every command, each followed by its subcommands. At most 255: a [`super::lookup::Place`] is one byte.
pub(super) static COMMANDS: Commands<Handler> = Commands::new(&[
    connection("auth", -2, greeting::auth, SESSION)
        .doc("1.0.0", "checks a password; none is set, so only the user `default` passes"),
    connection("client", -2, no_subcommand, CONTAINER).doc("2.4.0", "about connections"),
    connection("client|getname", 2, client::getname, CLIENT).doc("2.6.9", "this connection's name"),
    connection("client|help", 2, command::help, AT_ANY_TIME).doc("5.0.0", "lists these"),
    connection("client|id", 2, client::id, CLIENT).doc("5.0.0", "this connection's number"),
    connection("client|info", 2, client::info, CLIENT)
        .tips(VARIES)
        .doc("6.2.0", "this connection's line of CLIENT LIST"),
    connection("client|kill", -3, client::kill, CLIENT | ADMIN)
        .doc("2.4.0", "closes connections of this worker"),
    connection("client|list", -2, client::list, CLIENT | ADMIN)
        .tips(VARIES)
        .doc("2.4.0", "a line for each connection of this worker"),
    connection("client|no-evict", 3, client::switch, CLIENT | ADMIN)
        .doc("7.0.0", "accepted; clients are never evicted"),
    connection("client|no-touch", 3, client::switch, CLIENT)
        .doc("7.2.0", "accepted; reads leave no trace"),
    connection("client|reply", 3, client::reply, CLIENT).doc("3.2.0", "turns replies off and on"),
    connection("client|setinfo", 4, client::setinfo, CLIENT)
        .doc("7.2.0", "names the client library"),
    connection("client|setname", 3, client::setname, CLIENT).doc("2.6.9", "names this connection"),
    connection("command", -1, command::all, AT_ANY_TIME | CONTAINER)
        .tips(VARIES_IN_ORDER)
        .doc("2.8.13", "describes every command"),
    connection("command|count", 2, command::count, AT_ANY_TIME)
        .doc("2.8.13", "how many commands there are"),
    connection("command|docs", -2, command::docs, AT_ANY_TIME)
        .tips(VARIES_IN_ORDER)
        .doc("7.0.0", "describes commands for people"),
    connection("command|getkeys", -4, command::getkeys, AT_ANY_TIME)
        .doc("2.8.13", "the keys of a request"),
    connection("command|help", 2, command::help, AT_ANY_TIME).doc("5.0.0", "lists these"),
    connection("command|info", -2, command::info, AT_ANY_TIME)
        .tips(VARIES_IN_ORDER)
        .doc("2.8.13", "describes commands for clients"),
    connection("command|list", -2, command::list, AT_ANY_TIME)
        .tips(VARIES_IN_ORDER)
        .doc("7.0.0", "the names of commands"),
    connection("echo", 2, greeting::echo, AT_ANY_TIME | FAST).doc("1.0.0", "the same words back"),
    connection("hello", -1, greeting::hello, SESSION)
        .doc("6.0.0", "chooses RESP2 or RESP3, and says who answers"),
    connection("ping", -1, greeting::ping, FAST)
        .tips(ALL_SHARDS)
        .doc("1.0.0", "PONG, or the same word back"),
    connection("quit", -1, greeting::quit, SESSION | NOT_QUEUED)
        .doc("1.0.0", "closes this connection"),
    connection("reset", 1, greeting::reset, SESSION | NOT_QUEUED)
        .doc("6.2.0", "brings this connection back to its start"),
    connection("select", 2, greeting::select, AT_ANY_TIME | FAST | CHANGES)
        .doc("1.0.0", "changes the database: number n is the table dbn, 0 is default"),
    // Redis counts it among the generic ones, and puts it into the category of connections.
    connection("wait", 3, replication::wait, NOSCRIPT)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc("3.0.0", "on how many copies beside the primary's every answered write is"),
    server("config", -2, no_subcommand, CONTAINER).doc("2.0.0", "about settings"),
    server("config|get", -3, config::get, ADMIN | NOSCRIPT | AT_ANY_TIME)
        .doc("2.0.0", "settings whose names match"),
    server("config|help", 2, command::help, AT_ANY_TIME).doc("5.0.0", "lists these"),
    server("config|resetstat", 2, config::resetstat, ADMIN | NOSCRIPT | AT_ANY_TIME)
        .doc("2.0.0", "accepted; INFO shows no statistics that could be reset"),
    server("config|set", -4, config::set, ADMIN | NOSCRIPT | AT_ANY_TIME)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .doc("2.0.0", "accepted where it changes nothing: settings belong to the cluster"),
    server("dbsize", 1, keys::dbsize, READONLY | FAST | KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .doc("1.0.0", "how many keys the database has"),
    server("flushall", -1, keys::flushall, WRITE | KEYSPACE | DANGEROUS)
        .tips(ALL_SHARDS)
        .doc("1.0.0", "empties the databases 0 to 15"),
    server("flushdb", -1, keys::flushdb, WRITE | KEYSPACE | DANGEROUS)
        .tips(ALL_SHARDS)
        .doc("1.0.0", "empties the database"),
    server("info", -1, info::info, AT_ANY_TIME | DANGEROUS)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .doc("1.0.0", "what there is to say about this worker"),
    server("memory", -2, no_subcommand, CONTAINER).doc("4.0.0", "about memory"),
    server("memory|help", 2, command::help, AT_ANY_TIME).doc("4.0.0", "lists these"),
    server("memory|usage", -3, object::memory_usage, READONLY)
        .keys(READ_SECOND)
        .doc("4.0.0", "the bytes a key and its value take"),
    server("time", 1, greeting::time, AT_ANY_TIME | FAST)
        .tips(VARIES)
        .doc("2.6.0", "the time of day"),
    string("append", 3, strings::append, WRITE | DENYOOM | FAST)
        .keys(APPEND)
        .doc("2.0.0", "appends to a value"),
    string("decr", 2, strings::decr, WRITE | DENYOOM | FAST)
        .keys(READ_UPDATE)
        .doc("1.0.0", "takes 1 from an integer"),
    string("decrby", 3, strings::decrby, WRITE | DENYOOM | FAST)
        .keys(READ_UPDATE)
        .doc("1.0.0", "takes from an integer"),
    string("get", 2, strings::get, READONLY | FAST).keys(READ).doc("1.0.0", "a value"),
    string("getdel", 2, strings::getdel, WRITE | FAST)
        .keys(READ_DELETE)
        .doc("6.2.0", "removes a key and returns its value"),
    string("getex", -2, strings::getex, WRITE | FAST)
        .keys(READ_UPDATE)
        .doc("6.2.0", "a value, and a new expiry for it"),
    string("getrange", 4, strings::getrange, READONLY).keys(READ).doc("2.4.0", "a part of a value"),
    string("getset", 3, strings::getset, WRITE | DENYOOM | FAST)
        .keys(READ_UPDATE)
        .doc("1.0.0", "writes a value and returns the one that was there"),
    string("incr", 2, strings::incr, WRITE | DENYOOM | FAST)
        .keys(READ_UPDATE)
        .doc("1.0.0", "adds 1 to an integer"),
    string("incrby", 3, strings::incrby, WRITE | DENYOOM | FAST)
        .keys(READ_UPDATE)
        .doc("1.0.0", "adds to an integer"),
    string("incrbyfloat", 3, strings::incrbyfloat, WRITE | DENYOOM | FAST)
        .keys(READ_UPDATE)
        .doc("2.6.0", "adds to a fraction"),
    string("mget", -2, strings::mget, READONLY | FAST)
        .keys(READ_ALL)
        .tips(&["request_policy:multi_shard"])
        .doc("1.0.0", "values"),
    string("mset", -3, strings::mset, WRITE | DENYOOM)
        .keys(OVERWRITE_PAIRS)
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .doc("1.0.1", "writes values"),
    string("msetnx", -3, strings::msetnx, WRITE | DENYOOM)
        .keys(INSERT_PAIRS)
        .tips(&["request_policy:multi_shard", "response_policy:agg_min"])
        .doc("1.0.1", "writes values of one partition where none of the keys is there"),
    string("psetex", 4, strings::psetex, WRITE | DENYOOM)
        .keys(OVERWRITE)
        .doc("2.6.0", "writes a value for some milliseconds"),
    string("set", -3, strings::set, WRITE | DENYOOM).keys(READ_SET).doc("1.0.0", "writes a value"),
    string("setex", 4, strings::setex, WRITE | DENYOOM)
        .keys(OVERWRITE)
        .doc("2.0.0", "writes a value for some seconds"),
    string("setnx", 3, strings::setnx, WRITE | DENYOOM | FAST)
        .keys(INSERT)
        .doc("1.0.0", "writes a value where there is none"),
    string("setrange", 4, strings::setrange, WRITE | DENYOOM)
        .keys(UPDATE)
        .doc("2.2.0", "overwrites a part of a value"),
    string("strlen", 2, strings::strlen, READONLY | FAST)
        .keys(READ_META)
        .doc("2.2.0", "the length of a value"),
    string("substr", 4, strings::getrange, READONLY).keys(READ).doc("1.0.0", "GETRANGE's old name"),
    generic("copy", -3, keys::copy, WRITE | DENYOOM).keys(COPY).doc("6.2.0", "copies a key"),
    generic("del", -2, keys::del, WRITE)
        .keys(DELETE_ALL)
        .tips(MULTI_SHARD_SUM)
        .doc("1.0.0", "removes keys"),
    generic("exists", -2, keys::exists, READONLY | FAST)
        .keys(READ_META_ALL)
        .tips(MULTI_SHARD_SUM)
        .doc("1.0.0", "how many of the keys are there"),
    generic("expire", -3, expiry::expire, WRITE | FAST)
        .keys(UPDATE)
        .doc("1.0.0", "sets the time to live in seconds"),
    generic("expireat", -3, expiry::expireat, WRITE | FAST)
        .keys(UPDATE)
        .doc("1.2.0", "sets the end as a Unix time in seconds"),
    generic("expiretime", 2, expiry::expiretime, READONLY | FAST)
        .keys(READ)
        .doc("7.0.0", "the end as a Unix time in seconds"),
    generic("keys", 2, scan::keys, READONLY | DANGEROUS)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .doc("1.0.0", "every key that matches"),
    generic("object", -2, no_subcommand, CONTAINER).doc("2.2.3", "about how a value is held"),
    generic("object|encoding", 3, object::encoding, READONLY)
        .keys(READ_SECOND)
        .tips(VARIES)
        .doc("2.2.3", "how redis-server would hold the value"),
    generic("object|freq", 3, object::freq, READONLY)
        .keys(READ_SECOND)
        .tips(VARIES)
        .doc("4.0.0", "an error: accesses are not counted"),
    generic("object|help", 2, command::help, AT_ANY_TIME).doc("6.2.0", "lists these"),
    generic("object|idletime", 3, object::idletime, READONLY)
        .keys(READ_SECOND)
        .tips(VARIES)
        .doc("2.2.3", "always 0: accesses are not timed"),
    generic("object|refcount", 3, object::refcount, READONLY)
        .keys(READ_SECOND)
        .tips(VARIES)
        .doc("2.2.3", "the references redis-server would count"),
    generic("persist", 2, expiry::persist, WRITE | FAST)
        .keys(UPDATE)
        .doc("2.2.0", "removes the expiry"),
    generic("pexpire", -3, expiry::pexpire, WRITE | FAST)
        .keys(UPDATE)
        .doc("2.6.0", "sets the time to live in milliseconds"),
    generic("pexpireat", -3, expiry::pexpireat, WRITE | FAST)
        .keys(UPDATE)
        .doc("2.6.0", "sets the end as a Unix time in milliseconds"),
    generic("pexpiretime", 2, expiry::pexpiretime, READONLY | FAST)
        .keys(READ)
        .doc("7.0.0", "the end as a Unix time in milliseconds"),
    generic("pttl", 2, expiry::pttl, READONLY | FAST)
        .keys(READ)
        .tips(VARIES)
        .doc("2.6.0", "the time to live in milliseconds"),
    generic("randomkey", 1, keys::randomkey, READONLY)
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .doc("1.0.0", "any key"),
    generic("rename", 3, keys::rename, WRITE).keys(MOVE).doc("1.0.0", "gives a key another name"),
    generic("renamenx", 3, keys::renamenx, WRITE | FAST)
        .keys(MOVE_NEW)
        .doc("1.0.0", "gives a key a name that is free"),
    generic("scan", -2, scan::scan, READONLY)
        .tips(&["nondeterministic_output", "request_policy:special"])
        .doc("2.8.0", "keys, page by page"),
    generic("touch", -2, keys::exists, READONLY | FAST)
        .keys(READ_META_ALL)
        .tips(MULTI_SHARD_SUM)
        .doc("3.2.1", "how many of the keys are there"),
    generic("ttl", 2, expiry::ttl, READONLY | FAST)
        .keys(READ)
        .tips(VARIES)
        .doc("1.0.0", "the time to live in seconds"),
    generic("type", 2, keys::kind, READONLY | FAST).keys(READ_META).doc("1.0.0", "string, or none"),
    generic("unlink", -2, keys::del, WRITE | FAST)
        .keys(DELETE_ALL)
        .tips(MULTI_SHARD_SUM)
        .doc("4.0.0", "removes keys"),
    transactions("discard", 1, transaction::discard, TRANSACTION | NOT_QUEUED)
        .doc("2.0.0", "forgets what MULTI has queued"),
    transactions("exec", 1, transaction::exec, NOSCRIPT | AT_ANY_TIME | SKIP_SLOWLOG | NOT_QUEUED)
        .doc("1.2.0", "runs what MULTI has queued"),
    transactions("multi", 1, transaction::multi, TRANSACTION | NOT_QUEUED)
        .doc("1.2.0", "queues what follows"),
    transactions("unwatch", 1, transaction::unwatch, TRANSACTION)
        .doc("2.2.0", "forgets what WATCH has noted"),
    transactions("watch", -2, transaction::watch, TRANSACTION | NOT_QUEUED)
        .keys(READ_META_ALL)
        .doc("2.2.0", "makes the next EXEC depend on keys staying as they are"),
]);

/// The handler of a command that is nothing without a subcommand; its arity asks for one.
fn no_subcommand<'a>(
    conversation: &mut Conversation,
    words: Words<'a, '_>,
) -> Result<Plan<'a>, Refusal> {
    Err(conversation.commands.unknown(words))
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
        COMMANDS.find(words).map(|place| COMMANDS.at(place).name).map_err(text)
    }

    #[test]
    fn every_command_is_found_by_its_name() {
        for command in COMMANDS.all() {
            let place =
                COMMANDS.find_name(command.name.to_uppercase().as_bytes()).expect(command.name);
            assert_eq!(COMMANDS.at(place).name, command.name);
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
