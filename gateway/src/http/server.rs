//! The listener: connections within bounds, each an HTTP/1.1 connection of actix over a [`Paced`] socket.
//!
//! HTTP/2 is not offered: its preface is no HTTP/1.1 request and is refused, and so are the attacks that need it
//! (CVE-2023-44487).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, Server};
use actix_web::{App, web};
use tokio::net::TcpStream;

use super::dispatch::configure;
use super::door::Door;
use super::limits::{HEAD_TIME_MAX, IDLE_TIME_MAX, SHUTDOWN_TIME, WRITE_STALL_MAX};
use super::pace::{Paced, Patience};
use crate::execute::Execute;
use crate::listen::{CONNECTIONS_MAX, Connections};

const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\
    Connection: close\r\n\r\n";
const PATIENCE: Patience = Patience { head: HEAD_TIME_MAX, write: WRITE_STALL_MAX };

/// Serves HTTP on a listener with this many threads, each with its own event loop. Connections are counted with those of
/// the process's other listeners. The server runs while it is polled or spawned; it stops by its handle, not by signals.
pub fn serve(
    listener: TcpListener,
    execute: Arc<dyn Execute>,
    connections: Arc<Connections>,
    workers: usize,
) -> io::Result<Server> {
    let door = web::Data::new(Door::new(execute));
    let server = Server::build()
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(SHUTDOWN_TIME.as_secs())
        // What is beyond the bound is told so instead of being left in the queue.
        .max_concurrent_connections(2 * CONNECTIONS_MAX)
        .listen("http", listener, move || {
            let connections = Arc::clone(&connections);
            let app = App::new().app_data(web::Data::clone(&door)).configure(configure);
            let http = HttpService::build()
                .keep_alive(IDLE_TIME_MAX)
                // From the first byte of a head the socket counts itself, and sooner.
                .client_request_timeout(IDLE_TIME_MAX)
                .client_disconnect_timeout(SHUTDOWN_TIME)
                .on_connect_ext(|socket: &Paced<TcpStream>, data| {
                    data.insert(socket.pace());
                })
                .h1(map_config(app, |()| AppConfig::default()));
            fn_service(move |socket: TcpStream| {
                std::future::ready(admit(socket, &connections).map_err(DispatchError::Io))
            })
            .and_then(http)
        })?
        .run();
    Ok(server)
}

/// Gives a connection its place, or tells it that there is none.
fn admit(
    socket: TcpStream,
    connections: &Arc<Connections>,
) -> io::Result<(Paced<TcpStream>, Option<SocketAddr>)> {
    let address = socket.peer_addr()?;
    let place = connections.enter(address.ip()).map_err(|reason| {
        let _ = socket.try_write(REFUSAL); // one that is not read was not waited for
        io::Error::other(reason)
    })?;
    socket.set_nodelay(true)?;
    Ok((Paced::new(socket, PATIENCE, Some(place)), Some(address)))
}
