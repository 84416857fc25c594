//! Who keeps the log from being trimmed, read again each minute.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::retention::{Holder, Proven, RetentionPlan, RetentionRule, plan, survey};
use tipline_backup::{Destination, Sources};
use tipline_log::{Clock, Log, error_chain};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::sources::open_sources;

/// Destinations do not change often.
const AGAIN: Duration = Duration::from_secs(60);
/// While it is not known: a place may just be on its way.
const SOON: Duration = Duration::from_secs(5);
/// How long the log, or a destination, may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What places prove.
type Proving<'a> = Pin<Box<dyn Future<Output = Vec<Proven>> + Send + 'a>>;

/// What decides what the log may forget.
#[derive(Clone)]
pub struct RetentionWatch {
    /// Every one of them must prove its part.
    pub places: Vec<Destination>,
    /// Files of age identities that open what is encrypted.
    pub identity: Vec<PathBuf>,
    /// What is to be kept in any case.
    pub rule: RetentionRule,
    /// Our own clock.
    pub clock: Clock,
}

/// What the log may forget, and what keeps more of it than the rule does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionSeen {
    /// The oldest event that somebody keeps.
    pub keep_from: u64,
    /// How many events nobody keeps.
    pub free: u64,
    /// Whoever keeps what is neither among the newest events nor young; the one that keeps the most
    /// first.
    pub blockers: Vec<Blocker>,
}

/// Something that keeps more of the log than the rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// `policy`, `place`, `consumer`, `nothing_proven` or `other`. Keep stable.
    pub by: &'static str,
    /// The policy, the address of the place, or the name of the consumer.
    pub name: String,
    /// So many events could go if it were not for it and the others.
    pub events: u64,
}

impl RetentionSeen {
    /// Of what was decided.
    pub fn new(plan: &RetentionPlan) -> Self {
        let is_rule = |holder: &Holder| {
            matches!(holder, Holder::Newest | Holder::KeepEvents(_) | Holder::KeepFor(_))
        };
        let by_rule = plan.ranges.iter().find(|range| range.kept_by.iter().any(is_rule));
        let from = by_rule.map_or(plan.held.last, |range| range.first);
        let mut blockers: Vec<Blocker> = Vec::new();
        for range in plan.ranges.iter().filter(|range| range.first < from) {
            for holder in &range.kept_by {
                let (by, name) = named(holder);
                // In each range from the one on where it begins.
                if !blockers.iter().any(|known| (known.by, &known.name) == (by, &name)) {
                    blockers.push(Blocker { by, name, events: from - range.first });
                }
            }
        }
        Self { keep_from: plan.first, free: plan.free(), blockers }
    }
}

fn named(holder: &Holder) -> (&'static str, String) {
    match holder {
        Holder::Policy(policy) => ("policy", policy.to_string()),
        Holder::Place { place, .. } => ("place", place.clone()),
        Holder::Consumer(name) => ("consumer", name.to_string()),
        Holder::NothingProven => ("nothing_proven", String::new()),
        _ => ("other", String::new()),
    }
}

/// Reads it each minute, and at once when `log` changes, for as long as there is a receiver. `None`
/// while it is not known.
pub fn follow_retention(
    watched: RetentionWatch,
    mut log: watch::Receiver<Option<Arc<dyn Log>>>,
) -> watch::Receiver<Option<RetentionSeen>> {
    let (newest, seen) = watch::channel(None);
    tokio::spawn(async move {
        while !newest.is_closed() {
            let open = log.borrow_and_update().clone();
            let known = match open {
                Some(log) => read(&*log, &watched).await,
                None => None,
            };
            let pause = if known.is_some() { AGAIN } else { SOON };
            newest.send_replace(known);
            tokio::select! {
                () = sleep(pause) => {}
                changed = log.changed() => if changed.is_err() { return },
            }
        }
    });
    seen
}

async fn read(log: &dyn Log, watched: &RetentionWatch) -> Option<RetentionSeen> {
    let mut opened = Vec::new();
    for place in &watched.places {
        let opening = timeout(PATIENCE, open_sources(place, &watched.identity)).await;
        let sources = match opening {
            Ok(sources) => {
                let trust = log.trust().cloned().unwrap_or_default();
                let sources = sources.map(|found| Sources { trust, ..found });
                sources.map_err(|error| error_chain(&error))
            }
            Err(_) => Err(format!("it has not answered for {} s", PATIENCE.as_secs())),
        };
        opened.push((place.place().to_owned(), sources));
    }
    match decide(log, &opened, &watched.rule, &watched.clock).await {
        Ok(plan) => Some(RetentionSeen::new(&plan)),
        Err(why) => {
            tracing::debug!(why, "what the log may forget is not known");
            None
        }
    }
}

/// What the log may forget, by what these places prove; or why it is not known.
pub(crate) async fn decide(
    log: &dyn Log,
    opened: &[(String, Result<Sources, String>)],
    rule: &RetentionRule,
    clock: &Clock,
) -> Result<RetentionPlan, String> {
    let deciding = async {
        let extent = log.extent().await.map_err(|error| error_chain(&error))?;
        let mut proven = Vec::new();
        for (place, sources) in opened {
            match sources {
                // Boxed: the compiler cannot tell otherwise that it may be sent to another thread.
                Ok(sources) => {
                    let proving: Proving<'_> = Box::pin(sources.prove(extent.first));
                    proven.extend(proving.await);
                }
                Err(why) => return Err(format!("{place}: {why}")),
            }
        }
        let survey = survey(log, &proven, rule.keep_for, clock()).await;
        let survey = survey.map_err(|error| error_chain(&error))?;
        Ok(plan(&survey, &proven, rule))
    };
    let silent = || Err(format!("it was not read within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, deciding).await.unwrap_or_else(|_| silent())
}

#[cfg(test)]
mod tests {
    use tipline_backup::retention::KeptRange;
    use tipline_log::{Ages, AgesBy, Extent};
    use tipline_proto::Timestamp;

    use super::*;

    #[test]
    fn what_keeps_more_than_the_rule_is_named_with_how_much() {
        let by = |name: &str| Holder::Consumer(name.parse().unwrap());
        let range =
            |first, last, kept_by: &[Holder]| KeptRange { first, last, kept_by: kept_by.to_vec() };
        let policy = Holder::Policy("any 1 of * at durable".parse().unwrap());
        let place = Holder::Place {
            kind: tipline_backup::retention::ProvenKind::Archive,
            place: "dir:b".to_owned(),
            why: None,
        };
        let ranges = vec![
            range(11, 20, &[]),
            range(21, 30, &[by("slow")]),
            range(31, 40, &[by("slow"), place.clone()]),
            range(41, 50, &[by("slow"), place, Holder::KeepEvents(10), policy]),
        ];
        let now = Timestamp::from_micros(1);
        let plan = RetentionPlan {
            held: Extent { first: 11, last: 50 },
            first: 21,
            ranges,
            consumers: Vec::new(),
            ages: Ages { from: now, by: AgesBy::NewestEntry, here: now, primary: None },
        };
        let seen = RetentionSeen::new(&plan);
        assert_eq!((seen.keep_from, seen.free), (21, 10));
        let blocker = |by, name: &str, events| Blocker { by, name: name.to_owned(), events };
        assert_eq!(seen.blockers, [blocker("consumer", "slow", 20), blocker("place", "dir:b", 10)]);
    }
}
