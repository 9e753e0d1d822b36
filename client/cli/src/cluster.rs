//! The cluster as `firn` sees it: the client library's router, with no data of its own. `firn proxy` puts listeners in
//! front of it, every other command asks it directly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use firn_client::client::{Client, ClientConfig, ClientError};
use firn_client::delta::merge;
use firn_client::local::{Local as _, Nothing};
use firn_client::uplink::{Uplink, UplinkError};
use firn_gateway::execute::{About, Boxed, Execute, ProcessKind};
use firn_wire::command::{Command, Export};
use firn_wire::exchange::{Session, Sink};
use firn_wire::ids::{MapVersion, TableId, TableName};
use firn_wire::map::MapIndex;
use firn_wire::reply::ReplyBuf;

use crate::exit::{Exit, Problem};
use crate::options::Global;

/// A map, and what was found out on the way to it.
pub(crate) struct Fetched {
    /// The map.
    pub(crate) map: Arc<MapIndex>,
    /// The server it is from.
    pub(crate) server: String,
    /// The servers that were asked first and did not answer, each with why.
    pub(crate) silent: Vec<String>,
}

/// Asks the servers in turn for the map.
pub(crate) async fn fetch(global: &Global) -> Result<Fetched, Problem> {
    let mut silent = Vec::new();
    for server in &global.server {
        let uplink = Uplink::new(server, global.secret()).map_err(Problem::usage)?;
        let asked = uplink.map(MapVersion::default(), Duration::ZERO);
        let asked = tokio::time::timeout(global.timeout, asked).await;
        let late = || Err(UplinkError::NoAnswer(format!("{server}: no answer in time")));
        match asked.unwrap_or_else(|_| late()) {
            Ok(Some(delta)) => {
                let map = merge(None, delta).map_err(|error| {
                    Problem::new(Exit::Refused, format_args!("the map of {server}: {error}"))
                })?;
                return Ok(Fetched { map: Arc::new(map), server: server.clone(), silent });
            }
            Ok(None) => silent.push(format!("{server}: no map yet, workers are missing")),
            Err(UplinkError::NoAnswer(why)) => silent.push(why),
            Err(error) => return Err(refused(server, &error.to_string())),
        }
    }
    Err(unreachable(&silent.join("; ")))
}

fn unreachable(why: &str) -> Problem {
    let advice = "start what is missing, or name another with --server";
    Problem::new(Exit::Unreachable, format_args!("no map of the cluster ({why}); {advice}"))
}

/// The server does not know us for one of its cluster, or is something else.
pub(crate) fn refused(server: &str, why: &str) -> Problem {
    let advice =
        "is CLUSTER_SECRET the cluster's, and is that an uplink or a worker's http listener?";
    Problem::new(Exit::Refused, format_args!("{server} refuses: {why}; {advice}"))
}

/// See the module's page.
pub(crate) struct Cluster {
    client: Client,
    started: Instant,
}

impl Cluster {
    /// Reaches the cluster and starts to follow its map.
    pub(crate) async fn connect(global: &Global) -> Result<Self, Problem> {
        let config = ClientConfig {
            servers: global.server.join(","),
            secret: global.secret(),
            timeout: global.timeout,
        };
        let client = Client::connect(config).await.map_err(|error| match error {
            ClientError::Servers(error) => Problem::usage(error),
            ClientError::Refused(why) => refused("the cluster", &why),
            error => unreachable(&error.to_string()),
        })?;
        Ok(Self { client, started: Instant::now() })
    }

    /// The next part of a partition, for a backup.
    pub(crate) async fn export(
        &self,
        session: &Session,
        table: TableId,
        number: u16,
        export: Export,
    ) -> ReplyBuf {
        self.client.router().export(session, table, number, export).await
    }
}

impl Execute for Cluster {
    fn submit(&self, session: &mut Session, commands: &[Command<'_>], sink: &mut dyn Sink) {
        self.client.router().submit(session, commands, sink);
    }

    fn map(&self) -> Arc<MapIndex> {
        self.client.map()
    }

    fn find_table<'a>(&'a self, name: &'a TableName) -> Boxed<'a, Option<TableId>> {
        Box::pin(self.client.router().find_table(name))
    }

    fn now_ms(&self) -> u64 {
        Nothing.now_ms()
    }

    fn about(&self) -> About {
        About {
            name: "proxy".to_owned(),
            kind: ProcessKind::Proxy,
            not_ready: None,
            uptime: self.started.elapsed(),
            uplink_heard: self.client.uplink_heard(),
            entries: 0,
            memory_bytes: 0,
            shards: 0,
        }
    }
}
