//! The harness of the tests over real processes.
//!
//! Reading order: [`binary`] finds what is tested, [`process`] is one running `firn-uplink`, `firn-worker` or `firn
//! proxy`, [`cluster`] is some of them that belong together, [`raw`] talks to a socket byte by byte, [`exchange`] HTTP over one, [`wait`] waits for
//! a condition, [`outside`] finds programs that are not ours, [`client`] is an HTTP client for loopback.
//!
//! Nothing here guesses a port (every listener is given port 0 and says what it got) and nothing sleeps for luck. A
//! cluster ends with its value, also when a test panics; then the logs of its processes are printed.
//!
//! ```no_run
//! let cluster = firn_tests::Cluster::start(4);
//! let mut redis = firn_tests::Raw::connect(cluster.worker(2).resp());
//! redis.send(b"PING\r\n");
//! assert_eq!(redis.line(), "+PONG\r\n");
//! ```
//!
//! The binaries are those beside the test's own executable: build them first (`scripts/test.sh` does), since `cargo
//! test` rebuilds a binary only for tests of its own package. Where they are missing they are built once.

pub mod binary;
pub mod client;
pub mod cluster;
pub mod exchange;
pub mod outside;
pub mod process;
pub mod raw;
pub mod wait;

pub use cluster::{Cluster, ClusterBuilder};
pub use exchange::{Answer, Http};
pub use outside::outside;
pub use process::Process;
pub use raw::Raw;
pub use wait::{DEADLINE, wait_until};
