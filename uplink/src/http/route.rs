//! Which request is for what: every path of the uplink is here.

use firn_wire::ids::{TableName, WorkerName};
use firn_wire::limits::DOCUMENT_BYTES_MAX;

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `GET /livez`: whether the process runs.
    Live,
    /// `GET /readyz`: whether it can do its work.
    Ready,
    /// `GET /metrics`.
    Metrics,
    /// `GET /v1/cluster`: its health in a sentence, and in numbers.
    Cluster,
    /// `GET /v1/workers`.
    Workers,
    /// `POST /v1/workers`.
    Register,
    /// `POST /v1/workers/{name}/heartbeat`.
    Beat(WorkerName),
    /// `POST /v1/workers/{name}/map`: the last map a worker has seen.
    Tell(WorkerName),
    /// `POST /v1/workers/{name}/drain`.
    Drain(WorkerName),
    /// `DELETE /v1/workers/{name}`.
    Forget(WorkerName),
    /// `POST /v1/recover`.
    Recover,
    /// `GET /v1/movement`.
    Movement,
    /// `GET /v1/settings`.
    Settings,
    /// `PATCH /v1/settings`.
    AlterSettings,
    /// `GET /v1/map`.
    Map,
    /// `POST /v1/map/changes`.
    Changes,
    /// `GET /v1/tables`.
    Tables,
    /// `GET /v1/tables/{t}`.
    Table(TableName),
    /// `PUT /v1/tables/{t}`.
    CreateTable(TableName),
    /// `PATCH /v1/tables/{t}`.
    AlterTable(TableName),
    /// `DELETE /v1/tables/{t}`.
    DropTable(TableName),
}

/// Why a request is for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// There is no such path.
    Path,
    /// The path is there and has other methods: these.
    Method(&'static str),
    /// A name in the path is none.
    Name(String),
}

const BODY_BYTES_MAX: usize = 64 * 1024;
/// A whole map: the largest one there can be, at 500 bytes a partition.
const MAP_BYTES_MAX: usize = 128 * 1024 * 1024;

impl Route {
    /// Reads method and path. Names are taken as they are: no character a name may have needs an escape.
    pub(super) fn read(method: &str, path: &str) -> Result<Self, NoRoute> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (segments.as_slice(), method) {
            (["livez"], "GET") => Ok(Self::Live),
            (["readyz"], "GET") => Ok(Self::Ready),
            (["metrics"], "GET") => Ok(Self::Metrics),
            (["v1", "cluster"], "GET") => Ok(Self::Cluster),
            (["v1", "workers"], "GET") => Ok(Self::Workers),
            (["v1", "workers"], "POST") => Ok(Self::Register),
            (["v1", "workers", name, "heartbeat"], "POST") => worker(name).map(Self::Beat),
            (["v1", "workers", name, "map"], "POST") => worker(name).map(Self::Tell),
            (["v1", "workers", name, "drain"], "POST") => worker(name).map(Self::Drain),
            (["v1", "workers", name], "DELETE") => worker(name).map(Self::Forget),
            (["v1", "recover"], "POST") => Ok(Self::Recover),
            (["v1", "movement"], "GET") => Ok(Self::Movement),
            (["v1", "settings"], "GET") => Ok(Self::Settings),
            (["v1", "settings"], "PATCH") => Ok(Self::AlterSettings),
            (["v1", "map"], "GET") => Ok(Self::Map),
            (["v1", "map", "changes"], "POST") => Ok(Self::Changes),
            (["v1", "tables"], "GET") => Ok(Self::Tables),
            (["v1", "tables", name], "GET") => table(name).map(Self::Table),
            (["v1", "tables", name], "PUT") => table(name).map(Self::CreateTable),
            (["v1", "tables", name], "PATCH") => table(name).map(Self::AlterTable),
            (["v1", "tables", name], "DELETE") => table(name).map(Self::DropTable),
            (segments, _) => Err(methods(segments).map_or(NoRoute::Path, NoRoute::Method)),
        }
    }

    /// Whether it reads a query; to the others every name in one is unknown.
    pub(super) fn has_query(&self) -> bool {
        matches!(self, Self::Map | Self::CreateTable(_))
    }

    /// Whether it reads a body.
    pub(super) fn has_body(&self) -> bool {
        matches!(
            self,
            Self::Register
                | Self::Beat(_)
                | Self::Tell(_)
                | Self::Recover
                | Self::AlterSettings
                | Self::Changes
                | Self::CreateTable(_)
                | Self::AlterTable(_)
        )
    }

    /// The longest body it takes, in bytes.
    pub(super) fn body_bytes_max(&self) -> usize {
        match self {
            Self::Changes => DOCUMENT_BYTES_MAX,
            Self::Tell(_) => MAP_BYTES_MAX,
            _ => BODY_BYTES_MAX,
        }
    }
}

