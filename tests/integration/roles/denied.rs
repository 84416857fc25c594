//! Everything that somebody could ask of the servers, asked by each role's user.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, ConnectOptions, Event, Subscriber};
use futures_util::StreamExt;
use tipline_tests::eventually;

use super::{Secured, WITHIN, inbox};

/// The users, in the order of the columns. The operator comes last: it deletes everything.
const USERS: [&str; 4] = ["primary", "b-1", "auditor", "operator"];

const EVENTS: &str = "tipline-main-events";
const RECEIPTS: &str = "tipline-main-receipts";
/// What nobody may: when its denial is here, those of everything before it are.
const SENTINEL: &str = "nobody.may.this";

struct Action {
    what: &'static str,
    subject: String,
    payload: &'static str,
    who: [bool; 4],
    /// Whether who may gets an answer. The servers' own account only is answered some things.
    answered: bool,
}

const ALL: [bool; 4] = [true; 4];
const NOBODY: [bool; 4] = [false; 4];
const PRIMARY: [bool; 4] = [true, false, false, false];
const CONSUMER: [bool; 4] = [false, true, false, true];
const OPERATOR: [bool; 4] = [false, false, false, true];

fn actions() -> Vec<Action> {
    let mut actions = Vec::new();
    let mut put = |who, answered, rows: &[(&'static str, &str, &'static str)]| {
        for &(what, subject, payload) in rows {
            let subject = subject.replace("EVENTS", EVENTS).replace("RECEIPTS", RECEIPTS);
            actions.push(Action { what, subject, payload, who, answered });
        }
    };
    put(
        PRIMARY,
        true,
        &[
            ("publish an event", "tipline.main.event.block_committed", "x"),
            ("announce", "tipline.main.primary", "x"),
        ],
    );
    put(
        NOBODY,
        false,
        &[
            ("publish an event to another log", "tipline.other.event.block_committed", "x"),
            ("publish to any subject", "any.subject", "x"),
            ("ask the servers", "$SYS.REQ.SERVER.PING", ""),
        ],
    );
    put(CONSUMER, true, &[("put its own receipt", "tipline.main.receipt.b-1", "x")]);
    put(
        OPERATOR,
        true,
        &[
            ("put a receipt of another", "tipline.main.receipt.b-2", "x"),
            ("keep a claim", "tipline.main.claim", "x"),
        ],
    );
    put(
        ALL,
        true,
        &[
            ("ask for the account's limits", "$JS.API.INFO", ""),
            ("ask for the events' stream", "$JS.API.STREAM.INFO.EVENTS", ""),
            ("ask for the receipts' stream", "$JS.API.STREAM.INFO.RECEIPTS", ""),
            ("read an event", "$JS.API.STREAM.MSG.GET.EVENTS", r#"{"seq":1}"#),
            ("read a receipt", "$JS.API.STREAM.MSG.GET.RECEIPTS", r#"{"seq":1}"#),
            (
                "follow the events in passing",
                "$JS.API.CONSUMER.CREATE.EVENTS",
                r#"{"stream_name":"tipline-main-events","config":{"ack_policy":"none"}}"#,
            ),
            (
                "follow the receipts in passing",
                "$JS.API.CONSUMER.CREATE.RECEIPTS",
                r#"{"stream_name":"tipline-main-receipts","config":{"ack_policy":"none"}}"#,
            ),
            ("ask for a consumer", "$JS.API.CONSUMER.INFO.EVENTS.b-1_1_x", ""),
            ("ask for a consumer of the receipts", "$JS.API.CONSUMER.INFO.RECEIPTS.x", ""),
        ],
    );
    put(
        CONSUMER,
        true,
        &[
            (
                "follow by a name",
                "$JS.API.CONSUMER.CREATE.EVENTS.b-1_1_x",
                r#"{"stream_name":"tipline-main-events","config":{"durable_name":"b-1_1_x","ack_policy":"all"}}"#,
            ),
            ("list the consumers", "$JS.API.CONSUMER.NAMES.EVENTS", ""),
            ("delete a consumer", "$JS.API.CONSUMER.DELETE.EVENTS.b-1_1_x", ""),
        ],
    );
    // An acknowledgement has no answer, nor has what no stream offers.
    let follows = [false, true, false, false];
    put(follows, false, &[("acknowledge", "$JS.ACK.EVENTS.b-1_1_x.1.1.1.1.0", "")]);
    put(
        NOBODY,
        false,
        &[
            ("acknowledge a receipt", "$JS.ACK.RECEIPTS.x.1.1.1.1.0", ""),
            ("let a delivery go on", "$JS.FC.EVENTS.b-1_1_x.1", ""),
        ],
    );
    put(
        OPERATOR,
        false,
        &[
            ("read an event from any server", "$JS.API.DIRECT.GET.EVENTS", r#"{"seq":1}"#),
            ("list all about the streams", "$JS.API.STREAM.LIST", ""),
            ("list all about the consumers", "$JS.API.CONSUMER.LIST.EVENTS", ""),
            ("list the consumers of the receipts", "$JS.API.CONSUMER.NAMES.RECEIPTS", ""),
            (
                "follow by a name, as older clients do",
                "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.x",
                "{}",
            ),
            ("pause a consumer", "$JS.API.CONSUMER.PAUSE.EVENTS.b-1_1_x", "{}"),
            ("reset a consumer's leader", "$JS.API.CONSUMER.LEADER.STEPDOWN.EVENTS.b-1_1_x", ""),
            ("move an account", "$JS.API.ACCOUNT.STREAM.MOVE.tipline-main.EVENTS", "{}"),
        ],
    );
    put(
        OPERATOR,
        true,
        &[
            (
                "follow the receipts by a name",
                "$JS.API.CONSUMER.CREATE.RECEIPTS.x",
                r#"{"stream_name":"tipline-main-receipts","config":{"durable_name":"x"}}"#,
            ),
            ("delete a consumer of the receipts", "$JS.API.CONSUMER.DELETE.RECEIPTS.x", ""),
            ("list the account's streams", "$JS.API.STREAM.NAMES", ""),
            ("create a stream", "$JS.API.STREAM.CREATE.other", r#"{"name":"other"}"#),
            ("change the events' stream", "$JS.API.STREAM.UPDATE.EVENTS", "{}"),
            ("change the receipts' stream", "$JS.API.STREAM.UPDATE.RECEIPTS", "{}"),
            ("delete an event", "$JS.API.STREAM.MSG.DELETE.EVENTS", r#"{"seq":1}"#),
            ("delete a receipt", "$JS.API.STREAM.MSG.DELETE.RECEIPTS", r#"{"seq":1}"#),
            ("take a stream away as a snapshot", "$JS.API.STREAM.SNAPSHOT.EVENTS", "{}"),
            ("restore a stream", "$JS.API.STREAM.RESTORE.EVENTS", "{}"),
            ("purge the events", "$JS.API.STREAM.PURGE.EVENTS", ""),
            ("purge the receipts", "$JS.API.STREAM.PURGE.RECEIPTS", ""),
            ("delete the events", "$JS.API.STREAM.DELETE.EVENTS", ""),
            ("delete the receipts", "$JS.API.STREAM.DELETE.RECEIPTS", ""),
        ],
    );
    // One server alone answers none of these, and no account but its own.
    put(
        OPERATOR,
        false,
        &[
            (
                "remove a server from a stream",
                "$JS.API.STREAM.PEER.REMOVE.EVENTS",
                r#"{"peer":"x"}"#,
            ),
            ("make a stream's leader step down", "$JS.API.STREAM.LEADER.STEPDOWN.EVENTS", ""),
            ("rescue the servers' group", "$JS.API.META.RESCUE", "{}"),
            ("make the servers' leader step down", "$JS.API.META.LEADER.STEPDOWN", ""),
            ("remove a server", "$JS.API.SERVER.REMOVE", r#"{"peer":"x"}"#),
            ("purge an account", "$JS.API.ACCOUNT.PURGE.tipline-main", ""),
        ],
    );
    actions
}

/// A client with a user's own key, and what it was denied.
struct User {
    client: Client,
    denied: Arc<Mutex<Vec<String>>>,
    replies: Subscriber,
}

impl User {
    async fn connect(secured: &Secured, user: &str) -> User {
        let seed = std::fs::read_to_string(secured.key(user)).unwrap();
        let denied = Arc::new(Mutex::new(Vec::new()));
        let told = denied.clone();
        let options = ConnectOptions::with_nkey(seed.trim().to_owned())
            .custom_inbox_prefix(inbox(user))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    lock(&told).push(error.to_string());
                }
                std::future::ready(())
            });
        let client = options.connect(secured.nats.url()).await.unwrap();
        let replies = client.subscribe(format!("{}.test.*", inbox(user))).await.unwrap();
        User { client, denied, replies }
    }

    /// Does everything, and returns which of it was denied, once the server has seen all of it.
    async fn denied(&mut self, user: &str, actions: &[Action]) -> BTreeSet<usize> {
        for (number, action) in actions.iter().enumerate() {
            let (subject, reply) =
                (action.subject.clone(), format!("{}.test.{number}", inbox(user)));
            self.client.publish_with_reply(subject, reply, action.payload.into()).await.unwrap();
        }
        self.client.publish(SENTINEL, "".into()).await.unwrap();
        self.settled().await;
        let denied = lock(&self.denied).clone();
        let is_denied = |action: &Action| {
            denied.iter().any(|told| told.contains(&format!("Publish to \"{}\"", action.subject)))
        };
        let numbered = actions.iter().enumerate();
        numbered.filter(|(_, action)| is_denied(action)).map(|(number, _)| number).collect()
    }

    /// Waits for the denial of what comes last.
    async fn settled(&self) {
        eventually("the sentinel is denied", WITHIN, async || {
            let denied = lock(&self.denied).clone();
            let last = denied.iter().any(|told| told.contains(SENTINEL));
            if last { Ok(()) } else { Err(denied.join("; ")) }
        })
        .await;
    }

    /// Waits until all of these have an answer.
    async fn answers(&mut self, mut expected: BTreeSet<usize>) {
        while !expected.is_empty() {
            let next = tokio::time::timeout(WITHIN, self.replies.next()).await;
            let message = next.unwrap_or_else(|_| panic!("no answer to {expected:?}")).unwrap();
            let number = message.subject.rsplit('.').next().unwrap().parse().unwrap();
            if expected.remove(&number) {
                assert_ne!(message.status.map(|status| status.as_u16()), Some(503), "{number}");
            }
        }
    }
}

fn lock(denied: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    denied.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The promise: what a role is not for is denied by the server itself, and all else works.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_is_not_for_is_denied() {
    let secured = Secured::with_log().await;
    let actions = actions();
    let mut table = format!("{:<40} {:<52}", "action", "subject");
    USERS.iter().for_each(|user| _ = write!(table, " {user:<9}"));
    let mut columns = Vec::new();
    for (column, user) in USERS.into_iter().enumerate() {
        let mut connected = User::connect(&secured, user).await;
        if user == "operator" {
            // What all others were allowed: one event; an announcement and a receipt.
            for (stream, messages) in [(EVENTS, 1), (RECEIPTS, 2)] {
                let subject = format!("$JS.API.STREAM.INFO.{stream}");
                let answer = connected.client.request(subject, "".into()).await.unwrap();
                let info: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
                assert_eq!(info["state"]["messages"], messages, "{info}");
            }
        }
        let denied = connected.denied(user, &actions).await;
        let numbered = actions.iter().enumerate();
        let answered = numbered.filter(|(_, action)| action.who[column] && action.answered);
        connected.answers(answered.map(|(number, _)| number).collect()).await;
        columns.push(denied);
    }
    let mut wrong = 0;
    for (number, Action { what, subject, who, .. }) in actions.iter().enumerate() {
        _ = write!(table, "\n{what:<40} {subject:<52}");
        for (column, denied) in columns.iter().enumerate() {
            let is_denied = denied.contains(&number);
            wrong += usize::from(is_denied == who[column]);
            let mark = if is_denied == who[column] { "  <-- WRONG" } else { "" };
            let text = format!("{}{mark}", if is_denied { "denied" } else { "allowed" });
            _ = write!(table, " {text:<9}");
        }
    }
    println!("{table}");
    assert_eq!(wrong, 0, "{table}");
}

/// Nobody hears anything but the replies to itself.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_what_is_not_for_him() {
    let secured = Secured::with_log().await;
    for user in USERS {
        let connected = User::connect(&secured, user).await;
        let others = ["primary", "b-1", "b-2", "auditor", "operator"].into_iter();
        let others =
            others.filter(|other| *other != user).map(|other| format!("{}.x", inbox(other)));
        let fixed = [
            ">",
            "_INBOX.>",
            "_INBOX.*.x",
            "tipline.>",
            "tipline.main.event.*",
            "tipline.main.receipt.b-1",
            "$JS.API.>",
            "$JS.EVENT.>",
            "$SYS.>",
        ];
        let subjects: Vec<String> = fixed.map(str::to_owned).into_iter().chain(others).collect();
        let mut kept = Vec::new();
        for subject in &subjects {
            kept.push(connected.client.subscribe(subject.clone()).await.unwrap());
        }
        connected.client.publish(SENTINEL, "".into()).await.unwrap();
        connected.settled().await;
        let denied = lock(&connected.denied).clone();
        for subject in subjects {
            let told = format!("Subscription to \"{subject}\"");
            assert!(denied.iter().any(|denied| denied.contains(&told)), "{user} hears {subject}");
        }
    }
}
