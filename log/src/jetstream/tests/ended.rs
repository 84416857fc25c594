//! A frame that ends the client's task. Nothing of that client ever works again.

use std::time::Duration;

use tipline_proto::Entry;
use tokio::time::timeout;

use super::super::JetStreamLog;
use super::broker::{Broker, announcement, entries, recorded};
use crate::error::{AppendError, LogError};
use crate::spec::{Appender, Reader, Receipts, Tail};

/// More than any wait of the adapter.
const AT_MOST: Duration = Duration::from_secs(20);

/// Frames that the client's reader of frames panics over.
const FRAMES: [&str; 3] =
    ["-ERR\r\n", "MSG a 1 18446744073709551615\r\n", "HMSG a 1 0 18446744073709551615\r\n"];

/// Until what is done says that it never works again.
async fn ends<T>(what: &str, ask: impl AsyncFn() -> Result<T, LogError>) -> LogError {
    let asking = async {
        loop {
            match ask().await {
                Err(error) if !error.is_retryable() => return error,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let ended = timeout(AT_MOST, asking).await;
    ended.unwrap_or_else(|_| panic!("{what} is tried for ever"))
}

async fn append(log: &JetStreamLog, tail: &Tail) -> Result<Tail, LogError> {
    let event = recorded(b"c");
    let next = Entry::seal(&tail.position, 7, tail.time, 3, event);
    log.append(tail, &[next]).await.map_err(|error| match error {
        AppendError::Doubt(error) | AppendError::Refused(error) => error,
        AppendError::Conflict => panic!("a conflict"),
    })
}

#[tokio::test]
async fn a_client_that_ended_is_not_taken_for_one_that_is_connected() {
    for frame in FRAMES {
        let broker = Broker::start().await;
        let log = broker.open().await;
        let tail = log.tail().await.unwrap();
        assert_eq!(tail.position, entries().last().unwrap().position());
        let mut followed = log.subscribe(None, tail.position.index).await.unwrap();
        let mut board = log.follow_board().await.unwrap();
        board.next().await.unwrap();
        broker.say(frame).await;
        // Whoever waits is told, and so is whoever asks.
        timeout(AT_MOST, followed.next()).await.expect("it waits for ever").unwrap_err();
        timeout(AT_MOST, board.next()).await.expect("it waits for ever").unwrap_err();
        let ended = ends("the tail", || log.tail()).await;
        assert!(matches!(ended, LogError::Unusable { .. }), "{ended:?}");
        assert!(ended.to_string().contains("start this program again"), "{ended}");
        assert!(log.link.connected().await.is_err() && !log.link.is_connected());
        assert!(log.link.losses().any(), "what is sent from now on is lost");
        ends("a ping", || log.ping()).await;
        ends("an append", || append(&log, &tail)).await;
        ends("a subscription", || log.subscribe(None, 1)).await;
        ends("the board", || log.board()).await;
        ends("a feed of the board", || log.follow_board()).await;
        let said = announcement();
        ends("an announcement", || log.announce(&said)).await;
    }
}

/// Most that is not NATS ends one connection, and the client makes another.
#[tokio::test]
async fn a_frame_that_ends_a_connection_only_is_survived() {
    let broker = Broker::start().await;
    let log = broker.open().await;
    for frame in ["NONSENSE\r\n", "MSG a\r\n", "MSG a b c\r\n", "INFO {\r\n"] {
        let mut losses = log.link.losses();
        broker.say(frame).await;
        timeout(AT_MOST, losses.occur()).await.expect(frame);
        let again = async {
            while let Err(error) = log.tail().await {
                assert!(error.is_retryable(), "{frame}: {error:?}");
            }
        };
        timeout(AT_MOST, again).await.expect(frame);
    }
}

/// The client drops what it has to say of itself if nobody has heard so much of it.
#[tokio::test]
async fn a_connection_that_is_lost_among_errors_is_lost() {
    let broker = Broker::start().await;
    let log = broker.open().await;
    let mut losses = log.link.losses();
    broker.say("-ERR 'x'\r\n".repeat(1000)).await;
    broker.hang_up().await;
    timeout(AT_MOST, losses.occur()).await.expect("nobody knows of it");
    log.tail().await.unwrap();
}
