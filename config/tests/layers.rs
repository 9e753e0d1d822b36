//! Flags over environment over file over defaults, and what is said when one of them is wrong.

use std::ffi::OsString;
use std::io::Write as _;

use clap::{Parser, Subcommand};
use firn_config::{Listen, SecretParser, try_parse_from};
use firn_wire::secret::Secret;

/// A worker in small.
#[derive(Debug, Parser)]
#[command(name = "sample", version = "1.2.3")]
struct Sample {
    /// Writers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    shard_limit: u16,
    /// Listeners
    #[arg(long)]
    listen: Vec<Listen>,
    /// Whoever comes
    #[arg(long)]
    insecure_open: bool,
    /// The secret
    #[arg(long, value_parser = SecretParser)]
    cluster_secret: Option<Secret>,
    /// The uplink
    #[arg(long, required = true)]
    uplink: String,
}

/// The command line tool in small.
#[derive(Debug, Parser)]
#[command(name = "tool")]
struct Tool {
    #[arg(long, global = true, env = "FIRN_SERVER", default_value = "nowhere")]
    server: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Get {
        key: String,
        #[arg(long)]
        limit: Option<u8>,
    },
}

fn read<T: Parser>(args: &[&str], variables: &[(&str, &str)]) -> Result<T, String> {
    let args = ["sample"].iter().chain(args).map(OsString::from);
    let look_up = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    };
    try_parse_from(args, &look_up).map_err(|e| format!("{} {e}", e.exit_code()))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("room for it");
    file
}

