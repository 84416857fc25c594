//! A broker that answers every question with something else, or without end.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tipline_proto::{Digest, Entry, Position, Timestamp};
use tokio::time::timeout;

use super::super::consumers::MOST_CONSUMERS;
use super::super::streams;
use super::super::walk::MOST_STEPS;
use super::broker::{
    Broker, FIRST, Held, entries, identity, info, message_of, no_message, recorded, void,
};
use crate::error::{LogError, error_chain};
use crate::spec::{Reader, Trimmer};

/// More than any question to such a broker takes.
const AT_MOST: Duration = Duration::from_secs(120);
const EVENTS: &str = ".tipline-test-events";
/// Where the log of a liar ends.
const FAR: u64 = 1 << 60;

async fn refused<T>(what: &str, asked: impl Future<Output = Result<T, LogError>>) -> LogError {
    let asked = timeout(AT_MOST, asked).await;
    let answer = asked.unwrap_or_else(|_| panic!("{what} asks without end"));
    answer.err().unwrap_or_else(|| panic!("{what} is believed"))
}

fn assert_corrupt(error: &LogError, why: &str) {
    assert!(matches!(error, LogError::Corrupt { .. }), "{error:?}");
    assert!(error_chain(error).contains(why), "{}", error_chain(error));
}

/// Whether this asks for a message of the events; the sequence, if that is what it asks for.
fn asks_for_event(question: &str, request: &Value) -> Option<Option<u64>> {
    let is_it = question.strip_suffix(EVENTS)? == "STREAM.MSG.GET";
    is_it.then(|| request["seq"].as_u64().filter(|_| request.get("next_by_subj").is_none()))
}

#[tokio::test]
async fn another_message_than_the_one_that_was_asked_for_is_refused() {
    let other = |held: &Held, _: &str, request: &Value| {
        (request["seq"] == FIRST + 1).then(|| held.events[2].got(FIRST + 2))
    };
    let broker = Broker::saying(other).await;
    let log = broker.open().await;
    let error = refused("another one", log.entry(2)).await;
    assert_corrupt(&error, &format!("where {} was asked for", json!({ "seq": FIRST + 1 })));
    assert!(error.to_string().contains(&format!("message {}", FIRST + 2)), "{error}");

    // The newest claim is none, and what is at the place of a receipt is another's.
    let other = |held: &Held, _: &str, request: &Value| {
        let subject = request.get("last_by_subj")?;
        (subject == "tipline.test.event.epoch_started").then(|| held.events[2].got(FIRST + 2))
    };
    let broker = Broker::saying(other).await;
    let error = refused("another subject", broker.open().await.extent()).await;
    assert_corrupt(&error, "tipline.test.event.epoch_started");
}

/// Wherever the end is looked for, there is one more entry that does not count.
#[tokio::test]
async fn a_log_that_ends_in_void_entries_without_end_is_refused() {
    for part in [None, Some("1/2")] {
        let lies = move |_: &Held, question: &str, request: &Value| {
            let sequence = asks_for_event(question, request)?;
            let is_newest = request["last_by_subj"] == ">";
            let sequence = if is_newest { FAR } else { sequence? };
            let message = match part {
                // The newest one is of a batch, of which something else is said when it is asked for again.
                Some(part) if !is_newest => void().part(part, 9),
                _ => void(),
            };
            Some(message.got(sequence))
        };
        let broker = Broker::saying(lies).await;
        let log = broker.open().await;
        let error = refused("the tail", log.extent()).await;
        assert_corrupt(&error, "the server makes them up");
        let asked = broker.questions();
        assert!(asked < 3 * MOST_STEPS as usize, "{asked} questions");
    }
}

