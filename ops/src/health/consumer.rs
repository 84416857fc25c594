//! The readiness of one consumer: a pure function of its own progress, the fleet's tip, the limits
//! and the time.

use std::time::{Duration, Instant};

use tipline_consumer::{Phase, Progress};
use tipline_log::error_chain;
use tipline_proto::{ConsumerName, Cursor, Role};

use super::fleet::{FleetTip, Peer};
use super::limits::HealthLimits;
use super::link::LogLink;
use super::pace::Pace;
use super::readiness::{Readiness, Reason, ReasonKind};
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
            pace: Pace::default(),
        }
    }

    /// The log is heard for the first time, or again after a silence, and ends at this index now.
    /// Nobody knows what was missed until that is reached.
    pub fn heard_again(&mut self, tail: u64) {
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
        self.progress = progress;
        self.note_place(limits, now);
    }

    /// Notes whether it has caught up by now.
    pub fn note_place(&mut self, limits: &HealthLimits, now: Instant) {
        let Some(cursor) = &self.progress.cursor else { return };
        let index = cursor.position.index;
        self.pace.note(now, self.fleet.tail().saturating_sub(index));
        let is_reached = self.must_reach.is_some_and(|must| index >= must);
        if is_reached && !Place::of(cursor, &self.fleet, now).is_too_far(limits) {
            self.caught_up = true;
        }
    }
}

/// Where it is, compared with the fleet.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// How many blocks it is behind; `None` if it has none, and there are some.
    blocks: Option<u64>,
    /// For how long there has been a newer block.
    waits: Duration,
    proof_blocks: u64,
    proof_waits: Duration,
    events: u64,
}

impl Place {
    fn of(cursor: &Cursor, fleet: &FleetTip, now: Instant) -> Self {
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.duration_since(at));
        let index = cursor.position.index;
        let on_branch = on_branch(cursor, fleet);
        let (blocks, waits) = match (fleet.height(), on_branch) {
            (None, _) => (Some(0), Duration::ZERO),
            (Some(_), None) => (None, since(fleet.blocks.last().map(|(_, at)| at))),
            (Some(tip), Some(own)) => {
                (Some(tip.saturating_sub(own)), since(fleet.blocks.above(own)))
            }
        };
        let proven = fleet.proofs.last().map_or(0, |(height, _)| height);
        let own_proof = cursor.proof_tip.unwrap_or(0);
        Self {
            blocks,
            waits,
            proof_blocks: proven.saturating_sub(own_proof),
            proof_waits: since(fleet.proofs.above(own_proof)),
            events: fleet.tail().saturating_sub(index),
        }
    }

    fn is_too_far(&self, limits: &HealthLimits) -> bool {
        self.blocks.is_none_or(|blocks| blocks > limits.max_lag) || self.waits > limits.max_lag_time
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
        said.lag_seconds = place.waits.as_secs_f64();
        said.proof_lag_blocks = Some(place.proof_blocks);
    }
    let own = [ended(progress), silent(state, limits, now), store(state, limits, now)];
    let mut reasons: Vec<Reason> =
        own.into_iter().flatten().chain(not_following(state, limits, now)).collect();
    let mut shared = primary_silent(fleet, limits, now);
    if let Some(place) = place.filter(|_| reasons.is_empty()) {
        match lag(state, place, limits, now) {
            Lag::Near => {}
            Lag::Everyone(reason) => shared.insert(0, reason),
            Lag::Own(reason) => reasons.push(reason),
        }
        reasons.extend(proofs(place, limits));
    }
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
        _ => {
            let lost = link.board_lost.map(|since| now.saturating_duration_since(since));
            lost.filter(|lost| *lost > limits.max_silence).map(|lost| {
                let text = format!("what the others do has not been heard for {}", age(lost));
                Reason::new(ReasonKind::BoardSilent, text)
            })
        }
    }
}

fn store(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> Option<Reason> {
    match &state.progress.phase {
        Phase::StoreStalled(why) => return Some(Reason::new(ReasonKind::StoreFailed, why)),
        Phase::StoreAhead(why) => return Some(Reason::new(ReasonKind::StoreAhead, why)),
        _ => {}
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

/// How far it is behind.
enum Lag {
    Near,
    /// Too far, like everyone else; and it is one of the best.
    Everyone(Reason),
    Own(Reason),
}

fn lag(state: &ConsumerState, place: Place, limits: &HealthLimits, now: Instant) -> Lag {
    let events = count(place.events, "event");
    let blocks = place.blocks.map_or_else(|| "all blocks".to_owned(), |lag| count(lag, "block"));
    if !state.caught_up {
        let left = match state.pace.time_left(place.events) {
            Some(left) => format!("about {} left", age(left)),
            None => "it does not come closer".to_owned(),
        };
        let text = format!("catching up: {blocks} behind, {events}; {left}");
        return Lag::Own(Reason::new(ReasonKind::CatchingUp, text));
    }
    if !place.is_too_far(limits) {
        return Lag::Near;
    }
    let waits = age(place.waits);
    match is_one_of_the_best(state, limits, now) {
        true => {
            let text = format!("everyone is behind; this one serves: {blocks}, for {waits}");
            Lag::Everyone(Reason::new(ReasonKind::EveryoneBehind, text))
        }
        false => {
            let text = format!("{blocks} behind the fleet's newest, for {waits}");
            Lag::Own(Reason::new(ReasonKind::Behind, text))
        }
    }
}

/// Whether no other consumer of its kind is near the tip, and none is much better.
fn is_one_of_the_best(state: &ConsumerState, limits: &HealthLimits, now: Instant) -> bool {
    let Some(own) = state.progress.cursor.as_ref().and_then(|c| on_branch(c, &state.fleet)) else {
        return false;
    };
    let tip = state.fleet.height().unwrap_or(own);
    let lives = |peer: &&Peer| {
        let silence = now.saturating_duration_since(peer.heard);
        peer.role == state.role
            && peer.name != state.name
            && !peer.failed
            && silence <= limits.others_silent_after
    };
    let best = state.fleet.peers.iter().filter(lives).filter_map(|peer| peer.height).max();
    let is_near = |best: u64| tip.saturating_sub(best) <= limits.max_lag && best > own;
    best.is_none_or(|best| !is_near(best) && best <= own.saturating_add(limits.max_lag))
}

fn proofs(place: Place, limits: &HealthLimits) -> Option<Reason> {
    let Place { proof_blocks, proof_waits, .. } = place;
    let is_behind = proof_blocks > limits.max_proof_lag || proof_waits > limits.max_proof_lag_time;
    is_behind.then(|| {
        let (blocks, waits) = (count(proof_blocks, "block"), age(proof_waits));
        let text = format!("its proofs are {blocks} behind the fleet's, for {waits}");
        Reason::new(ReasonKind::ProofsBehind, text)
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

/// The further behind, the less: half of the limit behind, half of the traffic.
fn weight(said: &Readiness, limits: &HealthLimits) -> u8 {
    if !said.ready {
        return 0;
    }
    let lag = said.lag_blocks.unwrap_or(limits.max_lag).min(limits.max_lag);
    let share = 100 - 100 * lag / (limits.max_lag.saturating_add(1));
    u8::try_from(share).unwrap_or(100).max(1)
}
