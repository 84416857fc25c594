//! What a process says of itself.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tipline_consumer::Phase;
use tokio::sync::watch;

use super::consumer::{ConsumerState, consumer_readiness};
use super::limits::{Allowance, HealthLimits};
use super::primary::{PrimaryState, primary_readiness};
use super::readiness::{Readiness, Reason, ReasonKind};
use crate::text::age;

/// A store's thread that has not answered for longer hangs for good: a restart may help. It is long:
/// a store that is slow must not be killed for it. Nor must one that is frozen, for however long.
const HUNG: Duration = Duration::from_secs(120);

/// What a process says of itself, for whoever asks it. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Health {
    limits: HealthLimits,
    role: &'static str,
    name: String,
    situation: Arc<watch::Sender<Situation>>,
    metrics: Option<Metrics>,
}

/// What answers `/metrics`, in the text format of Prometheus.
#[derive(Clone)]
struct Metrics(Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// What a process is at.
#[derive(Debug)]
pub(super) enum Situation {
    /// Before its work, and between two runs of it.
    Starting(String),
    Consumer(Box<ConsumerState>),
    Primary(Box<PrimaryState>),
    Stopping,
}

/// Whether a process works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Liveness {
    /// Whether it works. If not, a restart may help.
    pub alive: bool,
    /// Why not; `null` if it does.
    pub reason: Option<String>,
}

impl Health {
    /// Of a process that is just starting. `role` and `name` are shown.
    pub fn new(role: &'static str, name: impl Into<String>, limits: HealthLimits) -> Self {
        let (situation, _) = watch::channel(Situation::Starting("it is starting".to_owned()));
        Self { limits, role, name: name.into(), situation: Arc::new(situation), metrics: None }
    }

    /// What its server answers to `/metrics`, in the text format of Prometheus. It is asked where
    /// nothing else waits for it, and must not block for long. Without it the path is not there.
    pub fn with_metrics(self, page: Arc<dyn Fn() -> String + Send + Sync>) -> Self {
        Self { metrics: Some(Metrics(page)), ..self }
    }

    /// The page of `/metrics`; none without [`with_metrics`](Self::with_metrics). For a program that
    /// answers it at a port of its own, too.
    pub fn metrics(&self) -> Option<String> {
        self.metrics.as_ref().map(|Metrics(page)| page())
    }

    /// Its limits.
    pub fn limits(&self) -> &HealthLimits {
        &self.limits
    }

    /// It does this first: opens its log, fills its store.
    pub fn starting(&self, doing: impl Into<String>) {
        self.set(Situation::Starting(doing.into()));
    }

    /// It was told to stop. It stays not ready from now on.
    pub fn stopping(&self) {
        self.set(Situation::Stopping);
    }

    /// Whether it is fit to serve now, and why.
    pub fn readiness(&self, allowance: &Allowance, now: Instant) -> Readiness {
        let limits = self.limits.allowing(allowance);
        let not_ready =
            |kind, text: &str| Readiness::not_ready(self.role, &self.name, Reason::new(kind, text));
        match &*self.situation.borrow() {
            Situation::Starting(doing) => not_ready(ReasonKind::Starting, doing),
            Situation::Stopping => not_ready(ReasonKind::Stopping, "it was told to stop"),
            Situation::Consumer(state) => consumer_readiness(state, &limits, now),
            Situation::Primary(state) => primary_readiness(state, &limits, now),
        }
    }

    /// Whether it works. Asks nobody anything: it is what is known already.
    pub fn liveness(&self, now: Instant) -> Liveness {
        let reason = match &*self.situation.borrow() {
            Situation::Consumer(state) => {
                let hangs = state.store.hangs(now);
                match &state.progress.phase {
                    Phase::Failed(_) => Some("the consumer has stopped for good".to_owned()),
                    _ if hangs > HUNG => {
                        Some(format!("the store's thread has not answered for {}", age(hangs)))
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        Liveness { alive: reason.is_none(), reason }
    }

    /// Whoever stops stays so.
    pub(super) fn set(&self, next: Situation) {
        self.situation.send_if_modified(|situation| {
            let goes_on = !matches!(situation, Situation::Stopping);
            if goes_on {
                *situation = next;
            }
            goes_on
        });
    }

    /// Changes what is known of the consumer, if it is one.
    pub(super) fn with_consumer(&self, change: impl FnOnce(&mut ConsumerState)) {
        self.situation.send_if_modified(|situation| match situation {
            Situation::Consumer(state) => {
                change(state);
                true
            }
            _ => false,
        });
    }

    /// Changes what is known of the primary; makes it one if it was none.
    pub fn with_primary(&self, change: impl FnOnce(&mut PrimaryState)) {
        self.situation.send_if_modified(|situation| {
            if let Situation::Starting(_) = situation {
                let name = self.name.clone();
                *situation =
                    Situation::Primary(Box::new(PrimaryState { name, ..PrimaryState::default() }));
            }
            match situation {
                Situation::Primary(state) => {
                    change(state);
                    true
                }
                _ => false,
            }
        });
    }
}
