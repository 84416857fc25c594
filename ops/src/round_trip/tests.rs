use std::sync::Arc;
use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Receipts};
use tipline_proto::{
    Chain, Digest, Entry, Event, Hash, InstanceId, Level, Lineage, LogIdentity, OutboxId, Position,
    Reached, Receipt, Role, Timestamp,
};
use tokio::time::Instant;

use super::{Answer, AnswerState, Probe, Prober, RoundTrip};

const LINEAGE: Lineage = Lineage::from_bytes([7; 16]);
const MARK: &str = "tipline-check-1";

struct Scene {
    log: MemoryLog,
}

impl Scene {
    async fn new() -> Scene {
        let genesis = Hash::new([1; 32]).unwrap();
        let chain = Chain::new("mainnet".parse().unwrap(), genesis);
        let name = "mainnet".parse().unwrap();
        let scene = Scene { log: MemoryLog::new(LogIdentity { name, chain, lineage: LINEAGE }) };
        let outbox = OutboxId::from_bytes([1; 16]);
        let primary = "node-1".parse().unwrap();
        scene.append(Event::EpochStarted { primary, outbox }).await;
        scene.append(Event::Marked { name: "another".parse().unwrap() }).await;
        scene
    }

    async fn append(&self, event: Event) -> Position {
        let tail = self.log.tail().await.unwrap();
        let sequence = tail.position.index;
        let entry = Entry::seal(&tail.position, 1, Timestamp::from_micros(9), sequence, event);
        self.log.append(&tail, std::slice::from_ref(&entry)).await.unwrap();
        entry.position()
    }

    async fn mark(&self) -> Position {
        self.append(Event::Marked { name: MARK.parse().unwrap() }).await
    }

    async fn tail(&self) -> Position {
        self.log.tail().await.unwrap().position
    }

    async fn receipt(&self, name: &str, position: Position, level: Level) {
        self.said(name, position, level, None).await;
    }

    async fn said(&self, name: &str, position: Position, level: Level, failure: Option<&str>) {
        let receipt = Receipt {
            applying: None,
            frozen: None,
            seal: None,
            lineage: LINEAGE,
            consumer: name.parse().unwrap(),
            role: Role::Backup,
            instance: InstanceId::from_bytes([1; 16]),
            reached: Reached::up_to(position, level),
            block_tip: None,
            proof_tip: None,
            time: Timestamp::from_micros(1),
            failure: failure.map(str::to_owned),
            store: "memory".into(),
        };
        self.log.put_receipt(&receipt).await.unwrap();
    }

    async fn prober(&self) -> Prober {
        Prober::new(Arc::new(self.log.clone())).await.unwrap()
    }
}

fn probe(level: Level, expected: &[&str]) -> Probe {
    Probe {
        name: MARK.parse().unwrap(),
        level,
        expected: expected.iter().map(|name| name.parse().unwrap()).collect(),
        within: Duration::from_secs(30),
    }
}

fn states(trip: &RoundTrip) -> Vec<(&str, AnswerState)> {
    trip.consumers.iter().map(|Answer { name, state, .. }| (name.as_str(), *state)).collect()
}

/// The clock is tokio's, and goes on only while everybody waits.
#[tokio::test(start_paused = true)]
async fn each_leg_is_timed_by_when_it_ended() {
    let scene = Scene::new().await;
    let before = scene.tail().await;
    scene.receipt("backup-1", before, Level::Durable).await;
    scene.receipt("replica-1", before, Level::Durable).await;
    let (prober, asked) = (scene.prober().await, Instant::now());
    let life = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mark = scene.mark().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.receipt("backup-1", mark, Level::Durable).await;
        // Others go on publishing: a receipt further on acknowledges the mark too.
        let later = scene.append(Event::Marked { name: "later".parse().unwrap() }).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        scene.receipt("replica-1", later, Level::Verified).await;
        mark
    };
    let probe = probe(Level::Durable, &["backup-1"]);
    let (trip, mark) = tokio::join!(prober.wait(&probe, asked), life);
    let trip = trip.unwrap();
    assert!(trip.ok, "{trip:?}");
    assert_eq!((trip.index, trip.mark.as_str()), (Some(mark.index), MARK));
    assert_eq!(trip.digest, Some(mark.digest.to_string()));
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    assert_eq!(seconds(trip.logged), Some(2));
    let legs: Vec<_> =
        trip.consumers.iter().map(|one| (one.name.as_str(), seconds(one.acknowledged))).collect();
    assert_eq!(legs, [("backup-1", Some(1)), ("replica-1", Some(5))]);
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_does_not_get_to_the_log_is_said_after_the_time() {
    let scene = Scene::new().await;
    scene.receipt("backup-1", scene.tail().await, Level::Durable).await;
    let (prober, asked) = (scene.prober().await, Instant::now());
    let trip = prober.wait(&probe(Level::Durable, &["gone"]), asked).await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 30);
    assert_eq!((trip.ok, trip.index, trip.logged), (false, None, None));
    let expected = [("backup-1", AnswerState::Waiting), ("gone", AnswerState::Missing)];
    assert_eq!(states(&trip), expected);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_not_acknowledged_is_named_with_the_reason() {
    let scene = Scene::new().await;
    let before = scene.tail().await;
    scene.receipt("late", before, Level::Durable).await;
    scene.receipt("diverged", before, Level::Durable).await;
    scene.receipt("only-applies", before, Level::Applied).await;
    let (prober, asked) = (scene.prober().await, Instant::now());
    let mark = scene.mark().await;
    let other = Position { index: mark.index, digest: Digest::from_bytes([9; 32]) };
    scene.receipt("diverged", other, Level::Durable).await;
    scene.receipt("only-applies", mark, Level::Applied).await;
    scene.receipt("well", mark, Level::Durable).await;
    let trip = prober.wait(&probe(Level::Durable, &["missing", "well"]), asked).await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 30);
    assert!(!trip.ok);
    let expected = [
        ("diverged", AnswerState::Diverged),
        ("late", AnswerState::Waiting),
        ("missing", AnswerState::Missing),
        ("only-applies", AnswerState::Below),
        ("well", AnswerState::Acknowledged),
    ];
    assert_eq!(states(&trip), expected);
    let json = serde_json::to_value(&trip).unwrap();
    assert_eq!(json["consumers"][0]["state"], "diverged");
    assert_eq!(json["consumers"][1]["acknowledged_ms"], serde_json::Value::Null);
}

