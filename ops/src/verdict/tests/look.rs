use std::sync::Arc;
use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Receipts};
use tipline_proto::{
    Chain, Digest, Entry, Event, Hash, InstanceId, Level, Lineage, LogIdentity, OutboxId, Position,
    Reached, Receipt, Role, Timestamp,
};

use super::super::{Expectation, Fleet, Observer, State, assess};

const LINEAGE: Lineage = Lineage::from_bytes([7; 16]);

fn hash(height: u64) -> Hash {
    Hash::new([u8::try_from(height).unwrap(); 32]).unwrap()
}

fn block(height: u64) -> Event {
    let (hash, parent_hash) = (hash(height), hash(height - 1));
    Event::BlockCommitted { height, hash, parent_hash, payload: "block".into() }
}

fn proof(height: u64) -> Event {
    Event::BlockProven { height, block_hash: hash(height), payload: "proof".into() }
}

/// A log and someone who looks at it.
struct Scene {
    log: MemoryLog,
    observer: Observer,
    positions: Vec<Position>,
}

impl Scene {
    async fn new() -> Scene {
        let chain = Chain::new("mainnet".parse().unwrap(), hash(0));
        let name = "mainnet".parse().unwrap();
        let identity = LogIdentity { name, chain, lineage: LINEAGE };
        let log = MemoryLog::new(identity.clone());
        let observer = Observer::new("memory".into(), Arc::new(log.clone())).await.unwrap();
        let mut scene = Scene { log, observer, positions: vec![Position::origin(&identity)] };
        let outbox = OutboxId::from_bytes([1; 16]);
        scene.append(Event::EpochStarted { primary: "node-1".parse().unwrap(), outbox }).await;
        scene
    }

    async fn append(&mut self, event: Event) {
        let tail = self.log.tail().await.unwrap();
        let sequence = tail.position.index;
        let entry =
            Entry::seal(&tail.position, 1, Timestamp::from_micros(sequence), sequence, event);
        self.positions.push(entry.position());
        self.log.append(&tail, &[entry]).await.unwrap();
    }

    async fn receipt(&self, name: &str, position: Position) {
        let receipt = Receipt {
            applying: None,
            frozen: None,
            seal: None,
            lineage: LINEAGE,
            consumer: name.parse().unwrap(),
            role: Role::Backup,
            instance: InstanceId::from_bytes([1; 16]),
            reached: Reached::up_to(position, Level::Durable),
            block_tip: None,
            proof_tip: None,
            time: Timestamp::from_micros(1),
            failure: None,
            store: "memory".into(),
        };
        self.log.put_receipt(&receipt).await.unwrap();
    }

    async fn look(&mut self) -> Fleet {
        let board = self.observer.board().await.unwrap();
        let seen = self.observer.look(board).await.unwrap();
        let expected = Expectation {
            accept_shortfalls: tipline_log::Accepted::Everything,
            ..Expectation::default()
        };
        assess(&seen, Timestamp::from_micros(2), &expected)
    }

    async fn height(&mut self) -> Option<u64> {
        self.look().await.tip.map(|tip| tip.height)
    }
}

#[tokio::test]
async fn receipts_are_compared_with_the_logs_own_digests() {
    let mut scene = Scene::new().await;
    for height in 1..=3 {
        scene.append(block(height)).await;
    }
    let altered = Position { index: 2, digest: Digest::from_bytes([9; 32]) };
    let beyond = Position { index: 9, digest: Digest::from_bytes([9; 32]) };
    scene.receipt("altered", altered).await;
    scene.receipt("beyond", beyond).await;
    scene.receipt("good", scene.positions[2]).await;
    scene.receipt("new", scene.positions[0]).await;
    scene.receipt("tip", scene.positions[4]).await;
    let fleet = scene.look().await;
    let states: Vec<_> = fleet.consumers.iter().map(|c| (c.name.as_str(), c.state)).collect();
    let behind = State::Behind; // They have no block in their receipts.
    let expected = [
        ("altered", State::Diverged),
        ("beyond", State::Ahead),
        ("good", behind),
        ("new", behind),
        ("tip", behind),
    ];
    assert_eq!(states, expected);
    // What is remembered for the next look does not change it.
    assert!(scene.look().await.is_same_but_for_time(&fleet));
    scene.receipt("good", altered).await;
    assert_eq!(scene.look().await.consumers[2].state, State::Diverged);
}

#[tokio::test]
async fn the_newest_block_is_found_over_what_came_behind_it() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.height().await, None);
    scene.append(block(1)).await;
    scene.append(block(2)).await;
    scene.append(proof(1)).await;
    assert_eq!(scene.height().await, Some(2));
    scene.append(proof(2)).await;
    assert_eq!(scene.height().await, Some(2));
    scene.append(Event::RolledBack { to_height: 1, to_hash: hash(1) }).await;
    assert_eq!(scene.height().await, Some(1));
}

#[tokio::test]
async fn a_log_that_was_written_again_after_a_loss_is_compared_as_it_is_now() {
    let mut scene = Scene::new().await;
    for height in 1..=3 {
        scene.append(block(height)).await;
    }
    let lost = scene.positions[3];
    scene.receipt("backup", lost).await;
    let state = async |scene: &mut Scene| scene.look().await.consumers[0].state;
    assert_eq!(state(&mut scene).await, State::Behind); // It has no block in its receipt.
    scene.log.truncate(2);
    // The log is as long as it was, and longer, when it is looked at again.
    for height in [12, 13, 14] {
        scene.append(block(height)).await;
    }
    assert_eq!(state(&mut scene).await, State::Diverged);
    assert_eq!(scene.height().await, Some(14));
    // And a fresh look says the same.
    let log = Arc::new(scene.log.clone());
    scene.observer = Observer::new("memory".into(), log).await.unwrap();
    assert_eq!(state(&mut scene).await, State::Diverged);
}

#[tokio::test]
async fn a_rollback_is_seen_for_as_long_as_somebody_is_before_it() {
    let mut scene = Scene::new().await;
    for height in 1..=3 {
        scene.append(block(height)).await;
    }
    scene.receipt("backup", scene.positions[4]).await;
    scene.append(Event::RolledBack { to_height: 1, to_hash: hash(1) }).await;
    scene.append(block(2)).await;
    let board = scene.observer.board().await.unwrap();
    let seen = scene.observer.look(board).await.unwrap();
    assert_eq!(seen.rollbacks, [(5, 1)].into());
    assert_eq!(seen.times.get(&5), Some(&Timestamp::from_micros(4)));
    scene.receipt("backup", scene.positions[6]).await;
    let board = scene.observer.board().await.unwrap();
    assert_eq!(scene.observer.look(board).await.unwrap().rollbacks, [].into());
}

/// Whoever watches for months sees what somebody changes meanwhile.
#[tokio::test(start_paused = true)]
async fn settings_that_change_are_seen_within_a_minute() {
    let mut scene = Scene::new().await;
    let log = scene.log.clone();
    let mut shortfalls = async || {
        let board = scene.observer.board().await.unwrap();
        let seen = scene.observer.look(board).await.unwrap();
        seen.shortfalls.into_iter().map(|one| one.found).collect::<Vec<_>>()
    };
    assert_eq!(shortfalls().await, ["storage: memory"]);
    log.fall_short(&["single-replica"]);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(shortfalls().await, ["single-replica: asked for"]);
}
