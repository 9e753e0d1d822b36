//! One running process of ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::wait::{DEADLINE, wait_until};
use crate::{binary, usage};

/// Variables a process of ours gets from the test's own environment; all else would be settings nobody meant.
const INHERITED: [&str; 5] = ["PATH", "HOME", "RUST_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];

/// How to start a process: what a test would type.
#[derive(Debug, Clone)]
pub struct Start {
    /// The binary's name.
    pub binary: &'static str,
    /// What it is called in messages and in the names of its files.
    pub name: String,
    /// Its arguments, `--listen` ones and `--print-addresses` left out.
    pub arguments: Vec<String>,
    /// Its listeners as `--listen` takes them, with port 0.
    pub listens: Vec<String>,
    /// Its settings from the environment.
    pub environment: BTreeMap<String, String>,
}

/// A process started with `--print-addresses`, with its log. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    start: Start,
    log: PathBuf,
    output: PathBuf,
    child: Option<Child>,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Process {
    /// Starts it; its files are in `folder`. It may not have printed its addresses yet: [`Process::wait_addresses`].
    pub fn spawn(start: Start, folder: &Path) -> Self {
        let (log, output) = (
            folder.join(format!("{}.log", start.name)),
            folder.join(format!("{}.out", start.name)),
        );
        let mut process = Self { start, log, output, child: None, addresses: BTreeMap::new() };
        process.run();
        process
    }

    fn run(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.start.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let output = File::create(&self.output).expect("an output file");
        let mut command = Command::new(binary::path(self.start.binary));
        command.env_clear().envs(&self.start.environment).args(&self.start.arguments);
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for listen in &self.start.listens {
            command.args(["--listen", listen]);
        }
        command.arg("--print-addresses").stdin(Stdio::null()).stdout(output).stderr(log);
        self.child = Some(command.spawn().expect("a built binary can be started"));
    }

    /// Waits until it has printed its addresses: until it is ready.
    ///
    /// # Panics
    /// When it ends before, or does not within [`DEADLINE`]; its log is in the message.
    #[track_caller]
    pub fn wait_addresses(&mut self) {
        let name = self.start.name.clone();
        wait_until(&format!("{name} prints its addresses"), DEADLINE, || {
            if self.has_addresses() {
                return Some(());
            }
            if let Some(status) = self.exited() {
                panic!("{name} ended before it was ready: {status}\n{}", self.log());
            }
            None
        });
    }

    /// Whether it has printed its addresses by now; then they are known.
    pub fn has_addresses(&mut self) -> bool {
        let text = std::fs::read_to_string(&self.output).expect("the file was made at start");
        let Some(line) = text.strip_suffix('\n') else { return false };
        self.addresses = read_addresses(line);
        true
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name())).id()
    }

    /// Where its listener of a protocol is.
    ///
    /// # Panics
    /// When it printed none.
    #[track_caller]
    pub fn address(&self, protocol: &str) -> SocketAddr {
        let found = self.addresses.get(protocol);
        *found.unwrap_or_else(|| panic!("{} has no {protocol}: {:?}", self.name(), self.addresses))
    }

    /// Every listener it printed, by protocol.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// Its HTTP listener.
    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// Its Redis listener.
    #[track_caller]
    pub fn resp(&self) -> SocketAddr {
        self.address("resp")
    }

    /// Its D-Boutique listener.
    #[track_caller]
    pub fn boutique(&self) -> SocketAddr {
        self.address("boutique")
    }

    /// Its Winter listener.
    #[track_caller]
    pub fn winter(&self) -> SocketAddr {
        self.address("winter")
    }

    /// Its listener for other workers.
    #[track_caller]
    pub fn peer(&self) -> SocketAddr {
        self.address("peer")
    }

    /// The URL of a path of its HTTP listener; `path` starts with `/`.
    #[track_caller]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    /// What it has written to stderr, all its runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Bytes of it that are resident in memory.
    pub fn resident_bytes(&self) -> u64 {
        usage::resident_bytes(self.pid())
    }

    /// Its exit status when it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("a child can be waited for")
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        signal_process(self.pid(), signal);
    }

    /// Waits until it stands still after a STOP: a thread that is in the kernel, syncing a file say, does that first.
    #[track_caller]
    pub fn wait_stopped(&self) {
        let what = format!("{} stands still", self.name());
        wait_until(&what, DEADLINE, || usage::is_stopped(self.pid()).then_some(()));
    }

    /// Ends it with SIGKILL. Nothing happens when it does not run.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error says that it has ended by itself, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it with SIGTERM and gives its exit status.
    ///
    /// # Panics
    /// When it has not ended within [`DEADLINE`].
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let what = format!("{} ends after SIGTERM", self.name());
        let status = wait_until(&what, DEADLINE, || self.exited());
        self.child = None;
        status
    }

    /// Starts it again after [`Process::kill`] or [`Process::terminate`], on the addresses it had, and waits until it is
    /// ready.
    #[track_caller]
    pub fn restart(&mut self) {
        self.keep_addresses();
        self.run();
        self.wait_addresses();
    }

    /// As [`Process::restart`], with an argument that this run alone is given.
    #[track_caller]
    pub fn restart_with(&mut self, argument: &str) {
        self.start.arguments.push(argument.to_owned());
        self.restart();
        self.start.arguments.pop();
    }

    /// Starts it again after it has ended, wherever it gets ports, and does not wait for it.
    ///
    /// # Panics
    /// When it runs.
    #[track_caller]
    pub fn start_anew(&mut self) {
        if self.exited().is_some() {
            self.child = None;
        }
        self.run();
    }

    /// A setting from its next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.start.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Makes the next run ask for the ports this one was given.
    fn keep_addresses(&mut self) {
        for listen in &mut self.start.listens {
            let protocol = listen.split_once('=').map(|(protocol, _)| protocol.to_owned());
            let address = self.addresses.get(protocol.as_deref().unwrap_or("http"));
            let address = address.expect("each listener printed its address");
            *listen = match protocol {
                Some(protocol) => format!("{protocol}={address}"),
                None => address.to_string(),
            };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal by name to a process the test has started.
#[track_caller]
pub fn signal_process(pid: u32, signal: &str) {
    // The shell's own `kill`, since the standard library sends SIGKILL only and no package of ours may be unsafe.
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()])
        .status()
        .expect("a machine with tests has a shell");
    assert!(status.success(), "kill -s {signal} {pid}: {status}");
}

/// Reads the line of `--print-addresses`: protocol → `host:port`.
#[track_caller]
fn read_addresses(line: &str) -> BTreeMap<String, SocketAddr> {
    serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("{line:?} is not a line of addresses: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_addresses_is_read() {
        let read = read_addresses(r#"{"http":"127.0.0.1:40123","peer":"[::1]:1"}"#);
        assert_eq!(read["http"], "127.0.0.1:40123".parse().unwrap());
        assert_eq!(read["peer"], "[::1]:1".parse().unwrap());
    }
}
