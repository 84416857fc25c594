use std::time::Duration;

use tipline_ops::{Answer, AnswerState, RoundTrip};

use super::render;

fn answer(name: &str, state: AnswerState) -> Answer {
    let is_there = state == AnswerState::Acknowledged;
    Answer {
        name: name.to_owned(),
        role: (state != AnswerState::Missing).then_some("backup"),
        state,
        acknowledged: is_there.then_some(Duration::from_millis(1_234)),
        index: (state != AnswerState::Missing).then_some(1_007),
        failure: (state == AnswerState::Waiting).then(|| "no space".to_owned()),
    }
}

fn trip(consumers: Vec<Answer>) -> RoundTrip {
    RoundTrip {
        ok: consumers.iter().all(|one| one.state == AnswerState::Acknowledged),
        mark: "tipline-check-1".to_owned(),
        level: "durable",
        within: Duration::from_secs(30),
        index: Some(1_008),
        digest: Some("ab".to_owned()),
        logged: Some(Duration::from_millis(12)),
        consumers,
        log_failure: None,
    }
}

#[test]
fn each_leg_has_a_line_with_its_time() {
    let text = render(&trip(vec![answer("backup-1", AnswerState::Acknowledged)]));
    assert_eq!(
        text,
        "every leg ended within 30s: tipline-check-1\n\n\
         LEG                  TIME  RESULT\n\
         outbox → log        12 ms  event 1,008\n\
         log → backup-1   1,234 ms  durable\n"
    );
}

#[test]
fn a_leg_that_did_not_end_is_said_first_and_has_its_reason() {
    let text = render(&trip(vec![
        answer("backup-1", AnswerState::Waiting),
        answer("backup-2", AnswerState::Missing),
        answer("backup-3", AnswerState::Diverged),
        answer("replica", AnswerState::Below),
    ]));
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "not acknowledged within 30s by backup-1, backup-2, backup-3: tipline-check-1"
    );
    for line in [
        "log → backup-1          –  NOT acknowledged: durable up to event 1,007; failed: no space",
        "log → backup-2          –  MISSING: it has never sent a receipt",
        "log → backup-3          –  DIVERGED: it holds another history at event 1,007",
        "log → replica           –  not waited for: it has never reported durable",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_mark_that_is_not_in_the_log_and_nobody_at_all_are_said() {
    let lost = RoundTrip {
        index: None,
        logged: None,
        log_failure: Some("the log at nats://h/x does not answer".to_owned()),
        ..trip(vec![answer("backup-1", AnswerState::Waiting)])
    };
    let text = render(&RoundTrip { ok: false, ..lost });
    assert!(text.starts_with("the mark did not get to the log within 30s: "), "{text}");
    assert!(text.contains("outbox → log            –  NOT in the log\n"), "{text}");
    assert!(text.ends_with("\nthe log: the log at nats://h/x does not answer\n"), "{text}");
    let nobody = render(&RoundTrip { ok: false, ..trip(Vec::new()) });
    assert!(nobody.starts_with("no consumer acknowledges the mark at durable: "), "{nobody}");
}
