//! Settings that change online.

use firn_wire::map::Replication;
use serde_json::{Map, Value, json};

use super::{Answer, Refusal, RefusalKind, Registry};
use crate::settings::check;

/// The member of the settings that changes online.
const ONLINE: &str = "replication";

impl Registry {
    /// A JSON merge patch (RFC 7396) of the settings.
    pub(super) fn alter_settings(&mut self, patch: Map<String, Value>) -> Result<Answer, Refusal> {
        self.expect_map()?;
        let bad = |detail: String| Refusal::new(RefusalKind::BadSetting, detail);
        let mut settings = self.map().settings.clone();
        for (name, value) in patch {
            match value {
                Value::Object(members) if name == ONLINE => {
                    settings.replication = patched(settings.replication, members).map_err(&bad)?;
                }
                _ => return Err(self.not_online(&name)),
            }
        }
        check(&settings).map_err(&bad)?;
        if settings != self.map().settings {
            self.change().0.settings = settings;
        }
        Ok(Answer::Settings(Box::new(self.map().settings.clone())))
    }

    fn not_online(&self, name: &str) -> Refusal {
        if name == ONLINE {
            return Refusal::new(RefusalKind::BadSetting, format!("{ONLINE} must be an object"));
        }
        if json!(self.map().settings).get(name).is_none() {
            return Refusal::new(RefusalKind::BadSetting, format!("there is no setting {name:?}"));
        }
        let detail = format!("{name} does not change online, only what is in {ONLINE} does");
        Refusal::new(RefusalKind::FixedSetting, detail)
    }
}

fn patched(old: Replication, patch: Map<String, Value>) -> Result<Replication, String> {
    let Value::Object(mut members) = json!(old) else { unreachable!("it is an object") };
    // A member set to null reads as one that is not there, and unlike that it must have a known name.
    members.extend(patch);
    serde_json::from_value(Value::Object(members)).map_err(|error| error.to_string())
}
