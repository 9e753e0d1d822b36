//! `firn shell`: the commands of `firn`, a line each.

use std::io::IsTerminal as _;

use clap::Parser;
use firn_wire::ids::TableName;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::runtime::Runtime;

use crate::ask::{self, Ask};
use crate::cluster::Cluster;
use crate::exit::{Exit, Problem};
use crate::options::{Batch, Global, Put, Scope, Source};
use crate::output::Output;

/// What a line asks for.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_version_flag = true,
    override_usage = "COMMAND [OPTIONS]; quotes keep words together"
)]
struct Typed {
    #[command(subcommand)]
    line: Line,
}

/// A line of the shell.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Line {
    /// One of the commands of `firn`.
    #[command(flatten)]
    Ask(Ask),
    /// Change the table later lines are about
    Use {
        /// The table
        table: TableName,
    },
    /// Answer in JSON, or not
    Json {
        /// on or off
        #[arg(value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
        on: bool,
    },
    /// Leave; so does Ctrl-D
    Exit,
}

/// Runs lines until the end of the input. Where nobody types, it ends with the code of the last line, as a shell does.
pub(crate) fn run(runtime: &Runtime, global: &Global, to: &mut Output<'_>) -> Result<(), Problem> {
    let mut shell = Shell {
        cluster: runtime.block_on(Cluster::connect(global))?,
        scope: global.scope.clone(),
        global,
        runtime,
    };
    let broken = |error: ReadlineError| Problem::new(Exit::Refused, error);
    let mut editor = DefaultEditor::new().map_err(broken)?;
    let mut last = Exit::Done;
    loop {
        let text = match editor.readline(&format!("{}> ", shell.scope.table())) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(broken(error)),
        };
        editor.add_history_entry(&text).map_err(broken)?;
        let line = match read(&text) {
            Ok(None) => continue,
            Ok(Some(Line::Exit)) => break,
            Ok(Some(line)) => line,
            Err(explanation) => {
                eprintln!("{explanation}");
                last = Exit::Usage;
                continue;
            }
        };
        let done = shell.run(line, to);
        last = done.as_ref().map_or_else(|problem| problem.exit, |()| Exit::Done);
        done.unwrap_or_else(|problem| problem.print(to.json));
        to.out.flush()?;
    }
    if last == Exit::Done || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Problem::silent(last))
}

struct Shell<'s> {
    cluster: Cluster,
    scope: Scope,
    global: &'s Global,
    runtime: &'s Runtime,
}

impl Shell<'_> {
    fn run(&mut self, line: Line, to: &mut Output<'_>) -> Result<(), Problem> {
        match line {
            Line::Use { table } => self.scope.set_table(table),
            Line::Json { on } => to.json = on,
            Line::Exit => {}
            Line::Ask(ask) if reads_stdin(&ask) => {
                let message = "the shell reads standard input itself: give the value, or a file";
                return Err(Problem::usage(message));
            }
            Line::Ask(ask) => {
                let done = ask::run(&ask, &self.cluster, self.global, &self.scope, to);
                return self.runtime.block_on(done);
            }
        }
        Ok(())
    }
}

fn reads_stdin(ask: &Ask) -> bool {
    match ask {
        Ask::Put(Put { value, .. }) => *value == Source::Stdin,
        Ask::Batch(Batch { file }) => file.as_os_str() == "-",
        _ => false,
    }
}

/// Reads a line. None: there is nothing on it. An error is what to show, help that was asked for included.
pub(crate) fn read(text: &str) -> Result<Option<Line>, String> {
    let words = words(text)?;
    if words.is_empty() {
        return Ok(None);
    }
    match Typed::try_parse_from(words) {
        Ok(typed) => Ok(Some(typed.line)),
        Err(error) => Err(error.render().to_string().trim_end().to_owned()),
    }
}

/// Splits a line into words as a shell does: quotes of both kinds keep blanks, a backslash keeps the next character (but
/// not inside single quotes), a `#` at the start of a word opens a comment.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let kept = rest.next().ok_or("a backslash at the end of the line keeps nothing")?;
                word.get_or_insert_default().push(kept);
            }
            (None, '#') if word.is_none() => break,
            (None, _) if char.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    if let Some(open) = quote {
        return Err(format!("the quote {open} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_a_shell_would_make() {
        let good: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("  # get k", &[]),
            ("put k 'a b'  \"c\\\"d\"", &["put", "k", "a b", "c\"d"]),
            ("put a#b ''", &["put", "a#b", ""]),
            (r"put a\ b 'c\d'", &["put", "a b", r"c\d"]),
            ("put 'a'\"b\"c", &["put", "abc"]),
            ("get k # why", &["get", "k"]),
        ];
        for (line, want) in good {
            assert_eq!(words(line).unwrap(), want, "{line:?}");
        }
        for bad in ["'a", "\"a'", "a\\"] {
            assert!(words(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lines_are_the_commands_of_firn_and_a_few_more() {
        assert!(matches!(read("get k"), Ok(Some(Line::Ask(Ask::Get(_))))));
        assert!(matches!(read("use colors"), Ok(Some(Line::Use { .. }))));
        assert!(matches!(read("json off"), Ok(Some(Line::Json { on: false }))));
        assert!(matches!(read(" "), Ok(None)));
        assert!(read("help").unwrap_err().contains("scan"));
        let stdin = |text| matches!(read(text), Ok(Some(Line::Ask(ask))) if reads_stdin(&ask));
        assert!(stdin("put k") && stdin("batch") && !stdin("put k v") && !stdin("get k"));
        assert!(read("bench").is_err(), "what runs by itself is not for the shell");
        assert!(read("get").unwrap_err().contains("KEY"));
    }
}
