//! The uplink's HTTP: design.md calls it curl-able. One gate, one table of routes, one function for each.

mod gate;
mod map;
mod operate;
mod problem;
mod read;
mod route;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{KeepAlive, header};
use actix_web::web::{Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::Server, web};
use firn_wire::ids::{TableName, WorkerName};
use firn_wire::map::TablePolicy;
use firn_wire::registry::{Heartbeat, KnownMap, Proposal, Register, Verdict};
use firn_wire::status::Status;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;
use crate::owner::{Clock, Handle, Published};
use crate::registry::{Answer, Event};
pub(crate) use gate::Gate;
use gate::Passed;
use problem::Refused;
use read::{CreateQuery, NoQuery, body, object, query};
use route::Route;

const CONNECTIONS_MAX: usize = 10_000;
const HEADERS_PATIENCE: Duration = Duration::from_secs(5);
const IDLE_MAX: Duration = Duration::from_secs(75);
const STOP_PATIENCE_SECONDS: u64 = 5;

/// What requests are answered from.
pub(crate) struct Shell {
    pub(crate) gate: Gate,
    pub(crate) owner: Handle,
    pub(crate) published: watch::Receiver<Published>,
    /// The clock of the registry's thread.
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    /// When proposals are first judged: a second after a start that goes on from a map.
    pub(crate) proposals_from: Instant,
}

