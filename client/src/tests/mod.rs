//! Routers, links and peer listeners against each other over loopback.

mod held;
mod peers;
mod routing;
mod tables;
mod toy;
