//! The publisher's protocol: a function of (state, input), without clock, log or disk.
//!
//! ```text
//!            ┌────────── conflict, doubt ───────────┐
//!            ▼                                      │
//! start ─► Surveying ─► Claiming ─► Idle ◄──────► Sending ─► Idle …
//!                                    ▲              │ conflict, doubt
//!                                    │              ▼
//!                                    └───────── Resolving ──► Fenced, Halted
//! ```
//! One unit is in flight. The next one is prepared meanwhile, and sent when the answer is
//! here. After anything but a clear answer only the log's tail decides.

use tipline_log::{AppendError, Backoff, Tail, error_chain};
use tipline_proto::{Entry, Event, Label, OutboxId, Position};

use super::conflicts::Conflicts;
use super::pace::Pace;
use super::protocol::{Command, Input, Obstacle, Survey, TailRead, Unit};
use crate::end_reason::EndReason;

#[derive(Debug)]
enum Phase {
    Surveying,
    Claiming(Entry),
    Idle,
    /// All of it, or its first entries.
    Sending(Unit),
    Resolving(Unit),
    Ended,
}

#[derive(Debug)]
pub(crate) struct Core {
    primary: Label,
    outbox: OutboxId,
    phase: Phase,
    /// The claim that was last tried.
    claim: Option<Entry>,
    /// Epoch this primary holds; 0 before the claim.
    epoch: u64,
    /// Newest tail that is known to be this primary's, or that its claim is to follow.
    tail: Option<Tail>,
    prepared: Option<Unit>,
    /// Number of the `Prepare` that is under way.
    preparing: Option<u64>,
    requests: u64,
    woken: bool,
    draining: bool,
    backoff: Backoff,
    /// Times in a row that the tail was found where it cannot be.
    looks: u32,
    /// Appends in a row that the log refused although its tail was the expected one.
    conflicts: Conflicts,
    pace: Pace,
    /// The log was in the way last, and the pause for it is not over.
    away: bool,
}

/// So often a tail that cannot be is read again before it is believed, over 15 s. One that is
/// shorter than what was acknowledged: a leader that was cut off from the others, and does
/// not know yet, reports an old one for up to 10 s. One within our own unit: it is being stored.
const LOOKS: u32 = 20;

impl Core {
    pub(crate) fn new(primary: Label, outbox: OutboxId) -> Self {
        Self {
            primary,
            outbox,
            phase: Phase::Surveying,
            claim: None,
            epoch: 0,
            tail: None,
            prepared: None,
            preparing: None,
            requests: 0,
            woken: false,
            draining: false,
            backoff: Backoff::default(),
            looks: 0,
            conflicts: Conflicts::default(),
            pace: Pace::default(),
            away: false,
        }
    }

    pub(crate) fn start(&mut self) -> Vec<Command> {
        vec![Command::Survey]
    }

    pub(crate) fn step(&mut self, input: Input) -> Vec<Command> {
        if matches!(self.phase, Phase::Ended) {
            return vec![];
        }
        match input {
            Input::Surveyed(Ok(survey)) => self.surveyed(survey),
            Input::TailRead(Ok(read)) => self.resolve(read),
            Input::Surveyed(Err(obstacle)) | Input::TailRead(Err(obstacle)) => {
                self.hindered(obstacle)
            }
            Input::Appended(result) => self.appended(result),
            Input::Prepared { request, unit } => self.on_prepared(request, unit),
            Input::Resumed => vec![match self.phase {
                Phase::Resolving(_) => Command::ReadTail,
                _ => Command::Survey,
            }],
            Input::Woken => {
                self.woken = true;
                self.prepare()
            }
            Input::Challenged => self.challenged(),
            Input::Drain { nothing_waits } => self.drain(nothing_waits),
        }
    }

    fn drain(&mut self, nothing_waits: bool) -> Vec<Command> {
        self.draining = true;
        self.woken = true;
        let has_nothing = match &self.phase {
            Phase::Surveying | Phase::Claiming(_) => true,
            Phase::Resolving(unit) => unit.is_empty(),
            Phase::Idle | Phase::Sending(_) | Phase::Ended => false,
        };
        if nothing_waits && has_nothing {
            return self.end(EndReason::Stopped);
        }
        self.prepare()
    }

