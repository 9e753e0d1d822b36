//! The binaries under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of this build's binaries: `target/debug` or `target/release`, whichever the test itself was built into.
fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has an executable");
    let folder = test.parent().expect("an executable is in a folder");
    // Tests are in target/PROFILE/deps, our own binaries one level up.
    let in_deps = folder.file_name().is_some_and(|name| name == "deps");
    if in_deps {
        folder.parent().expect("deps is in a folder").to_owned()
    } else {
        folder.to_owned()
    }
}

/// The path of `firn-uplink`, `firn-worker`, `firn` or a binary of the tests' own package.
///
/// # Panics
/// When it is not there and cannot be built.
pub fn path(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = folder().join(name);
    if !path.exists() {
        BUILT.get_or_init(|| build(&folder()));
    }
    assert!(path.exists(), "{} is missing; run: cargo build --workspace --bins", path.display());
    path
}

/// Builds the workspace's binaries into the profile of `folder`.
fn build(folder: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bins"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "cargo build --workspace --bins: {status}");
}
