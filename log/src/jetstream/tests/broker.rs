//! A broker for tests: it speaks as much of the protocol as the client needs, holds a log, and says
//! whatever a test lets it say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::stream::Config;
use serde_json::{Value, json};
use tipline_proto::subject::Subject;
use tipline_proto::{
    Announcement, Chain, Digest, Entry, Event, Hash, Key, Kind, Label, Lineage, LogIdentity,
    OutboxId, Position, Timestamp,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::{JetStreamLog, JetStreamOptions, streams};

const EPOCH: &str = "2026-01-01T00:00:00Z";
/// The same, in nanoseconds.
const EPOCH_NANOS: u64 = 1_767_225_600_000_000_000;

/// What a broker says to a question. The subject of the API is without `$JS.API.`.
type Answers = dyn Fn(&Held, &str, &Value) -> Option<Value> + Send + Sync;

/// A broker on this machine. It is gone when it is dropped.
pub(super) struct Broker {
    url: String,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    held: Held,
    answers: Box<Answers>,
    questions: AtomicUsize,
    /// Whoever is connected, and what waits to be sent there. `None` closes the connection.
    connections: Mutex<Vec<mpsc::Sender<Option<Vec<u8>>>>>,
    /// Where the messages of a feed go.
    feed: Mutex<Option<String>>,
    /// Where the answer to what was published last goes.
    reply: Mutex<Option<String>>,
    subscriptions: Mutex<BTreeMap<String, String>>,
}

/// The streams of a log.
pub(super) struct Held {
    pub(super) events: Vec<Message>,
    pub(super) receipts: Vec<Message>,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) headers: String,
    pub(super) payload: Vec<u8>,
}

pub(super) fn identity() -> LogIdentity {
    LogIdentity {
        name: "test".parse().unwrap(),
        chain: Chain::new("test".parse().unwrap(), Hash::new([0; 32]).unwrap()),
        lineage: Lineage::from_bytes([0; 16]),
    }
}

/// The sequence of the first message of the events.
pub(super) const FIRST: u64 = 2;

/// A log of a claim and two more entries.
pub(super) fn entries() -> Vec<Entry> {
    let primary = Label::new("p").unwrap();
    let outbox = OutboxId::from_bytes([1; 16]);
    let mut tail = Position { index: 0, digest: Digest::origin(&identity()) };
    let claim = Event::EpochStarted { primary, outbox };
    let events = [claim, recorded(b"a"), recorded(b"b")];
    let seal = |(event, sequence)| {
        let entry = Entry::seal(&tail, 7, Timestamp::from_micros(9), sequence, event);
        tail = entry.position();
        entry
    };
    events.into_iter().zip(0..).map(seal).collect()
}

/// What the primary says of that log.
pub(super) fn announcement() -> Announcement {
    let tail = entries().remove(2);
    Announcement {
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        seal: None,
        lineage: identity().lineage,
        primary: Label::new("p").unwrap(),
        epoch: 7,
        tail: tail.position(),
        block_tip: None,
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        time: tail.time,
        failure: None,
    }
}

pub(super) fn recorded(key: &'static [u8]) -> Event {
    Event::StateRecorded { key: Key::new(key).unwrap(), value: Some(vec![7; 9].into()) }
}

pub(super) fn message_of(entry: &Entry) -> Message {
    let kind: Kind = entry.event.kind();
    let subject = Subject::Event(identity().name, kind).to_string();
    Message { subject, headers: String::new(), payload: entry.encode().to_vec() }
}

/// An entry that nobody ought to have written, of index 10: of an epoch before that of the claim.
pub(super) fn void() -> Message {
    let before = Position { index: 9, digest: Digest::origin(&identity()) };
    message_of(&Entry::seal(&before, 3, Timestamp::from_micros(9), 1, recorded(b"v")))
}

impl Message {
    /// As part of an event.
    pub(super) fn part(mut self, part: &str, index: u64) -> Self {
        self.headers =
            format!("NATS/1.0\r\nTipline-Part: {part}\r\nTipline-Index: {index}\r\n\r\n");
        self
    }

    /// The answer to a question for it.
    pub(super) fn got(&self, sequence: u64) -> Value {
        json!({ "message": {
            "subject": self.subject,
            "seq": sequence,
            "hdrs": (!self.headers.is_empty()).then(|| base64(self.headers.as_bytes())),
            "data": base64(&self.payload),
            "time": EPOCH,
        }})
    }
}