    /// If nothing is in flight, nothing shows whether this primary is fenced. Look.
    fn challenged(&mut self) -> Vec<Command> {
        if !matches!(self.phase, Phase::Idle) {
            return vec![];
        }
        self.phase = Phase::Resolving([].into());
        vec![Command::ReadTail]
    }

    fn surveyed(&mut self, survey: Survey) -> Vec<Command> {
        let Survey { tail, logged_through, next_epoch, now } = survey;
        // An attempt that was in doubt may have been stored after all.
        if let Some(claim) = self.claim.take_if(|claim| claim.position() == tail.position) {
            return self.claimed(claim, tail);
        }
        // It has held the log, and lost its claim with what the log lost. Another one was first.
        if self.epoch > 0 && tail.epoch > self.epoch {
            return self.end(EndReason::Fenced { epoch: self.epoch, by: tail.epoch });
        }
        if let Some(why) = self.conflicts.pause(tail.position) {
            return self.pause(why);
        }
        // The same attempt again, where one is in doubt: whenever it is stored, it is known again.
        // Our own epoch counts too.
        let epoch = next_epoch.max(self.epoch.saturating_add(1));
        let again = self.claim.take().filter(|claim| {
            let is_same = claim.epoch == epoch && claim.outbox_sequence == logged_through;
            is_same && claim.follows(&tail.position)
        });
        let claim = again.unwrap_or_else(|| {
            let event = Event::EpochStarted { primary: self.primary.clone(), outbox: self.outbox };
            Entry::seal(&tail.position, epoch, now, logged_through, event)
        });
        self.claim = Some(claim.clone());
        self.phase = Phase::Claiming(claim.clone());
        self.tail = Some(tail.clone());
        vec![Command::Append { after: tail, unit: [claim].into() }]
    }

    /// The tail after an entry of ours. What the log says of it beside its position is not believed: by
    /// a wrong outbox sequence rows would be left out.
    fn own(&self, entry: &Entry, found: &Tail) -> Tail {
        Tail {
            position: entry.position(),
            epoch: entry.epoch,
            time: entry.time,
            outbox_sequence: entry.outbox_sequence,
            outbox: Some(self.outbox),
            fence: found.fence,
        }
    }

    fn claimed(&mut self, claim: Entry, tail: Tail) -> Vec<Command> {
        let tail = self.own(&claim, &tail);
        self.epoch = claim.epoch;
        self.backoff.reset();
        self.away = false;
        self.forget_prepared();
        self.tail = Some(tail);
        self.phase = Phase::Idle;
        self.woken = true;
        let mut commands = vec![Command::Claimed { claim }];
        commands.extend(self.prepare());
        commands
    }

    fn appended(&mut self, result: Result<Tail, AppendError>) -> Vec<Command> {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        match (phase, result) {
            (Phase::Claiming(claim), Ok(tail)) => self.claimed(claim, tail),
            (Phase::Claiming(_), Err(AppendError::Conflict)) => {
                if let Some(tail) = &self.tail {
                    self.conflicts.note(tail.position);
                }
                // Someone else wrote. Read again at once: a busy writer leaves short gaps.
                self.phase = Phase::Surveying;
                vec![Command::Survey]
            }
            (Phase::Claiming(_), Err(AppendError::Doubt(error))) => {
                self.phase = Phase::Surveying;
                self.pause(error_chain(&error))
            }
            (Phase::Sending(unit), Ok(tail)) => {
                self.pace.stored();
                self.logged(unit, tail)
            }
            (Phase::Sending(unit), Err(AppendError::Conflict)) => {
                if let Some(tail) = &self.tail {
                    self.conflicts.note(tail.position);
                }
                self.phase = Phase::Resolving(unit);
                vec![Command::ReadTail]
            }
            (Phase::Sending(unit), Err(AppendError::Doubt(error))) => {
                self.pace.doubted();
                self.phase = Phase::Resolving(unit);
                self.pause(error_chain(&error))
            }
            (_, Err(error)) => self.end(EndReason::refused(error)),
            (phase, Ok(_)) => {
                self.phase = phase;
                self.end(EndReason::halted("the log answered an append that was not under way"))
            }
        }
    }

