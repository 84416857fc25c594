//! What is answered.

use serde::Serialize;

/// Whether a process is fit to serve, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Readiness {
    /// Whether it is fit to serve.
    pub ready: bool,
    /// Ready, but by the rule for when everyone has the same trouble: see `reasons`.
    pub degraded: bool,
    /// Whether nothing is newer although the primary lives: the chain stands still. It makes nobody
    /// unfit.
    pub stands_still: bool,
    /// What is wrong, the first thing first; empty if nothing is.
    pub reasons: Vec<Reason>,
    /// What the process is: `primary`, `replica`, `backup`, `archive`, `audit`.
    pub role: &'static str,
    /// Its name.
    pub name: String,
    /// Height of its newest block.
    pub block: Option<u64>,
    /// Height up to which every block has its proof here.
    pub proof: Option<u64>,
    /// Index of its newest event.
    pub index: Option<u64>,
    /// Height of the fleet's newest block.
    pub tip: Option<u64>,
    /// How many blocks it is behind the fleet's newest.
    pub lag_blocks: Option<u64>,
    /// How many events it is behind the fleet's newest.
    pub lag_events: Option<u64>,
    /// For how long the fleet has had a newer block, in seconds; 0 if it has none.
    pub lag_seconds: f64,
    /// How many blocks its proof tip is behind the fleet's.
    pub proof_lag_blocks: Option<u64>,
    /// For how long the log has not been heard, in seconds; `null` if it never was.
    pub silent_seconds: Option<f64>,
    /// For how long the fleet has had no newer block, in seconds.
    pub tip_unchanged_seconds: Option<f64>,
    /// In how many seconds it will have caught up, at the present pace; `null` unless it catches
    /// up, or if it does not come closer.
    pub catch_up_seconds: Option<f64>,
    /// Share of its usual traffic that it should get, in percent; 0 if it is not ready.
    pub weight: u8,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What it is, for programs.
    pub kind: ReasonKind,
    /// It in one sentence.
    pub text: String,
}

/// The kinds of reasons. Their names are in the answers, so they must stay stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasonKind {
    /// It has not begun yet: it opens the log, or fills its store.
    Starting,
    /// It was told to stop.
    Stopping,
    /// It stopped for good.
    Failed,
    /// The log does not answer.
    LogSilent,
    /// What the others do is not heard.
    BoardSilent,
    /// Store and log are being compared, or entries are not being pushed.
    NotFollowing,
    /// The store has more than the log.
    StoreAhead,
    /// The store's medium is not there, has no space, or is in use.
    StoreFailed,
    /// The store is at one batch, or does not answer, for too long.
    StoreStuck,
    /// The store is frozen for a snapshot of its volume, and lags by that.
    StoreFrozen,
    /// It has not been near the tip since it started, or since the log was heard again.
    CatchingUp,
    /// It is too many blocks behind, or for too long.
    Behind,
    /// Its proofs are too far behind the fleet's, or for too long.
    ProofsBehind,
    /// Everyone is too far behind. The best serve.
    EveryoneBehind,
    /// The primary was not heard of for too long, or has failed. Nobody knows whether there are
    /// newer blocks.
    PrimarySilent,
    /// The primary does not hold the log, or the log does not take what it has.
    NotPublishing,
    /// The primary's source cannot be read.
    SourceFailed,
    /// The primary's outbox is nearly full.
    OutboxFull,
}

impl Reason {
    pub(super) fn new(kind: ReasonKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl Readiness {
    /// Of a process about which nothing is known but why it does not serve.
    pub(super) fn not_ready(role: &'static str, name: &str, reason: Reason) -> Self {
        Self { reasons: vec![reason], ..Self::of(role, name) }
    }

    /// Of a process about which nothing is known yet.
    pub(super) fn of(role: &'static str, name: &str) -> Self {
        Self {
            ready: false,
            degraded: false,
            stands_still: false,
            reasons: Vec::new(),
            role,
            name: name.to_owned(),
            block: None,
            proof: None,
            index: None,
            tip: None,
            lag_blocks: None,
            lag_events: None,
            lag_seconds: 0.0,
            proof_lag_blocks: None,
            silent_seconds: None,
            tip_unchanged_seconds: None,
            catch_up_seconds: None,
            weight: 0,
        }
    }
}
