//! A consumer: what its receipt says, and what is wrong with that.

use tipline_backup::retention::{Reservation, Reserved};
use tipline_proto::{Agreement, Receipt, Timestamp, Tip};

use super::expectation::Expectation;
use super::finding::{Finding, Kind};
use super::fleet::{ConsumerView, State};
use super::liveness::SignOfLife;
use super::seen::{Seen, index};
use crate::text::{age, count, number};

const AT_RISK: &str = Reservation::AtRisk { lost_in: None }.as_str();

/// What consumers are compared with.
pub(super) struct Fixed<'a> {
    pub(super) seen: &'a Seen,
    pub(super) expected: &'a Expectation,
    /// Index of the fleet's newest event, and its newest block by the index at which it was named.
    pub(super) tip: (u64, Option<(u64, Tip)>),
    /// Our own clock.
    pub(super) now: Timestamp,
    /// The primary's clock, which dates the events.
    pub(super) primary_clock: Timestamp,
}

impl Fixed<'_> {
    /// A consumer, and what is wrong with it.
    pub(super) fn consumer(
        &self,
        receipt: &Receipt,
        reserved: &Reserved,
    ) -> (ConsumerView, Vec<Finding>) {
        let mut view = self.view(receipt, reserved);
        let wrong = self.wrong(receipt, &view);
        let mut findings = Vec::new();
        if let Some((state, finding)) = wrong {
            view.state = state;
            findings.push(finding);
        } else if view.frozen.is_some() {
            view.state = State::Frozen;
        }
        findings.extend(at_risk(&view));
        findings.extend(clock(&view));
        (view, findings)
    }

    fn view(&self, receipt: &Receipt, reserved: &Reserved) -> ConsumerView {
        let name = &receipt.consumer;
        let heard = self.seen.board.heard.get(name).copied();
        let SignOfLife { age, clock_ahead } = SignOfLife::new(receipt.time, heard, self.now);
        let index = index(receipt);
        let block = receipt.block_tip.as_ref().map(|tip| tip.height);
        let rolled_back_to = self.rolled_back_to(index, receipt.block_tip.as_ref());
        let on_branch = rolled_back_to.or(block);
        let lag_blocks = match (&self.tip.1, on_branch) {
            (None, _) => Some(0),
            (Some(_), None) => None,
            (Some((_, tip)), Some(block)) => Some(tip.height.saturating_sub(block)),
        };
        let lag_events = self.tip.0.saturating_sub(index);
        ConsumerView {
            name: name.to_string(),
            role: receipt.role.as_str(),
            state: State::Well,
            level: receipt.reached.highest().map(|(level, _)| level.as_str()),
            index,
            digest: receipt.reached.highest().map(|(_, position)| position.digest.to_string()),
            block,
            proof: receipt.proof_tip,
            rolled_back_to,
            lag_blocks,
            lag_events,
            lag: self.seen.waits_after(index, self.primary_clock),
            // It goes on while nothing is heard.
            applying: receipt.applying.map(|applying| applying.saturating_add(age)),
            frozen: receipt.frozen.map(|frozen| frozen.saturating_add(age)),
            reservation: reserved.reservation.as_str(),
            at_risk_in: match reserved.reservation {
                Reservation::Reserved { at_risk_in } => at_risk_in,
                _ => None,
            },
            age,
            clock_ahead,
            failure: receipt.failure.clone(),
            store: receipt.store.clone(),
        }
    }

    /// The height that the log went back to after `index`, if that is below `block`.
    fn rolled_back_to(&self, index: u64, block: Option<&Tip>) -> Option<u64> {
        let block = block?;
        let later = self.seen.rollbacks.range(index.saturating_add(1)..).map(|(_, to)| *to);
        if let Some(to) = later.min().filter(|to| *to < block.height) {
            return Some(to);
        }
        // The rollback itself was not seen. It went to the newest block or further back.
        let (named, tip) = self.tip.1.as_ref()?;
        let is_orphan = block.height > tip.height
            || block.height == tip.height && block.hash != tip.hash && block.height > 0;
        let at_most = tip.height.min(block.height.saturating_sub(1));
        (index < *named && is_orphan).then_some(at_most)
    }

    /// The worst that is wrong.
    fn wrong(&self, receipt: &Receipt, view: &ConsumerView) -> Option<(State, Finding)> {
        let (seen, expected, name) = (self.seen, self.expected, &view.name);
        let at = number(view.index);
        let agrees = match seen.agreement(receipt) {
            Agreement::Agrees if self.has_another_block(receipt, view.index) => {
                Agreement::Diverged { index: view.index }
            }
            agrees => agrees,
        };
        // What the log no longer holds cannot contradict it.
        let (state, kind, text) = match agrees {
            Agreement::Diverged { .. } => {
                let text = format!("{name} holds another history than the log, at event {at}");
                return Some((State::Diverged, Finding::broken(Kind::Diverged, name, text)));
            }
            Agreement::Ahead => {
                let last = number(seen.tail.position.index);
                let text = format!(
                    "the log lost events: {name} holds them up to {at}, the log ends at {last}"
                );
                return Some((State::Ahead, Finding::broken(Kind::Ahead, name, text)));
            }
            _ if view.failure.is_some() => {
                (State::Failed, Kind::Failed, format!("{name} has failed"))
            }
            _ if view.index.saturating_add(1) < seen.first => {
                let first = number(seen.first);
                let text = format!(
                    "{name} cannot catch up: it is at event {at}, the log begins at {first}"
                );
                (State::Stranded, Kind::Stranded, text)
            }
            _ if view.age > expected.silent_after => {
                let text = format!("{name} is silent for {}", age(view.age));
                (State::Silent, Kind::Silent, text)
            }
            _ => as_wanted(view, self.slow(view)?),
        };
        Some((state, Finding::degraded(kind, name, text)))
    }

    fn slow(&self, view: &ConsumerView) -> Option<(State, Kind, String)> {
        let (expected, name) = (self.expected, &view.name);
        let applying = view.applying.filter(|applying| *applying > expected.max_lag_time);
        if let Some(applying) = applying {
            let text = format!("{name} has been applying one batch for {}", age(applying));
            return Some((State::Stalled, Kind::Stalled, text));
        }
        let waits = view.lag.filter(|lag| *lag > expected.max_lag_time);
        let too_many = view.lag_blocks.is_none_or(|lag| lag > expected.max_lag);
        if let (Some(to), Some(block)) = (view.rolled_back_to, view.block)
            && (waits.is_some() || too_many)
        {
            let (block, to) = (number(block), number(to));
            let text = format!(
                "{name} is on a branch that was rolled back: it has block {block}, the log went \
                 back to {to}"
            );
            return Some((State::Orphaned, Kind::Orphaned, text));
        }
        let text = match (view.lag_blocks, waits) {
            (Some(lag), _) if too_many => format!("{name} is {} behind", count(lag, "block")),
            (Some(_), None) => return None,
            (Some(_), Some(waits)) => {
                let events = count(view.lag_events, "event");
                format!("{name} is {events} behind, for {}", age(waits))
            }
            (None, _) => format!("{name} has no block yet"),
        };
        Some((State::Behind, Kind::Behind, text))
    }

    /// Whether it has another block at the tail than the log.
    fn has_another_block(&self, receipt: &Receipt, index: u64) -> bool {
        let (own, its) = (self.seen.tail_block.as_ref(), receipt.block_tip.as_ref());
        let differ = |(own, its): (&Tip, &Tip)| own.height == its.height && own.hash != its.hash;
        index == self.seen.tail.position.index && own.zip(its).is_some_and(differ)
    }
}

/// A store that is frozen is not slow: it is what somebody wanted.
fn as_wanted(view: &ConsumerView, slow: (State, Kind, String)) -> (State, Kind, String) {
    let Some(frozen) = view.frozen else { return slow };
    let (name, lag) = (&view.name, count(view.lag_events, "event"));
    let frozen = age(frozen);
    let text = format!("{name} has been frozen for a snapshot for {frozen}, and is {lag} behind");
    (State::Frozen, Kind::Frozen, text)
}

fn at_risk(view: &ConsumerView) -> Option<Finding> {
    let (name, lag) = (&view.name, count(view.lag_events, "event"));
    let text = format!("{name} is at risk: {lag} behind, the log no longer waits for it");
    (view.reservation == AT_RISK).then(|| Finding::degraded(Kind::AtRisk, name, text))
}

fn clock(view: &ConsumerView) -> Option<Finding> {
    let (name, by) = (&view.name, age(view.clock_ahead?));
    let text = format!("the clock of {name} is ahead by {by}");
    Some(Finding::degraded(Kind::ConsumerClock, name, text))
}
