//! What an operator asks the uplink, past the network that fails.

use std::net::SocketAddr;
use std::time::Duration;

use firn_wire::map::Map;
use firn_wire::registry::MapDelta;
use serde_json::Value;
use tokio::runtime::Runtime;

/// How long an answer may take; without one the uplink counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client of the uplink.
#[derive(Debug)]
pub struct Control {
    runtime: Runtime,
    client: reqwest::Client,
}

impl Default for Control {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        Self { runtime, client: crate::client::http() }
    }
}

impl Control {
    /// Asks; None when there was no answer in time. Status and body.
    pub fn ask(
        &self,
        uplink: SocketAddr,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<(u16, Vec<u8>)> {
        let method = method.parse().expect("one of HTTP's methods");
        let mut request = self.client.request(method, format!("http://{uplink}{path}"));
        if !body.is_null() {
            request = request.json(body);
        }
        let asking = async {
            let response = request.timeout(PATIENCE).send().await.ok()?;
            let status = response.status().as_u16();
            Some((status, response.bytes().await.ok()?.to_vec()))
        };
        self.runtime.block_on(asking)
    }

    /// The map; None when there was no answer in time.
    pub fn map(&self, uplink: SocketAddr) -> Option<Map> {
        let (status, body) = self.ask(uplink, "GET", "/v1/map", &Value::Null)?;
        let delta: MapDelta = (status == 200).then(|| serde_json::from_slice(&body).ok())??;
        Some(Map {
            cluster: delta.cluster,
            version: delta.version,
            format: delta.format,
            settings: delta.settings,
            workers: delta.workers,
            seats: delta.seats,
            groups: delta.groups,
            partitions: delta.partitions,
            tables: delta.tables,
        })
    }
}
