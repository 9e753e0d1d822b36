//! Settings of every Firn binary: flags over environment over a JSON file over defaults.
//!
//! A binary describes its flags with clap's derive and calls [`parse`]. Every long flag of the command itself is a
//! setting: `--shard-limit 8`, `SHARD_LIMIT=8` and `{"shard-limit": 8}` in the file of `-c FILE` say the same.
//!
//! Reading order: [`layers`] puts the sources together, [`listen`] is where a process listens and whether it may,
//! [`values`] reads what flags are given, [`process`] is how a binary starts to log and ends.

pub mod layers;
pub mod listen;
pub mod process;
pub mod values;

pub use layers::{parse, try_parse_from};
pub use listen::{Advertise, Listen, Protocol, check_reach};
pub use process::{init_logging, run};
pub use values::{SecretParser, duration, size};
