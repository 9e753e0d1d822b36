//! `firn tables`.

use clap::{Args, Subcommand};
use firn_wire::command::{Command, TableCommand};
use firn_wire::ids::TableName;
use firn_wire::limits::VALUE_BYTES_HARD_MAX;
use firn_wire::map::{GroupRule, MapIndex, TablePolicy, TableRow};
use firn_wire::reply::Reply;
use serde_json::{Map, Value};

use crate::exit::Problem;
use crate::options::ttl_ms;
use crate::output::{self, Object, Output};
use crate::store::{Store, no_table, odd};

/// `firn tables`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to do with them; list if not given
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all tables
    List,
    /// Make a table; one that is there already stays as it is
    Create {
        /// Its name
        name: TableName,
        #[command(flatten)]
        fixed: Fixed,
        #[command(flatten)]
        policy: Policy,
    },
    /// Show a table
    Show {
        /// Its name
        name: TableName,
    },
    /// Change a table's policy
    Alter {
        /// Its name
        name: TableName,
        #[command(flatten)]
        policy: Policy,
    },
    /// Remove a table with all it holds
    Drop {
        /// Its name
        name: TableName,
    },
}

/// What cannot be changed later.
#[derive(Debug, Default, Args)]
struct Fixed {
    /// Copies of each partition; the cluster's number if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    copies: Option<u8>,
    /// How keys find their partition: `keys`, or `name-ranges` for the whole table by its name's first byte
    #[arg(long, value_parser = placement)]
    placement: Option<GroupRule>,
}

/// What can be changed at any time, as it stands in the policy's JSON; null takes a setting back.
#[derive(Debug, Default, Args)]
struct Policy {
    /// When a write is answered: `primary`, `all`, or `none` for the default
    #[arg(long, value_parser = or_none(ack))]
    ack: Option<Value>,
    /// What a restart leaves on workers with a data folder: `none`, `everysec`, `always`, or `default`
    #[arg(long, value_parser = durability)]
    durability: Option<Value>,
    /// Time to live of values written without one, or `none`
    #[arg(long, value_name = "DURATION", value_parser = or_none(ttl_ms))]
    ttl: Option<Value>,
    /// The longest value, as 8MiB, or `none` for the default
    #[arg(long, value_name = "SIZE", value_parser = or_none(value_size))]
    value_max: Option<Value>,
    /// The most memory on one worker, as 2GiB, or `none`
    #[arg(long, value_name = "SIZE", value_parser = or_none(firn_config::size))]
    memory_max: Option<Value>,
}

fn or_none<T: Into<Value>>(
    read: impl Fn(&str) -> Result<T, String> + Clone,
) -> impl Fn(&str) -> Result<Value, String> + Clone {
    move |text| match text {
        "none" => Ok(Value::Null),
        _ => read(text).map(Into::into),
    }
}

fn ack(text: &str) -> Result<&'static str, String> {
    match text {
        "primary" => Ok("primary"),
        "all" => Ok("all"),
        _ => Err("it is primary, all or none".to_owned()),
    }
}

fn durability(text: &str) -> Result<Value, String> {
    match text {
        "none" | "everysec" | "always" => Ok(text.into()),
        "default" => Ok(Value::Null),
        _ => Err("it is none, everysec, always or default".to_owned()),
    }
}

fn placement(text: &str) -> Result<GroupRule, String> {
    match text {
        "keys" => Ok(GroupRule::Keys),
        "name-ranges" => Ok(GroupRule::NameRanges),
        _ => Err("it is keys or name-ranges".to_owned()),
    }
}

fn value_size(text: &str) -> Result<u64, String> {
    match firn_config::size(text)? {
        bytes if bytes <= VALUE_BYTES_HARD_MAX as u64 => Ok(bytes),
        _ => Err(format!("no value is longer than {VALUE_BYTES_HARD_MAX} bytes")),
    }
}

impl Policy {
    /// As a JSON merge patch (RFC 7396).
    fn patch(&self) -> Value {
        let members = [
            ("ack", &self.ack),
            ("durability", &self.durability),
            ("ttl_ms", &self.ttl),
            ("value_bytes_max", &self.value_max),
            ("memory_bytes_max", &self.memory_max),
        ];
        let given = members
            .into_iter()
            .filter_map(|(name, value)| value.clone().map(|value| (name.to_owned(), value)));
        Value::Object(given.collect::<Map<_, _>>())
    }

    /// As the policy of a new table.
    fn of_new(&self, fixed: &Fixed) -> TablePolicy {
        let policy: TablePolicy =
            serde_json::from_value(self.patch()).expect("a patch has a policy's members only");
        TablePolicy { copies: fixed.copies, placement: fixed.placement, ..policy }
    }
}