#[tokio::test(start_paused = true)]
async fn one_that_reports_lower_levels_only_is_waited_for_if_it_is_expected() {
    let scene = Scene::new().await;
    let (prober, asked) = (scene.prober().await, Instant::now());
    let mark = scene.mark().await;
    scene.receipt("archive", mark, Level::Verified).await;
    scene.receipt("replica", mark, Level::Durable).await;
    let trip = prober.wait(&probe(Level::Verified, &[]), asked).await.unwrap();
    assert!(trip.ok, "{trip:?}");
    let prober = scene.prober().await;
    let again = Probe { name: "again".parse().unwrap(), ..probe(Level::Verified, &["replica"]) };
    let mark = scene.append(Event::Marked { name: again.name.clone() }).await;
    scene.receipt("archive", mark, Level::Verified).await;
    let trip = prober.wait(&again, Instant::now()).await.unwrap();
    assert!(!trip.ok);
    let expected = [("archive", AnswerState::Acknowledged), ("replica", AnswerState::Waiting)];
    assert_eq!(states(&trip), expected);
}

/// Its last receipt says no more than *applied*, as if it had never said anything else.
#[tokio::test(start_paused = true)]
async fn whoever_may_have_lost_its_store_is_waited_for() {
    let scene = Scene::new().await;
    let before = scene.tail().await;
    scene.said("in-doubt", before, Level::Applied, Some("its disk failed")).await;
    let (prober, asked) = (scene.prober().await, Instant::now());
    let mark = scene.mark().await;
    scene.receipt("well", mark, Level::Durable).await;
    let trip = prober.wait(&probe(Level::Durable, &[]), asked).await.unwrap();
    assert!(!trip.ok, "{trip:?}");
    let expected = [("in-doubt", AnswerState::Waiting), ("well", AnswerState::Acknowledged)];
    assert_eq!(states(&trip), expected);
    assert_eq!(trip.consumers[0].failure.as_deref(), Some("its disk failed"));
}

/// Nobody at all is not everybody.
#[tokio::test(start_paused = true)]
async fn without_a_consumer_it_is_not_well() {
    let scene = Scene::new().await;
    let (prober, asked) = (scene.prober().await, Instant::now());
    scene.mark().await;
    let trip = prober.wait(&probe(Level::Durable, &[]), asked).await.unwrap();
    assert!(!trip.ok && trip.index.is_some() && trip.consumers.is_empty(), "{trip:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_for_a_while_is_asked_again() {
    let scene = Scene::new().await;
    scene.receipt("backup-1", scene.tail().await, Level::Durable).await;
    let (prober, asked) = (scene.prober().await, Instant::now());
    scene.log.set_available(false);
    let life = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        scene.log.set_available(true);
        let mark = scene.mark().await;
        scene.receipt("backup-1", mark, Level::Durable).await;
    };
    let probe = probe(Level::Durable, &[]);
    let (trip, ()) = tokio::join!(prober.wait(&probe, asked), life);
    let trip = trip.unwrap();
    assert!(trip.ok && trip.log_failure.is_none(), "{trip:?}");

    let (prober, asked) = (scene.prober().await, Instant::now());
    scene.log.set_available(false);
    let trip = prober.wait(&probe, asked).await.unwrap();
    assert!(!trip.ok);
    assert!(
        trip.log_failure.as_ref().is_some_and(|why| why.contains("does not answer")),
        "{trip:?}"
    );
}
