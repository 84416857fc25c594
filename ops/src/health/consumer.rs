//! The readiness of one consumer: a pure function of its own progress, the fleet's tip, the limits
//! and the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tipline_consumer::{Phase, Progress};
use tipline_log::{Board, error_chain};
use tipline_proto::{ConsumerName, Cursor, Receipt, Role};

use super::fleet::{FleetTip, Peer, index};
use super::limits::HealthLimits;
use super::link::LogLink;
use super::pace::Pace;
use super::readiness::{Readiness, Reason, ReasonKind};
use super::steps::Steps;
use super::store_check::StoreCheck;
use crate::text::{age, count, number};

/// A chain without a new block for longer is said to stand still. It is a word, and decides nothing.
const STILL: Duration = Duration::from_secs(60);

/// What a process knows of its consumer.
#[derive(Debug, Clone)]
pub struct ConsumerState {
    /// Its name.
    pub name: ConsumerName,
    /// What it is for.
    pub role: Role,
    /// Its own progress.
    pub progress: Progress,
    /// Since when it is not following the log; `None` while it is.
    pub not_following: Option<Instant>,
    /// The fleet's.
    pub fleet: FleetTip,
    /// Whether the log is heard.
    pub link: LogLink,
    /// Whether the store answers.
    pub store: StoreCheck,
    /// Index that it must have reached once to have caught up: the log's newest when it was heard
    /// for the first time, or again after a silence. `None` before that.
    pub must_reach: Option<u64>,
    /// Whether it was near the tip since then.
    pub caught_up: bool,
    /// When the log was heard for the last time while it was near the tip.
    pub near_at: Option<Instant>,
    /// How fast it comes closer.
    pub pace: Pace,
}

impl ConsumerState {
    /// Of a consumer that has just started.
    pub fn new(name: ConsumerName, role: Role, progress: Progress, now: Instant) -> Self {
        Self {
            name,
            role,
            progress,
            not_following: Some(now),
            fleet: FleetTip::default(),
            link: LogLink::default(),
            store: StoreCheck::default(),
            must_reach: None,
            caught_up: false,
            near_at: None,
            pace: Pace::default(),
        }
    }

    /// The log is heard for the first time, or again after a silence, and ends at this index now.
    /// Nobody knows what was missed until that is reached.
    pub fn heard_again(&mut self, tail: u64, now: Instant) {
        self.fleet.forget();
        self.fleet.reach(tail, now);
        self.must_reach = Some(tail);
        self.caught_up = false;
        self.pace = Pace::default();
    }

    /// Notes what it has of its consumer now, and whether it has caught up by that.
    pub fn note(&mut self, progress: Progress, limits: &HealthLimits, now: Instant) {
        let is_following = matches!(
            progress.phase,
            Phase::Following | Phase::StoreStalled(_) | Phase::StoreAhead(_)
        );
        self.not_following = match is_following {
            true => None,
            false => self.not_following.or(Some(now)),
        };
        if let Some(tail) = progress.tail {
            self.fleet.reach(tail, now);
        }
        if let Some(cursor) = &progress.cursor {
            self.fleet.knows(cursor.position);
        }
        self.progress = progress;
        self.note_place(limits, now);
    }

    /// Indices of entries whose digests decide whether a receipt counts: those of others that may be
    /// better than this one. Who is not further than its own cursor is no better.
    pub(super) fn wanted(&self, board: &Board) -> BTreeSet<u64> {
        let Some(cursor) = &self.progress.cursor else { return BTreeSet::new() };
        let may_be_better = |receipt: &&Receipt| {
            receipt.role == self.role
                && receipt.consumer != self.name
                && receipt.failure.is_none()
                && index(receipt) > cursor.position.index
        };
        let receipts = board.receipts.iter().filter(may_be_better);
        receipts.flat_map(|receipt| self.fleet.wants(receipt)).collect()
    }