#[test]
fn the_first_source_that_has_a_setting_wins() {
    let file = file(r#"{"shard-limit": 3, "uplink": "f", "listen": ["http=127.0.0.1:3"]}"#);
    let path = file.path().to_str().unwrap();
    let limit = |args: &[&str], variables: &[(&str, &str)]| {
        read::<Sample>(args, variables).unwrap().shard_limit
    };
    assert_eq!(limit(&["--uplink", "a"], &[]), 4);
    assert_eq!(limit(&["-c", path], &[]), 3);
    assert_eq!(limit(&["-c", path], &[("SHARD_LIMIT", "")]), 3);
    assert_eq!(limit(&["-c", path], &[("SHARD_LIMIT", "2")]), 2);
    assert_eq!(limit(&[], &[("CONFIG", path), ("SHARD_LIMIT", "2")]), 2);
    assert_eq!(limit(&["-c", path, "--shard-limit=1"], &[("SHARD_LIMIT", "2")]), 1);
    let all = read::<Sample>(&["--config", path], &[]).unwrap();
    assert_eq!(all.uplink, "f");
    assert!(!all.insecure_open);
}

#[test]
fn a_list_replaces_the_list_below() {
    let file = file(r#"{"uplink": "u", "listen": ["http=127.0.0.1:1", "resp=127.0.0.1:2"]}"#);
    let path = file.path().to_str().unwrap();
    let ports = |args: &[&str], variables: &[(&str, &str)]| {
        let sample: Sample = read(args, variables).unwrap();
        sample.listen.iter().map(|listen| listen.address.port()).collect::<Vec<_>>()
    };
    let variable = [("LISTEN", "http=127.0.0.1:3, resp=127.0.0.1:4")];
    assert_eq!(ports(&["-c", path], &[]), [1, 2]);
    assert_eq!(ports(&["-c", path], &variable), [3, 4]);
    assert_eq!(ports(&["-c", path, "--listen", "http=127.0.0.1:5"], &variable), [5]);
}

#[test]
fn a_switch_is_true_or_false() {
    let file = file(r#"{"uplink": "u", "insecure_open": true}"#);
    let path = file.path().to_str().unwrap();
    let open = |variables: &[(&str, &str)]| {
        read::<Sample>(&["-c", path], variables).map(|sample| sample.insecure_open)
    };
    assert_eq!(open(&[]), Ok(true));
    assert_eq!(open(&[("INSECURE_OPEN", "0")]), Ok(false));
    assert!(open(&[("INSECURE_OPEN", "perhaps")]).unwrap_err().contains("INSECURE_OPEN"));
}

#[test]
fn a_wrong_file_is_explained() {
    for (text, why) in [
        ("", "not valid JSON"),
        ("[]", "holds no settings"),
        (r#"{"uplink": "a", "uplink": "b"}"#, "uplink"),
        (r#"{"shard-limit": 1, "shard_limit": 2}"#, "twice"),
        (r#"{"shards": 1}"#, r#""shards" in the file"#),
        (r#"{"config": "other"}"#, r#""config" in the file"#),
        (r#"{"uplink": null}"#, r#""uplink" in the file"#),
        (r#"{"uplink": ["a"]}"#, "must be a string or a number"),
        (r#"{"listen": [["a"]]}"#, "must be an array of strings"),
        (r#"{"shard-limit": 0}"#, "tip: the value is from the file"),
        (r#"{"shard-limit": 1.5}"#, "tip: the value is from the file"),
        (r#"{"insecure-open": "maybe"}"#, "true or false"),
    ] {
        let file = file(text);
        let path = file.path().to_str().unwrap();
        let error = read::<Sample>(&["--uplink", "u", "-c", path], &[]).unwrap_err();
        assert!(error.starts_with("2 error: ") && error.contains(why), "{text}: {error}");
    }
    let error = read::<Sample>(&["-c", "/nowhere/at/all"], &[]).unwrap_err();
    assert!(error.contains("/nowhere/at/all cannot be read"), "{error}");
}

#[test]
fn a_wrong_flag_or_variable_is_explained() {
    for args in [&["--shard-limit", "0"][..], &["--shards", "1"], &["-c"], &["stray"], &[]] {
        let error = read::<Sample>(args, &[]).unwrap_err();
        assert!(error.starts_with("2 error: "), "{args:?}: {error}");
    }
    let error = read::<Sample>(&["--uplink", "u"], &[("SHARD_LIMIT", "x")]).unwrap_err();
    assert!(error.contains("'x' for '--shard-limit"), "{error}");
    assert!(error.contains("from the environment variable SHARD_LIMIT"), "{error}");
}

#[test]
fn a_wrong_secret_is_not_shown() {
    let error = read::<Sample>(&["--uplink", "u"], &[("CLUSTER_SECRET", "canary")]);
    let error = error.unwrap_err();
    assert!(error.contains("fewer than 16"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    let help = read::<Sample>(&["--help"], &[("CLUSTER_SECRET", "canary")]).unwrap_err();
    assert!(!help.contains("canary"), "{help}");
}

#[test]
fn help_names_the_variables_and_version_the_version() {
    let help = read::<Sample>(&["--help"], &[]).unwrap_err();
    assert!(help.starts_with("0 "), "{help}");
    for name in ["SHARD_LIMIT", "LISTEN", "INSECURE_OPEN", "CLUSTER_SECRET", "UPLINK", "CONFIG"] {
        assert!(help.contains(&format!("[env: {name}]")), "{name}: {help}");
    }
    assert_eq!(read::<Sample>(&["--version"], &[]).unwrap_err(), "0 sample 1.2.3\n");
}

#[test]
fn global_flags_are_settings_and_those_of_subcommands_are_not() {
    let tool = |args: &[&str], variables: &[(&str, &str)]| read::<Tool>(args, variables);
    let server = |args: &[&str], variables: &[(&str, &str)]| tool(args, variables).unwrap().server;
    let variables = [("FIRN_SERVER", "v"), ("LIMIT", "no number"), ("SERVER", "other")];
    assert_eq!(server(&["get", "k"], &[]), "nowhere");
    assert_eq!(server(&["get", "k"], &variables), "v");
    assert_eq!(server(&["get", "k", "--server", "s"], &variables), "s");
    assert_eq!(server(&["--server", "s", "get", "k"], &variables), "s");
    let file = file(r#"{"server": "f"}"#);
    assert_eq!(server(&["get", "k", "-c", file.path().to_str().unwrap()], &[]), "f");
    let What::Get { key, limit } = tool(&["get", "k", "--limit=3"], &variables).unwrap().what;
    assert_eq!((key.as_str(), limit), ("k", Some(3)));
    assert!(tool(&[], &[]).unwrap_err().starts_with("2 "));
}
