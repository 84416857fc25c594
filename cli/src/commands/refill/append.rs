//! Appending what is read.

use std::time::Duration;

use indicatif::HumanBytes;
use tipline_audit::{AuditError, Replay, VerifyProgress};
use tipline_log::{AppendError, Backoff, Log, Tail, error_chain};
use tipline_ops::text::number;
use tipline_proto::limits::{MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::{Entry, Position};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::output::progress::{self, Rate};
use crate::output::report::{Failure, Sentence};

/// Pauses while the log does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So often a tail that is not where it should be is read again before it is believed, over 15 s.
const LOOKS: u32 = 20;

/// A log that is being refilled.
pub(super) struct Refill<'a> {
    pub(super) log: &'a dyn Log,
    pub(super) dry_run: bool,
    /// Where it ends now; in a dry run, where it would.
    pub(super) tail: Tail,
    /// Of payload, appended until now.
    pub(super) bytes: u64,
    pub(super) stop: CancellationToken,
}

impl Refill<'_> {
    /// Appends what is read, and shows how far it is. Gives what turned out to be corrupt and was found
    /// elsewhere, and what ended it before the archive's end.
    pub(super) async fn shown(
        &mut self,
        replay: Replay,
    ) -> Result<(Vec<String>, Option<AuditError>), Failure> {
        let (sender, receiver) = watch::channel(VerifyProgress::default());
        let doing = if self.dry_run { "reading" } else { "refilling" };
        let mut rate = Rate::default();
        let line = || {
            let VerifyProgress { done, of, bytes } = *receiver.borrow();
            let per_second = rate.note(done);
            let (done, of) = (number(done), number(of));
            format!(
                "{doing} · {done} of {of} entries · {} · {per_second:.0} entries/s",
                HumanBytes(bytes)
            )
        };
        let done = tokio::select! {
            done = self.all(replay, &sender) => done,
            never = progress::show(line) => match never {},
        };
        progress::done();
        done
    }

    pub(super) async fn all(
        &mut self,
        mut replay: Replay,
        progress: &watch::Sender<VerifyProgress>,
    ) -> Result<(Vec<String>, Option<AuditError>), Failure> {
        // Compared already. It is the one thing that the replay takes on trust.
        let trusted = replay.trusted().unwrap_or_else(|| Position::origin(self.log.identity()));
        if trusted != self.tail.position {
            let (tail, place) = (self.tail.position, replay.place());
            let text =
                format!("{place} was read from {trusted} on, not from the log's end, {tail}");
            return Err(Sentence(text).into());
        }
        let before = trusted.index;
        let of = replay.range().1.saturating_sub(before);
        loop {
            let vouched = match replay.next_vouched().await {
                Ok(Some(entries)) => entries,
                Ok(None) => break,
                Err(AuditError::Cancelled { .. }) => return Err(self.stopped()),
                Err(error) => return Err(error.into()),
            };
            let mut vouched = &vouched[..];
            while !vouched.is_empty() {
                if self.stop.is_cancelled() {
                    return Err(self.stopped());
                }
                let (unit, after) = vouched.split_at(self.log.unit_len(vouched));
                self.append(unit).await?;
                vouched = after;
                let (done, bytes) = (self.tail.position.index - before, self.bytes);
                progress.send_replace(VerifyProgress { done, of, bytes });
            }
            check_waiting(replay.waiting())?;
        }
        let notes = replay.read().corrupt.clone();
        Ok((notes, replay.into_result().err()))
    }

    /// Appends a unit. After anything but a clear answer only the log's tail decides. An append that is
    /// under way is never given up.
    async fn append(&mut self, mut unit: &[Entry]) -> Result<(), Failure> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !unit.is_empty() {
            let appended = match self.dry_run {
                true => Ok(as_if_appended(&self.tail, unit)),
                false => self.log.append(&self.tail, unit).await,
            };
            let found = match appended {
                Ok(tail) => {
                    self.appended(unit, tail);
                    return Ok(());
                }
                Err(AppendError::Refused(error)) => return Err(error.into()),
                Err(AppendError::Conflict) => self.decided(unit, &mut backoff).await?,
                Err(AppendError::Doubt(error)) if !error.is_retryable() => return Err(error.into()),
                Err(AppendError::Doubt(error)) => {
                    tracing::warn!("waiting for the log: {}", error_chain(&error));
                    self.decided(unit, &mut backoff).await?
                }
                // What a later version of the library may add.
                Err(error) => return Err(error.into()),
            };
            let last = unit.iter().position(|entry| entry.position() == found.position);
            let (stored, rest) = unit.split_at(last.map_or(0, |at| at + 1));
            self.appended(stored, found);
            unit = rest;
            self.pause(&mut backoff).await?;
        }
        Ok(())
    }

    /// The tail after an append that was not clearly answered: where it was, or within the unit. One
    /// that is elsewhere is looked at again: a unit may still be being stored, and a leader that was
    /// cut off tells of an older tail for some seconds.
    async fn decided(&self, unit: &[Entry], backoff: &mut Backoff) -> Result<Tail, Failure> {
        let mut looks = 0;
        loop {
            let found = self.found(backoff).await?;
            let is_last = unit.last().is_some_and(|last| last.position() == found.position);
            if is_last || found.position == self.tail.position {
                return Ok(found);
            }
            looks += 1;
            if looks == LOOKS {
                let is_within = unit.iter().any(|entry| entry.position() == found.position);
                return if is_within { Ok(found) } else { Err(self.overtaken(&found)) };
            }
            self.pause(backoff).await?;
        }
    }

    fn appended(&mut self, unit: &[Entry], tail: Tail) {
        self.bytes += unit.iter().map(|entry| entry.event.payload().len() as u64).sum::<u64>();
        self.tail = tail;
    }

    /// The log's tail, waited for for as long as it does not answer.
    async fn found(&self, backoff: &mut Backoff) -> Result<Tail, Failure> {
        loop {
            match self.log.tail().await {
                Ok(tail) => return Ok(tail),
                Err(error) if error.is_retryable() => {
                    tracing::warn!("waiting for the log: {}", error_chain(&error));
                    self.pause(backoff).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn pause(&self, backoff: &mut Backoff) -> Result<(), Failure> {
        let pause = tokio::time::sleep(backoff.failed());
        match self.stop.run_until_cancelled(pause).await {
            Some(()) => Ok(()),
            None => Err(self.stopped()),
        }
    }

    fn stopped(&self) -> Failure {
        let at = number(self.tail.position.index);
        let text = match self.dry_run {
            true => format!("stopped after entry {at}; nothing was appended"),
            false => format!("stopped after entry {at}: the same command resumes there"),
        };
        Failure::from(Sentence(text)).ending(Exit::Interrupted)
    }

    fn overtaken(&self, found: &Tail) -> Failure {
        let text = format!(
            "the log ends at {}, where it was left at {}: somebody else writes to it, or it lost its \
             end once more",
            found.position, self.tail.position
        );
        let advice = "stop the primary, and run this again: what is in the log is compared first";
        Failure::from(Sentence(text)).advise(advice)
    }
}

/// The end of a unit is signed: more than one is not waited for.
fn check_waiting(waiting: &[Entry]) -> Result<(), Failure> {
    let bytes: usize = waiting.iter().map(|entry| entry.event.payload().len()).sum();
    let is_more = waiting.len() > MAX_UNIT_MESSAGES || waiting.len() > 1 && bytes > MAX_UNIT_BYTES;
    let Some(first) = waiting.first().filter(|_| is_more) else { return Ok(()) };
    let text = format!(
        "no trusted primary has signed the entries from {} on, which are more than a unit",
        number(first.index)
    );
    let advice = "none of them was appended. If their history is known to be right, although it is \
                  not signed: leave the trusted keys out";
    Err(Failure::from(Sentence(text)).advise(advice).ending(Exit::Corrupt))
}

/// The tail that the log would have.
fn as_if_appended(after: &Tail, unit: &[Entry]) -> Tail {
    let mut tail = after.clone();
    if let Some(last) = unit.last() {
        tail.position = last.position();
        tail.epoch = last.epoch;
        tail.time = last.time;
        tail.outbox_sequence = last.outbox_sequence;
    }
    tail
}
