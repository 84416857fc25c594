//! The verdict: a pure function of what was seen, the time and what is expected.

use tipline_backup::retention::reservations;
use tipline_log::{Ages, Extent, ForgedBy, Shortfall, Survey, Unreadable};
use tipline_proto::{Agreement, Receipt, Role, SignatureError, Timestamp, Tip};

use super::consumer::Fixed;
use super::expectation::Expectation;
use super::finding::{Finding, Kind, Verdict};
use super::fleet::{Fleet, LogView, PolicyView, ShortfallView, TipView, UnreadableView};
use super::primary::{primary, primary_clock};
use super::seen::{Seen, index};
use crate::text::{age, count, list, number};

/// The verdict on a fleet: a pure function of what was seen, the time and what is expected.
///
/// Checks and reminders are not of the log: see [`crate::review_checks`] and
/// [`crate::review_identities`]. [`Fleet::add`] takes them in.
pub fn assess(seen: &Seen, now: Timestamp, expected: &Expectation) -> Fleet {
    let (primary, mut findings) = primary(seen, now, expected);
    let primary_clock = primary_clock(seen, now);
    let fixed = Fixed { seen, expected, tip: fleet_tip(seen), now, primary_clock };
    let reservations = reservations(&survey(seen), expected.reserve);
    let receipts = seen.board.receipts.iter().zip(&reservations);
    let mut consumers = Vec::new();
    let mut of_consumers = Vec::new();
    for (receipt, reserved) in receipts {
        let (view, wrong) = fixed.consumer(receipt, reserved);
        consumers.push(view);
        of_consumers.extend(wrong);
    }
    findings.extend(missing(seen, expected));
    findings.extend(of_consumers);
    let policy = policy(seen, primary_clock, expected);
    findings.extend(policy.as_ref().and_then(|policy| unreached(policy, seen)));
    findings.extend(proof_lag(seen, fixed.tip.1.as_ref().map(|(_, tip)| tip), expected));
    findings.extend(unreadable_entries(seen));
    findings.extend(unreadable_receipts(seen));
    findings.extend(forged(seen));
    findings.extend(shortfall(seen, expected));
    let tip = fixed.tip.1.map(|(_, tip)| tip);
    let mut fleet = Fleet {
        log: log_view(seen),
        tip: tip.map(|tip| TipView { height: tip.height, hash: tip.hash.to_string() }),
        primary,
        consumers,
        policy,
        unreadable: unreadable_views(seen),
        shortfalls: shortfall_views(seen, expected),
        ..Fleet::default()
    };
    fleet.add(findings);
    fleet
}

/// The verdict on a fleet whose log cannot be read: broken, for this reason.
pub fn unreadable(address: String, why: String, advice: Option<String>) -> Fleet {
    let log = LogView { address, ..LogView::default() };
    let mut fleet = Fleet { advice, log, ..Fleet::default() };
    fleet.add(vec![Finding::of_all(Kind::LogUnavailable, Verdict::Broken, why)]);
    fleet
}

impl Fleet {
    /// Adds what else was found, and says what that makes of the verdict.
    pub fn add(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
        // Stable: within a verdict in the order in which they came.
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        self.verdict = self.findings.first().map_or(Verdict::Well, |worst| worst.verdict);
        self.reasons = self.findings.iter().map(|finding| finding.text.clone()).collect();
        self.summary = match self.verdict {
            Verdict::Well => all_well(self),
            _ => self.reasons.join("; "),
        };
    }
}

/// The newest index that the log or the primary has, and the newest block by the index at which it was
/// named. It is not the primary's alone: one that is cut off does not know the newest. Receipts that
/// agree with the log have no newer event, and their blocks count where nobody else names one.
fn fleet_tip(seen: &Seen) -> (u64, Option<(u64, Tip)>) {
    let primary = seen.board.primary.iter().map(|said| (said.tail.index, said.block_tip.as_ref()));
    let all: Vec<_> =
        primary.chain([(seen.tail.position.index, seen.tail_block.as_ref())]).collect();
    let newest = all.iter().map(|(index, _)| *index).max().unwrap_or(0);
    let with_block = |all: Vec<(u64, Option<&Tip>)>| {
        let tips = all.into_iter().filter_map(|(index, tip)| Some((index, tip?.clone())));
        tips.max_by_key(|(index, _)| *index)
    };
    let received = || agreeing(seen).map(|r| (index(r), r.block_tip.as_ref())).collect();
    (newest, with_block(all).or_else(|| with_block(received())))
}

