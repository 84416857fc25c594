//! Which identities are kept, and what to remind of: pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tipline_backup::{IdentityBackup, IdentityName};
use tipline_proto::Timestamp;

use crate::output::text::age;

/// The backups of one node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) name: IdentityName,
    /// At least one, the newest first.
    pub(super) backups: Vec<IdentityBackup>,
}

impl Kept {
    /// How long ago the newest was made.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        self.backups.first().map_or(Duration::MAX, |newest| now.since(newest.time))
    }
}

/// The backups by node; `backups` are sorted, the newest first.
pub(super) fn by_name(backups: Vec<IdentityBackup>) -> Vec<Kept> {
    let mut kept: BTreeMap<IdentityName, Vec<IdentityBackup>> = BTreeMap::new();
    for backup in backups {
        kept.entry(backup.name.clone()).or_default().push(backup);
    }
    kept.into_iter().map(|(name, backups)| Kept { name, backups }).collect()
}

/// What to remind of, one sentence each; nothing if every node's newest backup is young enough.
pub(crate) fn reminders(
    place: &str,
    backups: Vec<IdentityBackup>,
    now: Timestamp,
    max_age: Duration,
) -> Vec<String> {
    let kept = by_name(backups);
    if kept.is_empty() {
        return vec![format!(
            "no identity of a node is backed up at {place}: tipline identity backup"
        )];
    }
    let old = kept.iter().filter(|kept| kept.age(now) > max_age);
    let sentence = |kept: &Kept| {
        let (name, age) = (&kept.name, age(kept.age(now)));
        format!("the newest backup of the identity of {name} at {place} is {age} old")
    };
    old.map(sentence).collect()
}

/// A time as it is shown, and as `--time` takes it.
pub(super) fn time(time: Timestamp) -> String {
    humantime::format_rfc3339_micros(SystemTime::from(time)).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_backup::IdentityBackup;
    use tipline_proto::Timestamp;

    use super::{by_name, reminders};

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
            reminders("dir:keys", vec![], NOW, MAX_AGE),
            ["no identity of a node is backed up at dir:keys: tipline identity backup"]
        );
    }

    #[test]
    fn an_old_one_is_reminded_of_unless_there_is_a_newer_one_of_the_same_node() {
        let all = vec![backup("a", 1), backup("c", 90), backup("b", 91), backup("a", 400)];
        assert_eq!(
            reminders("dir:keys", all, NOW, MAX_AGE),
            ["the newest backup of the identity of b at dir:keys is 91 days old"]
        );
    }

    #[test]
    fn the_newest_of_each_node_comes_first() {
        let kept = by_name(vec![backup("b", 1), backup("a", 2), backup("b", 3)]);
        let ages: Vec<_> = kept.iter().map(|k| (k.name.to_string(), k.age(NOW))).collect();
        let day = Duration::from_micros(DAY);
        assert_eq!(ages, [("a".to_owned(), day * 2), ("b".to_owned(), day)]);
        assert_eq!(kept[1].backups.len(), 2);
    }
}
