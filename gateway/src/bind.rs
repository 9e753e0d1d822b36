//! A process's listeners: all are bound before any is served, so a port in use is known before anybody is told of the
//! others.
//!
//! Byte-stream protocols run on one single-threaded event loop per core, each with a clone of every listener's socket:
//! whichever loop is free takes the next connection and keeps it. HTTP runs on actix's own threads.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use firn_config::{Listen, Protocol};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task;

use crate::execute::Execute;
use crate::listen::Connections;
use crate::{boutique, http, resp, winter};

/// Connections the kernel holds ready for each listener.
const BACKLOG: u32 = 1_024;

/// Listeners that are bound and not served yet: connections wait in the kernel.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<(Protocol, SocketAddr, TcpListener)>,
}

/// Binds every listener, in order. The error names the protocol and the address.
pub async fn bind(listens: &[Listen]) -> io::Result<Bound> {
    let mut listeners = Vec::new();
    for listen in listens {
        let (address, listener) = bind_one(listen.address).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "; another process listens there: choose another port",
                io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
                io::ErrorKind::PermissionDenied => "; ports below 1024 need a right of their own",
                _ => "",
            };
            let text =
                format!("cannot listen for {} on {}: {error}", listen.protocol, listen.address);
            io::Error::new(error.kind(), text + advice)
        })?;
        listeners.push((listen.protocol, address, listener));
    }
    Ok(Bound { listeners })
}

fn bind_one(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the last run's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    Ok((listener.local_addr()?, listener))
}

impl Bound {
    /// What is spoken where, the ports that were picked for port 0 included.
    pub fn addresses(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> {
        self.listeners.iter().map(|(protocol, address, _)| (*protocol, *address))
    }

    /// The line of `--print-addresses`: a JSON object, protocol → `host:port`; of several listeners of one protocol the
    /// first.
    pub fn address_line(&self) -> String {
        let mut line = BTreeMap::new();
        for (protocol, address) in self.addresses() {
            line.entry(protocol.as_str()).or_insert_with(|| address.to_string());
        }
        serde_json::to_string(&line).expect("a map of strings is JSON")
    }

    /// Takes a protocol's listeners out, for whoever serves them himself.
    pub fn take(&mut self, protocol: Protocol) -> Vec<TcpListener> {
        let taken = self.listeners.extract_if(.., |(spoken, ..)| *spoken == protocol);
        taken.map(|(_, _, listener)| listener).collect()
    }

    /// Serves all of them from now on; inside a tokio runtime. `cores` is the number of threads that byte-stream
    /// protocols share, and that each HTTP listener gets.
    ///
    /// # Panics
    /// When a peer listener is left: those are the worker's own to serve.
    pub fn serve(self, execute: Arc<dyn Execute>, cores: usize) -> io::Result<Serving> {
        let (stop, stopped) = watch::channel(());
        let mut serving = Serving { stop, loops: Vec::new(), servers: Vec::new() };
        let connections = Arc::new(Connections::default());
        let doors = Doors {
            redis: Arc::new(resp::Shared::new(Arc::clone(&connections))),
            connections,
            execute,
        };
        let mut streams = Vec::new();
        for (protocol, _, listener) in self.listeners {
            match protocol {
                Protocol::Http | Protocol::Smache => {
                    let (execute, connections) =
                        (Arc::clone(&doors.execute), Arc::clone(&doors.connections));
                    let server = http::serve(listener, execute, connections, cores)?;
                    serving.servers.push((server.handle(), tokio::spawn(server)));
                }
                _ => streams.push((protocol, listener)),
            }
        }
        for core in 0..if streams.is_empty() { 0 } else { cores.max(1) } {
            let runtime = doors.open(&streams)?;
            serving.loops.push(run(core, runtime, stopped.clone())?);
        }
        Ok(serving)
    }
}

/// What the byte-stream listeners of a process share.
struct Doors {
    execute: Arc<dyn Execute>,
    connections: Arc<Connections>,
    redis: Arc<resp::Shared>,
}

impl Doors {
    /// An event loop that takes connections from a clone of each listener once it runs.
    fn open(&self, listeners: &[(Protocol, TcpListener)]) -> io::Result<Runtime> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        for (protocol, listener) in listeners {
            let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
            let execute = Arc::clone(&self.execute);
            let connections = Arc::clone(&self.connections);
            match protocol {
                Protocol::Resp => {
                    runtime.spawn(resp::listen(listener, execute, Arc::clone(&self.redis)))
                }
                Protocol::Boutique => {
                    runtime.spawn(boutique::listen(listener, execute, connections))
                }
                Protocol::Winter => runtime.spawn(winter::listen(listener, execute, connections)),
                other => panic!("{other} is not served here"),
            };
        }
        drop(entered);
        Ok(runtime)
    }
}

/// Runs an event loop on a thread of its own until `stopped` changes or its sender is gone.
fn run(
    core: usize,
    runtime: Runtime,
    mut stopped: watch::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("doors-{core}")).spawn(move || {
        // Both a change and a sender that is gone mean the end.
        let _ = runtime.block_on(stopped.changed());
    })
}

/// Listeners at work. Dropping it ends the byte-stream ones; [`Serving::stop`] ends all and waits.
#[derive(Debug)]
pub struct Serving {
    stop: watch::Sender<()>,
    loops: Vec<JoinHandle<()>>,
    servers: Vec<(ServerHandle, task::JoinHandle<io::Result<()>>)>,
}

impl Serving {
    /// Takes no more connections, lets HTTP requests end that are under way, and closes the rest.
    pub async fn stop(self) {
        for (handle, server) in self.servers {
            handle.stop(true).await;
            match server.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::warn!("an http listener ended badly: {error}"),
                Err(error) => log::error!("an http listener ended badly: {error}"),
            }
        }
        self.stop.send_replace(());
        let joined = task::spawn_blocking(|| self.loops.into_iter().try_for_each(JoinHandle::join));
        if !matches!(joined.await, Ok(Ok(()))) {
            log::error!("an event loop of the listeners ended by a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listens(texts: &[&str]) -> Vec<Listen> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_protocol() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let asked = listens(&["winter=127.0.0.1:0", &format!("resp={address}")]);
        let error = bind(&asked).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen for resp on {address}")), "{text}");
        assert!(text.contains("choose another port"), "{text}");
    }

    #[tokio::test]
    async fn port_0_becomes_a_real_one_and_listeners_can_be_taken_out() {
        let asked = listens(&["peer=127.0.0.1:0", "resp=127.0.0.1:0", "resp=[::1]:0"]);
        let mut bound = bind(&asked).await.unwrap();
        assert!(bound.addresses().all(|(_, address)| address.port() != 0));
        let first = bound.addresses().nth(1).unwrap().1;
        let line: BTreeMap<String, SocketAddr> =
            serde_json::from_str(&bound.address_line()).unwrap();
        assert_eq!(line.keys().collect::<Vec<_>>(), ["peer", "resp"]);
        assert_eq!(line["resp"], first);
        assert_eq!(bound.take(Protocol::Peer).len(), 1);
        assert_eq!(bound.addresses().count(), 2);
    }
}
