//! A replica near the tip of a fleet, and every way in which it is not fit to serve.

mod consumer;
mod parts;
mod primary;
mod receipts;
#[cfg(feature = "health-server")]
mod served;
mod watch;

use std::time::{Duration, Instant};

use tipline_consumer::{Phase, Progress};
use tipline_log::Board;
use tipline_proto::{
    Announcement, Cursor, Digest, InstanceId, Level, Lineage, Position, Reached, Receipt, Role,
    Timestamp, Tip,
};

use super::consumer::{ConsumerState, consumer_readiness};
use super::limits::HealthLimits;
use super::readiness::{Readiness, ReasonKind};

const LINEAGE: Lineage = Lineage::from_bytes([7; 16]);

/// So many seconds.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn at(index: u64) -> Position {
    Position { index, digest: Digest::from_bytes([index as u8; 32]) }
}

fn block(height: u64) -> Option<Tip> {
    Some(Tip { height, hash: "ab".parse().unwrap() })
}

/// A consumer whose newest event is a block; event n is block n.
fn receipt(name: &str, height: u64) -> Receipt {
    Receipt {
        lineage: LINEAGE,
        consumer: name.parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(at(height), Level::Durable),
        block_tip: block(height),
        proof_tip: None,
        time: Timestamp::from_micros(0),
        failure: None,
        store: "sqlite:node.db".to_owned(),
        applying: None,
        frozen: None,
        seal: None,
    }
}

fn announcement(height: u64) -> Announcement {
    Announcement {
        lineage: LINEAGE,
        primary: "node-1".parse().unwrap(),
        epoch: 3,
        tail: at(height),
        block_tip: block(height),
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 1000,
        outbox_max_bytes: 1_000_000,
        held_up: None,
        source_failure: None,
        seal: None,
        time: Timestamp::from_micros(0),
        failure: None,
    }
}

/// Where a replica is.
fn cursor(height: u64) -> Cursor {
    Cursor { position: at(height), epoch: 3, block_tip: block(height), proof_tip: None }
}

/// A replica in a fleet, and a clock that stands where the test puts it.
struct Scene {
    state: ConsumerState,
    limits: HealthLimits,
    now: Instant,
    board: Board,
}

impl Scene {
    /// The fleet is at block 100, and so are `replica-1`, which it is about, and `replica-2`.
    fn new() -> Scene {
        let now = Instant::now();
        let name = "replica-1".parse().unwrap();
        let state = ConsumerState::new(name, Role::Replica, Progress::new(), now);
        let board = Board {
            receipts: vec![receipt("replica-1", 100), receipt("replica-2", 100)],
            primary: Some(announcement(100)),
            ..Board::default()
        };
        let mut scene = Scene { state, limits: HealthLimits::default(), now, board };
        scene.hear();
        scene.state.heard_again(100, scene.now);
        scene.state.link.answered(now);
        scene.applies_to(100);
        scene
    }

    /// Time passes, and everyone is heard of.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.state.link.answered(self.now);
        self.hear();
    }

    /// Time passes in silence.
    fn silence(&mut self, time: Duration) {
        self.now += time;
    }

    /// The board is heard, and everyone on it is of now. What is in the log is compared with it.
    fn hear(&mut self) {
        let names = self.board.receipts.iter().map(|receipt| receipt.consumer.clone());
        self.board.heard = names.map(|name| (name, Duration::ZERO)).collect();
        self.board.primary_heard = self.board.primary.as_ref().map(|_| Duration::ZERO);
        let tail = self.board.primary.as_ref().map_or(0, |said| said.tail.index);
        for index in self.state.wanted(&self.board).range(..=tail) {
            self.state.fleet.knows(at(*index));
        }
        self.state.fleet.hear(&self.board, tail, self.now);
        self.state.note_place(&self.limits, self.now);
    }

    /// The primary has published this block, and says so.
    fn publish(&mut self, height: u64) {
        self.board.primary = Some(announcement(height));
        self.hear();
    }

    /// The others have this block.
    fn others_at(&mut self, height: u64) {
        self.board.receipts[1] = receipt("replica-2", height);
        self.hear();
    }

    /// The replica has applied this block.
    fn applies_to(&mut self, height: u64) {
        self.phase_with(Phase::Following, |progress| progress.cursor = Some(cursor(height)));
    }

    fn phase_with(&mut self, phase: Phase, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.state.progress.clone();
        progress.phase = phase;
        change(&mut progress);
        self.state.note(progress, &self.limits, self.now);
    }

    fn readiness(&self) -> Readiness {
        consumer_readiness(&self.state, &self.limits, self.now)
    }

    /// Not ready, for this reason alone.
    #[track_caller]
    fn refuses(&self, kind: ReasonKind, text: &str) {
        let said = self.readiness();
        assert!(!said.ready, "{said:?}");
        let found: Vec<_> = said.reasons.iter().map(|r| (r.kind, r.text.as_str())).collect();
        assert_eq!(found, [(kind, text)]);
        assert_eq!(said.weight, 0);
    }

    #[track_caller]
    fn is_ready(&self) -> Readiness {
        let said = self.readiness();
        assert!(said.ready && !said.degraded && said.reasons.is_empty(), "{said:?}");
        said
    }

    /// Ready, and degraded for this reason alone; with the flag it refuses.
    #[track_caller]
    fn serves_degraded(&mut self, kind: ReasonKind, text: &str) {
        let said = self.readiness();
        assert!(said.ready && said.degraded, "{said:?}");
        let found: Vec<_> = said.reasons.iter().map(|r| (r.kind, r.text.as_str())).collect();
        assert_eq!(found, [(kind, text)]);
        self.limits.refuse_degraded = true;
        self.refuses(kind, text);
        self.limits.refuse_degraded = false;
    }
}
