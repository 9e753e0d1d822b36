//! What operators ask of the uplink: to empty a worker, to forget one, to go on without what is lost, other settings.

use firn_wire::ids::WorkerName;
use firn_wire::registry::{Draining, Movement, Recover, Recovered};
use reqwest::Method;

use super::{ANSWER_TIMEOUT, Uplink, UplinkError};

impl Uplink {
    /// Empties a worker: it loses its seat, and others take over what it has. Asked again it tells what is left.
    pub async fn drain(&self, worker: &WorkerName) -> Result<Draining, UplinkError> {
        let target = format!("/v1/workers/{worker}/drain");
        self.ask(Method::POST, &target, None, ANSWER_TIMEOUT).await?.read()
    }

    /// Takes a worker that is down, and has no data nobody else has, out of the map.
    pub async fn forget(&self, worker: &WorkerName) -> Result<(), UplinkError> {
        let target = format!("/v1/workers/{worker}");
        self.ask(Method::DELETE, &target, None, ANSWER_TIMEOUT).await.map(drop)
    }

    /// Lets partitions start anew whose in-sync copies are all away.
    pub async fn recover(&self, recover: &Recover) -> Result<Recovered, UplinkError> {
        self.with_body(Method::POST, "/v1/recover", recover).await
    }

    /// How far partitions are from where they should be.
    pub async fn movement(&self) -> Result<Movement, UplinkError> {
        self.ask(Method::GET, "/v1/movement", None, ANSWER_TIMEOUT).await?.read()
    }

    /// Changes what can be changed of the cluster's settings, by a JSON merge patch (RFC 7396).
    pub async fn patch_settings(&self, patch: &str) -> Result<(), UplinkError> {
        let body = patch.as_bytes().to_vec();
        self.ask(Method::PATCH, "/v1/settings", Some(body), ANSWER_TIMEOUT).await.map(drop)
    }
}
