//! Which resource a path names. The path is taken as sent: nothing is decoded or normalised before it is cut.

/// A resource of the door. Texts are parts of the path, still percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/v1/kv/{table}/{key}`; the key is the rest of the path, slashes included.
    Entry { table: &'a str, key: &'a str },
    /// `/v1/kv/{table}`
    Entries { table: &'a str },
    /// `/v1/batch`
    Batch,
    /// `/v1/tables`
    Tables,
    /// `/v1/tables/{table}`
    Table { table: &'a str },
    /// `/v1/cluster`
    Cluster,
    /// `/v1/workers`
    Workers,
    /// `/v1/locate`
    Locate,
    /// `/v1/map`
    Map,
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// Smache's `/` and `/healthcheck`
    SmacheHealth,
    /// Smache's `/api`
    SmacheApi,
}

impl<'a> Route<'a> {
    /// The resource of a path; None where there is none.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("/v1/") {
            return Self::native(rest);
        }
        Some(match path {
            "/api" => Self::SmacheApi,
            "/" | "/healthcheck" => Self::SmacheHealth,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            _ => return None,
        })
    }

    fn native(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("kv/") {
            return Some(match rest.split_once('/') {
                Some((table, key)) => Self::Entry { table, key },
                None => Self::Entries { table: rest },
            });
        }
        Some(match path {
            "batch" => Self::Batch,
            "tables" => Self::Tables,
            "cluster" => Self::Cluster,
            "workers" => Self::Workers,
            "locate" => Self::Locate,
            "map" => Self::Map,
            _ => Self::Table { table: path.strip_prefix("tables/")? },
        })
    }

    /// The methods it answers, as `Allow` lists them (RFC 9110 §10.2.1).
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Entry { .. } => "GET, HEAD, PUT, DELETE, POST",
            Self::Table { .. } => "GET, HEAD, PUT, PATCH, DELETE",
            Self::Batch => "POST",
            Self::SmacheApi => "GET, HEAD, POST",
            _ => "GET, HEAD",
        }
    }

    /// Whether it answers a method.
    pub(super) fn allows(&self, method: &str) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method)
    }

    /// Whether its requests with this method carry a body.
    pub(super) fn takes_body(&self, method: &str) -> bool {
        match self {
            Self::Entry { .. } | Self::Batch | Self::SmacheApi => matches!(method, "PUT" | "POST"),
            Self::Table { .. } => matches!(method, "PUT" | "PATCH"),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_rest_of_the_path_as_it_was_sent() {
        for key in ["k", "a/b", "/", "//", ".", "..", "../x", "%2F", "%2e%2e", "a//b/", ""] {
            let path = format!("/v1/kv/t/{key}");
            assert_eq!(Route::of(&path), Some(Route::Entry { table: "t", key }), "{path}");
        }
        assert_eq!(Route::of("/v1/kv/t"), Some(Route::Entries { table: "t" }));
    }

    #[test]
    fn other_paths_are_matched_whole() {
        assert_eq!(Route::of("/v1/tables/t"), Some(Route::Table { table: "t" }));
        assert_eq!(Route::of("/api"), Some(Route::SmacheApi));
        for path in ["", "/v1", "/v1/", "/v1/kv", "//v1/kv/t/k", "/V1/tables", "/api/", "/v1/map/"]
        {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn only_listed_methods_are_allowed() {
        let entry = Route::Entry { table: "t", key: "k" };
        assert!(entry.allows("HEAD") && entry.allows("DELETE"));
        assert!(!entry.allows("PATCH") && !entry.allows("get") && !entry.allows("GET, HEAD"));
        assert!(!Route::Entries { table: "t" }.allows("DELETE"));
        assert!(entry.takes_body("PUT") && !entry.takes_body("GET"));
    }
}
