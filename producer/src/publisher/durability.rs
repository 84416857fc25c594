//! Whether the log is still as durable as somebody has accepted, while it is published to.
//!
//! Servers are replaced, and streams altered, under a primary that runs. Publishing goes on all the
//! same: the node would stand still, and its outbox alone is no safer. But more rows stay in the
//! outbox, and it is said: in the status at once, and as an error once it is no passing thing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Log, Shortfall, error_chain};
use tokio::time::{Instant, sleep, timeout};

use super::shared::Publisher;

/// How often the log is asked while nothing happens to it: what was altered without any
/// interruption is known after this time.
const EVERY: Duration = Duration::from_secs(600);
/// How often while it falls short, or does not say.
const AGAIN: Duration = Duration::from_secs(60);
/// After it was away it is asked at once, but not more often than this.
const SOONEST: Duration = Duration::from_secs(10);
/// What falls short for this long is told as an error. While one server of several starts again,
/// nobody knows how it syncs.
const PASSING: Duration = Duration::from_secs(60);

/// Asks for as long as it is published. Never ends.
pub(super) async fn watch(log: Arc<dyn Log>, publisher: Arc<Publisher>) {
    let (mut open, mut pause) = (Open::default(), EVERY);
    loop {
        sleep(SOONEST).await;
        // Both answers mean the same. Ask.
        _ = timeout(pause - SOONEST, publisher.returned.notified()).await;
        pause = match log.preflight().await {
            Ok(found) => {
                let unaccepted = publisher.note_shortfalls(found.shortfalls);
                for news in open.note(&unaccepted, Instant::now()) {
                    news.tell(&publisher);
                }
                if unaccepted.is_empty() { EVERY } else { AGAIN }
            }
            // Whoever publishes to it says what is wrong with it.
            Err(error) => {
                tracing::debug!("the log's settings were not read: {}", error_chain(&error));
                AGAIN
            }
        };
    }
}

/// What falls short and was not accepted, by its name.
#[derive(Debug, Default)]
struct Open(BTreeMap<&'static str, Since>);

#[derive(Debug)]
struct Since {
    at: Instant,
    /// It was told as an error.
    is_told: bool,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It may pass.
    New(Shortfall),
    /// It has not passed.
    Lasting(Shortfall),
    /// What was told to last has passed.
    Over(&'static str),
}

impl Open {
    fn note(&mut self, found: &[Shortfall], now: Instant) -> Vec<News> {
        let is_there = |name: &str| found.iter().any(|shortfall| shortfall.name() == name);
        let mut news = Vec::new();
        self.0.retain(|name, since| {
            let stays = is_there(name);
            if !stays && since.is_told {
                news.push(News::Over(name));
            }
            stays
        });
        for shortfall in found {
            match self.0.get_mut(shortfall.name()) {
                None => {
                    self.0.insert(shortfall.name(), Since { at: now, is_told: false });
                    news.push(News::New(shortfall.clone()));
                }
                Some(since) if !since.is_told && now.duration_since(since.at) >= PASSING => {
                    since.is_told = true;
                    news.push(News::Lasting(shortfall.clone()));
                }
                Some(_) => {}
            }
        }
        news
    }
}

impl News {
    fn tell(self, publisher: &Publisher) {
        let primary = &publisher.settings.primary;
        match self {
            News::New(found) => {
                tracing::warn!(%primary, shortfall = found.name(), "the log falls short now: {found}");
            }
            News::Lasting(found) => tracing::error!(
                %primary, shortfall = found.name(),
                "the log has become less durable than was accepted: {found}. Publishing goes on, \
                 and the outbox keeps more of what is logged; but the next start will be refused, \
                 unless the log is corrected or {} is accepted",
                found.name()
            ),
            News::Over(name) => {
                tracing::info!(%primary, shortfall = name, "the log falls short of this no more");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tipline_log::Preflight;

    use super::*;

    fn shortfalls(names: &[&'static str]) -> Vec<Shortfall> {
        let mut found = Preflight::default();
        for name in names {
            found.shortfall(name, format!("{name}: so"), "a risk", "a remedy");
        }
        found.shortfalls
    }

    #[test]
    fn what_lasts_is_an_error_and_told_once() {
        let (mut open, start) = (Open::default(), Instant::now());
        let [one, two] = ["single-replica", "sync-interval-unknown"];
        let mut told = |after: u64, names: &[&'static str]| {
            let news = open.note(&shortfalls(names), start + Duration::from_secs(after));
            let told = news.iter().map(|news| match news {
                News::New(found) => format!("new {}", found.name()),
                News::Lasting(found) => format!("lasting {}", found.name()),
                News::Over(name) => format!("over {name}"),
            });
            told.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told(0, &[]), "");
        assert_eq!(told(10, &[one]), "new single-replica");
        assert_eq!(told(20, &[one, two]), "new sync-interval-unknown");
        assert_eq!(told(69, &[one]), "", "what passed soon was no error");
        assert_eq!(told(70, &[one]), "lasting single-replica");
        assert_eq!(told(700, &[one]), "");
        assert_eq!(told(710, &[two]), "over single-replica, new sync-interval-unknown");
        assert_eq!(told(800, &[two]), "lasting sync-interval-unknown");
        assert_eq!(told(900, &[]), "over sync-interval-unknown");
        assert_eq!(told(910, &[one]), "new single-replica");
    }
}
