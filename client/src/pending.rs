//! A step that was run at hand and whose reply is held.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use firn_wire::exchange::{OpenGuard, Ticket};
use firn_wire::reply::{Failure, ReplyBuf};

use crate::core::{Asker, Core};
use crate::gate::{Showing, Withheld};
use crate::local::Local;
use crate::settle::{Before, settle};

/// Waits until its reply may be shown; asks again by itself when that never comes. One box, since every write of a
/// cluster with copies takes this way.
pub(crate) struct Pending<L> {
    pub(crate) core: Arc<Core<L>>,
    pub(crate) asker: Asker,
    pub(crate) showing: Showing,
    /// The step, unless it is of unknown fate when its reply may not be shown: then it is never run again.
    pub(crate) ask: Option<Bytes>,
    /// What follows on its partition goes on at hand, until this is asked again.
    pub(crate) open: OpenGuard,
    pub(crate) again: Option<Ticket>,
}

impl<L: Local> Future for Pending<L> {
    type Output = ReplyBuf;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ReplyBuf> {
        if let Some(again) = &mut self.again {
            return again.as_mut().poll(context);
        }
        let why = match ready!(Pin::new(&mut self.showing).poll(context)) {
            Ok(reply) => return Poll::Ready(reply),
            Err(why) => why,
        };
        let Some(ask) = self.ask.take() else { return Poll::Ready(Failure::Unknown.into()) };
        self.open.refused();
        let before = if why == Withheld::Unknown { Before::Doubt } else { Before::Nothing };
        let settled = settle(Arc::clone(&self.core), self.asker, ask, before);
        let mut again: Ticket = Box::pin(settled);
        let first = again.as_mut().poll(context);
        self.again = Some(again);
        first
    }
}