    /// The unit is logged up to this tail, which is in it. The rest is sent next.
    fn logged(&mut self, unit: Unit, tail: Tail) -> Vec<Command> {
        let logged = unit.iter().take_while(|entry| entry.index <= tail.position.index).count();
        let (logged, rest) = unit.split_at(logged);
        let tail = logged.last().map_or(tail.clone(), |last| self.own(last, &tail));
        self.backoff.reset();
        self.away = false;
        self.looks = 0;
        self.tail = Some(tail.clone());
        self.phase = Phase::Idle;
        self.woken |= self.draining;
        let mut commands = vec![Command::Logged { unit: logged.into() }];
        match rest {
            [] => commands.extend(self.send_prepared()),
            rest => commands.push(self.send(tail, rest.into())),
        }
        commands.extend(self.prepare());
        commands
    }

    /// After a conflict or a doubt the tail alone decides.
    fn resolve(&mut self, TailRead { tail: found, ours }: TailRead) -> Vec<Command> {
        let Phase::Resolving(unit) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return self.end(EndReason::halted("a tail was read that nobody had asked for"));
        };
        let Some(known) = self.tail.clone() else {
            return self.end(EndReason::halted("there was no tail to compare with"));
        };
        if found.epoch > self.epoch {
            return self.end(EndReason::Fenced { epoch: self.epoch, by: found.epoch });
        }
        let is_last = unit.last().is_some_and(|last| last.position() == found.position);
        if is_last || self.pace.is_end(&unit, found.position) {
            return self.logged(unit, found);
        }
        // A log of several servers stores a unit that it has agreed on message by message.
        if let Some(last) = unit.iter().position(|entry| entry.position() == found.position) {
            if self.looks_again() {
                self.phase = Phase::Resolving(unit);
                return self.pause("the unit is being stored".to_owned());
            }
            // The log was cut off within the unit. What is there is logged, the rest comes again.
            self.forget_prepared();
            return self.logged(unit[..=last].into(), found);
        }
        if found.position == known.position && unit.is_empty() {
            self.looks = 0;
            let was_away = std::mem::take(&mut self.away);
            let mut commands = vec![Command::Found];
            commands.extend(self.recovered(was_away));
            commands.extend(self.send_prepared());
            commands.extend(self.prepare());
            return commands;
        }
        if found.position == known.position {
            self.looks = 0;
            if let Some(why) = self.conflicts.pause(found.position) {
                self.phase = Phase::Resolving(unit);
                return self.pause(why);
            }
            let after = Tail { fence: found.fence, ..known };
            self.tail = Some(after.clone());
            return vec![self.send(after, unit)];
        }
        if found.position.index < known.position.index && ours != Some(false) {
            if self.looks_again() {
                self.phase = Phase::Resolving(unit);
                let why = "the log ends before what it has acknowledged; looking again";
                return self.pause(why.to_owned());
            }
            return self.republish(known.position, found, ours);
        }
        let expected = known.position;
        self.end(EndReason::halted(format!(
            "the log's tail is {} of epoch {}, but this primary of epoch {} left it at {expected}: \
             something else writes to the log, or its history was altered; compare it with a \
             backup before anything is published again",
            found.position, found.epoch, self.epoch,
        )))
    }

    fn looks_again(&mut self) -> bool {
        self.looks += 1;
        self.looks < LOOKS
    }

    /// The log lost what it had acknowledged. The outbox has it still, or says that it has not.
    fn republish(
        &mut self,
        acknowledged: Position,
        found: Tail,
        ours: Option<bool>,
    ) -> Vec<Command> {
        self.forget_prepared();
        let is_empty = found.position.index == 0;
        let claims = ours.is_none() || found.epoch < self.epoch;
        let mut commands = vec![Command::LostData {
            acknowledged,
            found: found.clone(),
            claims: claims || is_empty,
        }];
        if is_empty {
            // It may be another log under the same name. Only opening it anew shows that.
            commands.extend(self.end(EndReason::halted(format!(
                "the log is empty, but had acknowledged entries up to {acknowledged}: it lost them \
                 all, or was deleted and created again; nothing was published into it; start the \
                 primary again, which finds out whether it is still the same log"
            ))));
            return commands;
        }
        if claims {
            self.claim = None;
            self.looks = 0;
            self.phase = Phase::Surveying;
            commands.push(Command::Survey);
            return commands;
        }
        self.looks = 0;
        self.away = false;
        self.backoff.reset();
        self.tail = Some(found);
        self.phase = Phase::Idle;
        self.woken = true;
        commands.extend(self.prepare());
        commands
    }

    fn on_prepared(&mut self, request: u64, unit: Result<Unit, Obstacle>) -> Vec<Command> {
        if self.preparing != Some(request) {
            return vec![];
        }
        self.preparing = None;
        let mut commands = self.recovered(unit.is_ok() && !self.away);
        commands.extend(match unit {
            Ok(unit) if unit.is_empty() && self.woken => self.prepare(),
            Ok(unit) if unit.is_empty() => self.drained(),
            Ok(unit) => {
                self.woken = true;
                self.prepared = Some(unit);
                let mut commands = self.send_prepared();
                commands.extend(self.prepare());
                commands
            }
            Err(Obstacle::Final(ended)) => self.end(ended),
            Err(Obstacle::Passing(why)) => {
                // The next wake-up, at the latest the periodic one, tries again.
                self.backoff.failed();
                vec![Command::Retrying { attempt: self.backoff.attempts(), why }]
            }
        });
        commands
    }

    /// What had failed does no more.
    fn recovered(&mut self, succeeded: bool) -> Vec<Command> {
        if succeeded && self.backoff.is_pausing() && matches!(self.phase, Phase::Idle) {
            self.backoff.reset();
            return vec![Command::Recovered];
        }
        vec![]
    }

    fn drained(&mut self) -> Vec<Command> {
        if self.draining && matches!(self.phase, Phase::Idle) {
            return self.end(EndReason::Stopped);
        }
        vec![]
    }

    fn send_prepared(&mut self) -> Vec<Command> {
        let (Phase::Idle, Some(after)) = (&self.phase, self.tail.clone()) else {
            return vec![];
        };
        let Some(unit) = self.prepared.take() else {
            return vec![];
        };
        vec![self.send(after, unit)]
    }

    fn send(&mut self, after: Tail, unit: Unit) -> Command {
        let sent = self.pace.send(&unit);
        self.phase = Phase::Sending(unit);
        Command::Append { after, unit: sent }
    }

    /// Asks for the unit after the one that is in flight, if there may be one.
    fn prepare(&mut self) -> Vec<Command> {
        if !self.woken || self.prepared.is_some() || self.preparing.is_some() {
            return vec![];
        }
        let in_flight = match &self.phase {
            Phase::Idle => None,
            Phase::Sending(unit) | Phase::Resolving(unit) => unit.last(),
            Phase::Surveying | Phase::Claiming(_) | Phase::Ended => return vec![],
        };
        let Some(tail) = &self.tail else {
            return vec![];
        };
        let (after, previous) = match in_flight {
            Some(last) => (last.outbox_sequence, last.position()),
            None => (tail.outbox_sequence, tail.position),
        };
        self.woken = false;
        self.requests += 1;
        self.preparing = Some(self.requests);
        vec![Command::Prepare { request: self.requests, after, previous, epoch: self.epoch }]
    }

    fn forget_prepared(&mut self) {
        self.prepared = None;
        self.preparing = None;
    }

    fn hindered(&mut self, obstacle: Obstacle) -> Vec<Command> {
        match obstacle {
            Obstacle::Passing(why) => self.pause(why),
            Obstacle::Final(ended) => self.end(ended),
        }
    }

    fn pause(&mut self, why: String) -> Vec<Command> {
        self.away = true;
        let pause = self.backoff.failed();
        let attempt = self.backoff.attempts();
        vec![Command::Retrying { attempt, why }, Command::Pause(pause)]
    }

    fn end(&mut self, ended: EndReason) -> Vec<Command> {
        self.phase = Phase::Ended;
        vec![Command::End(ended)]
    }
}
