//! Where settings come from: the command line, the environment, a JSON file, the defaults, the first of these that has
//! one. The sources are inputs here; only [`parse`] reads the process's own.
//!
//! - A setting is a long flag of the command itself; `firn`'s subcommands have flags that are no settings.
//! - Its variable is the flag's name in capitals with `_` for `-` (or the name its clap attribute gives). A list is
//!   split at commas, an empty variable is as good as none.
//! - Its name in the file is the flag's name, with `-` or with `_`. Lists are arrays, or one value; switches are `true`
//!   or `false`; everything else is a string or a number.
//! - A list in a higher source replaces the lower one's, it does not add to it.
//!
//! What the environment and the file have to say becomes flags in front of the command line's own, so that clap reads
//! every value in one way.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::builder::{Resettable, StyledStr};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command, Error, Parser};
use serde_json::{Map, Value};

/// Looks up an environment variable; None where it is not set.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

const FILE_FLAG: &str = "config";

/// Reads this process's settings. Help and version are printed and end it with 0; a mistake is explained on stderr and
/// ends it with 2.
pub fn parse<T: Parser>() -> T {
    try_parse_from(std::env::args_os(), &|name| std::env::var_os(name)).unwrap_or_else(|e| e.exit())
}

/// Reads settings from a command line (the program's name first) and an environment. The error says what is wrong and
/// which source said so.
pub fn try_parse_from<T: Parser>(
    args: impl IntoIterator<Item = OsString>,
    variables: Variables<'_>,
) -> Result<T, Error> {
    let mut command = T::command().arg(file_flag());
    let settings: Vec<Setting> = command.get_arguments().filter_map(Setting::of).collect();
    command = command.mut_args(with_variable_in_help);
    let mut args: Vec<OsString> = args.into_iter().collect();

    let given = relaxed(&command).try_get_matches_from(&args)?;
    let path = given.get_one::<PathBuf>(FILE_FLAG).cloned();
    let path = path.or_else(|| variables("CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from));
    let mut below = match path {
        Some(path) => flags_of_file(&command, &settings, path)?,
        None => Vec::new(),
    };
    let wrong = |message| command.clone().error(ErrorKind::ValueValidation, message);
    for setting in &settings {
        let on_command_line = given.value_source(&setting.id) == Some(ValueSource::CommandLine);
        let variable =
            if on_command_line { None } else { setting.of_variables(variables).map_err(wrong)? };
        if on_command_line || variable.is_some() {
            below.retain(|flags| flags.flag != setting.flag);
        }
        below.extend(variable);
    }
    let first = args.len().min(1);
    args.splice(first..first, below.iter().flat_map(|flags| flags.args.iter().cloned()));
    let matches =
        command.try_get_matches_from_mut(args).map_err(|error| name_source(error, &below))?;
    T::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn file_flag() -> Arg {
    Arg::new(FILE_FLAG)
        .short('c')
        .long(FILE_FLAG)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .global(true)
        .help("JSON file with settings named as the flags; flags and environment beat it")
}

/// The command with nothing required, since what the command line lacks another source may have.
fn relaxed(command: &Command) -> Command {
    command
        .clone()
        .subcommand_required(false)
        .arg_required_else_help(false)
        .mut_args(|arg| arg.required(false))
}

/// Names the flag's variable in `--help`, and keeps clap from reading it by itself.
fn with_variable_in_help(arg: Arg) -> Arg {
    let Some(variable) = variable_of(&arg) else { return arg };
    let name_in = |help: &StyledStr| format!("{help} [env: {variable}]");
    let short = arg.get_help().map(name_in).unwrap_or_else(|| format!("[env: {variable}]"));
    let long = arg.get_long_help().map(name_in);
    let arg = arg.env(Resettable::Reset).help(short);
    match long {
        Some(long) => arg.long_help(long),
        None => arg,
    }
}

fn variable_of(arg: &Arg) -> Option<String> {
    let declared = arg.get_env().map(|name| name.to_string_lossy().into_owned());
    Some(declared.unwrap_or(arg.get_long()?.replace('-', "_").to_uppercase()))
}

/// How many values a setting takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Switch,
    One,
    List,
}

struct Setting {
    /// Its name in clap.
    id: String,
    /// Its name without dashes in front.
    flag: String,
    variable: String,
    shape: Shape,
}

/// What a source other than the command line says of one setting, as flags.
struct Flags {
    flag: String,
    args: Vec<OsString>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Variable(String),
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl Setting {
    fn of(arg: &Arg) -> Option<Self> {
        let flag = arg.get_long().filter(|flag| *flag != FILE_FLAG)?.to_owned();
        let shape = match arg.get_action() {
            ArgAction::SetTrue => Shape::Switch,
            ArgAction::Set => Shape::One,
            ArgAction::Append => Shape::List,
            other => panic!("--{flag} has an action settings cannot have: {other:?}"),
        };
        Some(Self { id: arg.get_id().to_string(), flag, variable: variable_of(arg)?, shape })
    }

    /// Whether a name in the file is this setting's.
    fn is_named(&self, name: &str) -> bool {
        name.replace('_', "-") == self.flag
    }

    /// What its variable says; None where it is not set or empty.
    fn of_variables(&self, variables: Variables<'_>) -> Result<Option<Flags>, String> {
        let Some(value) = variables(&self.variable).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let source = Source::Variable(self.variable.clone());
        let value = value.into_string().map_err(|_| format!("{source} is not UTF-8"))?;
        let values = match self.shape {
            Shape::List => value.split(',').map(|item| item.trim().to_owned()).collect(),
            _ => vec![value],
        };
        self.flags(source, values).map(Some)
    }

    fn of_json(&self, source: Source, value: &Value) -> Result<Flags, String> {
        let values = match value {
            Value::Array(items) if self.shape == Shape::List => items.iter().map(scalar).collect(),
            other => scalar(other).map(|value| vec![value]),
        };
        let wanted = match self.shape {
            Shape::Switch => "true or false",
            Shape::One => "a string or a number",
            Shape::List => "an array of strings",
        };
        let values =
            values.ok_or_else(|| format!("{:?} in {source} must be {wanted}", self.flag))?;
        self.flags(source, values)
    }

    fn flags(&self, source: Source, values: Vec<String>) -> Result<Flags, String> {
        let flag = &self.flag;
        let mut args: Vec<OsString> = Vec::new();
        for value in values {
            match (self.shape, value.to_ascii_lowercase().as_str()) {
                (Shape::Switch, "true" | "yes" | "on" | "1") => {
                    args.push(format!("--{flag}").into())
                }
                (Shape::Switch, "false" | "no" | "off" | "0") => {}
                (Shape::Switch, other) => {
                    return Err(format!("--{flag} is true or false, not {other:?} as in {source}"));
                }
                _ => args.push(format!("--{flag}={value}").into()),
            }
        }
        Ok(Flags { flag: flag.clone(), args, source })
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The file's settings as flags, each checked whether a higher source replaces it or not.
fn flags_of_file(
    command: &Command,
    settings: &[Setting],
    path: PathBuf,
) -> Result<Vec<Flags>, Error> {
    let flags = read_file(settings, path)
        .map_err(|message| command.clone().error(ErrorKind::ValueValidation, message))?;
    let args = flags.iter().flat_map(|flags| &flags.args);
    relaxed(command)
        .no_binary_name(true)
        .try_get_matches_from(args)
        .map_err(|error| name_source(error, &flags))?;
    Ok(flags)
}

fn read_file(settings: &[Setting], path: PathBuf) -> Result<Vec<Flags>, String> {
    let source = Source::File(path.clone());
    let bytes = std::fs::read(&path).map_err(|e| format!("{source} cannot be read: {e}"))?;
    let file: Map<String, Value> =
        firn_wire::json::read(&bytes).map_err(|e| format!("{source} holds no settings: {e}"))?;
    let flags = file.iter().map(|(name, value)| {
        if name.contains('-') && file.contains_key(&name.replace('-', "_")) {
            return Err(format!("{name:?} is in {source} twice, with - and with _"));
        }
        match settings.iter().find(|setting| setting.is_named(name)) {
            Some(setting) => setting.of_json(source.clone(), value),
            None => {
                let known: Vec<_> = settings.iter().map(|setting| setting.flag.as_str()).collect();
                Err(format!("{name:?} in {source} is no setting; there are {}", known.join(", ")))
            }
        }
    });
    flags.collect()
}

/// Adds to clap's error which source had the value, unless it was the command line.
fn name_source(mut error: Error, flags: &[Flags]) -> Error {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else { return error };
    let named = arg.split(' ').next().and_then(|arg| arg.strip_prefix("--"));
    if let Some(flags) = flags.iter().find(|flags| Some(flags.flag.as_str()) == named) {
        let tip = StyledStr::from(format!("the value is from {}", flags.source));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}
