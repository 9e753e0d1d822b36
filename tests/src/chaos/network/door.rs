//! Where one process is reached by others: connections in, and on to the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use firn_wire::handshake::{HELLO_BYTES, Hello};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::pump::Pump;
use super::rule::{Carried, Name, Ruling};

/// How long a caller may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Who comes through a door.
#[derive(Debug, Clone)]
pub(super) enum Callers {
    /// Workers, who say their names first: the hello of the peer protocol.
    Peers,
    /// This one, which has the door to itself.
    Only(Name),
}

/// A door. Cheap to clone: every connection has one.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) callers: Callers,
    /// Whose door it is.
    pub(super) to: Name,
    /// Where that process listens; None: it never did.
    pub(super) inside: watch::Receiver<Option<SocketAddr>>,
    pub(super) ruling: Ruling,
    pub(super) carried: Carried,
}

impl Door {
    /// Takes connections for ever.
    pub(super) async fn open(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((outside, _)) => drop(tokio::spawn(self.clone().carry(outside))),
                // Out of descriptors, or the caller has gone: the next may do.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Carries one connection to its end.
    async fn carry(self, mut outside: TcpStream) {
        let mut first = Vec::new();
        let Some(from) = self.caller(&mut outside, &mut first).await else { return };
        let mut rules = self.ruling.follow();
        if rules.borrow_and_update().rule(&from, &self.to).refuse {
            return;
        }
        let breaks = rules.borrow().breaks(&from, &self.to);
        let Some(inside) = self.reach().await else { return };
        let carrying = self.pumps(from.clone(), first, outside, inside);
        tokio::select! {
            () = carrying => {}
            _ = rules.wait_for(|rules| rules.breaks(&from, &self.to) != breaks) => {}
        }
    }

    /// Who calls. What had to be read for that is left in `first`.
    async fn caller(&self, outside: &mut TcpStream, first: &mut Vec<u8>) -> Option<Name> {
        if let Callers::Only(name) = &self.callers {
            return Some(name.clone());
        }
        let mut hello = [0; HELLO_BYTES];
        let read = tokio::time::timeout(HELLO_TIMEOUT, outside.read_exact(&mut hello)).await;
        read.ok()?.ok()?;
        first.extend_from_slice(&hello);
        Some(Hello::from_bytes(&hello).ok()?.worker.name.as_str().into())
    }

    async fn reach(&self) -> Option<TcpStream> {
        let address = *self.inside.borrow();
        TcpStream::connect(address?).await.ok()
    }

    /// Both directions, until one ends.
    async fn pumps(&self, from: Name, first: Vec<u8>, outside: TcpStream, inside: TcpStream) {
        // Fails only for a socket that is gone, which the pumps will find.
        let _ = (outside.set_nodelay(true), inside.set_nodelay(true));
        let (from_outside, to_outside) = outside.into_split();
        let (from_inside, to_inside) = inside.into_split();
        let verdict_is_lost = Arc::new(AtomicBool::new(false));
        let pump = |from: &Name, to: &Name, answers| Pump {
            from: from.clone(),
            to: to.clone(),
            rules: self.ruling.follow(),
            verdict_is_lost: Arc::clone(&verdict_is_lost),
            answers,
            carried: Arc::clone(&self.carried),
        };
        tokio::select! {
            () = pump(&from, &self.to, false).run(from_outside, to_inside, first) => {}
            () = pump(&self.to, &from, true).run(from_inside, to_outside, Vec::new()) => {}
        }
    }
}