/// The receipts that agree with the log.
fn agreeing(seen: &Seen) -> impl Iterator<Item = &Receipt> {
    let agrees = |receipt: &&Receipt| seen.agreement(receipt) == Agreement::Agrees;
    seen.board.receipts.iter().filter(agrees)
}

/// As retention sees the log, which decides what the log does for whom.
pub(super) fn survey(seen: &Seen) -> Survey {
    Survey {
        tail: seen.tail.position,
        held: Extent { first: seen.first, last: seen.tail.position.index },
        receipts: seen.board.receipts.clone(),
        digests: seen.digests.clone(),
        // Nothing here is about ages.
        ages: Ages::new(seen.tail.time, seen.tail.time),
        young_from: 0,
        per_event: seen.per_event,
    }
}

/// Who should be there and is not.
fn missing(seen: &Seen, expected: &Expectation) -> Vec<Finding> {
    let receipts = &seen.board.receipts;
    let mut findings = Vec::new();
    if receipts.iter().all(|receipt| receipt.role == Role::Audit) {
        let text = "nothing is backed up: no replica or backup has sent a receipt".to_owned();
        findings.push(Finding::of_all(Kind::NothingBackedUp, Verdict::Degraded, text));
    }
    let missing = expected
        .consumers
        .iter()
        .filter(|name| receipts.iter().all(|receipt| receipt.consumer != **name));
    findings.extend(missing.map(|name| {
        let text = format!("{name} is expected, and there is no receipt of it");
        Finding::degraded(Kind::ConsumerMissing, name.as_str(), text)
    }));
    findings
}

/// How far the policy is reached, by the receipts that agree with the log.
fn policy(seen: &Seen, clock: Timestamp, expected: &Expectation) -> Option<PolicyView> {
    let policy = expected.policy.as_ref()?;
    let tail = seen.tail.position;
    let reached: Vec<_> =
        agreeing(seen).map(|receipt| (&receipt.consumer, &receipt.reached)).collect();
    let index = policy.backed_up(reached);
    let lag_events = tail.index.saturating_sub(index);
    let lag = seen.waits_after(index, clock);
    let is_young = lag.is_some_and(|lag| lag <= expected.max_lag_time);
    let reached = lag_events == 0 || is_young;
    Some(PolicyView { policy: policy.to_string(), reached, index, lag_events, lag })
}

fn unreached(policy: &PolicyView, seen: &Seen) -> Option<Finding> {
    let PolicyView { policy, reached, index, lag, .. } = policy;
    let up_to = match index {
        0 => "no event".to_owned(),
        index => format!("event {}", number(*index)),
    };
    let last = number(seen.tail.position.index);
    let since = lag.map_or(String::new(), |lag| format!(", for {}", age(lag)));
    let text = format!("the policy `{policy}` is reached up to {up_to} of {last} only{since}");
    (!reached).then(|| Finding::of_all(Kind::PolicyUnreached, Verdict::Degraded, text))
}

/// Proofs may take long, but not for ever. Where none was ever made there is nothing to wait for,
/// unless the log says from which block on there are some. What the primary says counts alone; where it
/// does not say, the receipts that agree with the log do, but for what is above the tip.
fn proof_lag(seen: &Seen, tip: Option<&Tip>, expected: &Expectation) -> Option<Finding> {
    let (max, tip) = (expected.max_proof_lag?, tip?.height);
    let said = seen.board.primary.as_ref().and_then(|said| said.proof_tip);
    let received = || agreeing(seen).filter_map(|receipt| receipt.proof_tip);
    let from = seen.identity.chain.proofs_from;
    let is_possible = |proven: &u64| *proven <= tip;
    let proven = said.filter(is_possible).or_else(|| received().filter(is_possible).max());
    let proven = proven.unwrap_or(0).max(from.free_up_to(tip));
    let lag = tip.saturating_sub(proven);
    let is_expected = from.late().is_some() || proven > 0;
    (is_expected && lag > max).then(|| {
        let (blocks, first) = (count(lag, "block"), number(from.height()));
        let why = if proven < from.height() {
            format!("there is none yet of block {first}, the first that needs one")
        } else {
            format!("every block up to {} is proven", number(proven))
        };
        let text = format!("proofs are {blocks} behind: {why}");
        Finding::of_all(Kind::ProofLag, Verdict::Degraded, text)
    })
}

