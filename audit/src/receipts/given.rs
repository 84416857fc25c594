//! What of the history was given, if several archivers saw the same: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tipline_proto::Timestamp;

use super::change::ReceiptChange;

/// Archivers that see the same have seen it by then.
const ALL_SAW: Duration = Duration::from_secs(60);

/// What was given last of each sender. Two archivers see the same, and each object repeats what stands
/// when it begins: what was sent before that is not given again.
///
/// A sender whose clock was set back is heard all the same. An archiver that sees it go back counts that.
#[derive(Debug, Default)]
pub(super) struct Given {
    last: BTreeMap<String, Last>,
    /// What each run of an archiver had of each sender.
    heard: BTreeMap<(String, String), Sent>,
}

/// How often the sender's clock was set back, and the time by it.
type Sent = (u64, Timestamp);

#[derive(Debug)]
struct Last {
    sent: Sent,
    /// When it was first seen that the clock was set back for the last time.
    since: Timestamp,
    change: ReceiptChange,
}

/// Something that was sent, and who saw it when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    /// Who sent it.
    pub(super) who: &'a str,
    /// When, by its own clock.
    pub(super) time: Timestamp,
    /// The run of the archiver.
    pub(super) run: &'a str,
    /// When it was seen, by that archiver's clock.
    pub(super) seen: Timestamp,
}

impl Given {
    /// Which it is, if it is later than what was given.
    pub(super) fn later(&mut self, heard: Heard<'_>) -> Option<Sent> {
        let Heard { who, time, run, seen } = heard;
        let (last, key) = (self.last.get(who), (who.to_owned(), run.to_owned()));
        let mut times = match self.heard.get(&key) {
            Some((times, before)) if time < *before => times.saturating_add(1),
            Some((times, _)) => *times,
            None => 0,
        };
        // Whoever did not see it go back, or not as often, is not unheard for ever.
        if let Some(last) = last.filter(|last| seen.since(last.since) > ALL_SAW) {
            times = times.max(last.sent.0);
        }
        let sent = (times, time);
        self.heard.insert(key, sent);
        last.is_none_or(|last| last.sent < sent).then_some(sent)
    }

    /// Takes it as given, and says whether it differs from what was given before. `change` has no times.
    pub(super) fn is_new(&mut self, heard: Heard<'_>, sent: Sent, change: ReceiptChange) -> bool {
        let before = self.last.get(heard.who);
        let since = match before {
            Some(before) if before.sent.0 == sent.0 => before.since,
            _ => heard.seen,
        };
        let is_new = before.is_none_or(|before| before.change != change);
        self.last.insert(heard.who.to_owned(), Last { sent, since, change });
        is_new
    }

    /// Nothing is there of a sender any more.
    pub(super) fn forget(&mut self, who: &str) {
        self.last.remove(who);
    }

    /// Of most runs nothing comes any more.
    pub(super) fn forget_runs(&mut self) {
        self.heard.clear();
    }
}
