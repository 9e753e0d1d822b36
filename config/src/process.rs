//! How a binary starts to log and how it ends.

use std::fmt::Display;
use std::process::ExitCode;

use log::LevelFilter;

/// Logs to stderr; `RUST_LOG` beats `level`. Of actix only warnings are shown, and none of its words about malformed
/// requests: anybody can send those.
pub fn init_logging(level: LevelFilter) {
    let filter = format!("{level},actix_server=warn,actix_http=off");
    let from = env_logger::Env::default().default_filter_or(filter);
    env_logger::Builder::from_env(from).format_timestamp_millis().init();
}

/// What `main` returns: 0, or 1 and one line on stderr, `NAME: the error`.
pub fn run<E: Display>(name: &str, main: impl FnOnce() -> Result<(), E>) -> ExitCode {
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", one_line(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn one_line(text: &str) -> String {
    text.split(['\r', '\n'])
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(one_line("no luck:\r\n  none at all\n"), "no luck: none at all");
    }
}
