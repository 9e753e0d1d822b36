//! A conversation as the connection's loop drives it.

use std::borrow::Cow;

use firn_wire::exchange::Session;
use firn_wire::reply::Reply;

use super::conversation::Conversation;
use super::form::Shape;
use super::parse::Parsed;
use super::plan::{Job, Plan, Steps};
use super::words::{Kept, Words};
use crate::connection::{Flow, Next, Protocol};
use crate::execute::{Execute, run_one};

impl Conversation {
    /// The same plan as the connection's loop takes it.
    fn as_next<'a>(&self, taken: usize, plan: Plan<'a>) -> Next<'a, Shape, Job> {
        let (dialect, silent) = (self.dialect, self.silent);
        let spoken = |reply| if silent { Cow::Borrowed(b"".as_slice()) } else { reply };
        match plan {
            Plan::Ask(command, form) => {
                Next::Ask { taken, command, shape: Shape { form, dialect, silent } }
            }
            Plan::Answer(reply) => Next::Answer { taken, reply: spoken(reply) },
            Plan::Run(steps) => Next::Run { taken, job: Job::Steps { steps, silent } },
            Plan::Close(reply) => Next::Close { reply: spoken(reply) },
        }
    }

    /// Runs a request that was kept.
    async fn run_kept(&mut self, request: &Kept, session: &mut Session, out: &mut Vec<u8>) -> Flow {
        let words = request.requests().next().expect("a request was kept");
        let plan = self.plan(words);
        let (start, silent) = (out.len(), self.silent);
        let flow = match plan {
            Plan::Ask(command, form) => {
                let reply = run_one(&*self.execute, session, command).await;
                form.encode(self.dialect, reply.view(), out);
                Flow::Continue
            }
            Plan::Answer(reply) => {
                out.extend_from_slice(&reply);
                Flow::Continue
            }
            Plan::Close(reply) => {
                out.extend_from_slice(&reply);
                Flow::Close
            }
            Plan::Run(steps) => self.take_all(steps, session, out).await,
        };
        if silent {
            out.truncate(start);
        }
        flow
    }

    async fn take_all(&mut self, steps: Steps, session: &mut Session, out: &mut Vec<u8>) -> Flow {
        match steps {
            Steps::Exec(transaction) => self.exec(transaction, session, out).await,
            steps => {
                self.take(steps, session, out).await;
                Flow::Continue
            }
        }
    }
}

impl Protocol for Conversation {
    type Shape = Shape;
    type Job = Job;

    fn next<'a>(&mut self, input: &'a [u8]) -> Next<'a, Shape, Job> {
        match self.parser.read(input) {
            Ok(Parsed::Request { taken }) => {
                let places = self.parser.lend();
                let plan = self.plan(Words::new(input, &places));
                self.parser.give_back(places);
                self.as_next(taken, plan)
            }
            Ok(Parsed::More { total }) => Next::More { total },
            Ok(Parsed::Blank { taken }) => Next::Answer { taken, reply: Cow::Borrowed(b"") },
            Ok(Parsed::Quoted { taken, words }) => Next::Run { taken, job: Job::Quoted(words) },
            Err(error) => Next::Close { reply: Cow::Owned(error.reply()) },
        }
    }

    fn encode(shape: &Shape, reply: Reply<'_>, out: &mut Vec<u8>) {
        shape.encode(reply, out);
    }

    async fn run(
        &mut self,
        job: Job,
        _execute: &dyn Execute,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Flow {
        match job {
            Job::Quoted(request) => self.run_kept(&request, session, out).await,
            Job::Steps { steps, silent } => {
                let start = out.len();
                let flow = self.take_all(steps, session, out).await;
                if silent {
                    out.truncate(start);
                }
                flow
            }
        }
    }

    async fn stopped(&self) {
        self.client.killed().await;
    }
}