    /// Notes whether it has caught up by now.
    pub fn note_place(&mut self, limits: &HealthLimits, now: Instant) {
        let Some(cursor) = &self.progress.cursor else { return };
        let index = cursor.position.index;
        self.pace.note(now, self.fleet.tail().saturating_sub(index));
        let is_reached = self.must_reach.is_some_and(|must| index >= must);
        if !Place::of(cursor, &self.fleet, now).is_too_far(limits) {
            self.caught_up |= is_reached;
            if self.caught_up && !self.link.is_silent(limits.max_silence, now) {
                self.near_at = self.link.answered;
            }
        }
    }
}

/// Where it is, compared with the fleet.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// How many blocks it is behind; `None` if it has none, and there are some.
    blocks: Option<u64>,
    /// For how long there has been a newer block.
    block_waits: Duration,
    proof_blocks: u64,
    proof_waits: Duration,
    events: u64,
    /// For how long there has been a newer event, of a block or not.
    event_waits: Duration,
}

impl Place {
    fn of(cursor: &Cursor, fleet: &FleetTip, now: Instant) -> Self {
        let index = cursor.position.index;
        let (blocks, block_waits) = match (fleet.blocks.last(), on_branch(cursor, fleet)) {
            (None, _) => (Some(0), Duration::ZERO),
            (Some((_, at)), None) => (None, now.saturating_duration_since(at)),
            (Some(_), Some(own)) => (Some(fleet.blocks.behind(own)), fleet.blocks.waits(own, now)),
        };
        let own_proof = cursor.proof_tip.unwrap_or(0);
        Self {
            blocks,
            block_waits,
            proof_blocks: fleet.proofs.behind(own_proof),
            proof_waits: fleet.proofs.waits(own_proof, now),
            events: fleet.tail().saturating_sub(index),
            event_waits: fleet.events.waits(index, now),
        }
    }

    /// For how long there has been anything newer.
    fn waits(&self) -> Duration {
        self.block_waits.max(self.event_waits)
    }

    fn lacks_blocks(&self, limits: &HealthLimits) -> bool {
        self.blocks.is_none_or(|blocks| blocks > limits.max_lag)
            || self.block_waits > limits.max_lag_time
    }

    fn is_too_far(&self, limits: &HealthLimits) -> bool {
        self.lacks_blocks(limits) || self.event_waits > limits.max_lag_time
    }
}

/// The newest height that it has of the fleet's branch; `None` if it has no block. A block that the
/// chain went back from is none of it: then the height is below the tip, how far is not known.
fn on_branch(cursor: &Cursor, fleet: &FleetTip) -> Option<u64> {
    let own = cursor.block_tip.as_ref()?;
    let Some((index, tip)) = &fleet.tip else { return Some(own.height) };
    let is_orphan = cursor.position.index < *index
        && (own.height > tip.height || own.height == tip.height && own.hash != tip.hash);
    Some(if is_orphan { tip.height.saturating_sub(1) } else { own.height })
}