fn unreadable_entries(seen: &Seen) -> impl Iterator<Item = Finding> {
    seen.corrupt.iter().map(|(index, why)| {
        let text = format!("event {} of the log cannot be read: {why}", number(*index));
        Finding::of_all(Kind::LogCorrupt, Verdict::Broken, text)
    })
}

fn unreadable_receipts(seen: &Seen) -> impl Iterator<Item = Finding> {
    unreadable_views(seen).into_iter().map(|view| {
        let UnreadableView { place, consumer, why } = view;
        let what =
            consumer.as_ref().map_or("what is".to_owned(), |c| format!("the receipt of {c}"));
        let text = format!("{what} at {place} cannot be read: {why}");
        Finding { kind: Kind::BoardUnreadable, name: consumer, verdict: Verdict::Degraded, text }
    })
}

/// What is on the board and is not believed. It counts as nobody's.
fn forged(seen: &Seen) -> impl Iterator<Item = Finding> {
    seen.board.forged.iter().map(|forged| {
        let name = forged.consumer.as_ref().map(ToString::to_string);
        let (what, whose) = match &name {
            Some(name) => (format!("the receipt of {name}"), "it counts as no backup"),
            None => ("the announcement of a primary".to_owned(), "nothing is believed of it"),
        };
        let (kind, verdict) = match forged.why {
            ForgedBy::Signature(SignatureError::Unsigned) => (Kind::Unsigned, Verdict::Degraded),
            _ => (Kind::Forged, Verdict::Broken),
        };
        let text = format!("{what} is refused, and {whose}: {}", forged.why);
        Finding { kind, name, verdict, text }
    })
}

fn unreadable_views(seen: &Seen) -> Vec<UnreadableView> {
    let view = |unreadable: &Unreadable| UnreadableView {
        place: unreadable.place.clone(),
        consumer: unreadable.consumer.as_ref().map(ToString::to_string),
        why: unreadable.why.clone(),
    };
    seen.board.unreadable.iter().map(view).collect()
}

fn shortfall_views(seen: &Seen, expected: &Expectation) -> Vec<ShortfallView> {
    let view = |shortfall: &Shortfall| ShortfallView {
        found: shortfall.found.clone(),
        risk: shortfall.risk.clone(),
        remedy: shortfall.remedy.clone(),
        accepted: expected.accept_shortfalls.covers(shortfall),
    };
    seen.shortfalls.iter().map(view).collect()
}

fn shortfall(seen: &Seen, expected: &Expectation) -> Option<Finding> {
    let open = expected.accept_shortfalls.open(&seen.shortfalls);
    let found: Vec<String> = open.into_iter().map(|one| one.found.clone()).collect();
    let text = format!("the log can lose what it acknowledges ({})", list(&found));
    (!found.is_empty()).then(|| Finding::of_all(Kind::LogShortfall, Verdict::Degraded, text))
}

fn log_view(seen: &Seen) -> LogView {
    LogView {
        address: seen.address.clone(),
        chain: Some(seen.identity.chain.name.to_string()),
        genesis: Some(seen.identity.chain.genesis.to_string()),
        lineage: Some(seen.identity.lineage.to_string()),
        proofs_from: Some(seen.identity.chain.proofs_from.height()),
        first: Some(seen.first),
        last: Some(seen.tail.position.index),
        digest: Some(seen.tail.position.digest.to_string()),
        epoch: Some(seen.tail.epoch),
    }
}

fn all_well(fleet: &Fleet) -> String {
    let keepers = || fleet.consumers.iter().filter(|c| c.role != Role::Audit.as_str());
    let roles = Role::ALL.into_iter().map(Role::as_str).chain(["unknown"]).filter_map(|role| {
        let number = keepers().filter(|consumer| consumer.role == role).count();
        (number > 0).then(|| count(number as u64, role))
    });
    let who = list(&roles.collect::<Vec<_>>());
    // What is of a branch that was rolled back is no block of the chain.
    match keepers().filter_map(|consumer| consumer.rolled_back_to.or(consumer.block)).min() {
        Some(height) => format!("every block up to {} is in {who}", number(height)),
        None => format!("no block yet; ready for the first: {who}"),
    }
}
