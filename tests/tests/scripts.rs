//! The scripts a user starts, as a user starts them.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use firn_tests::process::signal_process;
use firn_tests::raw::http_status;
use firn_tests::{Cluster, DEADLINE, binary, outside, wait_until};
use tempfile::TempDir;

/// The builds are there when these tests run; a cold one may still link something.
const BUILD_DEADLINE: Duration = Duration::from_secs(600);

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts")
}

/// A script, or a line to paste, with this build's binaries and free ports.
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let release =
        binary::path("firn-worker").parent().is_some_and(|path| path.ends_with("release"));
    command.env("FIRN_PROFILE", if release { "release" } else { "dev" }).env("FIRN_PORTS", "free");
    command
}

fn run(script: &str, arguments: &[&str]) -> Output {
    let output = command(scripts().join(script)).args(arguments).output();
    output.expect("a script can be started")
}

/// A script that stays. It is told to end when this is dropped, and ends what it started.
struct Staying {
    child: Child,
    folder: TempDir,
}

impl Staying {
    fn start(script: &str, arguments: &[&str], environment: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name| File::create(folder.path().join(name)).expect("a file in a new folder");
        let mut command = command(scripts().join(script));
        command.args(arguments).envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let child = command.spawn().expect("a script can be started");
        let mut script = Self { child, folder };
        wait_until("the script says that it is ready", BUILD_DEADLINE, || {
            assert_eq!(script.child.try_wait().expect("a child"), None, "{}", script.read("err"));
            script.read("out").lines().any(|line| line.starts_with("ready")).then_some(())
        });
        script
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).expect("the file was made at start")
    }

    /// The addresses it printed for a listener, in order: the word after `WHAT PROTOCOL`.
    fn addresses(&self, protocol: &str) -> Vec<String> {
        let out = self.read("out");
        let lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.filter(|words| words[1] == protocol).map(|words| words[2].to_owned()).collect()
    }

    /// What Ctrl-C does.
    fn interrupt(mut self) -> Option<i32> {
        signal_process(self.child.id(), "INT");
        let what = "the script ends after SIGINT";
        wait_until(what, DEADLINE, || self.child.try_wait().expect("a child")).code()
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            signal_process(self.child.id(), "TERM");
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- output\n{}\n--- errors\n{}", self.read("out"), self.read("err"));
        }
    }
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("host:port").1
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Smache's README: bring a cluster up by script, POST through one port, GET through another.
#[test]
fn services_posts_through_one_worker_and_gets_through_another() {
    if outside("curl").is_none() {
        return;
    }
    let services = Staying::start("services.sh", &["4"], &[]);
    let http = services.addresses("http");
    assert_eq!(http.len(), 4, "{}", services.read("out"));
    let posted = run("curl.post.sh", &[port(&http[0])]);
    assert!(posted.status.success(), "{}", text(&posted.stderr));
    let got = run("curl.get.sh", &[port(&http[3])]);
    assert!(got.status.success(), "{}", text(&got.stderr));
    let colors = ["blue", "red", "green", "orange", "purple", "teal", "magenta"];
    for (number, (color, line)) in colors.iter().zip(text(&got.stdout).lines()).enumerate() {
        let answer: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(answer["data"], *color, "{line}");
        assert_eq!(answer["key"], number + 1, "{line}");
    }
    assert_eq!(text(&posted.stdout).lines().count(), 7);
    assert_eq!(text(&got.stdout).lines().count(), 7);

    let addresses = http.iter().map(|address| address.parse().expect("an address"));
    let addresses: Vec<std::net::SocketAddr> = addresses.collect();
    assert_eq!(services.interrupt(), Some(130));
    for address in addresses {
        assert_eq!(http_status(address, "/livez"), None, "{address} still answers");
    }
}

/// The line printed for each listener ends with a command; pasted, it shows a value or a protocol's own reply.
#[test]
fn every_line_of_services_can_be_pasted() {
    if outside("curl").is_none() {
        return;
    }
    let services = Staying::start("services.sh", &["2"], &[]);
    let out = services.read("out");
    let replies = [
        ("http", "blue"),
        ("smache", "\"data\":\"blue\""),
        ("resp", "$4\r\nblue\r\n"),
        ("boutique", "OK\r\nOK\r\nblue\r\nOK\r\n"),
        ("winter", "blue\n"),
    ];
    let mut seen = 0;
    for line in out.lines().filter(|line| line.starts_with('w')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (protocol, address) = (words[1], words[2]);
        let (_, paste) = line.split_once(address).expect("it is one of its words");
        let (_, reply) = replies.iter().find(|(name, _)| *name == protocol).expect("a known one");
        let output = command("bash").args(["-c", paste.trim()]).output().expect("a shell");
        let got = text(&output.stdout);
        assert!(got.contains(reply), "{paste}\ngave {got:?} and {}", text(&output.stderr));
        seen += 1;
    }
    assert_eq!(seen, 2 * replies.len(), "{out}");
}

/// What each command of README.md shows, in their order.
const README: [&str; 19] = [
    "",
    "blue",
    "201 Created",
    "red",
    "5",
    "\"rose\"",
    "\"partition\"",
    "{\"data\":\"green\"}",
    "\"data\":\"green\"",
    "OK",
    "yellow",
    "OK\r\nOK\r\n42\r\nOK\r\n",
    "created\nok\n1\n",
    "All 4 workers up",
    "white",
    "w2 has nothing left",
    "far",
    "All 4 workers up",
    "lease           800ms",
];