/// Whether a consumer is fit to serve. Pure: it reads no clock.
pub fn consumer_readiness(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> Readiness {
    let ConsumerState { progress, fleet, link, .. } = state;
    let mut said = Readiness::of(state.role.as_str(), state.name.as_str());
    said.silent_seconds = link.silence(now).map(|silence| silence.as_secs_f64());
    said.tip = fleet.height();
    let unchanged = fleet.blocks.last().map(|(_, at)| now.saturating_duration_since(at));
    said.tip_unchanged_seconds = unchanged.map(|unchanged| unchanged.as_secs_f64());
    let place = progress.cursor.as_ref().map(|cursor| Place::of(cursor, fleet, now));
    if let (Some(cursor), Some(place)) = (&progress.cursor, place) {
        said.index = Some(cursor.position.index);
        said.block = cursor.block_tip.as_ref().map(|tip| tip.height);
        said.proof = cursor.proof_tip;
        said.lag_blocks = place.blocks;
        said.lag_events = Some(place.events);
        said.lag_seconds = place.waits().as_secs_f64();
        said.proof_lag_blocks = Some(place.proof_blocks);
    }
    let own = [ended(progress), silent(state, limits, now), store(state, limits, now)];
    let mut reasons: Vec<Reason> =
        own.into_iter().flatten().chain(not_following(state, limits, now)).collect();
    let mut shared = Vec::new();
    let mut take = |trouble: Option<Trouble>, reasons: &mut Vec<Reason>| match trouble {
        None => {}
        Some(Trouble::Everyones(reason)) => shared.push(reason),
        Some(Trouble::Own(reason)) => reasons.push(reason),
    };
    take(board(state, place, limits, now), &mut reasons);
    if let Some(place) = place.filter(|_| reasons.is_empty()) {
        take(lag(state, place, limits, now), &mut reasons);
        take(proofs(state, place, limits, now), &mut reasons);
    }
    // The first reason: it is what somebody wanted, and where the lag comes from.
    let frozen = progress.frozen.map(|since| now.saturating_duration_since(since));
    if let Some(frozen) = frozen
        && (!reasons.is_empty() || frozen > limits.max_stuck)
    {
        let text = format!("the store has been frozen for a snapshot for {}", age(frozen));
        reasons.insert(0, Reason::new(ReasonKind::StoreFrozen, text));
    }
    shared.extend(primary_silent(fleet, limits, now));
    if !state.caught_up {
        said.catch_up_seconds =
            state.pace.time_left(place.map_or(0, |p| p.events)).map(|left| left.as_secs_f64());
    }
    said.degraded = reasons.is_empty() && !shared.is_empty();
    said.ready = reasons.is_empty() && !(said.degraded && limits.refuse_degraded);
    reasons.extend(shared);
    said.stands_still =
        said.ready && !said.degraded && unchanged.is_some_and(|unchanged| unchanged > STILL);
    said.weight = weight(&said, limits);
    said.reasons = reasons;
    said
}

fn ended(progress: &Progress) -> Option<Reason> {
    match &progress.phase {
        Phase::Failed(error) => Some(Reason::new(ReasonKind::Failed, error_chain(&**error))),
        Phase::Stopped => Some(Reason::new(ReasonKind::Stopping, "it has stopped")),
        _ => None,
    }
}

fn silent(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> Option<Reason> {
    let link = &state.link;
    let why = link.failure.as_ref().map_or(String::new(), |why| format!(": {why}"));
    match link.silence(now) {
        None => {
            let text = format!("the log has not been heard yet{why}");
            Some(Reason::new(ReasonKind::LogSilent, text))
        }
        Some(silence) if silence > limits.max_silence => {
            let text = format!("the log has not been heard for {}{why}", age(silence));
            Some(Reason::new(ReasonKind::LogSilent, text))
        }
        _ => None,
    }
}

/// The receipts are away, and the log is not. It is everyone's trouble if it has what the log itself
/// is known to have: then nobody is better.
fn board(
    state: &ConsumerState,
    place: Option<Place>,
    limits: &HealthLimits,
    now: Instant,
) -> Option<Trouble> {
    let (since, why) = state.link.board_lost.as_ref()?;
    let lost = now.saturating_duration_since(*since);
    if lost <= limits.max_silence || state.link.is_silent(limits.max_silence, now) {
        return None;
    }
    let text = format!("what the others do has not been heard for {}: {why}", age(lost));
    let reason = Reason::new(ReasonKind::BoardSilent, text);
    let is_at_the_end = place.is_some_and(|place| place.event_waits <= limits.max_silence);
    Some(if is_at_the_end { Trouble::Everyones(reason) } else { Trouble::Own(reason) })
}

fn store(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> Option<Reason> {
    match &state.progress.phase {
        Phase::StoreStalled(why) => return Some(Reason::new(ReasonKind::StoreFailed, why)),
        Phase::StoreAhead(why) => return Some(Reason::new(ReasonKind::StoreAhead, why)),
        _ => {}
    }
    if state.progress.frozen.is_some() {
        return None;
    }
    let applying = state.progress.applying.map(|since| now.saturating_duration_since(since));
    if let Some(applying) = applying.filter(|applying| *applying > limits.max_stuck) {
        let text = format!("the store has been applying one batch for {}", age(applying));
        return Some(Reason::new(ReasonKind::StoreStuck, text));
    }
    if let Some(why) = &state.store.failure {
        return Some(Reason::new(ReasonKind::StoreFailed, why));
    }
    let unanswered = state.store.unanswered(now);
    (unanswered > limits.max_stuck).then(|| {
        let text = format!("the store has not answered for {}", age(unanswered));
        Reason::new(ReasonKind::StoreStuck, text)
    })
}

/// A moment without a subscription is nothing: another one follows at once.
fn not_following(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> Option<Reason> {
    if state.progress.cursor.is_none() {
        let text = "the store is being compared with the log";
        return Some(Reason::new(ReasonKind::NotFollowing, text));
    }
    let since = state.not_following.map(|since| now.saturating_duration_since(since));
    let since = since.filter(|since| *since > limits.max_silence)?;
    let why = match &state.progress.phase {
        Phase::LogUnavailable(why) => format!(": {why}"),
        _ => String::new(),
    };
    let text = format!("no events have been pushed for {}{why}", age(since));
    Some(Reason::new(ReasonKind::NotFollowing, text))
}

/// What is wrong with it.
enum Trouble {
    /// Nobody is better. Alone it is degraded, and serves.
    Everyones(Reason),
    Own(Reason),
}

fn lag(
    state: &ConsumerState,
    place: Place,
    limits: &HealthLimits,
    now: Instant,
) -> Option<Trouble> {
    let events = count(place.events, "event");
    let blocks = place.blocks.map_or_else(|| "all blocks".to_owned(), |lag| count(lag, "block"));
    if !state.caught_up {
        let left = match state.pace.time_left(place.events) {
            Some(left) => format!("about {} left", age(left)),
            None => "it does not come closer".to_owned(),
        };
        let text = format!("catching up: {blocks} behind, {events}; {left}");
        let reason = Reason::new(ReasonKind::CatchingUp, text);
        // What it has is no older than what it may serve while it hears nothing.
        let near = state.near_at.map(|at| now.saturating_duration_since(at));
        return Some(match near.is_some_and(|near| near <= limits.max_silence) {
            true => Trouble::Everyones(reason),
            false => Trouble::Own(reason),
        });
    }
    if !place.is_too_far(limits) {
        return None;
    }
    let (behind, is_one_of_the_best) = match place.lacks_blocks(limits) {
        true => (blocks, has_best_blocks(state, limits, now)),
        false => (events, has_best_events(state, limits, now)),
    };
    let waits = age(place.waits());
    Some(if is_one_of_the_best {
        let text = format!("everyone is behind; this one serves: {behind}, for {waits}");
        Trouble::Everyones(Reason::new(ReasonKind::EveryoneBehind, text))
    } else {
        let text = format!("{behind} behind the fleet's newest, for {waits}");
        Trouble::Own(Reason::new(ReasonKind::Behind, text))
    })
}

fn has_best_blocks(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> bool {
    let fleet = &state.fleet;
    let Some(own) = state.progress.cursor.as_ref().and_then(|c| on_branch(c, fleet)) else {
        return false;
    };
    let others = others(state, limits, now).filter_map(|peer| Some(peer.block.as_ref()?.height));
    is_one_of_the_best(&fleet.blocks, own, others, (limits.max_lag, limits.max_lag_time), now)
}

/// Events have no limit by count: many are nothing if they are of now.
fn has_best_events(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> bool {
    let own = state.progress.cursor.as_ref().map_or(0, |cursor| cursor.position.index);
    let others = others(state, limits, now).map(|peer| peer.index);
    is_one_of_the_best(&state.fleet.events, own, others, (u64::MAX, limits.max_lag_time), now)
}

/// The other consumers of its role that are heard of and go on.
fn others<'a>(
    state: &'a ConsumerState,
    limits: &'a HealthLimits,
    now: Instant,
) -> impl Iterator<Item = &'a Peer> {
    state.fleet.peers.iter().filter(move |peer| {
        let silence = now.saturating_duration_since(peer.heard);
        peer.role == state.role
            && peer.name != state.name
            && !peer.failed
            && silence <= limits.others_silent_after
    })
}

/// Whether none of the others is within these limits, and none is better by more than the limit.
fn is_one_of_the_best(
    steps: &Steps,
    own: u64,
    mut others: impl Iterator<Item = u64>,
    (most, longest): (u64, Duration),
    now: Instant,
) -> bool {
    !others.any(|other| {
        let is_near = steps.behind(other) <= most && steps.waits(other, now) <= longest;
        other > own && (is_near || other.saturating_sub(own) > most)
    })
}

fn proofs(
    state: &ConsumerState,
    place: Place,
    limits: &HealthLimits,
    now: Instant,
) -> Option<Trouble> {
    let Place { proof_blocks, proof_waits, .. } = place;
    let allowed @ (most, longest) = (limits.max_proof_lag, limits.max_proof_lag_time);
    if proof_blocks <= most && proof_waits <= longest {
        return None;
    }
    let (blocks, waits) = (count(proof_blocks, "block"), age(proof_waits));
    let own = state.progress.cursor.as_ref().and_then(|cursor| cursor.proof_tip).unwrap_or(0);
    let others = others(state, limits, now).filter_map(|peer| peer.proof);
    Some(if is_one_of_the_best(&state.fleet.proofs, own, others, allowed, now) {
        let text = format!(
            "everyone's proofs are late; this one serves: {blocks} behind the fleet's, for {waits}"
        );
        Trouble::Everyones(Reason::new(ReasonKind::ProofsBehind, text))
    } else {
        let text = format!("its proofs are {blocks} behind the fleet's, for {waits}");
        Trouble::Own(Reason::new(ReasonKind::ProofsBehind, text))
    })
}

/// It is the same for everyone: nobody is better, and nobody is known to be behind.
fn primary_silent(fleet: &FleetTip, limits: &HealthLimits, now: Instant) -> Vec<Reason> {
    let text = match (fleet.primary_heard, &fleet.primary_failure) {
        (_, Some(_)) => "the primary has failed".to_owned(),
        (None, None) => "no primary has been heard of".to_owned(),
        (Some(heard), None) => match now.saturating_duration_since(heard) {
            silence if silence > limits.others_silent_after => {
                format!("the primary has been silent for {}", age(silence))
            }
            _ => return Vec::new(),
        },
    };
    let block = fleet.height().map_or("no block".to_owned(), |h| format!("block {}", number(h)));
    let text = format!("{text}: nobody knows what is newer than {block}");
    vec![Reason::new(ReasonKind::PrimarySilent, text)]
}

/// The further behind, the less: half of the limit behind, half of the traffic. Where there is no
/// block, the limit is that of time.
fn weight(said: &Readiness, limits: &HealthLimits) -> u8 {
    if !said.ready {
        return 0;
    }
    let (lag, most) = match said.tip {
        Some(_) => (said.lag_blocks.unwrap_or(limits.max_lag), limits.max_lag),
        None => (said.lag_seconds as u64, limits.max_lag_time.as_secs()),
    };
    let share = 100 - 100 * lag.min(most) / most.saturating_add(1);
    u8::try_from(share).unwrap_or(100).max(1)
}
