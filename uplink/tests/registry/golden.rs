//! Runs every script of tests/golden. A script that comes out otherwise fails; with `UPDATE_GOLDEN=1` it is written anew,
//! to be read before it is committed.

use std::fs;
use std::path::Path;

use crate::script;

#[test]
fn scripts_come_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let written = fs::read_to_string(&path).unwrap();
        let now = script::run(&written);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, now).unwrap();
        } else {
            let differs = written.lines().zip(now.lines()).find(|(old, new)| old != new);
            assert_eq!(written, now, "{}: first other line: {differs:?}", path.display());
        }
    }
}