impl Held {
    fn new() -> Self {
        Self { events: entries().iter().map(message_of).collect(), receipts: Vec::new() }
    }

    /// What an honest broker says.
    pub(super) fn answer(&self, question: &str, request: &Value) -> Option<Value> {
        let identity = identity();
        let (question, stream) = question.rsplit_once('.')?;
        let (held, first, config) = match stream {
            "tipline-test-events" => (&self.events, FIRST, streams::events(&identity, 1)),
            "tipline-test-receipts" => (&self.receipts, 1, streams::receipts(&identity, 1)),
            consumer => return Some(consumer_info(question.rsplit('.').next()?, consumer)),
        };
        let numbered = || held.iter().zip(first..first + held.len() as u64);
        let is = |subject: &Value, message: &Message| {
            subject == ">" || *subject == message.subject.as_str()
        };
        let found = match question {
            "STREAM.INFO" => {
                let last = first + held.len() as u64 - 1;
                return Some(info(&config, first, last, held.len(), subjects(held)));
            }
            "CONSUMER.NAMES" => return Some(json!({ "total": 0, "offset": 0, "limit": 1024 })),
            "CONSUMER.CREATE" => return Some(consumer_info(stream, "passing")),
            "STREAM.MSG.GET" => {
                if let Some(subject) = request.get("last_by_subj") {
                    numbered().filter(|(message, _)| is(subject, message)).last()
                } else if let Some(subject) = request.get("next_by_subj") {
                    let least = request["seq"].as_u64()?;
                    numbered().find(|(message, at)| is(subject, message) && *at >= least)
                } else {
                    numbered().find(|(_, at)| Some(*at) == request["seq"].as_u64())
                }
            }
            _ => return None,
        };
        Some(found.map_or_else(no_message, |(message, at)| message.got(at)))
    }
}

fn subjects(held: &[Message]) -> Value {
    held.iter().map(|message| (message.subject.clone(), json!(1))).collect()
}

/// What a stream says of itself.
pub(super) fn info(
    config: &Config,
    first: u64,
    last: u64,
    messages: usize,
    subjects: Value,
) -> Value {
    json!({
        "config": config, "created": EPOCH, "ts": EPOCH,
        "state": {
            "messages": messages, "bytes": 0, "consumer_count": 0, "subjects": subjects,
            "first_seq": first, "first_ts": EPOCH, "last_seq": last, "last_ts": EPOCH,
        },
    })
}

pub(super) fn no_message() -> Value {
    json!({ "error": { "code": 404, "err_code": 10037, "description": "no message found" } })
}

fn consumer_info(stream: &str, name: &str) -> Value {
    json!({
        "stream_name": stream, "name": name, "created": EPOCH, "ts": EPOCH,
        "config": { "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant" },
        "delivered": { "consumer_seq": 0, "stream_seq": 0 },
        "ack_floor": { "consumer_seq": 0, "stream_seq": 0 },
        "num_ack_pending": 0, "num_redelivered": 0, "num_waiting": 0, "num_pending": 0,
    })
}

impl Broker {
    /// One that is honest.
    pub(super) async fn start() -> Self {
        Self::saying(|_, _, _| None).await
    }

