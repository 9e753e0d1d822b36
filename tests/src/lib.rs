//! The harness of the tests over real processes.
//!
//! Reading order: [`binary`] finds what is tested, [`process`] is one running `firn-uplink`, `firn-worker` or `firn
//! proxy`, [`cluster`] is some of them that belong together, [`raw`] talks to a socket byte by byte, [`exchange`] HTTP
//! over one, [`doors`] says one thing in every protocol, [`redis`] is Debian's redis-server and a connection that takes
//! replies, [`client`] is an HTTP client for loopback, [`wait`] waits for a condition, [`mod@outside`] finds and starts
//! programs that are not ours, [`small_disk`] can be filled, [`usage`] reads what a process uses, [`sockets`] what arrives at a listener, [`choices`]
//! draws from a seed, [`linearizability`] judges what clients saw of a store, [`chaos`] does so while things fail.
//!
//! Our own listeners are given port 0 and say what they got, and nothing sleeps for luck. A cluster ends with its value,
//! also when a test panics; then the logs of its processes are printed.
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
pub mod chaos;
pub mod choices;
pub mod client;
pub mod cluster;
pub mod doors;
pub mod exchange;
pub mod linearizability;
pub mod outside;
pub mod process;
pub mod raw;
pub mod redis;
pub mod small_disk;
pub mod sockets;
pub mod usage;
pub mod wait;

pub use choices::Choices;
pub use cluster::{Cluster, ClusterBuilder};
pub use exchange::{Answer, Http};
pub use outside::{OutsideServer, outside};
pub use process::Process;
pub use raw::Raw;
pub use small_disk::SmallDisk;
pub use wait::{DEADLINE, wait_until};