/// A server that has not begun. Signals are left to the caller.
pub(crate) fn serve(
    shell: Shell,
    listener: std::net::TcpListener,
    threads: usize,
) -> std::io::Result<Server> {
    let shell = Data::new(shell);
    let app = move || App::new().app_data(shell.clone()).default_service(web::to(answer));
    let server = HttpServer::new(app)
        .workers(threads)
        .max_connections(CONNECTIONS_MAX / threads)
        .client_request_timeout(HEADERS_PATIENCE)
        .keep_alive(KeepAlive::Timeout(IDLE_MAX))
        .shutdown_timeout(STOP_PATIENCE_SECONDS)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

async fn answer(request: HttpRequest, payload: Payload, shell: Data<Shell>) -> HttpResponse {
    let answered = match shell.gate.pass(&request, payload).await {
        Ok(passed) => shell.serve(passed).await,
        Err(refused) => {
            if refused.is_unsigned() {
                shell.metrics.unsigned.add(1);
            }
            Err(refused)
        }
    };
    let mut response = answered.unwrap_or_else(Refused::response);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

type Answered = Result<HttpResponse, Refused>;

impl Shell {
    async fn serve(&self, passed: Passed) -> Answered {
        if !passed.route.has_query() {
            let NoQuery {} = query(&passed)?;
        }
        if !passed.route.has_body() && !passed.body.is_empty() {
            return Err(Refused::bad_request("this request has no body"));
        }
        match &passed.route {
            Route::Live => Ok(HttpResponse::Ok().content_type("text/plain").body("ok\n")),
            Route::Ready => self.ready(),
            Route::Metrics => Ok(self.metrics()),
            Route::Cluster => Ok(self.cluster()),
            Route::Workers => Ok(self.workers()),
            Route::Register => self.register(object(&passed)?).await,
            Route::Beat(name) => self.beat(name, object(&passed)?).await,
            Route::Tell(name) => self.tell(name, object(&passed)?).await,
            Route::Drain(name) => self.drain(name).await,
            Route::Forget(name) => self.gone(Event::Forget(name.clone())).await,
            Route::Recover => self.recover(object(&passed)?).await,
            Route::Movement => Ok(self.movement()),
            Route::Settings => Ok(HttpResponse::Ok().json(&self.now().map.settings)),
            Route::AlterSettings => self.alter_settings(object(&passed)?).await,
            Route::Map => self.map(&passed).await,
            Route::Changes => self.changes(body(&passed)?).await,
            Route::Tables => Ok(HttpResponse::Ok().json(&self.now().map.tables)),
            Route::Table(name) => self.table(name),
            Route::CreateTable(name) => self.create_table(name, &passed).await,
            Route::AlterTable(name) => {
                self.made(name, Event::AlterTable(name.clone(), object(&passed)?)).await
            }
            Route::DropTable(name) => {
                let dropped = self.gone(Event::DropTable(name.clone())).await;
                dropped.map_err(|refused| refused.about(name))
            }
        }
    }

    fn now(&self) -> Published {
        self.published.borrow().clone()
    }

    /// Whether the registry's thread works. It does so while its store fails: who reads the map is served.
    fn ready(&self) -> Answered {
        match self.published.has_changed() {
            Ok(_) => Ok(HttpResponse::Ok().content_type("text/plain").body("ok\n")),
            Err(_) => Err(Refused::stopped()),
        }
    }

    fn metrics(&self) -> HttpResponse {
        let text = self.metrics.text(&self.now().map);
        HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
    }

    fn cluster(&self) -> HttpResponse {
        let map = self.now().map;
        let status = Status::of(&map);
        let findings = status
            .findings
            .iter()
            .map(|finding| json!({ "says": finding.to_string(), "since_ms": finding.since_ms }));
        HttpResponse::Ok().json(json!({
            "status": status.to_string(),
            "well": status.is_well(),
            "cluster": map.cluster,
            "version": map.version,
            "workers": map.workers.len(),
            "workers_up": status.up(),
            "findings": findings.collect::<Vec<_>>(),
            "partitions": status.partitions,
            "partitions_unserved": status.unserved,
            "partitions_unavailable": status.unavailable,
            "partitions_on_one_copy": status.single,
            "partitions_short_of_copies": status.short,
            "partitions_moving": status.moving,
            "tables": map.tables.len(),
            "settings": map.settings,
        }))
    }

    fn workers(&self) -> HttpResponse {
        let map = self.now().map;
        let standing = Status::of(&map).workers;
        let rows = standing.iter().map(|standing| {
            let mut row = json!(standing.worker);
            row["seat"] = json!(standing.seat);
            row["leads"] = json!(standing.leads);
            row["owes"] = json!(standing.owes);
            row
        });
        HttpResponse::Ok().json(rows.collect::<Vec<_>>())
    }

    async fn register(&self, register: Register) -> Answered {
        match self.owner.ask(Event::Register(register)).await? {
            Answer::Registered(registered, true) => Ok(HttpResponse::Created().json(registered)),
            Answer::Registered(registered, false) => Ok(HttpResponse::Ok().json(registered)),
            other => unreachable!("a registration is answered with {other:?}"),
        }
    }

    async fn beat(&self, name: &WorkerName, beat: Heartbeat) -> Answered {
        match self.owner.ask(Event::Beat(name.clone(), beat)).await? {
            Answer::Beaten(beaten) => Ok(HttpResponse::Ok().json(beaten)),
            other => unreachable!("a beat is answered with {other:?}"),
        }
    }

    async fn tell(&self, name: &WorkerName, known: KnownMap) -> Answered {
        let version = known.map.version;
        match self.owner.ask(Event::Tell(name.clone(), Box::new(known))).await? {
            Answer::Told(taken) => {
                log::info!("{name} has told its map, {version}");
                Ok(HttpResponse::Ok().json(taken))
            }
            other => unreachable!("a told map is answered with {other:?}"),
        }
    }

    async fn changes(&self, proposals: Vec<Proposal>) -> Answered {
        sleep_until(self.proposals_from).await;
        match self.owner.ask(Event::Propose(proposals)).await? {
            Answer::Verdicts(verdicts) => {
                let applied = |verdict: &&Verdict| matches!(verdict, Verdict::Applied(_));
                let applied = verdicts.iter().filter(applied).count();
                self.metrics.proposals_applied.add(applied as u64);
                self.metrics.proposals_refused.add((verdicts.len() - applied) as u64);
                Ok(HttpResponse::Ok().json(verdicts))
            }
            other => unreachable!("proposals are answered with {other:?}"),
        }
    }

    async fn gone(&self, event: Event) -> Answered {
        match self.owner.ask(event).await? {
            Answer::Gone(version) => Ok(HttpResponse::Ok().json(json!({ "version": version }))),
            other => unreachable!("a removal is answered with {other:?}"),
        }
    }

    fn table(&self, name: &TableName) -> Answered {
        let map = self.now().map;
        match map.tables.iter().find(|row| row.name == *name) {
            Some(row) => Ok(HttpResponse::Ok().json(row)),
            None => {
                let detail = format!("there is no table {name}");
                Err(Refused::new(404, "no-such-table", detail).about(name))
            }
        }
    }

    async fn create_table(&self, name: &TableName, passed: &Passed) -> Answered {
        let first_byte = query::<CreateQuery>(passed)?.first_byte;
        let policy: TablePolicy = match passed.body.is_empty() {
            true => TablePolicy::default(),
            false => object(passed)?,
        };
        self.made(name, Event::CreateTable { name: name.clone(), policy, first_byte }).await
    }

    async fn made(&self, name: &TableName, event: Event) -> Answered {
        let asked = self.owner.ask(event).await;
        match asked.map_err(|not_done| Refused::from(not_done).about(name))? {
            Answer::Table(made) if made.created => Ok(HttpResponse::Created().json(made)),
            Answer::Table(made) => Ok(HttpResponse::Ok().json(made)),
            other => unreachable!("a table is answered with {other:?}"),
        }
    }
}
