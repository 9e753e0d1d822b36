//! The `http` listener: the native `/v1`, and Smache's `/api`, which do not collide.
//!
//! Reading order: `server` takes connections (`pace` gives each its patience), `door` takes one request through
//! `gate` and `route` to its handler: `entry`, `change`, `operation`, `listing`, `batch`, `tables`, `cluster`,
//! `health`, `smache`. They read `query`, `body`, `object`, `etag`, `range`, `lifetime`, keep `meta` beside values,
//! `ask` the store, and answer with a value or a `problem`.

use actix_web::web;

mod ask;
pub mod base64;
pub mod batch;
mod body;
mod change;
mod cluster;
mod cursor;
mod door;
mod entry;
mod etag;
#[cfg(test)]
mod fake;
mod gate;
mod health;
mod lifetime;
pub mod limits;
mod listing;
mod meta;
mod object;
mod operation;
mod pace;
mod problem;
mod query;
mod range;
mod route;
mod server;
mod smache;
mod tables;
#[cfg(test)]
mod tests;

pub use door::Door;
pub use server::serve;

/// Adds the listener's service to an actix application that has a [`Door`] as `web::Data`. All paths go through one
/// handler: keys are read from the raw path, which actix's own routing would decode.
pub fn configure(config: &mut web::ServiceConfig) {
    config.default_service(web::to(door::answer));
}
