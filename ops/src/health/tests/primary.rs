//! The readiness of a primary.

use std::time::{Duration, Instant};

use crate::health::limits::HealthLimits;
use crate::health::primary::{PrimaryState, primary_readiness};
use crate::health::readiness::ReasonKind;

fn kinds(state: &PrimaryState, now: Instant) -> Vec<ReasonKind> {
    let said = primary_readiness(state, &HealthLimits::default(), now);
    assert_eq!(said.ready, said.reasons.is_empty());
    assert_eq!(said.weight > 0, said.ready);
    said.reasons.iter().map(|reason| reason.kind).collect()
}

#[test]
fn a_primary_is_ready_while_the_log_takes_what_it_has() {
    let now = Instant::now();
    let mut state = PrimaryState::default();
    state.link.answered(now);
    state.note_stage(Some("it is claiming the log".to_owned()), now);
    assert_eq!(kinds(&state, now), [ReasonKind::NotPublishing]);
    state.note_stage(None, now);
    assert_eq!(kinds(&state, now), []);

    // One doubt is nothing, several seconds of it are.
    state.note_stage(Some("no answer".to_owned()), now);
    assert_eq!(kinds(&state, now), []);
    let later = now + Duration::from_secs(3);
    state.note_stage(Some("no answer".to_owned()), later);
    state.link.answered(later);
    assert_eq!(kinds(&state, later), [ReasonKind::NotPublishing]);
    state.note_stage(None, later);
    assert_eq!(kinds(&state, later), []);

    // Nothing is to be published, and the log is gone.
    assert_eq!(kinds(&state, later + Duration::from_secs(3)), [ReasonKind::LogSilent]);

    state.source_failure = Some("block 7 is torn".to_owned());
    state.outbox_percent = 95;
    assert_eq!(kinds(&state, later), [ReasonKind::SourceFailed, ReasonKind::OutboxFull]);
}
