//! `firn settings`: what the whole cluster goes by, and changing what can be changed while it runs.

use std::time::Duration;

use clap::{Args, Subcommand};
use firn_wire::map::{Replication, Settings};
use serde_json::{Map, Value, json};

use crate::cluster::{self, Fetched};
use crate::exit::Problem;
use crate::options::Global;
use crate::output::{self, Output};
use crate::uplink;

/// `firn settings`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to do with them; show if not given
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show them
    Show,
    /// Change some, at once and for every worker: lease, grant, replace-after, forget-after and rehome-after take a
    /// duration as 2s (rehome-after also never), copy-rate takes bytes in a second as 32MiB, or unlimited
    Set {
        /// What becomes what
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = change)]
        changes: Vec<Change>,
    },
}

/// A member of [`Replication`] and its new value.
#[derive(Debug, Clone, PartialEq)]
struct Change {
    member: &'static str,
    value: Value,
}

fn change(text: &str) -> Result<Change, String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE, as lease=800ms")?;
    let (member, value) = match name {
        "lease" => ("lease_ms", milliseconds(value)?.into()),
        "grant" => ("grant_ms", milliseconds(value)?.into()),
        "replace-after" => ("replace_after_ms", milliseconds(value)?.into()),
        "forget-after" => ("forget_after_ms", milliseconds(value)?.into()),
        "rehome-after" if value == "never" => ("rehome_after_ms", Value::Null),
        "rehome-after" => ("rehome_after_ms", milliseconds(value)?.into()),
        "copy-rate" if value == "unlimited" => ("copy_bytes_per_second", 0.into()),
        "copy-rate" => ("copy_bytes_per_second", firn_config::size(value)?.into()),
        _ => {
            return Err(
                "only lease, grant, replace-after, forget-after, rehome-after and copy-rate \
                        can be changed while a cluster runs"
                    .to_owned(),
            );
        }
    };
    Ok(Change { member, value })
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let ms = firn_config::duration(text)?.as_millis();
    u64::try_from(ms).map_err(|_| "it is too long".to_owned())
}

/// Does it.
pub(crate) async fn run(
    options: &Options,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    if let Some(Action::Set { changes }) = &options.action {
        let patch = patch(changes).to_string();
        uplink::ask(global, async |uplink| uplink.patch_settings(&patch).await).await?;
    }
    let Fetched { map, .. } = cluster::fetch(global).await?;
    if to.json {
        return Ok(to.json(&map.settings)?);
    }
    Ok(to.line(table(&map.settings))?)
}

/// A JSON merge patch (RFC 7396).
fn patch(changes: &[Change]) -> Value {
    let members = changes.iter().map(|change| (change.member.to_owned(), change.value.clone()));
    json!({ "replication": members.collect::<Map<_, _>>() })
}

fn table(settings: &Settings) -> String {
    let running = running(&settings.replication).map(|row| (row, "firn settings set"));
    let fixed = fixed(settings).map(|row| (row, "never"));
    let restart = at_restart(settings).map(|row| (row, "the uplink's restart"));
    let rows = running.into_iter().chain(restart).chain(fixed);
    let rows = rows.map(|((name, value), changed)| [name.to_owned(), value, changed.to_owned()]);
    output::columns(["SETTING", "VALUE", "CHANGED BY"], rows, 0..0)
}

fn running(replication: &Replication) -> [(&'static str, String); 6] {
    let rehome = replication.rehome_after_ms.map_or_else(|| "never".to_owned(), shown);
    let rate = match replication.copy_bytes_per_second {
        0 => "unlimited".to_owned(),
        bytes => format!("{bytes} bytes/s"),
    };
    [
        ("lease", shown(replication.lease_ms)),
        ("grant", shown(replication.grant_ms)),
        ("replace-after", shown(replication.replace_after_ms)),
        ("forget-after", shown(replication.forget_after_ms)),
        ("rehome-after", rehome),
        ("copy-rate", rate),
    ]
}

fn at_restart(settings: &Settings) -> [(&'static str, String); 2] {
    [
        ("worker-lease", shown(settings.worker_lease_ms)),
        ("expect-workers", settings.expect_workers.to_string()),
    ]
}

fn fixed(settings: &Settings) -> [(&'static str, String); 4] {
    let placement = format!("{:?}", settings.placement).to_lowercase();
    [
        ("copies", settings.copies.to_string()),
        ("partitions", settings.partitions.to_string()),
        ("placement", placement),
        ("key-integer", settings.key_integer.to_string()),
    ]
}

fn shown(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_become_a_patch_in_the_maps_units() {
        let changes = ["lease=800ms", "rehome-after=never", "copy-rate=64MiB"]
            .map(|text| change(text).unwrap());
        let wanted = json!({ "replication": {
            "lease_ms": 800, "rehome_after_ms": null, "copy_bytes_per_second": 67_108_864,
        }});
        assert_eq!(patch(&changes), wanted);
        assert_eq!(change("copy-rate=unlimited").unwrap().value, json!(0));
        let members = serde_json::to_value(Replication::default()).unwrap();
        for name in ["lease", "grant", "replace-after", "forget-after", "rehome-after"] {
            let change = change(&format!("{name}=1m")).unwrap();
            assert!(members.get(change.member).is_some(), "{name} is {}", change.member);
            assert_eq!(change.value, json!(60_000), "{name}");
        }
        assert!(members.get("copy_bytes_per_second").is_some());
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        for bad in ["lease", "lease=soon", "copies=3", "lease=never", "copy-rate=fast", "=1s"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn they_are_shown_as_they_are_set() {
        let shown = running(&Replication::default());
        assert_eq!(shown[0], ("lease", "2s".to_owned()));
        assert_eq!(shown[4], ("rehome-after", "never".to_owned()));
        for (name, value) in &shown[..5] {
            let value = value.replace(' ', "");
            assert!(change(&format!("{name}={value}")).is_ok(), "{name}={value}");
        }
    }
}
