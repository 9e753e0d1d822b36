//! What shards propose, on its way to the uplink.
//!
//! Invariants:
//! - One request is out at a time.
//! - Every proposal that is not applied is told of: refused, never sent, or of unknown fate. What is applied the map tells.

use std::sync::Arc;
use std::time::Duration;

use firn_client::uplink::{ProposeError, Uplink};
use firn_store::decide::Sent;
use firn_wire::registry::{Proposal, Verdict};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::shards::Shards;

/// Proposals of one request; a shard has one out per partition, so the rest waits its turn.
const PROPOSALS_MAX: usize = 2_048;
/// How long to wait after the uplink did not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes proposals to the uplink for as long as it is polled.
pub(crate) async fn run(
    uplink: Arc<Uplink>,
    shards: Arc<Shards>,
    mut inbox: UnboundedReceiver<Proposal>,
) {
    let mut proposals = Vec::new();
    let mut answers = true;
    while inbox.recv_many(&mut proposals, PROPOSALS_MAX).await > 0 {
        let error = match uplink.propose(&proposals).await {
            Ok(verdicts) => {
                tell(&shards, &proposals, &verdicts);
                None
            }
            Err(error) => {
                let sent = fate(&error);
                proposals.iter().for_each(|it| shards.proposed(it.partition, it.rev, sent));
                Some(error)
            }
        };
        if let Some(error) = &error {
            if answers {
                log::warn!("{} changes wait for the uplink: {error}", proposals.len());
            }
            tokio::time::sleep(PAUSE).await;
        }
        answers = error.is_none();
        proposals.clear();
    }
}

fn fate(error: &ProposeError) -> Sent {
    match error {
        ProposeError::NotSent(_) => Sent::NotSent,
        ProposeError::Unknown(_) => Sent::Maybe,
        ProposeError::Refused(_) => Sent::Refused,
    }
}

/// Tells the shards what was not applied. A verdict that is missing says nothing.
fn tell(shards: &Shards, proposals: &[Proposal], verdicts: &[Verdict]) {
    let mut applied = 0;
    for (at, proposal) in proposals.iter().enumerate() {
        let sent = match verdicts.get(at) {
            Some(Verdict::Applied(_)) => {
                applied += 1;
                continue;
            }
            Some(Verdict::Refused(why)) => {
                log::debug!("partition {} stays as it is: {why}", proposal.partition);
                Sent::Refused
            }
            None => Sent::Maybe,
        };
        shards.proposed(proposal.partition, proposal.rev, sent);
    }
    log::debug!("{applied} of {} changes are applied", proposals.len());
}
