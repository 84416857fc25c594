//! What can be wrong with a fleet, and how bad it is.

use serde::Serialize;

/// How the fleet is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everyone is heard of, and within the limits.
    #[default]
    Well,
    /// Something is wrong, and nothing is lost.
    Degraded,
    /// The log cannot be read, lost events, or someone holds another history.
    Broken,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is, for programs.
    pub kind: Kind,
    /// Who or what it is about: a primary, a consumer or a destination; `null` for the log.
    pub name: Option<String>,
    /// How bad it is: `degraded` or `broken`.
    pub verdict: Verdict,
    /// It in one sentence.
    pub text: String,
}

impl Finding {
    pub(super) fn degraded(kind: Kind, name: &str, text: String) -> Self {
        Self { kind, name: Some(name.to_owned()), verdict: Verdict::Degraded, text }
    }

    pub(super) fn broken(kind: Kind, name: &str, text: String) -> Self {
        Self { kind, name: Some(name.to_owned()), verdict: Verdict::Broken, text }
    }

    /// About the log or the fleet as a whole.
    pub(super) fn of_all(kind: Kind, verdict: Verdict, text: String) -> Self {
        Self { kind, name: None, verdict, text }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// The kinds of findings. Their names are in `tipline status --json` and in the metrics, so
        /// they must stay stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];
        }
    };
}

kinds! {
    /// The log cannot be read.
    LogUnavailable,
    /// An event of the log cannot be read.
    LogCorrupt,
    /// The log can lose what it acknowledges, and that was not accepted.
    LogShortfall,
    /// The log lost events that the primary had published.
    LogLost,
    /// The primary published another history than the log's.
    PrimaryDiverged,
    /// A receipt or an announcement cannot be read.
    BoardUnreadable,
    /// A receipt or an announcement is not signed, where signatures are required.
    Unsigned,
    /// A receipt or an announcement is signed by somebody else, was altered, or was put there again.
    Forged,
    /// No primary has ever announced itself.
    PrimaryMissing,
    /// The primary said that it failed.
    PrimaryFailed,
    /// The primary was not heard of for too long.
    PrimarySilent,
    /// The primary's clock is ahead.
    PrimaryClock,
    /// Another primary has claimed the log, and has not announced itself.
    SuccessorClaimed,
    /// The log does not take what the primary has.
    OutboxHeldUp,
    /// Too much waits in the outbox, or waits for too long.
    OutboxBacksUp,
    /// The source that the primary reads is not right.
    SourceFailed,
    /// Nobody but audits has ever sent a receipt.
    NothingBackedUp,
    /// A consumer that is expected is not there.
    ConsumerMissing,
    /// A consumer holds another history than the log.
    Diverged,
    /// A consumer holds events that the log lost.
    Ahead,
    /// A consumer said that it failed.
    Failed,
    /// The log no longer holds what a consumer needs next.
    Stranded,
    /// A consumer was not heard of for too long.
    Silent,
    /// A consumer's store applies one batch for too long.
    Stalled,
    /// A consumer's store is frozen for a snapshot, and lags by that.
    Frozen,
    /// A consumer is on a branch that was rolled back.
    Orphaned,
    /// A consumer is too far behind, in blocks or in time.
    Behind,
    /// Retention no longer waits for a consumer.
    AtRisk,
    /// The log drops what comes after the newest backup soon, or has done so.
    RunwayShort,
    /// A consumer's clock is ahead.
    ConsumerClock,
    /// The policy is not reached.
    PolicyUnreached,
    /// The proofs are too far behind the blocks.
    ProofLag,
    /// The clock that dated a record of a check is ahead.
    CheckClock,
    /// The clock that dated a backup of an identity is ahead.
    IdentityClock,
}