/// The oldest entry, and any other, is looked for among first parts without the rest.
#[tokio::test]
async fn an_entry_among_void_parts_without_end_is_not_looked_for_without_end() {
    let lies = |held: &Held, question: &str, request: &Value| {
        let stream = question.strip_suffix(EVENTS)?;
        if stream == "STREAM.INFO" {
            let config = streams::events(&identity(), 1);
            return Some(info(&config, FIRST, FAR, 9, json!({})));
        }
        if request["last_by_subj"] == ">" {
            return Some(message_of(entries().last().unwrap()).got(FAR));
        }
        let sequence = asks_for_event(question, request)??;
        (sequence < FAR).then(|| held.events[1].clone().part("1/2", 2).got(sequence))
    };
    let broker = Broker::saying(lies).await;
    let error = refused("the oldest entry", broker.open().await.extent()).await;
    assert_corrupt(&error, "the server makes them up");

    // The oldest one is there, and all others are parts.
    let settled = move |held: &Held, question: &str, request: &Value| {
        if asks_for_event(question, request) == Some(Some(FIRST)) {
            return Some(held.events[0].got(FIRST));
        }
        lies(held, question, request)
    };
    let broker = Broker::saying(settled).await;
    let error = refused("an entry", broker.open().await.entry(2)).await;
    assert_corrupt(&error, "the server makes them up");

    // All are void entries, with one more claim that is void after each.
    let claims = |held: &Held, question: &str, request: &Value| {
        if question == format!("STREAM.INFO{EVENTS}") {
            let config = streams::events(&identity(), 1);
            return Some(info(&config, FIRST, FAR, 9, json!({})));
        }
        if request.get("next_by_subj").is_some() {
            let claim = Entry { epoch: 1, ..entries().remove(0) };
            return Some(message_of(&claim).got(request["seq"].as_u64()?));
        }
        match asks_for_event(question, request)? {
            Some(FIRST) => None,
            Some(sequence) => Some(void().got(sequence)),
            None if request["last_by_subj"] == ">" => Some(held.events[2].got(FAR)),
            None => None,
        }
    };
    let broker = Broker::saying(claims).await;
    let error = refused("a void entry", broker.open().await.entry(2)).await;
    assert_corrupt(&error, "the server makes them up");
}

#[tokio::test]
async fn consumers_without_end_are_not_read_to_the_end() {
    let lies = |_: &Held, question: &str, request: &Value| {
        let names = question
            .starts_with("CONSUMER.NAMES.")
            .then(|| (0..100).map(|number| format!("replica-1_{}_{number}", request["offset"])));
        Some(json!({ "total": u64::MAX, "consumers": names?.collect::<Vec<_>>() }))
    };
    let broker = Broker::saying(lies).await;
    let log = broker.open().await;
    let named = "replica-1".parse().unwrap();
    let error = refused("a subscription", log.subscribe(Some(&named), 3)).await;
    assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("over {MOST_CONSUMERS} consumers")), "{error}");
    assert!(broker.questions() < 2 * MOST_CONSUMERS / 100, "{} questions", broker.questions());
}

/// Each time that it is looked, others have trimmed a little more.
#[tokio::test]
async fn a_log_that_others_trim_without_end_is_left_to_them() {
    // The first message, and whether what was just asked for is said to be trimmed away.
    let state = Mutex::new((FIRST, false));
    let lies = move |_: &Held, question: &str, request: &Value| {
        let mut state = state.lock().unwrap();
        if question == format!("STREAM.INFO{EVENTS}") {
            let config = streams::events(&identity(), 1);
            let first = if std::mem::take(&mut state.1) { FAR } else { state.0 };
            return Some(info(&config, first, FAR, 9, json!({})));
        }
        let entry = |index: u64| {
            let before = Position { index: index - 1, digest: Digest::origin(&identity()) };
            message_of(&Entry::seal(&before, 7, Timestamp::from_micros(9), 1, recorded(b"v")))
        };
        match asks_for_event(question, request)? {
            Some(sequence) if sequence == state.0 => Some(entry(sequence).got(sequence)),
            Some(_) => {
                *state = (state.0 + 1, true);
                Some(no_message())
            }
            None if request["last_by_subj"] == ">" => Some(entry(FAR - 9).got(FAR)),
            None => None,
        }
    };
    let broker = Broker::saying(lies).await;
    let log = broker.open().await;
    let error = refused("trimming", log.trim(FAR / 2)).await;
    assert!(error.is_retryable() && error.to_string().contains("others trim too"), "{error:?}");
}
