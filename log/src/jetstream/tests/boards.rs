//! A board with more on it than there can be.

use std::time::Duration;

use serde_json::{Value, json};
use tipline_proto::limits::MAX_BOARD_MESSAGE_BYTES;
use tipline_proto::subject::Subject;
use tokio::time::timeout;

use super::super::board::MOST_NAMES;
use super::super::streams;
use super::broker::{Broker, Held, Message, announcement, identity, info};
use crate::spec::{Board, Receipts};

const AT_MOST: Duration = Duration::from_secs(60);

/// What cannot be read, under the name of a consumer.
fn noise(name: &str) -> Message {
    let subject = format!("tipline.test.receipt.{name}");
    Message { subject, headers: String::new(), payload: b"noise".to_vec() }
}

fn primary() -> Message {
    let subject = Subject::Primary(identity().name).to_string();
    Message { subject, headers: String::new(), payload: announcement().encode().to_vec() }
}

fn left_out(board: &Board) -> usize {
    let is_it = |why: &str| why.ends_with("the rest is not read");
    board.unreadable.iter().filter(|unreadable| is_it(&unreadable.why)).count()
}

/// A board of so many names that mean nothing, of an announcement, and of a name without end.
fn crowd(names: usize) -> impl Fn(&Held, &str, &Value) -> Option<Value> {
    move |_, question, request| {
        if question == "STREAM.MSG.GET.tipline-test-receipts" {
            let subject = request["last_by_subj"].as_str()?;
            let message = match subject.rsplit('.').next()? {
                "primary" => primary(),
                name => noise(name),
            };
            return Some(message.got(7));
        }
        let is_it = question == "STREAM.INFO.tipline-test-receipts";
        request.get("subjects_filter").filter(|_| is_it)?;
        let mut named: serde_json::Map<String, Value> =
            (0..names).map(|name| (noise(&format!("a{name}")).subject, json!(1))).collect();
        named.insert(primary().subject, json!(1));
        named.insert(noise(&"a".repeat(1 << 20)).subject, json!(1));
        let config = streams::receipts(&identity(), 1);
        Some(info(&config, 1, 7, names, Value::Object(named)))
    }
}

#[tokio::test]
async fn no_more_names_are_held_than_there_can_be() {
    let broker = Broker::saying(crowd(MOST_NAMES + 99)).await;
    let log = broker.open().await;
    let before = broker.questions();
    let board = timeout(AT_MOST, log.board()).await.expect("it reads for ever").unwrap();
    // The announcement is there, whoever else is, and it is said that there is more.
    assert!(board.primary.is_some());
    assert_eq!(board.unreadable.len(), MOST_NAMES - 1 + 1);
    assert_eq!(left_out(&board), 1);
    assert!(board.unreadable.iter().all(|unreadable| unreadable.place.len() < 99));
    assert!(broker.questions() <= before + MOST_NAMES + 1, "{}", broker.questions());
}

#[tokio::test]
async fn a_name_that_is_held_stays_whoever_comes_after_it() {
    let broker = Broker::saying(crowd(MOST_NAMES - 2)).await;
    let log = broker.open().await;
    let mut feed = log.follow_board().await.unwrap();
    assert_eq!(left_out(&feed.next().await.unwrap()), 1, "one name is too long");
    let mut number = 0;
    let mut deliver = async |message: &Message| {
        number += 1;
        broker.deliver(message, 7 + number, number).await;
    };
    let mut next = async |until: &dyn Fn(&Board) -> bool| loop {
        let board = timeout(AT_MOST, feed.next()).await.expect("nothing changes").unwrap();
        if until(&board) {
            return board;
        }
    };
    // There is room for one, and for no other.
    for name in ["b", "c", "d"] {
        deliver(&noise(name)).await;
    }
    let mut larger = noise("a1");
    larger.payload = vec![7; MAX_BOARD_MESSAGE_BYTES + 1];
    deliver(&larger).await;
    let of = |board: &Board, name: &str| {
        let place = noise(name).subject;
        board.unreadable.iter().find(|found| found.place == place).map(|found| found.why.clone())
    };
    let is_large = |board: &Board| of(board, "a1").is_some_and(|why| why.contains("are allowed"));
    let (board, ()) = tokio::join!(next(&is_large), async {});
    assert!(of(&board, "b").is_some() && of(&board, "c").is_none() && of(&board, "d").is_none());
    assert_eq!(board.unreadable.len(), MOST_NAMES - 1 + 1);
    // What is held changes as before.
    let mut said = announcement();
    said.epoch = 8;
    deliver(&Message { payload: said.encode().to_vec(), ..primary() }).await;
    next(&|board| board.primary.as_ref().is_some_and(|primary| primary.epoch == 8)).await;
}
