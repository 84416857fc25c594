//! Requests to the server's API. All of them are answered by the stream's leader.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::datetime::{DateTime, parse_rfc3339};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, Info, RawMessage};
use async_nats::jetstream::{self, ErrorCode};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tipline_proto::DecodeError;
use tipline_proto::limits::MAX_INDEX;

use super::connect::Link;
use super::error;
use crate::error::LogError;

/// The highest sequence: 2⁶³ − 1, as the highest index. What is counted from one never overflows.
pub(super) const MAX_SEQUENCE: u64 = MAX_INDEX;

/// A stream on the servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamRef<'a> {
    pub(super) link: &'a Link,
    pub(super) name: &'a str,
}

/// The subjects that a stream holds messages of.
#[derive(Debug, Deserialize)]
pub(super) struct Subjects {
    /// By the server's clock, when it said so.
    #[serde(rename = "ts", deserialize_with = "time")]
    pub(super) now: DateTime,
    pub(super) config: Config,
    pub(super) state: SubjectsState,
}

#[derive(Debug, Deserialize)]
pub(super) struct SubjectsState {
    pub(super) last_seq: u64,
    /// Absent if there are none. The server names at most 100,000.
    #[serde(default)]
    pub(super) subjects: Option<HashMap<String, u64>>,
}

/// The newest message of a stream, without its content.
pub(super) struct Newest {
    pub(super) sequence: u64,
    /// How long it has been there, by the server's clock.
    pub(super) age: Duration,
}

/// The times in a stream's information.
#[derive(Deserialize)]
struct Times {
    #[serde(rename = "ts", deserialize_with = "time")]
    now: DateTime,
    state: TimesState,
}

#[derive(Deserialize)]
struct TimesState {
    last_seq: u64,
    #[serde(deserialize_with = "time")]
    last_ts: DateTime,
}

#[derive(Deserialize)]
struct Got {
    message: RawMessage,
}

impl Link {
    /// Asks the API. The inner error is the server's own.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        subject: String,
        request: &Value,
    ) -> Result<Result<T, jetstream::Error>, LogError> {
        // Nothing is queued for a server that is away. The queue is for appends, and the
        // client keeps a little of every request that is never answered.
        self.connected().await?;
        let (full, asked) = (self.api(&subject), self.context.request(subject, request));
        match self.unless_denied(&full, asked).await? {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error) => Err(self.unavailable(what, Some(Box::new(error)))),
        }
    }

    /// Asks the API; the server's own error becomes what it means for the caller.
    pub(super) async fn demand<T: DeserializeOwned>(
        &self,
        what: &str,
        subject: String,
        request: &Value,
    ) -> Result<T, LogError> {
        let answer = self.ask(what, subject, request).await?;
        answer.map_err(|error| error::of_api(&self.place, what, error))
    }
}

impl StreamRef<'_> {
    /// Settings and state.
    pub(super) async fn info(self) -> Result<Info, LogError> {
        let what = format!("ask for stream {}", self.name);
        let subject = format!("STREAM.INFO.{}", self.name);
        let info: Info = self.link.demand(&what, subject, &json!({})).await?;
        self.check(info.state.first_sequence.max(info.state.last_sequence))?;
        Ok(info)
    }

    /// The newest message.
    pub(super) async fn newest(self) -> Result<Newest, LogError> {
        let what = format!("ask for stream {}", self.name);
        let subject = format!("STREAM.INFO.{}", self.name);
        let times: Times = self.link.demand(&what, subject, &json!({})).await?;
        let TimesState { last_seq, last_ts } = times.state;
        self.check(last_seq)?;
        Ok(Newest { sequence: last_seq, age: age(times.now, last_ts) })
    }

    /// Settings and state; `None` if there is no such stream.
    pub(super) async fn find(self) -> Result<Option<Info>, LogError> {
        match self.info().await {
            Ok(info) => Ok(Some(info)),
            Err(LogError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The subjects it holds messages of.
    pub(super) async fn subjects(self) -> Result<Subjects, LogError> {
        let what = format!("ask for the subjects of stream {}", self.name);
        let request = json!({ "subjects_filter": ">" });
        let subject = format!("STREAM.INFO.{}", self.name);
        let subjects: Subjects = self.link.demand(&what, subject, &request).await?;
        self.check(subjects.state.last_seq)?;
        Ok(subjects)
    }

    /// The message with this sequence; `None` if it is not held.
    pub(super) async fn message(self, sequence: u64) -> Result<Option<StreamMessage>, LogError> {
        self.get(&json!({ "seq": sequence }), |found| found.sequence == sequence).await
    }

    /// The newest message of all.
    pub(super) async fn last(self) -> Result<Option<StreamMessage>, LogError> {
        self.get(&json!({ "last_by_subj": ">" }), |_| true).await
    }

    /// The newest message of this subject.
    pub(super) async fn last_of(self, subject: &str) -> Result<Option<StreamMessage>, LogError> {
        self.get(&json!({ "last_by_subj": subject }), |found| found.subject == subject).await
    }

    /// The first message of this subject with at least this sequence.
    pub(super) async fn next(
        self,
        subject: &str,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, LogError> {
        let is_it = |found: &RawMessage| found.subject == subject && found.sequence >= sequence;
        self.get(&json!({ "next_by_subj": subject, "seq": sequence }), is_it).await
    }

    /// Bytes in the stream that are not what they should be.
    pub(super) fn damaged(self, sequence: u64, source: DecodeError) -> LogError {
        LogError::damaged(&self.link.place, self.location(sequence), source)
    }

    /// The same, where no decoder says why.
    pub(super) fn wrong(self, sequence: u64, why: impl Into<String>) -> LogError {
        LogError::Corrupt {
            place: self.link.place.clone(),
            at: self.location(sequence),
            source: Some(why.into().into()),
        }
    }

    fn location(self, sequence: u64) -> String {
        format!("message {sequence} of stream {}", self.name)
    }

    /// A sequence that the server said, if there can be such a one.
    fn check(self, sequence: u64) -> Result<(), LogError> {
        match sequence <= MAX_SEQUENCE {
            true => Ok(()),
            false => Err(self.wrong(sequence, "the highest sequence is 9223372036854775807")),
        }
    }

    /// The message that this asks for, if `is_it`: a server can answer with any other.
    async fn get(
        self,
        request: &Value,
        is_it: impl Fn(&RawMessage) -> bool,
    ) -> Result<Option<StreamMessage>, LogError> {
        let what = format!("read stream {}", self.name);
        let subject = format!("STREAM.MSG.GET.{}", self.name);
        let raw = match self.link.ask::<Got>(&what, subject, request).await? {
            Ok(got) => got.message,
            Err(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => return Ok(None),
            Err(error) => return Err(error::of_api(&self.link.place, &what, error)),
        };
        let sequence = raw.sequence;
        self.check(sequence)?;
        if !is_it(&raw) {
            let why = format!("the server sent it where {request} was asked for");
            return Err(self.wrong(sequence, why));
        }
        let message = StreamMessage::try_from(raw);
        message.map(Some).map_err(|error| LogError::Corrupt {
            place: self.link.place.clone(),
            at: self.location(sequence),
            source: Some(error),
        })
    }
}

/// From one time of a clock to a later one; zero if the clock went back.
pub(super) fn age(now: DateTime, then: DateTime) -> Duration {
    let nanos = now.unix_timestamp_nanos() - then.unix_timestamp_nanos();
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// A time as the server writes it.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime, D::Error> {
    parse_rfc3339(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}
