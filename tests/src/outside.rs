//! Programs that are not ours.

use std::path::PathBuf;

/// Where `program` is on PATH. None after saying on stderr that the test skips: the caller returns.
///
/// # Panics
/// When it is missing and `FIRN_TEST_ALL=1` is set, as `.ci/run` does, so that nothing is skipped there in silence.
#[track_caller]
pub fn outside(program: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
    });
    if found.is_none() {
        skip(&format!("{program} is not on PATH"));
    }
    found
}

/// Says that the calling test skips, and why.
///
/// # Panics
/// Under `FIRN_TEST_ALL=1`.
#[track_caller]
pub fn skip(reason: &str) {
    let all = std::env::var("FIRN_TEST_ALL").is_ok_and(|value| value == "1");
    assert!(!all, "FIRN_TEST_ALL=1, but {reason}");
    eprintln!("{}: skipped, {reason}", std::panic::Location::caller());
}
