//! The verdict: a pure function of what was seen, the time and the thresholds.

use std::collections::BTreeMap;
use std::time::Duration;

use tipline_backup::retention::{Reservation, Reserved, reservations};
use tipline_log::{Board, Extent, Shortfall, Survey, Tail};
use tipline_proto::{
    Agreement, Announcement, Digest, Level, LogIdentity, Receipt, Role, Timestamp, Tip, agreement,
};

use super::fleet::{
    ConsumerView, Fleet, LogView, PrimaryView, ShortfallView, State, TipView, Verdict,
};
use crate::text::{age, count, list, number};

const AT_RISK: &str = Reservation::AtRisk { lost_in: None }.as_str();

/// What was seen of a log.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The log's address, without a password.
    pub address: String,
    /// What the log is for.
    pub identity: LogIdentity,
    /// Index of the oldest entry that the log holds.
    pub first: u64,
    /// Read after the board, so what a receipt names is there by then.
    pub tail: Tail,
    /// The newest block in the log, where it is known.
    pub tail_block: Option<Tip>,
    /// The log's own digest at every index that a receipt names, where the log holds it.
    pub digests: BTreeMap<u64, Digest>,
    /// Time from one event to the next, on average of the newest.
    pub per_event: Option<Duration>,
    /// In which ways the log can lose what it acknowledges.
    pub shortfalls: Vec<Shortfall>,
    /// The newest announcement and receipts.
    pub board: Board,
}

/// Limits of what is well. The defaults are those of `tipline status`.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// A consumer may lag the fleet's newest block by this many blocks.
    pub max_lag: u64,
    /// Everyone must be heard of within this time. Consumers and primaries report every 5 s.
    pub silent_after: Duration,
    /// Retention waits for a consumer that lags the log's tail by at most this many events.
    pub reserve: u64,
    /// The ways in which the log can lose data were accepted.
    pub accept_shortfalls: bool,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_lag: 2,
            silent_after: Duration::from_secs(15),
            reserve: 1_000_000,
            accept_shortfalls: false,
        }
    }
}

/// The verdict on a fleet: a pure function of what was seen, the time and the limits.
///
/// Checks and reminders are not of the log: see [`crate::review_checks`] and
/// [`crate::identity_reminders`].
pub fn assess(seen: &Seen, now: Timestamp, thresholds: &Thresholds) -> Fleet {
    let (tip_index, tip) = fleet_tip(seen);
    let reservations = reservations(&survey(seen), thresholds.reserve);
    let consumer = |(receipt, reserved)| {
        let view = consumer(seen, receipt, tip_index, tip.as_ref(), now, thresholds);
        reserve(view, reserved)
    };
    let receipts = seen.board.receipts.iter();
    let consumers: Vec<ConsumerView> = receipts.zip(&reservations).map(consumer).collect();
    let primary = seen.board.primary.as_ref().map(|said| primary(said, now, thresholds));
    let shortfalls = seen.shortfalls.iter().map(|shortfall| ShortfallView {
        found: shortfall.found.clone(),
        risk: shortfall.risk.clone(),
        remedy: shortfall.remedy.clone(),
        accepted: thresholds.accept_shortfalls,
    });
    let mut fleet = Fleet {
        verdict: Verdict::Well,
        summary: String::new(),
        reasons: Vec::new(),
        advice: None,
        log: log_view(seen),
        tip: tip.map(|tip| TipView { height: tip.height, hash: tip.hash.to_string() }),
        primary,
        consumers,
        shortfalls: shortfalls.collect(),
        checks: Vec::new(),
        reminders: Vec::new(),
    };
    conclude(&mut fleet);
    fleet
}

/// The verdict on a fleet whose log cannot be read: broken, for this reason.
pub fn unreadable(address: String, why: String, advice: Option<String>) -> Fleet {
    Fleet {
        verdict: Verdict::Broken,
        summary: why.clone(),
        reasons: vec![why],
        advice,
        log: LogView { address, ..LogView::default() },
        tip: None,
        primary: None,
        consumers: Vec::new(),
        shortfalls: Vec::new(),
        checks: Vec::new(),
        reminders: Vec::new(),
    }
}