    /// One that says this, and the truth wherever that is `None`.
    pub(super) async fn saying(
        lies: impl Fn(&Held, &str, &Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            held: Held::new(),
            answers: Box::new(lies),
            questions: AtomicUsize::new(0),
            connections: Mutex::default(),
            feed: Mutex::default(),
            reply: Mutex::default(),
            subscriptions: Mutex::default(),
        });
        let accepting = {
            let shared = shared.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(shared.clone(), stream));
                }
            })
        };
        Self { url, shared, accepting }
    }

    pub(super) async fn open(&self) -> JetStreamLog {
        let options = JetStreamOptions::new(self.url.clone(), identity().name);
        JetStreamLog::open(&options).await.unwrap()
    }

    /// How many questions it was asked.
    pub(super) fn questions(&self) -> usize {
        self.shared.questions.load(Ordering::Relaxed)
    }

    /// Sends these bytes as they are.
    pub(super) async fn say(&self, bytes: impl Into<Vec<u8>>) {
        self.send(Some(bytes.into())).await;
    }

    /// Ends the connections.
    pub(super) async fn hang_up(&self) {
        self.send(None).await;
    }

    /// Delivers a message to whoever follows, as the consumer's number `number`.
    pub(super) async fn deliver(&self, message: &Message, sequence: u64, number: u64) {
        let feed = loop {
            let feed = lock(&self.shared.feed).clone();
            match feed {
                Some(feed) => break feed,
                None => tokio::task::yield_now().await,
            }
        };
        let sid = self.shared.listener(&feed).unwrap();
        let ack = format!("$JS.ACK.s.c.1.{sequence}.{number}.{EPOCH_NANOS}.0");
        let (subject, length) = (&message.subject, message.payload.len());
        let mut frame = format!("MSG {subject} {sid} {ack} {length}\r\n").into_bytes();
        frame.extend_from_slice(&message.payload);
        frame.extend_from_slice(b"\r\n");
        self.say(frame).await;
    }

    /// Once something was published: answers without end and without content, there with the end of
    /// the subject replaced.
    pub(super) async fn answer_for_ever(&self, end: &str, by: &str) {
        let reply = loop {
            let reply = lock(&self.shared.reply).clone();
            match reply.filter(|reply| reply.ends_with(end)) {
                Some(reply) => break reply.replace(end, by),
                None => tokio::task::yield_now().await,
            }
        };
        let sid = self.shared.listener(&reply).unwrap();
        loop {
            self.say(format!("MSG {reply} {sid} 0\r\n\r\n").repeat(100)).await;
        }
    }

    async fn send(&self, bytes: Option<Vec<u8>>) {
        let connections = lock(&self.shared.connections).clone();
        for connection in connections {
            // One that is gone already hears nothing.
            _ = connection.send(bytes.clone()).await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// The number of the subscription that hears this subject.
    fn listener(&self, subject: &str) -> Option<String> {
        let subscriptions = lock(&self.subscriptions);
        let hears = |pattern: &str| subject.starts_with(pattern.trim_end_matches(['*', '>']));
        subscriptions.iter().find(|(pattern, _)| hears(pattern)).map(|(_, sid)| sid.clone())
    }

    /// What is sent for what a client published.
    fn answer(&self, subject: &str, reply: Option<&str>, payload: &[u8]) -> Option<Vec<u8>> {
        let Some(question) = subject.strip_prefix("$JS.API.") else {
            *lock(&self.reply) = reply.map(str::to_owned);
            return None;
        };
        let reply = reply?;
        if question.starts_with("CONSUMER.MSG.NEXT.") {
            *lock(&self.feed) = Some(reply.to_owned());
            return None;
        }
        self.questions.fetch_add(1, Ordering::Relaxed);
        let request = serde_json::from_slice(payload).unwrap_or_default();
        let lie = (self.answers)(&self.held, question, &request);
        let said = lie.or_else(|| self.held.answer(question, &request))?.to_string();
        let sid = self.listener(reply)?;
        Some(format!("MSG {reply} {sid} {}\r\n{said}\r\n", said.len()).into_bytes())
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let (reading, writing) = stream.into_split();
    let (sender, receiver) = mpsc::channel(64);
    lock(&shared.connections).push(sender.clone());
    tokio::spawn(write(writing, receiver));
    let info = json!({
        "server_id": "s", "version": "2.15.1", "proto": 1, "headers": true, "max_payload": 1 << 20,
        "jetstream": true,
    });
    let mut answer = Some(format!("INFO {info}\r\n").into_bytes());
    let mut reading = BufReader::new(reading);
    loop {
        if answer.is_some() && sender.send(answer.take()).await.is_err() {
            return;
        }
        let mut line = String::new();
        if reading.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["PING"] => answer = Some(b"PONG\r\n".to_vec()),
            ["SUB", subject, .., sid] => {
                lock(&shared.subscriptions).insert(subject.to_owned(), sid.to_owned());
            }
            ["PUB" | "HPUB", subject, ref rest @ .., total] => {
                let has_headers = line.starts_with('H');
                let mut rest = rest.to_vec();
                let headers = if has_headers { rest.pop().unwrap() } else { "0" };
                let mut payload = vec![0; total.parse::<usize>().unwrap() + 2];
                if reading.read_exact(&mut payload).await.is_err() {
                    return;
                }
                let payload = &payload[headers.parse().unwrap()..payload.len() - 2];
                answer = shared.answer(subject, rest.first().copied(), payload);
            }
            _ => {}
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Option<Vec<u8>>>) {
    while let Some(Some(frame)) = frames.recv().await {
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for letter in 0..4 {
            let index = (bits >> (18 - 6 * letter)) as usize & 63;
            text.push(if letter <= three.len() { char::from(LETTERS[index]) } else { '=' });
        }
    }
    text
}
