//! Taking connections, within bounds.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::loops::Lanes;

/// Connections of all listeners of this module of one process.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections of one address that is not loopback.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_000;

/// Counts connections of a process; shared by its listeners.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<HashMap<IpAddr, usize>>,
    next_id: AtomicU64,
}

impl Connections {
    /// A number no other connection of this process has had, from 1.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Connections open now.
    pub fn count(&self) -> usize {
        self.open.lock().expect("no holder panics").values().sum()
    }

    /// Counts a connection until its place is dropped; an error says which bound it would pass.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, &'static str> {
        let mut open = self.open.lock().expect("no holder panics");
        if open.values().sum::<usize>() >= CONNECTIONS_MAX {
            return Err("too many connections");
        }
        let here = open.entry(address).or_default();
        if *here >= CONNECTIONS_PER_ADDRESS_MAX && !address.is_loopback() {
            return Err("too many connections from this address");
        }
        *here += 1;
        Ok(Place { connections: Arc::clone(self), address })
    }
}

/// A connection's place among the counted; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().expect("no holder panics");
        if let Some(here) = open.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// A connection that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Its socket, of the lane's event loop.
    pub socket: TcpStream,
    /// The other end.
    pub address: SocketAddr,
    /// No other connection of this process has it.
    pub id: u64,
    /// Where it is served.
    pub lane: usize,
}

/// Takes connections for ever and serves each as a task of its own, on the lanes in turn. `refusal` is sent to one beyond
/// the bounds, with `{}` replaced by the reason; empty sends nothing.
pub async fn accept<F>(
    listener: TcpListener,
    lanes: Lanes,
    connections: Arc<Connections>,
    refusal: &'static str,
    serve: impl Fn(Taken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let (socket, address) = match listener.accept().await {
            Ok(taken) => taken,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let place = match connections.enter(address.ip()) {
            Ok(place) => place,
            Err(reason) => {
                let _ = socket.try_write(refusal.replace("{}", reason).as_bytes());
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let (lane, handle) = lanes.next();
        match hand_over(socket, handle) {
            Ok(socket) => {
                let served = serve(Taken { socket, address, id: connections.next_id(), lane });
                handle.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => log::warn!("the connection of {address} could not be served: {error}"),
        }
    }
}

/// A socket of this event loop as one of another.
fn hand_over(socket: TcpStream, lane: &Handle) -> io::Result<TcpStream> {
    let socket = socket.into_std()?;
    let _entered = lane.enter();
    TcpStream::from_std(socket)
}

/// Out of file descriptors: wait for some to come back instead of spinning.
async fn pause_after(error: &io::Error) {
    log::warn!("a connection could not be taken: {error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