/// The methods of a path; None where there is no such path.
fn methods(segments: &[&str]) -> Option<&'static str> {
    match segments {
        ["livez" | "readyz" | "metrics"] | ["v1", "cluster" | "map" | "movement" | "tables"] => {
            Some("GET")
        }
        ["v1", "settings"] => Some("GET, PATCH"),
        ["v1", "recover"] => Some("POST"),
        ["v1", "workers"] => Some("GET, POST"),
        ["v1", "workers", _, "heartbeat" | "map" | "drain"] | ["v1", "map", "changes"] => {
            Some("POST")
        }
        ["v1", "workers", _] => Some("DELETE"),
        ["v1", "tables", _] => Some("GET, PUT, PATCH, DELETE"),
        _ => None,
    }
}

fn worker(text: &str) -> Result<WorkerName, NoRoute> {
    text.parse().map_err(|error: firn_wire::ids::BadId| NoRoute::Name(error.to_string()))
}

/// Names of line protocols' words pass here: doors ask for them.
fn table(text: &str) -> Result<TableName, NoRoute> {
    TableName::from_registry(text).map_err(|error| NoRoute::Name(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_methods() {
        let paths = [
            ("/livez", "GET"),
            ("/readyz", "GET"),
            ("/metrics", "GET"),
            ("/v1/cluster", "GET"),
            ("/v1/map", "GET"),
            ("/v1/map/changes", "POST"),
            ("/v1/workers", "GET, POST"),
            ("/v1/workers/w1", "DELETE"),
            ("/v1/workers/w1/heartbeat", "POST"),
            ("/v1/workers/w1/drain", "POST"),
            ("/v1/workers/w1/map", "POST"),
            ("/v1/recover", "POST"),
            ("/v1/movement", "GET"),
            ("/v1/settings", "GET, PATCH"),
            ("/v1/tables", "GET"),
            ("/v1/tables/t", "GET, PUT, PATCH, DELETE"),
        ];
        for (path, allowed) in paths {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"] {
                let read = Route::read(method, path);
                if allowed.split(", ").any(|one| one == method) {
                    assert!(read.is_ok(), "{method} {path}");
                } else {
                    assert_eq!(read, Err(NoRoute::Method(allowed)), "{method} {path}");
                }
            }
        }
    }

    #[test]
    fn other_paths_are_none() {
        for path in [
            "",
            "/",
            "/v1",
            "/v1/",
            "//v1/map",
            "/v1/map/",
            "/v1/tables/",
            "/V1/map",
            "/v1/tables/a/b",
        ] {
            let read = Route::read("GET", path);
            assert!(matches!(read, Err(NoRoute::Path | NoRoute::Name(_))), "{path}: {read:?}");
        }
        for path in ["/v1/tables/%2e%2e", "/v1/tables/A", "/v1/tables/..", "/v1/tables/a%00"] {
            assert!(matches!(Route::read("PUT", path), Err(NoRoute::Name(_))), "{path}");
        }
    }
}
