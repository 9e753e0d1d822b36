//! `GET /v1/map`: what is newer than a version, at once or as soon as there is something.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use firn_wire::ids::MapVersion;
use tokio::time::timeout;

use super::gate::Passed;
use super::problem::Refused;
use super::read::{MapQuery, query};
use super::{Answered, Shell};
use crate::owner::Published;

/// The longest wait for a newer map; longer wishes are taken as this.
const WAIT_MAX: Duration = Duration::from_secs(25);

impl Shell {
    /// What is newer than `after`, waiting for it if asked to: 200, or 204 when nothing was newer in time, or 304 when the
    /// map is the one of `If-None-Match`.
    pub(super) async fn map(&self, passed: &Passed) -> Answered {
        let MapQuery { after, wait } = query(passed)?;
        let wait =
            wait.map(|text| humantime::parse_duration(&text)).transpose().map_err(|error| {
                Refused::bad_request(format!("wait is not a duration as 25s: {error}"))
            })?;
        let known = after.unwrap_or_default();
        let now = self.newer(known, wait.unwrap_or_default().min(WAIT_MAX)).await?;
        let etag = format!("\"{}\"", now.map.version);
        let has_it = passed.if_none_match.as_ref().is_some_and(|tags| is_among(&etag, tags));
        if has_it && now.map.version != MapVersion::default() {
            return Ok(HttpResponse::NotModified().insert_header((header::ETAG, etag)).finish());
        }
        let delta = now.history.delta(&now.map, after).map_err(|_| {
            let detail = format!(
                "the map here is {} and {known} was not issued by this uplink: its store is older than yours",
                now.map.version
            );
            Refused::new(409, "version-ahead", detail)
        })?;
        if now.map.version == known {
            return Ok(HttpResponse::NoContent().finish());
        }
        Ok(HttpResponse::Ok().insert_header((header::ETAG, etag)).json(delta))
    }

    /// The map once its version is another than `known`, or when `wait` is over.
    async fn newer(&self, known: MapVersion, wait: Duration) -> Result<Published, Refused> {
        let mut published = self.published.clone();
        let _waiting = self.metrics.waiting.during();
        let newer = published.wait_for(|now| now.map.version != known);
        match timeout(wait, newer).await {
            Ok(Ok(now)) => Ok(now.clone()),
            Ok(Err(_)) => Err(Refused::stopped()),
            Err(_) => Ok(self.now()),
        }
    }
}

/// Whether a list of entity tags (RFC 9110 §8.8.3; weak ones count, §13.1.2) names this one.
fn is_among(etag: &str, tags: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}
