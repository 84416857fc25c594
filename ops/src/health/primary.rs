//! The readiness of a primary: whether what its node commits gets into the log.

use std::time::{Duration, Instant};

use super::limits::HealthLimits;
use super::link::LogLink;
use super::readiness::{Readiness, Reason, ReasonKind};
use crate::text::{age, number};

/// An outbox that is this full is about to stop the node, in percent.
const NEARLY_FULL: u64 = 90;

/// What a process knows of its primary.
#[derive(Debug, Clone, Default)]
pub struct PrimaryState {
    /// Its name.
    pub name: String,
    /// Whether it holds the log and publishes; if not, what it does instead.
    pub not_publishing: Option<String>,
    /// Since when it is so; `None` while it publishes.
    pub since: Option<Instant>,
    /// Whether it has ever published in this run.
    pub has_published: bool,
    /// Height of the newest block that is in the log.
    pub block: Option<u64>,
    /// Height up to which every block has its proof in the log.
    pub proof: Option<u64>,
    /// Index of the newest event that is in the log.
    pub index: Option<u64>,
    /// What waits in the outbox, of what may, in percent.
    pub outbox_percent: u64,
    /// How many events wait in the outbox.
    pub waiting_events: u64,
    /// What is wrong with the source of the events; `None` if nothing is.
    pub source_failure: Option<String>,
    /// Whether the log is heard.
    pub link: LogLink,
}

impl PrimaryState {
    /// What it does instead of publishing, now; `None` if it publishes.
    pub fn note_stage(&mut self, not_publishing: Option<String>, now: Instant) {
        self.has_published |= not_publishing.is_none();
        self.since = not_publishing.as_ref().map(|_| self.since.unwrap_or(now));
        self.not_publishing = not_publishing;
    }
}

/// Whether a primary does its work: what its node commits gets into the log. Pure: it reads no clock.
pub fn primary_readiness(state: &PrimaryState, limits: &HealthLimits, now: Instant) -> Readiness {
    let mut said = Readiness::of("primary", &state.name);
    said.block = state.block;
    said.tip = state.block;
    said.proof = state.proof;
    said.index = state.index;
    said.silent_seconds = state.link.silence(now).map(|silence| silence.as_secs_f64());
    let found =
        [publishing(state, limits, now), silent(state, limits, now), source(state), outbox(state)];
    said.reasons = found.into_iter().flatten().collect();
    said.ready = said.reasons.is_empty();
    said.weight = if said.ready { 100 } else { 0 };
    said
}

fn publishing(state: &PrimaryState, limits: &HealthLimits, now: Instant) -> Option<Reason> {
    let what = state.not_publishing.as_ref()?;
    let since = state.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    // A doubt about one append is nothing: it is settled by reading the tail.
    (!state.has_published || since > limits.max_silence).then(|| {
        let text = format!("nothing is being published, for {}: {what}", age(since));
        Reason::new(ReasonKind::NotPublishing, text)
    })
}

fn silent(state: &PrimaryState, limits: &HealthLimits, now: Instant) -> Option<Reason> {
    let why = state.link.failure.as_ref().map_or(String::new(), |why| format!(": {why}"));
    state.link.is_silent(limits.max_silence, now).then(|| {
        let since = match state.link.silence(now) {
            Some(silence) => format!("for {}", age(silence)),
            None => "yet".to_owned(),
        };
        Reason::new(ReasonKind::LogSilent, format!("the log has not been heard {since}{why}"))
    })
}

fn source(state: &PrimaryState) -> Option<Reason> {
    let why = state.source_failure.as_ref()?;
    Some(Reason::new(ReasonKind::SourceFailed, format!("the source: {why}")))
}

fn outbox(state: &PrimaryState) -> Option<Reason> {
    let (percent, events) = (state.outbox_percent, number(state.waiting_events));
    (percent >= NEARLY_FULL).then(|| {
        let text = format!("the outbox is {percent}% full: {events} events wait");
        Reason::new(ReasonKind::OutboxFull, text)
    })
}
