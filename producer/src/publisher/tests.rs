//! Single steps of the core and of the outbox's worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tipline_log::{AppendError, LogError, Tail, system_clock};
use tipline_proto::{Digest, Entry, Event, Label, OutboxId, Position, Timestamp};

use super::core::Core;
use super::protocol::{Command, Input, Survey, TailRead};
use super::worker::{OutboxWorker, Tidying};
use crate::end_reason::EndReason;
use crate::outbox::conformance::{block, genesis};
use crate::outbox::{MemoryOutbox, Outbox};
use crate::settings::Keep;

const OUTBOX: OutboxId = OutboxId::from_bytes([1; 16]);

/// The end of a log with `index` entries.
fn tail(index: u64, epoch: u64) -> Tail {
    let digest = Digest::from_bytes([u8::try_from(index).unwrap(); 32]);
    Tail {
        position: Position { index, digest },
        epoch,
        time: Timestamp::default(),
        outbox_sequence: 0,
        outbox: (index > 0).then_some(OUTBOX),
        fence: index,
    }
}

fn surveyed(tail: Tail, now: u64) -> Input {
    let (logged_through, next_epoch) = (0, tail.epoch + 1);
    let now = Timestamp::from_micros(now);
    Input::Surveyed(Ok(Survey { tail, logged_through, next_epoch, now }))
}

fn claim(commands: &[Command]) -> Entry {
    match commands {
        [Command::Append { unit, .. }] => unit[0].clone(),
        other => panic!("{other:?}"),
    }
}

/// A core that has claimed a log after its first three entries.
fn claimed() -> Core {
    let mut core = Core::new(Label::new("p").unwrap(), OUTBOX);
    core.start();
    let claim = claim(&core.step(surveyed(tail(3, 1), 1)));
    let tail = Tail { position: claim.position(), epoch: 2, fence: 4, ..tail(3, 1) };
    core.step(Input::Appended(Ok(tail)));
    core
}

/// It is back before its claim, and before it has claimed the log again another primary has.
#[test]
fn a_primary_whose_claim_the_log_lost_does_not_fence_the_one_that_was_first() {
    let mut core = claimed();
    let mut commands = core.step(Input::Challenged);
    while !matches!(commands[..], [Command::LostData { claims: true, .. }, Command::Survey]) {
        assert!(!commands.iter().any(|command| matches!(command, Command::End(_))), "{commands:?}");
        core.step(Input::Resumed);
        commands = core.step(Input::TailRead(Ok(TailRead { tail: tail(2, 1), ours: None })));
    }
    let ended = core.step(surveyed(tail(3, 3), 9));
    let [Command::End(EndReason::Fenced { epoch: 2, by: 3 })] = &ended[..] else {
        panic!("{ended:?}");
    };
}

/// Stored late, it would be an unknown primary's claim.
#[test]
fn a_claim_in_doubt_is_made_again_as_it_was() {
    let mut core = Core::new(Label::new("p").unwrap(), OUTBOX);
    core.start();
    let first = claim(&core.step(surveyed(tail(3, 1), 1)));
    let doubt = LogError::Unavailable { place: "test".into(), what: "test".into(), source: None };
    core.step(Input::Appended(Err(AppendError::Doubt(doubt))));
    core.step(Input::Resumed);
    assert_eq!(claim(&core.step(surveyed(tail(3, 1), 2))), first);
    core.step(Input::Appended(Err(AppendError::Conflict)));
    let late = Tail { position: first.position(), epoch: first.epoch, ..tail(4, 0) };
    let commands = core.step(surveyed(late, 3));
    assert!(matches!(commands[..], [Command::Claimed { .. }, ..]), "{commands:?}");

    // After another tail it is another one.
    let mut core = Core::new(Label::new("p").unwrap(), OUTBOX);
    core.start();
    core.step(surveyed(tail(3, 1), 1));
    core.step(Input::Appended(Err(AppendError::Conflict)));
    let second = claim(&core.step(surveyed(tail(5, 4), 2)));
    assert_eq!((second.index, second.epoch), (6, 5));
}

#[test]
fn a_tail_that_is_where_it_was_left_is_said() {
    let mut core = claimed();
    let tail = match &core.step(Input::Challenged)[..] {
        [Command::ReadTail] => Tail { position: claim_position(), epoch: 2, ..tail(4, 2) },
        other => panic!("{other:?}"),
    };
    let commands = core.step(Input::TailRead(Ok(TailRead { tail, ours: Some(true) })));
    assert!(matches!(commands[..], [Command::Found, ..]), "{commands:?}");
}

fn claim_position() -> Position {
    let event = Event::EpochStarted { primary: Label::new("p").unwrap(), outbox: OUTBOX };
    Entry::seal(&tail(3, 1).position, 2, Timestamp::from_micros(1), 0, event).position()
}

/// An outbox with 100 rows that are logged, and its worker.
struct Tidied {
    outbox: MemoryOutbox,
    worker: OutboxWorker,
    held: Arc<AtomicU64>,
    start: Instant,
}

impl Tidied {
    fn new() -> Self {
        let outbox = MemoryOutbox::new(OUTBOX, genesis(), system_clock());
        for height in 1..=100 {
            outbox.enqueue(&block(height, 0, 0)).unwrap();
        }
        let (worker, _) = OutboxWorker::spawn(Box::new(outbox.clone())).unwrap();
        Self { outbox, worker, held: Arc::default(), start: Instant::now() }
    }

    /// Answers the oldest row that is there after it, `seconds` after the start.
    async fn tidy(&mut self, seconds: u64, held: u64, losses: u64) -> u64 {
        let keep = Keep { rows: 8, time: Duration::from_secs(60), bytes: u64::MAX };
        self.held.store(held, Ordering::SeqCst);
        let tidying = Tidying {
            logged: Some(100),
            may_leave: Some((100, keep)),
            held: Arc::clone(&self.held),
            losses,
            now: self.start + Duration::from_secs(seconds),
            at_once: true,
        };
        let tidied = self.worker.tidy(tidying).await.unwrap();
        assert!(tidied.failure.is_none(), "{:?}", tidied.failure);
        assert_eq!(self.held.load(Ordering::SeqCst), 0, "it is asked again before the next trim");
        self.outbox.pending().unwrap().first
    }
}

#[tokio::test]
async fn rows_leave_only_while_the_log_is_known_to_hold_them() {
    let mut tidied = Tidied::new();
    assert_eq!(tidied.tidy(0, 100, 0).await, 1, "they are young");
    assert_eq!(tidied.tidy(61, 0, 0).await, 1, "it is not known");
    assert_eq!(tidied.tidy(62, 30, 0).await, 31, "no further than it is known");
    assert_eq!(tidied.tidy(63, 100, 0).await, 94);
}

/// A log that loses what it acknowledged a minute ago loses what it acknowledges again as well.
#[tokio::test]
async fn what_is_logged_again_is_young_again() {
    let mut tidied = Tidied::new();
    assert_eq!(tidied.tidy(0, 100, 0).await, 1);
    assert_eq!(tidied.tidy(61, 100, 1).await, 1, "it was logged again just now");
    assert_eq!(tidied.tidy(122, 100, 1).await, 94);
}
