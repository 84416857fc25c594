//! Publishing as one would with the client alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_ID, NATS_BATCH_SEQUENCE, NATS_EXPECTED_LAST_SEQUENCE,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;

use crate::Outcome;

/// Acknowledgements that are awaited at once.
pub(crate) const WINDOW: usize = 256;

/// A stream with a connection of its own, set up as a log is.
pub(crate) struct Bare {
    pub(crate) client: async_nats::Client,
    pub(crate) context: Context,
    pub(crate) name: String,
}

impl Bare {
    /// Makes the stream; `name` is its subject, too.
    pub(crate) async fn create(url: &str, name: &str) -> Outcome<Self> {
        let client = async_nats::connect(url).await?;
        let context = jetstream::new(client.clone());
        let config = Config {
            name: name.to_owned(),
            subjects: vec![name.to_owned()],
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            deny_delete: true,
            allow_direct: true,
            allow_atomic_publish: true,
            duplicate_window: Duration::from_millis(100),
            ..Config::default()
        };
        context.create_stream(config).await?;
        Ok(Self { client, context, name: name.to_owned() })
    }

    pub(crate) async fn delete(self) -> Outcome<()> {
        self.context.delete_stream(&self.name).await?;
        Ok(())
    }

    /// One message at a time, each acknowledged before the next.
    pub(crate) async fn one_by_one(&self, messages: &[Bytes]) -> Outcome<Duration> {
        let start = Instant::now();
        for message in messages {
            self.context.publish(self.name.clone(), message.clone()).await?.await?;
        }
        Ok(start.elapsed())
    }

    /// Without waiting, until [`WINDOW`] acknowledgements are due.
    pub(crate) async fn window(&self, messages: &[Bytes]) -> Outcome<Duration> {
        let start = Instant::now();
        let mut due = VecDeque::with_capacity(WINDOW);
        for message in messages {
            if due.len() == WINDOW
                && let Some(oldest) = due.pop_front()
            {
                IntoFuture::into_future(oldest).await?;
            }
            due.push_back(self.context.publish(self.name.clone(), message.clone()).await?);
        }
        for ack in due {
            ack.await?;
        }
        Ok(start.elapsed())
    }

    /// Atomic batches, each acknowledged before the next, each naming the last sequence.
    pub(crate) async fn batches(&self, messages: &[Bytes], at_once: usize) -> Outcome<Duration> {
        let start = Instant::now();
        let mut last = 0;
        for batch in messages.chunks(at_once) {
            last = self.batch(batch, last).await?;
        }
        Ok(start.elapsed())
    }

    async fn batch(&self, batch: &[Bytes], last: u64) -> Outcome<u64> {
        let id = format!("{}-{last}", self.name);
        for (message, number) in batch.iter().zip(1..) {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_BATCH_ID, id.as_str());
            headers.insert(NATS_BATCH_SEQUENCE, number.to_string());
            if number == 1 {
                headers.insert(NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
            }
            let (subject, message) = (self.name.clone(), message.clone());
            if number < batch.len() {
                self.client.publish_with_headers(subject, headers, message).await?;
                continue;
            }
            headers.insert(NATS_BATCH_COMMIT, "1");
            let reply = self.client.request_with_headers(subject, headers, message).await?;
            let ack: serde_json::Value = serde_json::from_slice(&reply.payload)?;
            let stored = ack["seq"].as_u64().filter(|seq| *seq == last + batch.len() as u64);
            return stored.ok_or_else(|| format!("a batch was not stored: {ack}").into());
        }
        Ok(last)
    }
}
