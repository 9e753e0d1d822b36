//! The registry and its store's form, without I/O: golden scripts, one scenario a file, and properties over random events.
//! Both go through one world, which checks the invariants after every step.

#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod golden;
mod invariants;
mod properties;
mod script;
mod show;
mod workers;
mod world;
