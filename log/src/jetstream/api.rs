//! Requests to the server's API. All of them are answered by the stream's leader.

use std::collections::HashMap;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, RawMessage};
use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tipline_proto::DecodeError;

use super::connect::Link;
use super::error;
use crate::error::LogError;

/// A stream on the servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamRef<'a> {
    pub(super) link: &'a Link,
    pub(super) name: &'a str,
}

/// The subjects that a stream holds messages of.
#[derive(Debug, Deserialize)]
pub(super) struct Subjects {
    pub(super) state: SubjectsState,
}

#[derive(Debug, Deserialize)]
pub(super) struct SubjectsState {
    pub(super) last_seq: u64,
    /// Absent if there are none. The server names at most 100,000.
    #[serde(default)]
    pub(super) subjects: Option<HashMap<String, u64>>,
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
        match self.context.request(subject, request).await {
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
        self.link.demand(&what, format!("STREAM.INFO.{}", self.name), &json!({})).await
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
        self.link.demand(&what, format!("STREAM.INFO.{}", self.name), &request).await
    }

    /// The message with this sequence; `None` if it is not held.
    pub(super) async fn message(self, sequence: u64) -> Result<Option<StreamMessage>, LogError> {
        self.get(&json!({ "seq": sequence })).await
    }

    /// The newest message of this subject.
    pub(super) async fn last(self, subject: &str) -> Result<Option<StreamMessage>, LogError> {
        self.get(&json!({ "last_by_subj": subject })).await
    }

    /// The first message of this subject with at least this sequence.
    pub(super) async fn next(
        self,
        subject: &str,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, LogError> {
        self.get(&json!({ "next_by_subj": subject, "seq": sequence })).await
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

    async fn get(self, request: &Value) -> Result<Option<StreamMessage>, LogError> {
        let what = format!("read stream {}", self.name);
        let subject = format!("STREAM.MSG.GET.{}", self.name);
        let raw = match self.link.ask::<Got>(&what, subject, request).await? {
            Ok(got) => got.message,
            Err(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => return Ok(None),
            Err(error) => return Err(error::of_api(&self.link.place, &what, error)),
        };
        let sequence = raw.sequence;
        let message = StreamMessage::try_from(raw);
        message.map(Some).map_err(|error| LogError::Corrupt {
            place: self.link.place.clone(),
            at: self.location(sequence),
            source: Some(error),
        })
    }
}
