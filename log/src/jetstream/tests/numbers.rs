//! Numbers that no honest broker says.

use serde_json::{Value, json};
use tipline_proto::Entry;

use super::super::streams;
use super::broker::{Broker, FIRST, Held, entries, identity, info, message_of, recorded, void};
use crate::error::{LogError, error_chain};
use crate::spec::{Reader, Receipts};

/// Sequences from which nothing can be counted.
const BEYOND: [u64; 2] = [u64::MAX, 1 << 63];

fn assert_beyond(error: &LogError) {
    assert!(matches!(error, LogError::Corrupt { .. }), "{error:?}");
    assert!(error_chain(error).contains("the highest sequence is"), "{error:?}");
}

#[tokio::test]
async fn a_sequence_beyond_the_highest_one_is_refused_wherever_it_comes_from() {
    for beyond in BEYOND {
        let newest = move |held: &Held, _: &str, request: &Value| {
            (request["last_by_subj"] == ">").then(|| held.events[2].got(beyond))
        };
        let log = Broker::saying(newest).await;
        assert_beyond(&log.open().await.extent().await.unwrap_err());
    }
    for beyond in BEYOND {
        // Opening asks for the stream, too, and the board for its subjects.
        let receipts = move |_: &Held, question: &str, request: &Value| {
            let is_it = question == "STREAM.INFO.tipline-test-receipts";
            let config = streams::receipts(&identity(), 1);
            let is_it = is_it && request.get("subjects_filter").is_some();
            is_it.then(|| info(&config, 1, beyond, 0, json!({})))
        };
        let broker = Broker::saying(receipts).await;
        let log = broker.open().await;
        assert_beyond(&log.board().await.unwrap_err());
        assert_beyond(&log.follow_board().await.err().unwrap());
    }
}

#[tokio::test]
async fn what_is_delivered_with_such_a_number_ends_the_feed() {
    for (sequence, number) in [(u64::MAX, 1), (1 << 63, 1), (FIRST + 3, 0), (FIRST + 3, u64::MAX)] {
        let broker = Broker::start().await;
        let log = broker.open().await;
        let mut followed = log.subscribe(None, 3).await.unwrap();
        let deliver = async {
            let entry = entries().remove(2);
            let tail = entry.position();
            let next = Entry::seal(&tail, 7, entry.time, 3, recorded(b"c"));
            broker.deliver(&message_of(&next), sequence, number).await;
        };
        let (followed, ()) = tokio::join!(followed.next(), deliver);
        assert!(followed.unwrap_err().is_retryable());
    }
}

/// A part that would begin before the log does, of an event that is void.
#[tokio::test]
async fn the_number_of_a_part_is_not_believed() {
    for part in ["7/7", "4294967295/4294967295"] {
        let lies = move |_: &Held, _: &str, request: &Value| {
            (request["seq"] == FIRST + 1).then(|| void().part(part, 10).got(FIRST + 1))
        };
        let error = Broker::saying(lies).await.open().await.entry(2).await.unwrap_err();
        assert!(error_chain(&error).contains("no valid entry is"), "{error:?}");
    }
}
