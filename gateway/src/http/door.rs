//! What all requests of a listener share: the store, the way to its tables, the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;
use firn_wire::exchange::{Role, Session};
use firn_wire::ids::{TableId, TableName};
use firn_wire::limits::VALUE_BYTES_DEFAULT_MAX;
use firn_wire::map::TablePolicy;

use super::problem::{Kind, Problem};
use crate::execute::Execute;

/// What all requests of a listener share.
pub struct Door {
    /// The store.
    pub(super) execute: Arc<dyn Execute>,
    /// Responses by the first digit of their status, from 1.
    responses: [AtomicU64; 5],
    sessions: AtomicU64,
}

impl Door {
    /// A door to a store.
    pub fn new(execute: Arc<dyn Execute>) -> Self {
        Self { execute, responses: Default::default(), sessions: AtomicU64::new(0) }
    }

    /// Responses so far: first digit of the status, count.
    pub(super) fn responses(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.responses.iter().zip(1..).map(|(count, class)| (class, count.load(Ordering::Relaxed)))
    }

    /// Counts a response.
    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, self.responses.len());
        self.responses[class - 1].fetch_add(1, Ordering::Relaxed);
    }

    /// The session of a new request.
    pub(super) fn session(&self) -> Session {
        Session::new(self.sessions.fetch_add(1, Ordering::Relaxed) + 1, Role::Admin)
    }

    /// The longest value a table takes, in bytes; the primary has the last word.
    pub(super) fn value_bytes_limit(&self, table: TableId) -> usize {
        let map = self.execute.map();
        let row = map.table_by_id(table);
        row.map_or(VALUE_BYTES_DEFAULT_MAX, |row| TablePolicy::value_bytes_limit(&row.policy))
    }

    /// A table by a name out of a path or query; the uplink is asked once where the map does not have it.
    pub(super) async fn table(&self, name: &str) -> Result<TableId, Problem> {
        if name == "default" {
            return Ok(TableId::DEFAULT); // it always exists: no look-up on the most used path
        }
        find_table(&*self.execute, name).await
    }
}

/// A table by any name; the uplink is asked once where the map does not have it.
pub(super) async fn find_table(execute: &dyn Execute, name: &str) -> Result<TableId, Problem> {
    let parsed = table_name(name)?;
    if let Some(row) = execute.map().table(&parsed) {
        return Ok(row.id);
    }
    let found = execute.find_table(&parsed).await;
    found.ok_or_else(|| no_such_table(name))
}

/// The name of a table that may exist, a line protocol's included.
pub(super) fn table_name(text: &str) -> Result<TableName, Problem> {
    TableName::from_registry(text)
        .map_err(|error| Problem::new(Kind::InvalidTableName, error.to_string()))
}

/// The problem of a table that is not there.
pub(super) fn no_such_table(name: &str) -> Problem {
    Problem::new(
        Kind::NoSuchTable,
        format!("there is no table {name}; PUT /v1/tables/{name} makes it"),
    )
    .table(name)
}
