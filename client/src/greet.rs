//! The caller's side of [`firn_wire::handshake`].

use std::io;
use std::time::Duration;

use firn_wire::handshake::{HELLO_BYTES, HandshakeError, Hello, PROOF_BYTES, Side};
use firn_wire::ids::{ClusterId, WorkerId};
use firn_wire::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to come about, and the handshake after it.
pub const GREET_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a peer is not connected.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    /// The connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing came within [`GREET_TIMEOUT`].
    #[error("no answer in time")]
    Timeout,
    /// It is somebody else, or does not know the secret.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
}

impl From<tokio::time::error::Elapsed> for GreetError {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Timeout
    }
}

/// Connects to a peer and makes sure that it is who it should be and knows the secret.
pub async fn connect(
    address: &str,
    cluster: ClusterId,
    me: &WorkerId,
    peer: &WorkerId,
    secret: &Secret,
) -> Result<TcpStream, GreetError> {
    let mut socket = timeout(GREET_TIMEOUT, TcpStream::connect(address)).await??;
    socket.set_nodelay(true)?;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let hello = Hello { cluster, worker: me.clone(), nonce };
    timeout(GREET_TIMEOUT, greet(&mut socket, &hello, peer, secret)).await??;
    Ok(socket)
}

async fn greet(
    socket: &mut TcpStream,
    me: &Hello,
    peer: &WorkerId,
    secret: &Secret,
) -> Result<(), GreetError> {
    socket.write_all(&me.to_bytes()).await?;
    let mut bytes = [0; HELLO_BYTES];
    socket.read_exact(&mut bytes).await?;
    let other = Hello::from_bytes(&bytes)?;
    if me.cluster != ClusterId::default() && other.cluster != me.cluster {
        return Err(HandshakeError::Cluster(other.cluster, me.cluster).into());
    }
    if other.worker != *peer {
        return Err(HandshakeError::Worker(other.worker, peer.clone()).into());
    }
    socket.write_all(&Side::Caller.proof(secret, me, &other)).await?;
    let mut proof = [0; PROOF_BYTES];
    socket.read_exact(&mut proof).await?;
    Ok(Side::Listener.check(secret, me, &other, &proof)?)
}
