//! `firn-worker`.

use std::process::ExitCode;

/// Measured against the system's allocator: less memory per entry, and large values go back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets freed pages go back to the system when they are freed. By default mimalloc waits for the thread's next
/// allocations, and an idle thread has none: hundreds of MiB stayed after values of 64 MiB had passed.
#[allow(unsafe_code, reason = "the allocator's options have no safe interface")]
fn return_memory_at_once() {
    // SAFETY: called before any other thread runs, which is all that mimalloc asks for.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) }
}

/// Has memory come in small pages. A huge one is cleared when it is first written to, under the lock of a shard: 5 to 37 ms
/// on a virtual machine, while every request of that shard waits.
fn take_memory_bit_by_bit() {
    // A kernel that refuses has no huge pages.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn main() -> ExitCode {
    return_memory_at_once();
    take_memory_bit_by_bit();
    firn_worker::main()
}
