//! Backups of node identities that are missing or old.

use std::collections::BTreeMap;
use std::time::Duration;

use tipline_backup::{Destination, Identities, IdentityBackup, IdentityName, Keys};
use tipline_log::{Clock, error_chain};
use tipline_proto::Timestamp;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::finding::{Finding, Kind};
use super::liveness::ahead;
use crate::text::age;

/// Backups of identities are checked again after this. Keys change seldom.
const AGAIN: Duration = Duration::from_secs(60);

/// How long the destination may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Backups of identities that are older are reminded of, if nothing else is said: 90 days. A backup
/// that nobody checks for longer is forgotten.
pub const DEFAULT_IDENTITY_AGE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Reads the backups now, and again each minute for as long as there is a receiver. Gives what to
/// remind of.
pub async fn follow_identities(
    destination: Destination,
    max_age: Duration,
    clock: Clock,
) -> watch::Receiver<IdentityReview> {
    let (newest, review) = watch::channel(read(&destination, max_age, &clock).await);
    tokio::spawn(async move {
        while !newest.is_closed() {
            sleep(AGAIN).await;
            newest.send_replace(read(&destination, max_age, &clock).await);
        }
    });
    review
}

async fn read(destination: &Destination, max_age: Duration, clock: &Clock) -> IdentityReview {
    let place = destination.place();
    let listing = async { Identities::at(destination.clone(), Keys::default())?.list().await };
    let why = match timeout(PATIENCE, listing).await {
        Ok(Ok(backups)) => return review_identities(place, backups, clock(), max_age),
        Ok(Err(error)) => error_chain(&error),
        Err(_) => format!("{place} has not answered for {} s", PATIENCE.as_secs()),
    };
    let unknown = format!("whether identities of nodes are backed up is not known: {why}");
    IdentityReview { reminders: vec![unknown], ..IdentityReview::default() }
}

/// What the backups of identities say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityReview {
    /// What to remind of, one sentence each.
    pub reminders: Vec<String>,
    /// What is wrong with the backups.
    pub findings: Vec<Finding>,
    /// Whether there are backups, and all are young enough; `None` if that is not known.
    pub backed_up: Option<bool>,
}

/// The backups of one node.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeBackups {
    /// Name of the node.
    pub name: IdentityName,
    /// At least one, the newest first.
    pub backups: Vec<IdentityBackup>,
}

impl NodeBackups {
    /// How long ago the newest was made.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.backups.first().map_or(Duration::MAX, |newest| now.since(newest.time))
    }
}

/// The backups by node; `backups` are sorted, the newest first.
pub fn backups_by_node(backups: Vec<IdentityBackup>) -> Vec<NodeBackups> {
    let mut kept: BTreeMap<IdentityName, Vec<IdentityBackup>> = BTreeMap::new();
    for backup in backups {
        kept.entry(backup.name.clone()).or_default().push(backup);
    }
    kept.into_iter().map(|(name, backups)| NodeBackups { name, backups }).collect()
}

/// What the backups at a destination say: pure. Nothing if every node's newest backup is young
/// enough.
pub fn review_identities(
    place: &str,
    backups: Vec<IdentityBackup>,
    now: Timestamp,
    max_age: Duration,
) -> IdentityReview {
    let kept = backups_by_node(backups);
    if kept.is_empty() {
        let none =
            format!("no identity of a node is backed up at {place}: tipline identity backup");
        let (reminders, backed_up) = (vec![none], Some(false));
        return IdentityReview { reminders, findings: Vec::new(), backed_up };
    }
    let old = kept.iter().filter(|kept| kept.age(now) > max_age);
    let sentence = |kept: &NodeBackups| {
        let (name, age) = (&kept.name, age(kept.age(now)));
        format!("the newest backup of the identity of {name} at {place} is {age} old")
    };
    let clock = |kept: &NodeBackups| {
        let (name, by) = (&kept.name, age(ahead(kept.backups.first()?.time, now)?));
        let text = format!(
            "the newest backup of the identity of {name} at {place} was made by a clock that is \
             ahead by {by}"
        );
        Some(Finding::degraded(Kind::IdentityClock, &name.to_string(), text))
    };
    let reminders: Vec<String> = old.map(sentence).collect();
    let backed_up = Some(reminders.is_empty());
    IdentityReview { reminders, findings: kept.iter().filter_map(clock).collect(), backed_up }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_backup::IdentityBackup;
    use tipline_proto::Timestamp;

    use super::{backups_by_node, review_identities};

    const DAY: u64 = 86_400_000_000;
    const NOW: Timestamp = Timestamp::from_micros(20_000 * DAY);
    const MAX_AGE: Duration = Duration::from_secs(90 * 86_400);

    fn backup(name: &str, days_ago: u64) -> IdentityBackup {
        let time = Timestamp::from_micros(NOW.as_micros() - days_ago * DAY);
        IdentityBackup { name: name.parse().unwrap(), time, object: String::new(), bytes: 1 }
    }

    #[test]
    fn none_at_all_is_reminded_of() {
        assert_eq!(
            review_identities("dir:keys", vec![], NOW, MAX_AGE).reminders,
            ["no identity of a node is backed up at dir:keys: tipline identity backup"]
        );
    }

    #[test]
    fn an_old_one_is_reminded_of_unless_there_is_a_newer_one_of_the_same_node() {
        let all = vec![backup("a", 1), backup("c", 90), backup("b", 91), backup("a", 400)];
        assert_eq!(
            review_identities("dir:keys", all, NOW, MAX_AGE).reminders,
            ["the newest backup of the identity of b at dir:keys is 91 days old"]
        );
    }

    #[test]
    fn one_of_a_time_to_come_is_a_finding() {
        let mut ahead = backup("a", 0);
        ahead.time = Timestamp::from_micros(NOW.as_micros() + 3 * DAY);
        let review = review_identities("dir:keys", vec![ahead], NOW, MAX_AGE);
        assert_eq!(review.reminders, Vec::<String>::new());
        assert_eq!(
            review.findings[0].text,
            "the newest backup of the identity of a at dir:keys was made by a clock that is ahead \
             by 3 days"
        );
    }

    #[test]
    fn the_newest_of_each_node_comes_first() {
        let kept = backups_by_node(vec![backup("b", 1), backup("a", 2), backup("b", 3)]);
        let ages: Vec<_> = kept.iter().map(|k| (k.name.to_string(), k.age(NOW))).collect();
        let day = Duration::from_micros(DAY);
        assert_eq!(ages, [("a".to_owned(), day * 2), ("b".to_owned(), day)]);
        assert_eq!(kept[1].backups.len(), 2);
    }
}
