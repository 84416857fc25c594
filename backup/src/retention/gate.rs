//! The decision, as a pure function of the survey, the proofs and the rule.

use std::fmt;
use std::time::Duration;

use tipline_log::{Ages, Extent, Survey};
use tipline_proto::{ConsumerName, Policy};

use super::proven::{NotProven, Proven, ProvenKind};
use super::reservation::{Reservation, Reserved, is_apart, reservations_beside};
use crate::time::duration_text;

/// What the operator wants to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// Only what is backed up by this policy may go. Receipts of another history do not count.
    pub policy: Policy,
    /// This many of the newest events are always kept.
    pub keep_events: u64,
    /// Younger events are always kept.
    pub keep_for: Duration,
    /// The log waits for a consumer that lags by at most this many events.
    pub reserve: u64,
}

/// What keeps a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// The newest entry is never removed.
    Newest,
    /// The rule keeps this many of the newest events.
    KeepEvents(u64),
    /// The rule keeps what is younger than this.
    KeepFor(Duration),
    /// It is not backed up by the policy.
    Policy(Policy),
    /// No archive or checkpoint was named that could prove anything.
    NothingProven,
    /// It cannot be restored from this place.
    Place {
        /// What is there.
        kind: ProvenKind,
        /// Its address.
        place: String,
        /// Why it proves nothing at all; `None` if it only does not reach further.
        why: Option<NotProven>,
    },
    /// A consumer still needs it.
    Consumer(ConsumerName),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Newest => f.write_str("the newest event always stays"),
            Holder::KeepEvents(events) => write!(f, "the newest {events} events are to be kept"),
            Holder::KeepFor(age) => write!(f, "it is younger than {}", duration_text(*age)),
            Holder::Policy(policy) => write!(f, "it is not backed up by `{policy}`"),
            Holder::NothingProven => {
                f.write_str("no archive and no checkpoint is named that proves it")
            }
            Holder::Place { kind, place, why: None } => {
                write!(f, "the {kind} at {place} does not reach it")
            }
            Holder::Place { kind, place, why: Some(why) } => {
                write!(f, "the {kind} at {place} proves nothing: {why}")
            }
            Holder::Consumer(name) => write!(f, "{name} still needs it"),
        }
    }
}

/// A part of the log, and why it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRange {
    /// Index of its first entry.
    pub first: u64,
    /// Index of its last entry.
    pub last: u64,
    /// Everything that keeps it, the one that keeps the most first; empty if it may go.
    pub kept_by: Vec<Holder>,
}

/// What may go, and why the rest may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPlan {
    /// What the log holds.
    pub held: Extent,
    /// The oldest entry to be kept, to be given to `trim`; `held.first` if nothing may go.
    pub first: u64,
    /// All of the log, from the oldest entry on, without a gap.
    pub ranges: Vec<KeptRange>,
    /// Every consumer, sorted by name, and what it may expect.
    pub consumers: Vec<Reserved>,
    /// The moment that ages were counted from.
    pub ages: Ages,
}

impl RetentionPlan {
    /// How many entries may go.
    pub fn free(&self) -> u64 {
        self.first - self.held.first
    }
}

/// Decides what may go: whatever nothing keeps. Every place that is named in `proven` must prove
/// its part; if none is named, nothing may go.
pub fn plan(survey: &Survey, proven: &[Proven], rule: &RetentionRule) -> RetentionPlan {
    let mut holds = kept_by_rule(survey, rule);
    holds.extend(kept_by_proof(survey, proven));
    let others = holds.iter().map(|hold| hold.from).min().unwrap_or(0);
    let consumers = reservations_beside(survey, rule.reserve, others);
    let waiting = consumers
        .iter()
        .filter(|reserved| matches!(reserved.reservation, Reservation::Reserved { .. }));
    holds.extend(waiting.map(|reserved| Hold {
        from: reserved.needs,
        by: Holder::Consumer(reserved.consumer.clone()),
    }));
    // Stable: of those that keep the same, in the order above.
    holds.sort_by_key(|hold| hold.from);
    let Extent { first: oldest, last: newest } = survey.held;
    let first = holds.first().map_or(oldest, |hold| hold.from.min(newest).max(oldest));
    let (held, ages) = (survey.held, survey.ages);
    RetentionPlan { held, first, ranges: ranges(held, &holds), consumers, ages }
}

/// Everything from here on is kept.
struct Hold {
    from: u64,
    by: Holder,
}

fn kept_by_rule(survey: &Survey, rule: &RetentionRule) -> Vec<Hold> {
    let last = survey.held.last;
    let counting = survey.receipts.iter().filter(|receipt| !is_apart(survey, receipt));
    let backed_up = rule.policy.backed_up(counting.map(|r| (&r.consumer, &r.reached)));
    let newest = last.saturating_add(1).saturating_sub(rule.keep_events);
    vec![
        Hold { from: backed_up.saturating_add(1), by: Holder::Policy(rule.policy.clone()) },
        Hold { from: newest, by: Holder::KeepEvents(rule.keep_events) },
        Hold { from: survey.young_from, by: Holder::KeepFor(rule.keep_for) },
        Hold { from: last, by: Holder::Newest },
    ]
}

fn kept_by_proof(survey: &Survey, proven: &[Proven]) -> Vec<Hold> {
    if proven.is_empty() {
        return vec![Hold { from: 0, by: Holder::NothingProven }];
    }
    let hold = |proven: &Proven| {
        let (covered, why) = match proven.counts(survey) {
            Ok(index) => (index, None),
            Err(why) => (0, Some(why)),
        };
        let by = Holder::Place { kind: proven.kind, place: proven.place.clone(), why };
        Hold { from: covered.saturating_add(1), by }
    };
    proven.iter().map(hold).collect()
}

/// Cuts the log wherever something begins to keep it. `holds` is sorted.
fn ranges(held: Extent, holds: &[Hold]) -> Vec<KeptRange> {
    let Extent { first: oldest, last: newest } = held;
    let mut cuts: Vec<u64> = holds.iter().map(|hold| hold.from.max(oldest)).collect();
    cuts.insert(0, oldest);
    cuts.dedup();
    cuts.retain(|cut| *cut <= newest);
    let ends = cuts.iter().skip(1).map(|next| next - 1).chain([newest]);
    let range = |(first, last): (&u64, u64)| {
        let kept_by = holds.iter().filter(|hold| hold.from <= *first).map(|hold| hold.by.clone());
        KeptRange { first: *first, last, kept_by: kept_by.collect() }
    };
    cuts.iter().zip(ends).map(range).collect()
}
