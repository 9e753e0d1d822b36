//! Why the registry did not do what it was asked.

/// What kind of refusal, by what the asker can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The registration breaks a rule.
    BadWorker,
    /// An address belongs to another worker that is not down.
    AddressInUse,
    /// An address is the uplink's own.
    OwnAddress,
    /// The name's last run may still live.
    NameInUse,
    /// This run is registered with other addresses or shards.
    OtherAddresses,
    /// The worker was in another cluster before.
    OtherCluster,
    /// The worker has a map this registry needs: it must tell it first.
    SendMap,
    /// Maps of other workers are waited for.
    Rebuilding,
    /// A map that was told breaks a rule.
    BadMap,
    /// A map that was told is newer than what is here.
    OtherHistory,
    /// A bound of the cluster is reached.
    TooMany,
    /// No such worker: it must register.
    UnknownWorker,
    /// Another run of the worker is registered, or this one has said goodbye.
    OtherIncarnation,
    /// The first map waits for workers.
    NoMapYet,
    /// No such table.
    NoSuchTable,
    /// The table always exists.
    FixedTable,
    /// The policy breaks a rule.
    BadPolicy,
    /// This part of a policy is fixed at creation.
    FixedPolicy,
    /// The worker is needed, or alive.
    StillInUse,
    /// A setting breaks a rule.
    BadSetting,
    /// This setting does not change online.
    FixedSetting,
    /// Data would be lost, and nobody has said that it may be.
    DataLoss,
    /// No worker is there to take what must be taken.
    NobodyUp,
}

impl RefusalKind {
    /// Its stable name, the last part of the problem's type.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadWorker => "bad-worker",
            Self::AddressInUse => "address-in-use",
            Self::OwnAddress => "own-address",
            Self::NameInUse => "name-in-use",
            Self::OtherAddresses => "other-addresses",
            Self::OtherCluster => "other-cluster",
            Self::SendMap => "send-map",
            Self::Rebuilding => "rebuilding",
            Self::BadMap => "bad-map",
            Self::OtherHistory => "other-history",
            Self::TooMany => "too-many",
            Self::UnknownWorker => "unknown-worker",
            Self::OtherIncarnation => "other-incarnation",
            Self::NoMapYet => "no-map-yet",
            Self::NoSuchTable => "no-such-table",
            Self::FixedTable => "fixed-table",
            Self::BadPolicy => "bad-policy",
            Self::FixedPolicy => "fixed-policy",
            Self::StillInUse => "still-in-use",
            Self::BadSetting => "bad-setting",
            Self::FixedSetting => "fixed-setting",
            Self::DataLoss => "data-loss",
            Self::NobodyUp => "nobody-up",
        }
    }

    /// The HTTP status it is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::BadWorker
            | Self::BadMap
            | Self::BadPolicy
            | Self::BadSetting
            | Self::DataLoss => 400,
            Self::UnknownWorker | Self::NoSuchTable => 404,
            Self::NoMapYet | Self::NobodyUp => 503,
            _ => 409,
        }
    }
}

/// A refusal, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// What was wrong and what to do.
    pub detail: String,
    /// When the same may succeed, in milliseconds; None: not by waiting.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    pub(super) fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after_ms: None }
    }

    pub(super) fn later(kind: RefusalKind, detail: impl Into<String>, after_ms: u64) -> Self {
        Self { kind, detail: detail.into(), retry_after_ms: Some(after_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_wire::registry::{ADDRESS_IN_USE, NAME_IN_USE, OTHER_CLUSTER, REBUILDING, SEND_MAP};

    #[test]
    fn workers_know_the_refusals_they_do_something_about() {
        let kind = |kind: RefusalKind| format!("urn:firn:problem:{}", kind.name());
        assert_eq!(kind(RefusalKind::NameInUse), NAME_IN_USE);
        assert_eq!(kind(RefusalKind::AddressInUse), ADDRESS_IN_USE);
        assert_eq!(kind(RefusalKind::SendMap), SEND_MAP);
        assert_eq!(kind(RefusalKind::Rebuilding), REBUILDING);
        assert_eq!(kind(RefusalKind::OtherCluster), OTHER_CLUSTER);
    }
}
