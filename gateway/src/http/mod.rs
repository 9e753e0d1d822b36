//! The `http` listener: the native `/v1`, and Smache's `/api`, which do not collide.
//!
//! Reading order: `server` takes connections (`pace` gives each its patience), `dispatch` takes one request through
//! `gate` and `route` to its handler: `entry`, `change`, `operation`, `listing`, `batch`, `tables`, `cluster`,
//! `health`, `smache`. A handler is given the request as a `call`, through which it has the `door` all requests share.
//! Handlers read `key`, `query`, `body`, `object`, `condition` (of `etag`s), `range`, `lifetime`, keep `meta` beside
//! values, `ask` the store, and answer with a value or a `problem`.

mod ask;
pub mod base64;
pub mod batch;
mod body;
mod call;
mod change;
mod cluster;
mod condition;
mod cursor;
mod dispatch;
mod door;
mod entry;
mod etag;
#[cfg(test)]
pub(crate) mod fake;
mod gate;
mod health;
mod key;
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

pub use dispatch::configure;
pub use door::Door;
pub use server::serve;
