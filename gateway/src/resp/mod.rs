//! The Redis door, plain: every worker answers for every key, in RESP2 and RESP3, as redis-server 7.0 would. What
//! differs is listed in docs/PROTOCOL.md.
//!
//! Reading order: [`parse`] (and `inline`) turns bytes into `words`, `dispatch` finds their row in the table of `commands`
//! (its rows are of `spec`, `lookup` searches it), whose handler (in `strings`, `keys`, `expiry`, `scan`, `object`,
//! `greeting`, `client`, `command`, `config`, `info`, `replication` or `transaction`, with `options`, `sections` and `number`) makes a
//! `plan` or a `refusal`, `protocol` hands it to the connection's loop, and `form` writes the store's reply with `write`.
//! `conversation` is what a connection remembers, [`queue`] what its MULTI has queued, which `exec` runs; `clients` is
//! the list of connections.
//!
//! Handlers stand below the table: those that tell of it find it in their `conversation`.

pub mod client;
mod clients;
mod command;
mod commands;
mod config;
mod conversation;
mod dispatch;
mod exec;
mod expiry;
mod form;
mod greeting;
mod info;
mod inline;
mod keys;
mod lookup;
mod number;
mod object;
mod options;
pub mod parse;
mod plan;
mod protocol;
pub mod queue;
mod refusal;
mod replication;
pub mod scan;
mod sections;
mod spec;
mod strings;
pub mod transaction;
mod words;
mod write;

use std::sync::Arc;

use firn_wire::exchange::{Role, Session};
use tokio::net::TcpListener;

use crate::connection;
use crate::execute::Execute;
use crate::listen::{self, Connections, Taken};
use crate::loops::Lanes;
use clients::{Client, Clients};
use commands::COMMANDS;
use conversation::Conversation;

/// What the connections of a process share, whichever runtime serves them.
#[derive(Debug, Default)]
pub struct Shared {
    connections: Arc<Connections>,
    clients: Arc<Clients>,
}

impl Shared {
    /// No connections yet; `connections` counts those of all listeners.
    pub fn new(connections: Arc<Connections>) -> Self {
        Self { connections, clients: Arc::default() }
    }
}

/// Serves the connections of a listener for ever.
pub async fn listen(
    listener: TcpListener,
    lanes: Lanes,
    execute: Arc<dyn Execute>,
    shared: Arc<Shared>,
) {
    let connections = Arc::clone(&shared.connections);
    let refusal = "-ERR max number of clients reached: {}\r\n";
    listen::accept(listener, lanes, connections, refusal, |taken| {
        let Taken { socket, address, id, lane } = taken;
        let (execute, clients) = (Arc::clone(&execute), Arc::clone(&shared.clients));
        async move {
            let local = socket.local_addr().unwrap_or(address);
            let client = Client::new(id, address, local);
            let conversation = Conversation::new(Arc::clone(&execute), &COMMANDS, clients, client);
            let session = Session { lane, ..Session::new(id, Role::Admin) };
            connection::serve(socket, conversation, execute, session).await;
        }
    })
    .await;
}