/// Does it.
pub(crate) async fn run(
    store: &mut Store<'_>,
    options: &Options,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    match options.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(&store.execute.map(), to),
        Action::Show { name } => show(store, name, to).await,
        Action::Create { name, fixed, policy } => {
            let first_byte = name.as_str().as_bytes()[0];
            let policy = policy.of_new(fixed);
            change(store, TableCommand::Create { name, first_byte, policy }, to).await
        }
        Action::Alter { name, policy } => {
            let patch = policy.patch().to_string();
            if patch == "{}" {
                return Err(Problem::usage("nothing to change; see firn tables alter --help"));
            }
            change(store, TableCommand::Alter { name, patch: &patch }, to).await
        }
        Action::Drop { name } => change(store, TableCommand::Drop { name }, to).await,
    }
}

async fn change(
    store: &mut Store<'_>,
    command: TableCommand<'_>,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let (TableCommand::Create { name, .. }
    | TableCommand::Alter { name, .. }
    | TableCommand::Drop { name }) = command;
    let alters = matches!(command, TableCommand::Alter { .. });
    let reply = store.ask(Command::Table(command)).await?;
    let what = match reply.view() {
        Reply::Table { created: true, .. } => "created",
        Reply::Table { .. } if alters => "altered",
        Reply::Table { .. } => "exists",
        Reply::Done(true) => "dropped",
        Reply::Done(false) => return Err(no_table(name)),
        other => return Err(odd(&other)),
    };
    if to.json {
        let object = Object::default().with("table", name.as_str()).with("result", what);
        return Ok(to.json(object.members())?);
    }
    Ok(to.line(format_args!("{name}: {what}"))?)
}

fn list(map: &MapIndex, to: &mut Output<'_>) -> Result<(), Problem> {
    if to.json {
        return Ok(map.tables.iter().try_for_each(|row| to.json(row))?);
    }
    let rows = map.tables.iter().map(|row| {
        let (id, copies) = (row.id.0.to_string(), copies(map, row).to_string());
        [row.name.to_string(), id, copies, policy_text(&row.policy)]
    });
    Ok(to.line(output::columns(["NAME", "ID", "COPIES", "POLICY"], rows, 1..3))?)
}

async fn show(store: &mut Store<'_>, name: &TableName, to: &mut Output<'_>) -> Result<(), Problem> {
    let id = store.execute.find_table(name).await.ok_or_else(|| no_table(name))?;
    let map = store.execute.map();
    let row = map.table_by_id(id).ok_or_else(|| no_table(name))?;
    if to.json {
        return Ok(to.json(row)?);
    }
    let (copies, policy) = (copies(&map, row), policy_text(&row.policy));
    to.line(format_args!("table: {name}\nid: {}\ncopies: {copies}", row.id.0))?;
    to.line(format_args!("partitions: {}", map.partitions_of(row).len()))?;
    Ok(to.line(format_args!("policy: {policy}"))?)
}

fn copies(map: &MapIndex, row: &TableRow) -> u8 {
    let group = map.groups.iter().find(|group| group.id == row.group);
    group.expect("a map has the groups of its tables").copies
}

/// What a policy says, `default` where it says nothing.
fn policy_text(policy: &TablePolicy) -> String {
    let Ok(Value::Object(members)) = serde_json::to_value(policy) else {
        unreachable!("a policy is an object");
    };
    if members.is_empty() {
        return "default".to_owned();
    }
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members = members.iter().map(|(name, value)| format!("{name}={}", shown(value)));
    members.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use firn_wire::map::Ack;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fixed: Fixed,
        #[command(flatten)]
        policy: Policy,
    }

    fn line(text: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(std::iter::once("tables").chain(text.split(' ')))
    }

    #[test]
    fn flags_become_a_policy_or_a_patch() {
        let given = line("--copies 2 --placement name-ranges --ack all --ttl 1m --value-max none");
        let Line { fixed, policy } = given.unwrap();
        let patch = policy.patch().to_string();
        assert_eq!(patch, r#"{"ack":"all","ttl_ms":60000,"value_bytes_max":null}"#);
        let want = TablePolicy {
            copies: Some(2),
            placement: Some(GroupRule::NameRanges),
            ack: Some(Ack::All),
            ttl_ms: Some(60_000),
            value_bytes_max: None,
            memory_bytes_max: None,
            durability: None,
        };
        assert_eq!(policy.of_new(&fixed), want);
        assert_eq!(policy_text(&want), "ack=all copies=2 placement=name-ranges ttl_ms=60000");
        assert_eq!(policy_text(&TablePolicy::default()), "default");
    }

    #[test]
    fn values_no_table_can_have_are_refused() {
        for bad in ["--copies 0", "--ack some", "--ttl 0s", "--value-max 65MiB", "--placement x"] {
            assert!(line(bad).is_err(), "{bad}");
        }
    }
}
