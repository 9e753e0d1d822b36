//! What is in the way of a step, and how it reads when the deadline passes.

use std::sync::Arc;

use firn_wire::ids::{PartitionId, WorkerId};
use firn_wire::reply::Failure;

use crate::gate::{Gate, Withheld};

/// Why a try came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    NoPartition(PartitionId),
    NoPrimary(PartitionId),
    NotLedHere(PartitionId),
    /// It is led here, and what is asked of it waits for the gate.
    Parked(PartitionId, Arc<Gate>),
    /// It was run here, and its reply may not be shown.
    Withheld(PartitionId, Withheld),
    Refuses(PartitionId, WorkerId),
    /// It was not sent.
    Unreached(PartitionId, WorkerId),
    /// It was sent, and no answer came.
    Lost(PartitionId, WorkerId),
}

impl Trouble {
    /// Whether the try may have been applied.
    pub(crate) fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Withheld(_, Withheld::Unknown) | Self::Lost(..))
    }

    /// What to say when there is no time for another try.
    pub(crate) fn failure(&self) -> Failure<'static> {
        let text = match self {
            Self::NoPartition(id) => format!("the map has no partition {id}"),
            Self::NoPrimary(id) => format!("partition {id} has no primary"),
            Self::NotLedHere(id) => format!("partition {id} is not served by this worker yet"),
            Self::Parked(id, _) => {
                format!("partition {id} is being handed over, or its copies do not answer")
            }
            Self::Withheld(id, _) => format!("the copies of partition {id} do not answer"),
            Self::Refuses(id, worker) => {
                format!("worker {} does not serve partition {id} yet", worker.name)
            }
            Self::Unreached(id, worker) | Self::Lost(id, worker) => {
                format!("worker {}, which leads partition {id}, does not answer", worker.name)
            }
        };
        Failure::Unavailable(text.into())
    }
}
