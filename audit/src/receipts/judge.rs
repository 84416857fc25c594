//! Which receipts of a history count: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tipline_backup::{ReceiptRecord, ReceiptSaid, TimeDigits, time_text};
use tipline_proto::{Announcement, ConsumerName, Receipt, Timestamp, Trust};

/// Most problems that are listed.
const MOST: usize = 100;
/// So far may the clock of who signed be ahead of the archiver's. What is further ahead was not sent
/// when it is said to have been seen.
const SKEW: Duration = Duration::from_secs(600);

/// What stands, by one object of the history or several in a row of one archiver.
#[derive(Debug, Default)]
pub(super) struct Judge {
    trust: Trust,
    /// The newest of each that counts, with when it was seen.
    pub(super) receipts: BTreeMap<ConsumerName, (Timestamp, Receipt)>,
    pub(super) primary: Option<(Timestamp, Announcement)>,
    /// Who was forgotten, and has no receipt since.
    pub(super) forgotten: BTreeMap<ConsumerName, Gone>,
    pub(super) problems: Vec<String>,
}

/// That somebody was forgotten. Nobody signs that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    pub(super) seen: Timestamp,
    /// When its last receipt that counts was sent.
    sent: Option<Timestamp>,
}

/// What a record changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Receipt(Box<Receipt>),
    Announcement(Box<Announcement>),
    Forgotten(ConsumerName),
}

impl Judge {
    pub(super) fn new(trust: &Trust) -> Self {
        Self { trust: trust.clone(), ..Self::default() }
    }

    /// Whether receipts count that were taken; nothing if none need a signature.
    pub(super) fn trusted(&self) -> Option<bool> {
        self.trust.requires_receipts().then_some(true)
    }

    /// The same of announcements.
    pub(super) fn trusted_primary(&self) -> Option<bool> {
        self.trust.requires_history().then_some(true)
    }

    /// The same of who was forgotten, which nobody signs.
    pub(super) fn trusted_forgotten(&self) -> Option<bool> {
        self.trust.requires_receipts().then_some(false)
    }

    /// What stands, in the order in which it was seen, and when that was.
    pub(super) fn standing(&self) -> Vec<(Timestamp, Changed)> {
        let receipts = self.receipts.values();
        let receipts = receipts.map(|(seen, one)| (*seen, Changed::Receipt(Box::new(one.clone()))));
        let primary = self.primary.iter();
        let primary =
            primary.map(|(seen, said)| (*seen, Changed::Announcement(Box::new(said.clone()))));
        let mut standing: Vec<_> = receipts.chain(primary).collect();
        standing.sort_by_key(|(seen, _)| *seen);
        standing
    }

    /// Takes what counts, and gives it. Records come in the order in which they were seen.
    pub(super) fn take(&mut self, record: ReceiptRecord) -> Option<Changed> {
        let seen = record.seen;
        match record.said {
            ReceiptSaid::Receipt(receipt) => self.receipt(seen, receipt),
            ReceiptSaid::Announcement(said) => self.announcement(seen, said),
            ReceiptSaid::Forgotten(name) => {
                let gone = Gone { seen, sent: self.sent(&name) };
                self.receipts.remove(&name);
                self.forgotten.insert(name.clone(), gone);
                Some(Changed::Forgotten(name))
            }
        }
    }

    fn receipt(&mut self, seen: Timestamp, receipt: Box<Receipt>) -> Option<Changed> {
        let name = receipt.consumer.clone();
        if let Err(error) = self.trust.check_receipt(&receipt) {
            self.problem(format!("a receipt of {name} does not count: {error}"));
            return None;
        }
        if self.trust.requires_receipts() && self.is_backdated(seen, receipt.time, name.as_str()) {
            return None;
        }
        if let Some(before) = self.sent(&name).filter(|before| receipt.time < *before) {
            let by = before.since(receipt.time).as_secs_f64();
            // Without signatures nobody can say which of the two is true.
            if self.trust.requires_receipts() {
                self.problem(format!(
                    "a receipt of {name} was put there again: it was made {by} s before the one that was there"
                ));
                return None;
            }
        }
        self.forgotten.remove(&name);
        self.receipts.insert(name, (seen, (*receipt).clone()));
        Some(Changed::Receipt(receipt))
    }

    /// When the last receipt of a consumer that counts was sent, also if it was forgotten since: whoever
    /// says so must not make room for an older one.
    fn sent(&self, name: &ConsumerName) -> Option<Timestamp> {
        let there = self.receipts.get(name).map(|(_, receipt)| receipt.time);
        there.or_else(|| self.forgotten.get(name)?.sent)
    }

    fn announcement(&mut self, seen: Timestamp, said: Box<Announcement>) -> Option<Changed> {
        if let Err(error) = self.trust.check_announcement(&said) {
            self.problem(format!(
                "an announcement of {} does not count: {error}",
                said.primary.as_str()
            ));
            return None;
        }
        if self.trust.requires_history()
            && self.is_backdated(seen, said.time, said.primary.as_str())
        {
            return None;
        }
        let before = self.primary.as_ref().map(|(_, before)| (before.epoch, before.time));
        let is_older = before.is_some_and(|before| (said.epoch, said.time) < before);
        if is_older && self.trust.requires_history() {
            self.problem(
                "an announcement was put there again: it is older than the one that was there"
                    .to_owned(),
            );
            return None;
        }
        self.primary = Some((seen, (*said).clone()));
        Some(Changed::Announcement(said))
    }

    /// Names what was sent after it is said to have been seen: when it was seen, nobody has signed.
    fn is_backdated(&mut self, seen: Timestamp, sent: Timestamp, by: &str) -> bool {
        let is_backdated = seen < sent && sent.since(seen) > SKEW;
        if is_backdated {
            let text = |time| time_text(time, TimeDigits::Seconds);
            let (sent, seen) = (text(sent), text(seen));
            self.problem(format!(
                "what {by} sent at {sent} is said to have been seen at {seen}: it was dated back"
            ));
        }
        is_backdated
    }

    pub(super) fn problem(&mut self, problem: String) {
        if self.problems.len() < MOST && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
