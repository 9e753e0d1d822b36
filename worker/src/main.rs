//! `firn-worker`.

use std::process::ExitCode;

/// Gives large values back to the system; measured against the system's allocator, see docs/ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    firn_worker::main()
}
