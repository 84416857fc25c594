//! Making a log, and opening one that is there.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, Info};
use serde_json::json;
use tipline_proto::subject::{events_stream, receipts_stream};
use tipline_proto::{Lineage, LogIdentity, LogName};
use tokio::time::{Instant, sleep};

use super::api::StreamRef;
use super::connect::Link;
use super::{error, streams};
use crate::contract;
use crate::error::LogError;

/// The first version with atomic batches.
const MIN_SERVER: (u32, u32) = (2, 12);

/// How long making a log is tried. Who of a cluster makes streams is elected, and a request
/// that comes in the middle of an election is lost. It is never answered.
const MAKING: Duration = Duration::from_secs(30);
const MAKING_PAUSE: Duration = Duration::from_millis(250);

/// What is known of a log when it is opened.
pub(super) struct Known {
    pub(super) identity: LogIdentity,
    /// The sequence that the stream's first message has.
    pub(super) first: u64,
}

impl Known {
    fn of(link: &Link, name: &LogName, config: &Config) -> Result<Self, LogError> {
        let identity = streams::identity(&link.place, name, config)?;
        Ok(Self { identity, first: streams::first_of(config) })
    }
}

/// Makes the streams of a log, over the elections of a cluster. What an attempt without an
/// answer has made is known again by the random lineage in it.
pub(super) async fn create(
    link: &Link,
    identity: &LogIdentity,
    replicas: usize,
) -> Result<Known, LogError> {
    check_server(link)?;
    let until = Instant::now() + MAKING;
    let mut ours = None;
    loop {
        match attempt(link, identity, replicas, ours).await {
            Err(error) if error.is_retryable() && Instant::now() < until => {
                tracing::warn!(place = %link.place, %error, "the log is not made yet; trying again");
                sleep(MAKING_PAUSE).await;
            }
            made => return made,
        }
        ours = Some(identity.lineage);
    }
}

/// The stream of the events comes first, because a server makes a stream of one name only
/// once. It decides who of two wins. A log without the stream of its receipts is one whose
/// making was cut short. It is completed as what it was begun. A whole one is refused, unless
/// it is `ours`.
async fn attempt(
    link: &Link,
    identity: &LogIdentity,
    replicas: usize,
    ours: Option<Lineage>,
) -> Result<Known, LogError> {
    let (events, receipts) = (events_stream(&identity.name), receipts_stream(&identity.name));
    let events = StreamRef { link, name: &events };
    let receipts = StreamRef { link, name: &receipts };
    if let Some(info) = events.find().await? {
        let found = Known::of(link, &identity.name, &info.config)?;
        let finished = receipts.find().await?.is_some();
        if finished && ours == Some(found.identity.lineage) {
            return Ok(found);
        }
        if finished || found.identity.chain != identity.chain {
            return Err(exists(link, &found.identity));
        }
        let replicas = info.config.num_replicas;
        make(link, &streams::receipts(&found.identity, replicas)).await?;
        return Ok(found);
    }
    if let Some(info) = receipts.find().await? {
        let found = streams::identity(&link.place, &identity.name, &info.config)?;
        return Err(LogError::AlreadyExists {
            place: link.place.clone(),
            what: format!(
                "receipts of lineage {}, whose events are gone; find out why, and delete stream {} \
                 if the log is really to start from scratch",
                found.lineage, receipts.name
            ),
        });
    }
    let config = streams::events(identity, replicas);
    make(link, &config).await?;
    make(link, &streams::receipts(identity, replicas)).await?;
    Known::of(link, &identity.name, &config)
}

/// Finds the streams of a log, and what log it is. Makes nothing.
pub(super) async fn open(link: &Link, name: &LogName) -> Result<Known, LogError> {
    check_server(link)?;
    let events = known(link, name, &events_stream(name)).await?;
    let beside = known(link, name, &receipts_stream(name)).await?.identity;
    if beside == events.identity {
        return Ok(events);
    }
    let identity = events.identity;
    let why = if beside.lineage == identity.lineage {
        format!(
            "its events are of {}, its receipts of {}: the metadata of one of the two streams was \
             altered; bring back what it was",
            contract::describe(&identity),
            contract::describe(&beside)
        )
    } else {
        format!(
            "its events are of lineage {}, its receipts of {}; delete stream {} and run \
             `tipline init` again, which creates that one again",
            identity.lineage,
            beside.lineage,
            receipts_stream(name)
        )
    };
    Err(LogError::Unusable { place: link.place.clone(), why, source: None })
}

