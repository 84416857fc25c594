//! Answers to what was published that come without end.

use std::time::Duration;

use tipline_proto::{Entry, Timestamp};
use tokio::time::timeout;

use super::broker::{Broker, recorded};
use crate::error::AppendError;
use crate::spec::Appender;

const AT_MOST: Duration = Duration::from_secs(30);

/// Appends so many entries, to a broker that answers what ends so by what ends otherwise.
async fn append(entries: usize, end: &str, by: &str) -> AppendError {
    let broker = Broker::start().await;
    let log = broker.open().await;
    let tail = log.tail().await.unwrap();
    let mut before = tail.position;
    let seal = |sequence| {
        let event = recorded(b"c");
        let entry = Entry::seal(&before, 7, Timestamp::from_micros(9), sequence, event);
        before = entry.position();
        entry
    };
    let unit: Vec<Entry> = (3..).take(entries).map(seal).collect();
    let appended = async {
        tokio::select! {
            appended = log.append(&tail, &unit) => appended,
            () = broker.answer_for_ever(end, by) => unreachable!("it never ends"),
        }
    };
    let appended = timeout(AT_MOST, appended).await.expect("it waits for ever");
    appended.unwrap_err()
}

#[tokio::test]
async fn an_append_whose_first_message_is_answered_for_ever_is_in_doubt() {
    let error = append(2, ".2", ".1").await;
    assert!(matches!(&error, AppendError::Doubt(error) if error.is_retryable()), "{error:?}");
}

#[tokio::test]
async fn an_append_that_hears_only_of_earlier_ones_is_in_doubt() {
    let error = append(1, ".1.1", ".0.1").await;
    assert!(matches!(&error, AppendError::Doubt(error) if error.is_retryable()), "{error:?}");
}