/// A command of README.md with the ports and binaries of this run.
fn adapted(line: &str, services: &Staying) -> String {
    let mut line = line.replace("curl -", "curl -sS --fail-with-body -");
    line = line.replace("curl '", "curl -sS --fail-with-body '");
    for (protocol, usual) in [("http", 1234), ("resp", 6379), ("boutique", 4040), ("winter", 6060)]
    {
        for (number, address) in services.addresses(protocol).iter().enumerate() {
            line = line.replace(&format!("127.0.0.1:{}", usual + number), address);
            line =
                line.replace(&format!("-p {} ", usual + number), &format!("-p {} ", port(address)));
        }
    }
    let folder = binary::path("firn").parent().expect("a binary is in a folder").to_owned();
    line.replace("target/release/", &format!("{}/", folder.display()))
}

#[test]
fn every_line_of_the_readme_can_be_pasted() {
    if outside("curl").is_none() || outside("redis-cli").is_none() {
        return;
    }
    let readme = scripts().join("../README.md");
    let readme = std::fs::read_to_string(readme).expect("the page is there");
    let blocks =
        readme.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let lines = blocks.flat_map(str::lines).filter(|line| !line.starts_with("scripts/"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), README.len(), "{lines:#?}");

    let services = Staying::start("services.sh", &["4"], &[]);
    let out = services.read("out");
    let uplink = out.lines().find_map(|line| line.strip_prefix("uplink")).expect("its line");
    let uplink = uplink.split_whitespace().next().expect("its URL");
    for (line, shown) in lines.iter().zip(README) {
        let paste = adapted(line, &services);
        let output = command("bash").args(["-c", &paste]).env("FIRN_SERVER", uplink).output();
        let output = output.expect("a shell can be started");
        let got = text(&output.stdout);
        assert!(got.contains(shown), "{paste}\ngave {got:?} and {}", text(&output.stderr));
        // A line protocol's connection stays open, and curl says so when its time is up.
        let wanted = if line.contains("telnet:") { 28 } else { 0 };
        assert_eq!(output.status.code(), Some(wanted), "{paste}: {}", text(&output.stderr));
    }
}

#[test]
fn dev_joins_the_uplink_that_is_there() {
    if outside("curl").is_none() {
        return;
    }
    let cluster = Cluster::start(1);
    let uplink = cluster.uplink().http().port().to_string();
    let dev = Staying::start("dev.sh", &["0", "w9"], &[("UPLINK_PORT", uplink)]);
    assert!(!dev.read("out").contains("(started)"), "{}", dev.read("out"));
    let posted = run("curl.post.sh", &[port(&dev.addresses("http")[0])]);
    assert!(posted.status.success(), "{}", text(&posted.stderr));
    let got = run("curl.get.sh", &[port(&cluster.worker(0).http().to_string())]);
    assert!(text(&got.stdout).contains("\"data\":\"magenta\""), "{}", text(&got.stdout));
    assert_eq!(dev.interrupt(), Some(130));
    assert_eq!(http_status(cluster.uplink().http(), "/livez"), Some(200), "not its own to end");
}

#[test]
fn dev_starts_an_uplink_where_none_answers() {
    if outside("curl").is_none() {
        return;
    }
    let dev = Staying::start("dev.sh", &["0", "w1"], &[("UPLINK_PORT", "0".to_owned())]);
    assert!(dev.read("out").contains("(started)"), "{}", dev.read("out"));
    let posted = run("curl.post.sh", &[port(&dev.addresses("http")[0])]);
    assert!(posted.status.success(), "{}", text(&posted.stderr));
}

#[test]
fn a_secret_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    std::fs::write(&file, "WORKERS=3\n").unwrap();
    let file_name = file.to_str().expect("a temporary folder's name is text");
    for _ in 0..2 {
        let output = run("secret.sh", &[file_name]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!text(&output.stdout).contains(&secret_in(&file)), "it is never printed");
    }
    let secret = secret_in(&file);
    assert!(secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit()), "{secret}");
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines, format!("WORKERS=3\nCLUSTER_SECRET={secret}\n"), "made once, at the end");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

fn secret_in(file: &Path) -> String {
    let lines = std::fs::read_to_string(file).expect("the script wrote it");
    let line = lines.lines().find_map(|line| line.strip_prefix("CLUSTER_SECRET="));
    line.expect("the script put one there").to_owned()
}

#[test]
fn wrong_arguments_say_how_it_is_used() {
    let wrong: [(&str, &[&str]); 6] = [
        ("services.sh", &["0"]),
        ("services.sh", &["four"]),
        ("dev.sh", &["1234"]),
        ("curl.post.sh", &[]),
        ("curl.get.sh", &["80;true"]),
        ("uplink_down.sh", &["0"]),
    ];
    for (script, arguments) in wrong {
        let output = run(script, arguments);
        assert_eq!(output.status.code(), Some(2), "{script} {arguments:?}");
        assert!(text(&output.stderr).contains("usage: "), "{}", text(&output.stderr));
    }
}
