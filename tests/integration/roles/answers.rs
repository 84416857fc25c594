//! The server answers where it is asked to, with its own rights. An answer that lands in a stream is
//! an event, or a receipt, by whoever may ask for anything.
#![expect(clippy::panic, reason = "a helper of a test fails it by panicking")]

use std::path::PathBuf;

use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::{Client, ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tipline_tests::{Nats, eventually};

use super::{Secured, WITHIN, inbox};

const EVENTS: &str = "tipline-main-events";
const RECEIPTS: &str = "tipline-main-receipts";
/// Where an answer would do harm, but for the user's own.
const PLACES: [&str; 5] = [
    "tipline.main.event.block_committed",
    "tipline.main.event.epoch_started",
    "tipline.main.receipt.b-2",
    "tipline.main.claim",
    "tipline.main.primary",
];

async fn client(secured: &Secured, user: &str) -> Client {
    let seed = std::fs::read_to_string(secured.key(user)).unwrap();
    let options =
        ConnectOptions::with_nkey(seed.trim().to_owned()).custom_inbox_prefix(inbox(user));
    options.connect(secured.nats.url()).await.unwrap()
}

async fn ask(client: &Client, subject: String, request: Value) -> Value {
    let answer = client.request(subject, request.to_string().into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Number of messages that a stream has ever had.
async fn stored(client: &Client, stream: &str) -> u64 {
    let info = ask(client, format!("$JS.API.STREAM.INFO.{stream}"), json!({})).await;
    info["state"]["last_seq"].as_u64().unwrap_or_else(|| panic!("{info}"))
}

/// A consumer of a stream, from its beginning. Returns its name.
async fn follow(client: &Client, stream: &str, more: &[(&str, Value)]) -> String {
    let mut config = json!({ "ack_policy": "none", "deliver_policy": "all" });
    more.iter().for_each(|(name, value)| config[*name] = value.clone());
    let request = json!({ "stream_name": stream, "config": config });
    let made = ask(client, format!("$JS.API.CONSUMER.CREATE.{stream}"), request).await;
    made["name"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// The promise: whatever a user may ask, the answer is for nobody but itself. Everything is asked once
/// more for its own inbox: servers answer one after the other, so by then the others are given.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_to_nobody_but_who_asked() {
    answers_stay(Nats::program()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_oldest_servers_goes_to_nobody_either() {
    answers_stay(Nats::program_of("2.12.0")).await;
}

async fn answers_stay(program: PathBuf) {
    let (secured, operator) = filled(program).await;
    for user in ["primary", "b-1", "auditor"] {
        let client = client(&secured, user).await;
        let own = format!("{}.own", inbox(user));
        let mut answers = client.subscribe(own.clone()).await.unwrap();
        let mut requests = Vec::new();
        for stream in [EVENTS, RECEIPTS] {
            let name = follow(&client, stream, &[]).await;
            let next = json!({ "batch": 1, "no_wait": true });
            requests.extend([
                // A message that is there, as it is, with its headers.
                (format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"), next),
                (format!("$JS.API.STREAM.INFO.{stream}"), json!({})),
                (format!("$JS.API.STREAM.MSG.GET.{stream}"), json!({ "seq": 1 })),
                (format!("$JS.API.CONSUMER.INFO.{stream}.none"), json!({})),
                (format!("$JS.API.CONSUMER.CREATE.{stream}"), json!({})),
            ]);
        }
        if user == "b-1" {
            requests.push((format!("$JS.API.CONSUMER.NAMES.{EVENTS}"), json!({})));
            requests.push((format!("$JS.API.CONSUMER.DELETE.{EVENTS}.none"), json!({})));
        }
        let before = [stored(&operator, EVENTS).await, stored(&operator, RECEIPTS).await];
        for (subject, request) in requests {
            for place in PLACES.into_iter().filter(|place| !may(user, place)).chain([&*own]) {
                let payload = request.to_string().into();
                let asked = client.publish_with_reply(subject.clone(), place.to_owned(), payload);
                asked.await.unwrap();
            }
            let answer = tokio::time::timeout(WITHIN, answers.next()).await;
            assert!(answer.is_ok_and(|answer| answer.is_some()), "{user}: no answer of {subject}");
        }
        let after = [stored(&operator, EVENTS).await, stored(&operator, RECEIPTS).await];
        assert_eq!(after, before, "{user} has written");
    }
}

/// A consumer can be made whose messages the servers send by themselves, to any subject: what they
/// send so is a message of another stream, and says which.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_servers_send_by_themselves_is_stored_nowhere() {
    let (secured, operator) = filled(Nats::program()).await;
    let before = [stored(&operator, EVENTS).await, stored(&operator, RECEIPTS).await];
    for user in ["primary", "b-1", "auditor"] {
        let client = client(&secured, user).await;
        for (stream, place) in [
            (EVENTS, "tipline.main.primary"),
            (EVENTS, "tipline.main.claim"),
            (EVENTS, "tipline.main.receipt.b-2"),
            (RECEIPTS, "tipline.main.event.block_committed"),
        ] {
            let name = follow(&client, stream, &[("deliver_subject", json!(place))]).await;
            // The server that has the literal subject is sent to at once.
            if stream == EVENTS && !place.contains("receipt") {
                eventually("it is sent", WITHIN, async || {
                    let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{name}");
                    let info = ask(&client, subject, json!({})).await;
                    if info["delivered"]["consumer_seq"] == 1 { Ok(()) } else { Err(info) }
                })
                .await;
            }
        }
    }
    // What comes after is stored after.
    put(&operator, "tipline.main.claim", RECEIPTS).await;
    put(&client(&secured, "primary").await, PLACES[0], EVENTS).await;
    let after = [stored(&operator, EVENTS).await, stored(&operator, RECEIPTS).await];
    assert_eq!(after, before.map(|count| count + 1));
}

/// What the primary itself may write, it may have written by a server.
fn may(user: &str, place: &str) -> bool {
    user == "primary" && (place.contains("event") || place.ends_with("primary"))
}

/// A log with a message on every subject, and its operator.
async fn filled(program: PathBuf) -> (Secured, Client) {
    let secured = Secured::with_log_on(program).await;
    let operator = client(&secured, "operator").await;
    let primary = client(&secured, "primary").await;
    put(&primary, "tipline.main.event.block_committed", EVENTS).await;
    put(&primary, "tipline.main.primary", RECEIPTS).await;
    put(&client(&secured, "b-1").await, "tipline.main.receipt.b-1", RECEIPTS).await;
    put(&operator, "tipline.main.receipt.b-2", RECEIPTS).await;
    put(&operator, "tipline.main.claim", RECEIPTS).await;
    (secured, operator)
}

/// Puts a message as the program does, which names the stream that it is for.
async fn put(client: &Client, subject: &'static str, stream: &str) {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_STREAM, stream);
    let put = client.request_with_headers(subject, headers, "x".into()).await.unwrap();
    let put: Value = serde_json::from_slice(&put.payload).unwrap();
    assert_eq!(put["error"], Value::Null, "{put}");
}
