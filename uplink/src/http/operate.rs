//! What operators ask when a cluster grows, shrinks or has lost something.

use actix_web::HttpResponse;
use firn_wire::ids::WorkerName;
use firn_wire::registry::Recover;

use super::{Answered, Shell};
use crate::registry::{Answer, Event};

impl Shell {
    pub(super) async fn drain(&self, name: &WorkerName) -> Answered {
        match self.owner.ask(Event::Drain(name.clone())).await? {
            Answer::Draining(draining) => Ok(HttpResponse::Ok().json(draining)),
            other => unreachable!("a drain is answered with {other:?}"),
        }
    }

    pub(super) async fn recover(&self, asked: Recover) -> Answered {
        match self.owner.ask(Event::Recover(asked)).await? {
            Answer::Recovered(recovered) => {
                if recovered.recovered > 0 {
                    log::warn!(
                        "{} partitions start again without their last copies, as asked: {}",
                        recovered.recovered,
                        recovered.partitions.join(", ")
                    );
                }
                Ok(HttpResponse::Ok().json(recovered))
            }
            other => unreachable!("a recovery is answered with {other:?}"),
        }
    }

    pub(super) fn movement(&self) -> HttpResponse {
        HttpResponse::Ok().json(self.now().progress.at(self.clock.now_ms()))
    }

    pub(super) async fn alter_settings(
        &self,
        patch: serde_json::Map<String, serde_json::Value>,
    ) -> Answered {
        match self.owner.ask(Event::AlterSettings(patch)).await? {
            Answer::Settings(settings) => {
                log::info!("settings from now on: {settings:?}");
                Ok(HttpResponse::Ok().json(settings))
            }
            other => unreachable!("a change of settings is answered with {other:?}"),
        }
    }
}
