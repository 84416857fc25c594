//! Consumers of a stream, as the server has them.
//!
//! The consumer of a name is `<name>_<generation>_<random>` on the server, new for every
//! feed: a reader that comes back late asks for messages of a consumer that is gone, instead of
//! taking them from the one that came after. The generation is one more than the highest
//! that is there. Each deletes only those before it, and so the last of them stays, however
//! many are made at once. No consumer's name has a `_`. The random part cannot be guessed (12
//! letters or digits of a generator for keys): who may not list the consumers cannot name one.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connect::Link;
use super::error;
use crate::error::LogError;

/// A passing consumer is forgotten by the server when nobody asks for this long.
const PASSING: Duration = Duration::from_secs(60);
/// Nothing is ever sent again because it was not acknowledged. Stores take their time, and
/// what may be lost is fetched by a new feed.
const ACK_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Most consumers of a stream that are read. A server can name others without end.
pub(super) const MOST_CONSUMERS: usize = 10_000;

/// A page of the names of a stream's consumers.
#[derive(Deserialize)]
struct Page {
    total: usize,
    #[serde(default)]
    consumers: Option<Vec<String>>,
}

/// The consumer of a name, ordered by who takes the place of whom.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    generation: u64,
    /// What the server calls it.
    full: String,
}

impl Named {
    fn parse(full: String, name: &str) -> Option<Self> {
        let (generation, _) = full.strip_prefix(name)?.strip_prefix('_')?.split_once('_')?;
        Some(Self { generation: generation.parse().ok()?, full })
    }
}

/// Makes a consumer of the messages from `start` on. With a `name`, it takes the
/// place of those of the same name; of several that are made at once, one stays.
///
/// # Errors
/// `Unusable` if another one of the same name stays.
pub(super) async fn make(
    link: &Link,
    stream: &str,
    name: Option<&str>,
    start: u64,
) -> Result<PullConsumer, LogError> {
    let common = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        ..pull::Config::default()
    };
    let Some(name) = name else {
        let config =
            pull::Config { ack_policy: AckPolicy::None, inactive_threshold: PASSING, ..common };
        return create(link, stream, config).await;
    };
    let before = of_name(link, stream, name).await?;
    let highest = before.iter().map(|before| before.generation).max().unwrap_or(0);
    let generation = match highest.checked_add(1) {
        Some(generation) => generation,
        // Nobody has made so many: another user of the stream has, to keep this name from following.
        None => {
            for planted in &before {
                delete_one(link, stream, &planted.full).await?;
            }
            1
        }
    };
    let random = link.client.new_inbox();
    let random = random.rsplit('.').next().unwrap_or_default();
    let own = format!("{name}_{generation}_{random}");
    let config = pull::Config {
        durable_name: Some(own.clone()),
        ack_policy: AckPolicy::All,
        ack_wait: ACK_WAIT,
        // Nothing depends on acknowledgements, so nothing waits for them.
        max_ack_pending: -1,
        ..common
    };
    let made = create(link, stream, config).await?;
    let own = Named { generation, full: own };
    let all = of_name(link, stream, name).await?;
    if all.iter().any(|other| *other > own) {
        delete_one(link, stream, &own.full).await?;
        return Err(taken(link, name));
    }
    for other in all.iter().filter(|other| **other < own) {
        delete_one(link, stream, &other.full).await?;
    }
    Ok(made)
}

/// Deletes the consumers of a name, if there are any.
pub(super) async fn delete(link: &Link, stream: &str, name: &str) -> Result<(), LogError> {
    for found in of_name(link, stream, name).await? {
        delete_one(link, stream, &found.full).await?;
    }
    Ok(())
}

/// Whether there is a consumer of this name, of whoever.
pub(super) async fn is_taken(link: &Link, stream: &str, name: &str) -> Result<bool, LogError> {
    Ok(!of_name(link, stream, name).await?.is_empty())
}

/// A consumer whose name another one has.
pub(super) fn taken(link: &Link, name: &str) -> LogError {
    LogError::Unusable {
        place: link.place.clone(),
        why: format!(
            "another one took the name of consumer {name}; give every consumer a name of its own"
        ),
        source: None,
    }
}

async fn create(link: &Link, stream: &str, config: pull::Config) -> Result<PullConsumer, LogError> {
    let subject = link.api(&match &config.durable_name {
        Some(name) => format!("CONSUMER.CREATE.{stream}.{name}"),
        None => format!("CONSUMER.CREATE.{stream}"),
    });
    let creating = link.context.create_consumer_on_stream(config, stream);
    let created = link.unless_denied(&subject, creating).await?;
    created.map_err(|error: ConsumerError| {
        let what = format!("make a consumer of stream {stream}");
        match error.kind() {
            ConsumerErrorKind::JetStream(error) => error::of_api(&link.place, &what, error),
            _ => link.unavailable(&what, Some(Box::new(error))),
        }
    })
}

async fn of_name(link: &Link, stream: &str, name: &str) -> Result<Vec<Named>, LogError> {
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let request = json!({ "offset": offset });
        let subject = format!("CONSUMER.NAMES.{stream}");
        let page: Page = link.demand("list consumers", subject, &request).await?;
        let names = page.consumers.unwrap_or_default();
        offset += names.len();
        if offset > MOST_CONSUMERS {
            let why = format!("stream {stream} has over {MOST_CONSUMERS} consumers; delete some");
            return Err(LogError::Unusable { place: link.place.clone(), why, source: None });
        }
        let is_last = names.is_empty() || offset >= page.total;
        found.extend(names.into_iter().filter_map(|full| Named::parse(full, name)));
        if is_last {
            return Ok(found);
        }
    }
}

async fn delete_one(link: &Link, stream: &str, consumer: &str) -> Result<(), LogError> {
    let subject = format!("CONSUMER.DELETE.{stream}.{consumer}");
    match link.ask::<Value>("delete a consumer", subject, &json!({})).await? {
        Err(error) if error.error_code() != ErrorCode::CONSUMER_NOT_FOUND => {
            Err(error::of_api(&link.place, "delete a consumer", error))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(full: &str) -> Option<Named> {
        Named::parse(full.to_owned(), "replica-1")
    }

    #[test]
    fn a_name_is_not_the_beginning_of_another() {
        assert!(parse("replica-1_7_abc").is_some());
        for other in ["replica-10_7_abc", "replica-1", "replica-1_abc", "replica-2_7_abc"] {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn later_generations_come_after() {
        assert!(parse("replica-1_9_z") < parse("replica-1_10_a"));
        assert!(parse("replica-1_9_a") < parse("replica-1_9_b"));
    }
}