/// Removes the streams of a log, if it is of this lineage. The events go last. What is left
/// after a cut is a log without receipts, which can be removed again.
pub(super) async fn delete(link: &Link, name: &LogName, lineage: Lineage) -> Result<(), LogError> {
    let found = known(link, name, &events_stream(name)).await?.identity.lineage;
    if found != lineage {
        let place = link.place.clone();
        return Err(LogError::WrongLog { place, expected: lineage, found });
    }
    for stream in [receipts_stream(name), events_stream(name)] {
        let stream = StreamRef { link, name: &stream };
        if stream.find().await?.is_some() {
            let what = format!("delete stream {}", stream.name);
            let subject = format!("STREAM.DELETE.{}", stream.name);
            link.demand::<serde_json::Value>(&what, subject, &json!({})).await?;
        }
    }
    Ok(())
}

/// What a stream says of its log.
async fn known(link: &Link, name: &LogName, stream: &str) -> Result<Known, LogError> {
    let found = StreamRef { link, name: stream }.find().await?;
    let info = found.ok_or_else(|| LogError::NotFound {
        place: link.place.clone(),
        hint: format!(
            "there is no stream {stream}; check the name of the log, or run `tipline init` if it \
             was never made or not to its end"
        ),
    })?;
    Known::of(link, name, &info.config)
}

async fn make(link: &Link, config: &Config) -> Result<(), LogError> {
    let what = format!("make stream {}", config.name);
    let subject = format!("STREAM.CREATE.{}", config.name);
    match link.ask::<Info>(&what, subject, &json!(config)).await? {
        Ok(_) => Ok(()),
        Err(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
            Err(LogError::AlreadyExists {
                place: link.place.clone(),
                what: format!("stream {}, made by somebody else just now", config.name),
            })
        }
        Err(error) => Err(refusal(link, &what, error)),
    }
}

/// A server that will not make a stream says so with codes of all kinds, 500 included.
///
/// One that misses servers for the replicas may only not know of them yet, or again.
fn refusal(link: &Link, what: &str, error: async_nats::jetstream::Error) -> LogError {
    if is_away(&error) {
        let what = format!("{what}: a server of the cluster is away, start all that there are");
        return link.unavailable(&what, Some(Box::new(error)));
    }
    match error.code() {
        400..=407 | 410..=428 | 500 => LogError::Unusable {
            place: link.place.clone(),
            why: format!("the server refuses to {what}; replicas need as many servers"),
            source: Some(Box::new(error)),
        },
        _ => error::of_api(&link.place, what, error),
    }
}

/// Whether a server of the cluster is away: one that went is "offline", of one that has not come since
/// the others started nothing is known, which is a "miscellaneous issue". What a cluster that is too
/// small says has neither.
///
/// All of it has one code, so the text must do. It is that of nats-server 2.12 to 2.15.1. A test with
/// real servers, in `tests/integration/jetstream/making.rs`, fails if a newer one says it otherwise.
/// Until it is added here, such a server is not waited for, and the error has what it says.
fn is_away(error: &async_nats::jetstream::Error) -> bool {
    let why = error.to_string();
    error.error_code() == ErrorCode::CLUSTER_NO_PEERS
        && (why.contains("offline") || why.contains("miscellaneous issue"))
}

fn exists(link: &Link, found: &LogIdentity) -> LogError {
    LogError::AlreadyExists { place: link.place.clone(), what: contract::describe(found) }
}

fn check_server(link: &Link) -> Result<(), LogError> {
    let version = link.client.server_info().version;
    if parse_version(&version).is_some_and(|found| found >= MIN_SERVER) {
        return Ok(());
    }
    let (major, minor) = MIN_SERVER;
    Err(LogError::Unusable {
        place: link.place.clone(),
        why: format!(
            "the server has version {version:?}; Tipline needs {major}.{minor} or newer, because \
             older ones cannot publish a batch all or nothing"
        ),
        source: None,
    })
}

/// Major and minor number.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What 2.15.1 says.
    #[test]
    fn a_server_that_is_away_may_come_back_and_one_that_is_missing_not() {
        let is_away = |code: u64, why: &str| {
            let text = format!(r#"{{"code":400,"err_code":{code},"description":"{why}"}}"#);
            is_away(&serde_json::from_str(&text).unwrap())
        };
        assert!(is_away(10005, "no suitable peers for placement, peer offline"));
        assert!(is_away(10005, "no suitable peers for placement, miscellaneous issue"));
        assert!(!is_away(10005, "no suitable peers for placement"));
        assert!(!is_away(10005, "no suitable peers for placement, insufficient storage"));
        assert!(!is_away(10052, "offline"));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("2.9.25").unwrap() < MIN_SERVER);
        assert!(parse_version("2.12.0-RC.1").unwrap() >= MIN_SERVER);
        assert!(parse_version("2.15.1").unwrap() >= MIN_SERVER);
        assert!(parse_version("3.0.0").unwrap() >= MIN_SERVER);
        assert_eq!(parse_version("unknown"), None);
    }
}
