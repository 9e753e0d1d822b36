//! One request as its handler has it at hand.

use actix_web::HttpRequest;
use firn_wire::command::Command;
use firn_wire::exchange::Session;
use firn_wire::reply::Reply;

use super::ask::ask;
use super::body::Body;
use super::door::Door;
use super::problem::{Kind, Problem};
use super::query::Params;

/// A request on its way to its answer.
pub(super) struct Call<'r> {
    /// What it shares with others.
    pub(super) door: &'r Door,
    /// Its head.
    pub(super) request: &'r HttpRequest,
    /// Its body.
    pub(super) body: Body,
    /// Who asks.
    pub(super) session: Session,
}

impl<'r> Call<'r> {
    /// Its parameters, which must all be known.
    pub(super) fn params(&self, known: &[&'static str]) -> Result<Params<'r>, Problem> {
        Params::read(self.request.uri().query(), known)
    }

    /// Refuses a body.
    pub(super) fn no_body(&self) -> Result<(), Problem> {
        if self.body.is_left() { Err(Problem::plain(Kind::UnexpectedBody)) } else { Ok(()) }
    }

    /// Runs one command; a failure is a problem, `read` takes what else there is (None: it does not fit).
    pub(super) async fn ask<T>(
        &mut self,
        command: Command<'_>,
        mut read: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<T, Problem> {
        ask(&*self.door.execute, &mut self.session, command, |reply| match &reply {
            Reply::Failed(failure) => Err(Problem::from_failure(failure)),
            other => read(other).ok_or_else(Problem::odd_reply),
        })
        .await
    }
}