/// The newest index anyone has, and the newest block by it. It is the fleet's, not the
/// primary's alone: a primary that is cut off does not know the newest.
fn fleet_tip(seen: &Seen) -> (u64, Option<Tip>) {
    let log = (seen.tail.position.index, seen.tail_block.as_ref());
    let primary = seen.board.primary.iter().map(|said| (said.tail.index, said.block_tip.as_ref()));
    let receipts = seen.board.receipts.iter().map(|r| (index(r), r.block_tip.as_ref()));
    let all: Vec<_> = receipts.chain(primary).chain([log]).collect();
    let newest = all.iter().map(|(index, _)| *index).max().unwrap_or(0);
    let with_block = all.iter().filter_map(|(index, tip)| Some((*index, (*tip)?)));
    let tip = with_block.max_by_key(|(index, _)| *index).map(|(_, tip)| tip.clone());
    (newest, tip)
}

fn index(receipt: &Receipt) -> u64 {
    receipt.reached.at(Level::Applied).map_or(0, |position| position.index)
}

fn consumer(
    seen: &Seen,
    receipt: &Receipt,
    tip_index: u64,
    tip: Option<&Tip>,
    now: Timestamp,
    thresholds: &Thresholds,
) -> ConsumerView {
    let block = receipt.block_tip.as_ref().map(|tip| tip.height);
    let lag_blocks = match (tip, block) {
        (None, _) => Some(0),
        (Some(_), None) => None,
        (Some(tip), Some(block)) => Some(tip.height.saturating_sub(block)),
    };
    let index = index(receipt);
    let age = now.since(receipt.time);
    let digest_at = |index| seen.digests.get(&index).copied();
    let state = match agreement(receipt, seen.tail.position, digest_at) {
        Agreement::Diverged { .. } => State::Diverged,
        Agreement::Ahead => State::Ahead,
        // What the log no longer holds cannot contradict it.
        Agreement::Agrees | Agreement::Unknown if receipt.failure.is_some() => State::Failed,
        Agreement::Agrees | Agreement::Unknown => {
            if index.saturating_add(1) < seen.first {
                State::Stranded
            } else if age > thresholds.silent_after {
                State::Silent
            } else if lag_blocks.is_none_or(|lag| lag > thresholds.max_lag) {
                State::Behind
            } else {
                State::Well
            }
        }
    };
    ConsumerView {
        name: receipt.consumer.to_string(),
        role: receipt.role.as_str(),
        state,
        level: receipt.reached.highest().map(|(level, _)| level.as_str()),
        index,
        block,
        proof: receipt.proof_tip,
        lag_blocks,
        lag_events: tip_index.saturating_sub(index),
        reservation: Reservation::Apart.as_str(),
        at_risk_in: None,
        age,
        failure: receipt.failure.clone(),
        store: receipt.store.clone(),
    }
}

/// As retention sees the log, which decides what the log does for whom.
fn survey(seen: &Seen) -> Survey {
    Survey {
        tail: seen.tail.position,
        held: Extent { first: seen.first, last: seen.tail.position.index },
        receipts: seen.board.receipts.clone(),
        digests: seen.digests.clone(),
        young_from: 0,
        per_event: seen.per_event,
    }
}

fn reserve(view: ConsumerView, reserved: &Reserved) -> ConsumerView {
    let at_risk_in = match reserved.reservation {
        Reservation::Reserved { at_risk_in } => at_risk_in,
        _ => None,
    };
    ConsumerView { reservation: reserved.reservation.as_str(), at_risk_in, ..view }
}

fn primary(said: &Announcement, now: Timestamp, thresholds: &Thresholds) -> PrimaryView {
    let age = now.since(said.time);
    let state = match &said.failure {
        Some(_) => State::Failed,
        None if age > thresholds.silent_after => State::Silent,
        None => State::Well,
    };
    PrimaryView {
        name: said.primary.to_string(),
        state,
        epoch: said.epoch,
        index: said.tail.index,
        block: said.block_tip.as_ref().map(|tip| tip.height),
        outbox_events: said.outbox_events,
        outbox_bytes: said.outbox_bytes,
        age,
        failure: said.failure.clone(),
    }
}

