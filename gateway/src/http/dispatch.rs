//! Any request: what is checked of all, and which handler its resource has.

use std::rc::Rc;

use actix_http::ConnectionType;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::body::Body;
use super::call::Call;
use super::door::Door;
use super::pace::Pace;
use super::problem::{Kind, Problem};
use super::route::Route;
use super::{batch, change, cluster, entry, gate, health, listing, operation, smache, tables};

/// Adds the listener's service to an actix application that has a [`Door`] as `web::Data`. All paths go through one
/// handler: keys are read from the raw path, which actix's own routing would decode.
pub fn configure(config: &mut web::ServiceConfig) {
    config.default_service(web::to(answer));
}

/// Answers any request: the one handler of the listener.
async fn answer(request: HttpRequest, payload: web::Payload) -> HttpResponse {
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
        session: door.session(),
    };
    let answered = match admit(&call) {
        Ok(route) => handle(&mut call, route).await,
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

/// Gives an admitted request to the handler of its route.
async fn handle(call: &mut Call<'_>, route: Route<'_>) -> Result<HttpResponse, Problem> {
    let method = call.request.method();
    if !route.allows(method.as_str()) {
        return Err(Problem::method_not_allowed(route.allow()));
    }
    if !route.takes_body(method.as_str()) {
        call.no_body()?;
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    // What is asked most comes first; the others are boxed, so that it does not carry their room with it.
    match route {
        Route::Entry { table, key } if reads => entry::get(call, table, key).await,
        Route::SmacheApi if reads => smache::get(call).await,
        Route::Entry { table, key } => match *method {
            Method::PUT => Box::pin(change::put(call, table, key)).await,
            Method::DELETE => Box::pin(change::delete(call, table, key)).await,
            _ => Box::pin(operation::post(call, table, key)).await,
        },
        Route::SmacheApi => Box::pin(smache::post(call)).await,
        Route::Entries { table } => Box::pin(listing::list(call, table)).await,
        Route::Batch => Box::pin(batch::run(call)).await,
        Route::Tables => tables::list(call),
        Route::Table { table } => match *method {
            Method::PUT => Box::pin(tables::create(call, table)).await,
            Method::PATCH => Box::pin(tables::alter(call, table)).await,
            Method::DELETE => Box::pin(tables::remove(call, table)).await,
            _ => Box::pin(tables::get(call, table)).await,
        },
        Route::Cluster => cluster::overview(call),
        Route::Workers => cluster::workers(call),
        Route::Locate => Box::pin(cluster::locate(call)).await,
        Route::Map => cluster::map(call),
        Route::Live => Ok(health::live()),
        Route::Ready => Ok(health::ready(call.door)),
        Route::Metrics => Ok(health::metrics(call.door)),
        Route::SmacheHealth => Ok(smache::health()),
    }
}
