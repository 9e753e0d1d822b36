//! What the documents say and the code knows.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_limit_has_its_line() {
    let page = read("docs/LIMITS.md");
    for file in ["wire/src/limits.rs", "gateway/src/http/limits.rs"] {
        let code = read(file);
        let names =
            code.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
        let names: Vec<_> = names.collect();
        assert!(names.len() > 10, "{file} holds limits");
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "docs/LIMITS.md has no line for {name}");
        }
    }
}

#[test]
fn the_readme_names_the_files_that_are_there() {
    let page = read("README.md");
    let linked = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let scripts = page.split(|c: char| c.is_whitespace() || c == '`');
    let scripts = scripts.filter(|word| word.starts_with("scripts/") && word.ends_with(".sh"));
    let named: Vec<_> = linked.filter(|path| !path.starts_with("http")).chain(scripts).collect();
    assert!(named.len() > 5, "{named:?}");
    for path in named {
        assert!(!read(path).is_empty(), "README.md names {path}");
    }
}
