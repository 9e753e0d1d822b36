//! Programs that are not ours.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::wait::{DEADLINE, wait_until};

/// Where `program` is on PATH. None after saying on stderr that the test skips: the caller returns.
///
/// # Panics
/// When it is missing and `FIRN_TEST_ALL=1` is set, as `.ci/run` does, so that nothing is skipped there in silence.
#[track_caller]
pub fn outside(program: &str) -> Option<PathBuf> {
    let found = on_path(program);
    if found.is_none() {
        skip(&format!("{program} is not on PATH"));
    }
    found
}

/// Where `program` is on PATH, for what may be missing.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Says that the calling test skips, and why.
///
/// # Panics
/// Under `FIRN_TEST_ALL=1`.
#[track_caller]
pub fn skip(reason: &str) {
    let all = std::env::var("FIRN_TEST_ALL").is_ok_and(|value| value == "1");
    assert!(!all, "FIRN_TEST_ALL=1, but {reason}");
    eprintln!("{}: skipped, {reason}", std::panic::Location::caller());
}

/// A server that is not ours, on a port of loopback. It is killed when this is dropped.
#[derive(Debug)]
pub struct OutsideServer {
    child: Child,
    address: SocketAddr,
}

impl OutsideServer {
    /// Starts a program that cannot choose a free port itself: `arguments` makes its arguments from one that was free a
    /// moment ago. When somebody else was quicker and the program ends, it gets another.
    #[track_caller]
    pub fn start(program: &PathBuf, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        wait_until(&format!("{} takes connections", program.display()), DEADLINE, || {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
            let address = free.local_addr().expect("a bound socket has an address");
            drop(free);
            let mut command = Command::new(program);
            command.args(arguments(address.port()));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().expect("a program on PATH can be started");
            let mut server = Self { child, address };
            server.takes_connections().then_some(server)
        })
    }

    /// Waits until it does, or has ended.
    fn takes_connections(&mut self) -> bool {
        wait_until("a server starts or ends", DEADLINE, || {
            if self.child.try_wait().expect("a child can be waited for").is_some() {
                return Some(false);
            }
            TcpStream::connect(self.address).is_ok().then_some(true)
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OutsideServer {
    fn drop(&mut self) {
        // An error says that it has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
