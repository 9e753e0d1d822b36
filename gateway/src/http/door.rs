//! One request: what is checked of all, which resource it is for, and what its handler has at hand.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_http::ConnectionType;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use firn_wire::command::{Command, KeyOp, Op};
use firn_wire::exchange::{Role, Session};
use firn_wire::ids::{TableId, TableName};
use firn_wire::limits::VALUE_BYTES_DEFAULT_MAX;
use firn_wire::map::TablePolicy;
use firn_wire::reply::Reply;

use super::ask::ask;
use super::body::Body;
use super::pace::Pace;
use super::problem::{Kind, Problem};
use super::query::{self, Params};
use super::route::Route;
use super::{batch, change, cluster, entry, gate, health, listing, operation, smache, tables};
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

    fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, self.responses.len());
        self.responses[class - 1].fetch_add(1, Ordering::Relaxed);
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

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// The table.
    pub(super) table: TableId,
    /// The key.
    pub(super) key: &'a [u8],
}

impl<'a> At<'a> {
    /// An operation there.
    pub(super) fn op(self, op: Op<'a>) -> KeyOp<'a> {
        KeyOp { table: self.table, key: self.key, op }
    }
}

/// A request on its way to its answer.
pub(super) struct Call<'r> {
    /// What it shares with others.
    pub(super) door: &'r Door,
    /// Its head.
    pub(super) request: &'r HttpRequest,
    /// Its body.
    pub(super) body: Body,
    /// Who asks.
    pub(super) session: Session,
}

impl<'r> Call<'r> {
    /// Its parameters, which must all be known.
    pub(super) fn params(&self, known: &[&'static str]) -> Result<Params<'r>, Problem> {
        Params::read(self.request.uri().query(), known)
    }

    /// Refuses a body.
    pub(super) fn no_body(&self) -> Result<(), Problem> {
        if self.body.is_left() { Err(Problem::plain(Kind::UnexpectedBody)) } else { Ok(()) }
    }

    /// Runs one command; a failure is a problem, `read` takes what else there is (None: it does not fit).
    pub(super) async fn ask<T>(
        &mut self,
        command: Command<'_>,
        mut read: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<T, Problem> {
        ask(&*self.door.execute, &mut self.session, command, |reply| match &reply {
            Reply::Failed(failure) => Err(Problem::from_failure(failure)),
            other => read(other).ok_or_else(Problem::odd_reply),
        })
        .await
    }

    async fn answer(&mut self, route: Route<'_>) -> Result<HttpResponse, Problem> {
        let method = self.request.method();
        if !route.allows(method.as_str()) {
            return Err(Problem::method_not_allowed(route.allow()));
        }
        if !route.takes_body(method.as_str()) {
            self.no_body()?;
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        // What is asked most comes first; the others are boxed, so that it does not carry their room with it.
        match route {
            Route::Entry { table, key } if reads => entry::get(self, table, key).await,
            Route::SmacheApi if reads => smache::get(self).await,
            Route::Entry { table, key } => match *method {
                Method::PUT => Box::pin(change::put(self, table, key)).await,
                Method::DELETE => Box::pin(change::delete(self, table, key)).await,
                _ => Box::pin(operation::post(self, table, key)).await,
            },
            Route::SmacheApi => Box::pin(smache::post(self)).await,
            Route::Entries { table } => Box::pin(listing::list(self, table)).await,
            Route::Batch => Box::pin(batch::run(self)).await,
            Route::Tables => tables::list(self),
            Route::Table { table } => match *method {
                Method::PUT => Box::pin(tables::create(self, table)).await,
                Method::PATCH => Box::pin(tables::alter(self, table)).await,
                Method::DELETE => Box::pin(tables::remove(self, table)).await,
                _ => Box::pin(tables::get(self, table)).await,
            },
            Route::Cluster => cluster::overview(self),
            Route::Workers => cluster::workers(self),
            Route::Locate => Box::pin(cluster::locate(self)).await,
            Route::Map => cluster::map(self),
            Route::Live => Ok(health::live()),
            Route::Ready => Ok(health::ready(self.door)),
            Route::Metrics => Ok(health::metrics(self.door)),
            Route::SmacheHealth => Ok(smache::health()),
        }
    }
}

/// The key of a path: its rest, percent-decoded exactly once.
pub(super) fn key(raw: &str) -> Result<std::borrow::Cow<'_, [u8]>, Problem> {
    let key = query::decode(raw).ok_or_else(|| {
        Problem::new(Kind::InvalidRequest, "the key is not well percent-encoded: write % as %25")
    })?;
    check_key(&key)?;
    Ok(key)
}

/// Refuses a key out of bounds.
pub(super) fn check_key(key: &[u8]) -> Result<(), Problem> {
    use firn_wire::limits::KEY_BYTES_MAX;
    if key.is_empty() {
        return Err(Problem::plain(Kind::KeyEmpty));
    }
    if key.len() > KEY_BYTES_MAX {
        let detail = format!("the key has {} bytes, more than {KEY_BYTES_MAX}", key.len());
        return Err(Problem::new(Kind::KeyTooLong, detail).limit(KEY_BYTES_MAX));
    }
    Ok(())
}

/// Answers any request: the one handler of the listener.
pub(super) async fn answer(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let door = request.app_data::<web::Data<Door>>().expect("configured with its door");
    let pace = request.conn_data::<Rc<Pace>>();
    if let Some(pace) = pace {
        pace.head_is_read();
    }
    let path = request.uri().path();
    let mut call = Call {
        door,
        request: &request,
        body: Body::new(payload.into_inner(), request.headers()),
        session: Session::new(door.sessions.fetch_add(1, Ordering::Relaxed) + 1, Role::Admin),
    };
    let answered = match admit(&call) {
        Ok(route) => call.answer(route).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(|problem| match path {
        "/api" | "/" | "/healthcheck" => problem.respond_as_message(),
        _ => problem.respond(),
    });
    call.body.skip().await;
    let broken = call.body.is_left();
    if broken {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    if let Some(pace) = pace {
        pace.is_answered(broken);
    }
    door.count(response.status());
    response
}

/// The one gate before any handler.
fn admit<'r>(call: &Call<'r>) -> Result<Route<'r>, Problem> {
    let request = call.request;
    gate::check_sizes(request.uri(), request.headers())?;
    gate::check_browser(request.method(), request.headers(), || call.door.execute.map())?;
    Route::of(request.uri().path()).ok_or_else(|| Problem::plain(Kind::NoSuchResource))
}