fn log_view(seen: &Seen) -> LogView {
    LogView {
        address: seen.address.clone(),
        chain: Some(seen.identity.chain.name.to_string()),
        genesis: Some(seen.identity.chain.genesis.to_string()),
        lineage: Some(seen.identity.lineage.to_string()),
        first: Some(seen.first),
        last: Some(seen.tail.position.index),
        digest: Some(seen.tail.position.digest.to_string()),
        epoch: Some(seen.tail.epoch),
    }
}

fn conclude(fleet: &mut Fleet) {
    let mut found: Vec<(Verdict, String)> = Vec::new();
    match &fleet.primary {
        None => found.push((Verdict::Degraded, "no primary has announced itself".into())),
        Some(primary) => found.extend(wrong_with_primary(primary)),
    }
    let mut keepers = fleet.consumers.iter().filter(|c| c.role != Role::Audit.as_str()).peekable();
    if keepers.peek().is_none() {
        let text = "nothing is backed up: no replica or backup has sent a receipt";
        found.push((Verdict::Degraded, text.into()));
    }
    found.extend(fleet.consumers.iter().filter_map(|c| wrong_with_consumer(c, &fleet.log)));
    found.extend(fleet.consumers.iter().filter_map(at_risk));
    let open = fleet.shortfalls.iter().filter(|shortfall| !shortfall.accepted);
    let open: Vec<String> = open.map(|shortfall| shortfall.found.clone()).collect();
    if !open.is_empty() {
        let text = format!("the log can lose what it acknowledges ({})", list(&open));
        found.push((Verdict::Degraded, text));
    }
    // Stable: within a verdict in the order above.
    found.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    fleet.verdict = found.first().map_or(Verdict::Well, |(verdict, _)| *verdict);
    fleet.reasons = found.into_iter().map(|(_, text)| text).collect();
    fleet.summary = match fleet.verdict {
        Verdict::Well => all_well(fleet),
        _ => fleet.reasons.join("; "),
    };
}

fn wrong_with_primary(primary: &PrimaryView) -> Option<(Verdict, String)> {
    let name = &primary.name;
    let text = match primary.state {
        State::Well => return None,
        State::Failed => format!("primary {name} has failed"),
        _ => format!("primary {name} is silent for {}", age(primary.age)),
    };
    Some((Verdict::Degraded, text))
}

fn wrong_with_consumer(consumer: &ConsumerView, log: &LogView) -> Option<(Verdict, String)> {
    let (name, index) = (&consumer.name, number(consumer.index));
    let text = match consumer.state {
        State::Well => return None,
        State::Diverged => {
            let text = format!("{name} holds another history than the log, at event {index}");
            return Some((Verdict::Broken, text));
        }
        State::Ahead => {
            let last = number(log.last.unwrap_or_default());
            let text = format!(
                "the log lost events: {name} holds them up to {index}, the log ends at {last}"
            );
            return Some((Verdict::Broken, text));
        }
        State::Failed => format!("{name} has failed"),
        State::Stranded => {
            let first = number(log.first.unwrap_or_default());
            format!("{name} cannot catch up: it is at event {index}, the log begins at {first}")
        }
        State::Silent => format!("{name} is silent for {}", age(consumer.age)),
        State::Behind => match consumer.lag_blocks {
            Some(lag) => format!("{name} is {} behind", count(lag, "block")),
            None => format!("{name} has no block yet"),
        },
    };
    Some((Verdict::Degraded, text))
}

fn at_risk(consumer: &ConsumerView) -> Option<(Verdict, String)> {
    if consumer.reservation != AT_RISK {
        return None;
    }
    let (name, lag) = (&consumer.name, count(consumer.lag_events, "event"));
    let text = format!("{name} is at risk: {lag} behind, the log no longer waits for it");
    Some((Verdict::Degraded, text))
}

fn all_well(fleet: &Fleet) -> String {
    let keepers = || fleet.consumers.iter().filter(|c| c.role != Role::Audit.as_str());
    let roles = Role::ALL.into_iter().filter_map(|role| {
        let number = keepers().filter(|consumer| consumer.role == role.as_str()).count();
        (number > 0).then(|| count(number as u64, role.as_str()))
    });
    let who = list(&roles.collect::<Vec<_>>());
    match keepers().filter_map(|consumer| consumer.block).min() {
        Some(height) => format!("every block up to {} is in {who}", number(height)),
        None => format!("no block yet; ready for the first: {who}"),
    }
}
