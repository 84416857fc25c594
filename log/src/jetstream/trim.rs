//! Trimming: the stream of the events is purged up to an entry's first message.
//!
//! The newest claim names the outbox of the epoch. Before it is purged it is put beside the
//! receipts, where [`JetStreamLog::read_tail`](super::JetStreamLog) finds it; a newer one takes
//! its place, never an older one. So at every moment the claim is in one of the two.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tipline_proto::subject::Subject;

use super::board::PATIENCE;
use super::reread::Reread;
use super::tail::Claim;
use super::{JetStreamLog, error};
use crate::error::LogError;
use crate::spec::Extent;

#[derive(Deserialize)]
struct Purged {
    success: bool,
}

impl JetStreamLog {
    pub(super) async fn trim_to(&self, first: u64) -> Result<Extent, LogError> {
        let mut bounds = self.bounds().await?;
        let mut reread = Reread::begin();
        loop {
            let extent = bounds.extent();
            let first = first.min(extent.last);
            if first <= extent.first {
                return Ok(extent);
            }
            match self.locate(&bounds, first).await {
                Ok(location) => self.trim_before(location.start).await?,
                // Another one may trim too. Then the log begins further on by now.
                Err(error) if error.is_retryable() => {
                    let now = self.bounds().await?;
                    if now.extent().first == extent.first {
                        return Err(error);
                    }
                    reread.again(&self.link, "trim: others trim too").await?;
                    bounds = now;
                    continue;
                }
                Err(error) => return Err(error),
            }
            return Ok(self.bounds().await?.extent());
        }
    }

    /// Removes every entry before the one whose first message has this sequence.
    async fn trim_before(&self, start: u64) -> Result<(), LogError> {
        if let Some(claim) = self.newest_claim().await?
            && claim.sequence < start
        {
            self.keep_claim(&claim).await?;
        }
        self.purge(start).await
    }

    /// The newest claim that was trimmed away; `None` if none was.
    pub(super) async fn kept_claim(&self) -> Result<Option<Claim>, LogError> {
        let subject = Subject::Claim(self.identity.name.clone()).to_string();
        let Some(message) = self.receipt_stream().last_of(&subject).await? else { return Ok(None) };
        Claim::read(self.receipt_stream(), message).map(Some)
    }

    /// Puts a claim in the place of an older one; a newer one stays. When this returns, one of
    /// them is stored.
    async fn keep_claim(&self, claim: &Claim) -> Result<(), LogError> {
        self.check_place_for_claim().await?;
        let mut reread = Reread::begin();
        loop {
            let kept = self.kept_claim().await?;
            if kept.as_ref().is_some_and(|kept| kept.epoch >= claim.epoch) {
                return Ok(());
            }
            let expected = kept.map_or(0, |kept| kept.sequence);
            if self.post_claim(claim.bytes.clone(), expected).await? {
                return Ok(());
            }
            // Another one trims too. Several servers refuse a second claim while they still
            // agree on the first.
            reread.again(&self.link, "keep the newest claim: others trim too").await?;
        }
    }

    /// Whether it is stored: not if there is another one than the one at sequence `expected`.
    async fn post_claim(&self, claim: Bytes, expected: u64) -> Result<bool, LogError> {
        let mut inbox = self.postings.lock().await;
        let subject = Subject::Claim(self.identity.name.clone()).to_string();
        let mut attempt = inbox.begin(&self.link, "keep the newest claim", subject.clone())?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, self.receipts.as_str());
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        attempt.send(subject, headers, claim, Some(1)).await?;
        let (_, message) = attempt.reply(PATIENCE).await?;
        match serde_json::from_slice::<Response<PublishAck>>(&message.payload) {
            Ok(Response::Ok(_)) => Ok(true),
            Ok(Response::Err { error }) if is_another(error.error_code()) => Ok(false),
            Ok(Response::Err { error }) => {
                Err(error::of_api(&self.link.place, "keep the newest claim", error))
            }
            Err(error) => {
                let what = "keep the newest claim: an unknown answer";
                Err(self.link.unavailable(what, Some(Box::new(error))))
            }
        }
    }

    async fn check_place_for_claim(&self) -> Result<(), LogError> {
        let subject = Subject::Claim(self.identity.name.clone()).to_string();
        let config = self.receipt_stream().info().await?.config;
        if config.subjects.contains(&subject) {
            return Ok(());
        }
        let (place, stream) = (self.link.place.clone(), &self.receipts);
        let why = format!(
            "stream {stream} does not take {subject}, where the newest claim is kept when it is \
             trimmed away; add it to the stream's subjects. Nothing was trimmed"
        );
        Err(LogError::Unusable { place, why, source: None })
    }

    /// Removes every message before this sequence.
    async fn purge(&self, sequence: u64) -> Result<(), LogError> {
        let what = format!("purge stream {}", self.events);
        let subject = format!("STREAM.PURGE.{}", self.events);
        let purged: Purged = self.link.demand(&what, subject, &json!({ "seq": sequence })).await?;
        if purged.success { Ok(()) } else { Err(self.link.unavailable(&what, None)) }
    }
}

fn is_another(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
    )
}
