//! How a worker finds its first map.

use std::sync::Arc;
use std::time::Duration;

use firn_client::maps::{Maps, no_map};
use firn_wire::ids::{ClusterId, MapVersion};
use firn_wire::map::MapIndex;
use firn_wire::registry::Registered;

use crate::membership::{Expelled, Membership};
use crate::saved::Saved;

/// How long the uplink is waited for when a map was kept.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why there is no first map.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Expelled(#[from] Expelled),
    #[error(
        "the kept map is of cluster {0}, the uplink's of {1}; point --data or --uplink elsewhere"
    )]
    Cluster(ClusterId, ClusterId),
}

/// What the first requests are routed by.
pub(crate) struct Start {
    pub(crate) cluster: ClusterId,
    pub(crate) hash_seed: u64,
    pub(crate) map: Arc<MapIndex>,
    /// The version the uplink has already; 0.0 when it waits for more workers, or did not answer.
    pub(crate) published: MapVersion,
    /// How often to beat; None: not registered yet.
    pub(crate) heartbeat: Option<Duration>,
}

impl Start {
    /// From the uplink; or from disk, when a map was kept and the uplink does not answer soon.
    pub(crate) async fn find(
        membership: &Membership,
        saved: Option<Saved>,
    ) -> Result<Self, StartError> {
        let kept = saved.and_then(|saved| match MapIndex::new(saved.map) {
            Ok(map) => Some((saved.hash_seed, Arc::new(map))),
            Err(error) => {
                log::warn!("the kept map is left aside: {error}");
                None
            }
        });
        let Some((hash_seed, map)) = kept else {
            let registered = membership.registered().await?;
            return Ok(Self::new(registered, Arc::new(no_map())));
        };
        membership.know(hash_seed, Arc::new(Maps::alone(Arc::clone(&map))));
        match tokio::time::timeout(PATIENCE, membership.registered()).await {
            Ok(registered) => {
                let registered = registered?;
                if registered.cluster != map.cluster {
                    return Err(StartError::Cluster(map.cluster, registered.cluster));
                }
                Ok(Self::new(registered, map))
            }
            Err(_) => {
                log::warn!(
                    "the uplink does not answer; starting with the kept map {}",
                    map.version
                );
                let (cluster, published) = (map.cluster, MapVersion::default());
                Ok(Self { cluster, hash_seed, map, published, heartbeat: None })
            }
        }
    }

    fn new(registered: Registered, map: Arc<MapIndex>) -> Self {
        let heartbeat = Some(Duration::from_millis(registered.heartbeat_ms));
        let Registered { cluster, hash_seed, version: published, .. } = registered;
        Self { cluster, hash_seed, map, published, heartbeat }
    }
}
