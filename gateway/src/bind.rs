//! A process's listeners: all are bound before any is served, so a port in use is known before anybody is told of the
//! others.
//!
//! Connections of byte-stream protocols are served on the process's event loops, HTTP on actix's own threads.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use firn_config::{Listen, Protocol};
use tokio::net::TcpSocket;
use tokio::task::{self, JoinSet};

use crate::execute::Execute;
use crate::listen::Connections;
use crate::loops::Lanes;
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

    /// Serves all of them from now on; inside a tokio runtime.
    ///
    /// # Panics
    /// When a peer listener is left: those are the worker's own to serve.
    pub fn serve(self, execute: Arc<dyn Execute>, lanes: &Lanes) -> io::Result<Serving> {
        let connections = Arc::new(Connections::default());
        let redis = Arc::new(resp::Shared::new(Arc::clone(&connections)));
        let doors = Doors { execute, connections, redis, lanes: lanes.clone() };
        let mut serving = Serving { servers: Vec::new(), listening: JoinSet::new() };
        for (protocol, _, listener) in self.listeners {
            match protocol {
                Protocol::Http | Protocol::Smache => {
                    let server = doors.http(listener)?;
                    serving.servers.push((server.handle(), tokio::spawn(server)));
                }
                _ => doors.listen(protocol, listener, &mut serving.listening)?,
            }
        }
        Ok(serving)
    }
}

/// What the listeners of a process share.
struct Doors {
    execute: Arc<dyn Execute>,
    connections: Arc<Connections>,
    redis: Arc<resp::Shared>,
    lanes: Lanes,
}

impl Doors {
    fn http(&self, listener: TcpListener) -> io::Result<Server> {
        let (execute, connections) = (Arc::clone(&self.execute), Arc::clone(&self.connections));
        http::serve(listener, execute, connections, self.lanes.handles().len())
    }

    fn listen(
        &self,
        protocol: Protocol,
        listener: TcpListener,
        listening: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (execute, connections) = (Arc::clone(&self.execute), Arc::clone(&self.connections));
        let lanes = self.lanes.clone();
        match protocol {
            Protocol::Resp => {
                listening.spawn(resp::listen(listener, lanes, execute, Arc::clone(&self.redis)))
            }
            Protocol::Boutique => {
                listening.spawn(boutique::listen(listener, lanes, execute, connections))
            }
            Protocol::Winter => {
                listening.spawn(winter::listen(listener, lanes, execute, connections))
            }
            other => panic!("{other} is not served here"),
        };
        Ok(())
    }
}

/// Listeners at work.
#[derive(Debug)]
pub struct Serving {
    servers: Vec<(ServerHandle, task::JoinHandle<io::Result<()>>)>,
    listening: JoinSet<()>,
}

impl Serving {
    /// Takes no more connections, and lets HTTP requests end that are under way. Other connections end with their lanes.
    pub async fn stop(mut self) {
        self.listening.shutdown().await;
        for (handle, server) in self.servers {
            handle.stop(true).await;
            match server.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::warn!("an http listener ended badly: {error}"),
                Err(error) => log::error!("an http listener ended badly: {error}"),
            }
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
