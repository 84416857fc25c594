//! What stands on any log: claiming, reading for a decision, and pauses.

mod signed;
mod vouched;

use std::sync::Arc;
use std::time::Duration;

use tipline_proto::limits::{MAX_UNIT_BYTES, MAX_UNIT_MESSAGES};
use tipline_proto::{
    Agreement, Announcement, Chain, Digest, Entry, Event, Hash, InstanceId, Key, Label, Level,
    Lineage, LogIdentity, OutboxId, Position, Reached, Receipt, Role, Timestamp, Tip,
};

use crate::memory::MemoryLog;
use crate::{
    Ages, AgesBy, AppendError, Appender, Backoff, Board, Clock, Extent, LogError, Reader, Receipts,
    Survey, Tail, Trimmer, claim, newest_block, next_epoch,
};

const SECOND: u64 = 1_000_000;

fn log() -> MemoryLog {
    let chain = Chain::new("test".parse().unwrap(), Hash::new([0; 32]).unwrap());
    let lineage = Lineage::from_bytes([3; 16]);
    MemoryLog::new(LogIdentity { name: "test".parse().unwrap(), chain, lineage })
}

fn label(name: &str) -> Label {
    Label::new(name).unwrap()
}

fn clock() -> Clock {
    Arc::new(|| Timestamp::from_micros(7 * SECOND))
}

fn block(height: u64) -> Event {
    let hash = |height: u64| Hash::new(height.to_be_bytes()).unwrap();
    let (hash, parent_hash) = (hash(height), hash(height - 1));
    Event::BlockCommitted { height, hash, parent_hash, payload: vec![1; 9].into() }
}

/// Appends an event, committed `seconds` after 1970.
async fn append(log: &MemoryLog, seconds: u64, event: Event) -> Position {
    let tail = log.tail().await.unwrap();
    let time = Timestamp::from_micros(seconds * SECOND);
    let entry = Entry::seal(&tail.position, 1, time, tail.outbox_sequence + 1, event);
    log.append(&tail, std::slice::from_ref(&entry)).await.unwrap().position
}

async fn start_epoch(log: &MemoryLog) {
    let tail = log.tail().await.unwrap();
    let outbox = OutboxId::from_bytes([1; 16]);
    let event = Event::EpochStarted { primary: label("first"), outbox };
    let entry = Entry::seal(&tail.position, 1, Timestamp::from_micros(SECOND), 0, event);
    log.append(&tail, &[entry]).await.unwrap();
}

#[tokio::test]
async fn a_claim_starts_the_next_epoch_fences_the_old_one_and_says_so() {
    let log = log();
    start_epoch(&log).await;
    append(&log, 2, block(1)).await;
    let old: Tail = log.tail().await.unwrap();
    let claimed = claim(&log, label("new"), &clock()).await.unwrap();
    let tail = log.tail().await.unwrap();
    assert_eq!((claimed.epoch, claimed.position, claimed.time_us), (2, tail.position, 7 * SECOND));
    assert_ne!(tail.outbox, old.outbox, "nothing of the old outbox continues by itself");
    let late = Entry::seal(&old.position, 1, Timestamp::from_micros(SECOND), 2, block(2));
    assert!(matches!(log.append(&old, &[late]).await, Err(AppendError::Conflict)));
    let said = log.board().await.unwrap().primary.unwrap();
    assert_eq!((said.primary, said.epoch, said.tail), (label("new"), 2, tail.position));
    assert!(said.failure.is_some(), "it is not running yet");
}

/// What a log loses, somebody may have seen. An epoch is not given twice.
#[tokio::test]
async fn a_claim_is_above_every_epoch_that_was_announced() {
    let log = log();
    start_epoch(&log).await;
    let kept = append(&log, 2, block(1)).await;
    for epoch in 2..=4 {
        let claimed = claim(&log, label("new"), &clock()).await.unwrap();
        assert_eq!((claimed.epoch, claimed.position.index), (epoch, kept.index + 1));
        log.truncate(kept.index);
    }
    let said = log.board().await.unwrap().primary.unwrap();
    log.announce(&Announcement { epoch: 9, ..said }).await.unwrap();
    assert_eq!(claim(&log, label("new"), &clock()).await.unwrap().epoch, 10);
    // The tail counts as well.
    let (tail, said) = (log.tail().await.unwrap(), log.board().await.unwrap().primary.unwrap());
    let next = |epoch, said| next_epoch(&log, &Tail { epoch, ..tail.clone() }, said);
    assert_eq!(next(12, Some(&said)).unwrap(), 13);
    assert_eq!((next(10, Some(&said)).unwrap(), next(10, None).unwrap()), (11, 11));
    // Whoever wrote this was no primary, and two must not have the same.
    for epoch in [u64::MAX - 1, u64::MAX, 1 << 63] {
        assert!(matches!(next(epoch, None), Err(LogError::Unusable { .. })), "{epoch}");
    }
}

#[tokio::test]
async fn a_survey_compares_receipts_with_the_log() {
    let log = log();
    start_epoch(&log).await;
    let mut positions = vec![];
    for height in 1..=9 {
        positions.push(append(&log, 10 * height, block(height)).await);
    }
    log.trim(4).await.unwrap();
    let elsewhere = Position { digest: positions[0].digest, ..positions[6] };
    let said = [("a", positions[6]), ("b", elsewhere), ("c", positions[0])];
    for (name, position) in said {
        let receipt = Receipt {
            applying: None,
            frozen: None,
            seal: None,
            lineage: Lineage::from_bytes([3; 16]),
            consumer: name.parse().unwrap(),
            role: Role::Backup,
            instance: InstanceId::from_bytes([1; 16]),
            reached: Reached::up_to(position, Level::Durable),
            block_tip: None,
            proof_tip: None,
            time: Timestamp::from_micros(1),
            failure: None,
            store: String::new(),
        };
        log.put_receipt(&receipt).await.unwrap();
    }
    let now = Timestamp::from_micros(100 * SECOND);
    let survey = Survey::read(&log, [5, 99], Duration::from_secs(25), now).await.unwrap();
    assert_eq!(survey.tail, positions[8]);
    let known: Vec<u64> = survey.digests.keys().copied().collect();
    assert_eq!(known, [5, 8, 10], "wanted, reported, the tail");
    assert_eq!(survey.young_from, 8, "committed at 70 s, 20 s before the newest");
    assert_eq!(survey.per_event, Some(Duration::from_secs(10)));
    let found: Vec<_> = survey.receipts.iter().map(|r| survey.agreement(r)).collect();
    let diverged = Agreement::Diverged { index: 8 };
    assert_eq!(found, [Agreement::Agrees, diverged, Agreement::Unknown]);
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * SECOND)
}

/// A board on which the primary said something at this time, and the log has had it for so long.
fn said(seconds: u64, heard: Option<u64>) -> Board {
    let said = Announcement {
        lineage: Lineage::from_bytes([3; 16]),
        primary: label("first"),
        epoch: 1,
        tail: Position { index: 1, digest: Digest::from_bytes([1; 32]) },
        block_tip: None,
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        seal: None,
        time: at(seconds),
        failure: None,
    };
    let primary_heard = heard.map(Duration::from_secs);
    Board { primary: Some(said), primary_heard, ..Board::default() }
}

/// An operator's clock never makes anything older than the primary's does.
#[test]
fn ages_are_counted_by_the_clock_that_dated_the_entries() {
    const NOW: u64 = 1_000_000;
    const DAY: u64 = 86_400;
    let newest = NOW - 500;
    let announced = || said(NOW - 3, Some(3));
    let cases = [
        ("both are right", NOW, newest, announced(), NOW - 3, AgesBy::Announcement, None),
        ("here ahead", NOW + DAY, newest, announced(), NOW - 3, AgesBy::Announcement, Some(NOW)),
        ("here behind", NOW - DAY, newest, announced(), NOW - DAY, AgesBy::ThisMachine, Some(NOW)),
        ("within a minute", NOW + 59, newest, announced(), NOW - 3, AgesBy::Announcement, None),
        (
            "the primary ahead",
            NOW,
            newest + DAY,
            said(NOW + DAY - 3, Some(3)),
            NOW,
            AgesBy::ThisMachine,
            Some(NOW + DAY),
        ),
        // Its age is counted on one clock.
        ("the primary ended", NOW, 7, said(10, Some(NOW - 10)), 10, AgesBy::Announcement, None),
        (
            "an older log",
            NOW + DAY,
            newest,
            said(NOW - 3, None),
            NOW - 3,
            AgesBy::Announcement,
            None,
        ),
        ("nobody says anything", NOW, newest, Board::default(), newest, AgesBy::NewestEntry, None),
        ("older than the newest", NOW, newest, said(9, None), newest, AgesBy::NewestEntry, None),
        (
            "nobody, and here behind",
            newest - DAY,
            newest,
            Board::default(),
            newest - DAY,
            AgesBy::ThisMachine,
            Some(newest),
        ),
        ("an empty log", NOW, 0, Board::default(), 0, AgesBy::NewestEntry, None),
    ];
    for (name, here, newest, board, from, by, primary) in cases {
        let ages = Ages::with_board(at(here), at(newest), &board);
        let expected = Ages { from: at(from), by, here: at(here), primary: primary.map(at) };
        assert_eq!(ages, expected, "{name}");
        assert!(ages.from <= ages.here, "{name}");
    }
    let ages = Ages::new(at(NOW), at(newest));
    assert_eq!(ages.since(Duration::from_secs(500)), at(NOW - 1000));
    assert_eq!(ages.since(Duration::MAX), at(0));
}

/// One entry with a wrong time, wherever the search meets it, keeps nothing after it.
#[tokio::test]
async fn a_time_that_is_ahead_counts_as_the_next_one() {
    const YEAR: u64 = 365 * 86_400;
    for wrong in 2..=99 {
        let log = log();
        start_epoch(&log).await;
        for height in 1..=99 {
            let seconds = if height + 1 == wrong { YEAR } else { 10 * height };
            append(&log, seconds, block(height)).await;
        }
        let survey = Survey::read(&log, [], Duration::from_secs(300), at(2000)).await.unwrap();
        // The newest is from 990 s, in entry 100.
        let first = if wrong == 70 { 70..=70 } else { 71..=71 };
        assert!(first.contains(&survey.young_from), "{wrong}: {}", survey.young_from);
    }
    // A primary whose clock is ahead for good keeps everything since.
    let log = log();
    start_epoch(&log).await;
    for height in 1..=99 {
        append(&log, if height < 50 { 10 * height } else { YEAR + height }, block(height)).await;
    }
    let survey = Survey::read(&log, [], Duration::from_secs(300), at(2000)).await.unwrap();
    assert_eq!(survey.young_from, 51);
}

/// The search by halves passes over what is young before something old. Reading does not.
#[tokio::test]
async fn what_goes_is_read_where_the_clock_was_set_back() {
    let survey_of = async |times: &[u64], last: u64| {
        let log = log();
        start_epoch(&log).await;
        for (seconds, height) in times.iter().zip(1..) {
            append(&log, *seconds, block(height)).await;
        }
        let keep_for = Duration::from_secs(300);
        let mut survey = Survey::read(&log, [], keep_for, at(2000)).await.unwrap();
        let searched = survey.young_from;
        let going = Extent { first: 1, last };
        survey.read_ages(&log, going, keep_for).await.unwrap();
        (searched, survey.young_from)
    };
    // Entry 1 is from 1 s, entry n + 1 of the n-th time. What is from after 700 s is young.
    let steady = [100, 200, 300, 400, 500, 700, 800, 900, 1000];
    assert_eq!(survey_of(&steady, 7).await, (8, 8));
    // Set back, after an entry that is young.
    let back = [100, 200, 900, 300, 400, 500, 600, 900, 1000];
    assert_eq!(survey_of(&back, 8).await, (9, 4));
    assert_eq!(survey_of(&back, 3).await, (9, 9), "what does not go is not read");
    // The last of what goes are ahead: as old as the next one, which stays.
    let ahead = [100, 200, 3000, 3000, 500, 600, 650, 900, 1000];
    assert_eq!(survey_of(&ahead, 5).await, (9, 9));
    let ahead = [100, 200, 300, 400, 500, 600, 3000, 900, 1000];
    assert_eq!(survey_of(&ahead, 8).await, (8, 8));
}

#[tokio::test]
async fn reading_what_goes_bears_trimming_and_ends_with_the_log() {
    let log = log();
    start_epoch(&log).await;
    for height in 1..=20 {
        append(&log, 10 * height, block(height)).await;
    }
    let keep_for = Duration::from_secs(50);
    let mut survey = Survey::read(&log, [], keep_for, at(2000)).await.unwrap();
    assert_eq!(survey.young_from, 17);
    log.trim(10).await.unwrap();
    survey.read_ages(&log, Extent { first: 1, last: 16 }, keep_for).await.unwrap();
    survey.read_ages(&log, Extent { first: 1, last: 5 }, keep_for).await.unwrap();
    assert_eq!(survey.young_from, 17);
    // What cannot be read does not count as old.
    let going = Extent { first: 10, last: 16 };
    log.set_available(false);
    assert!(survey.read_ages(&log, going, keep_for).await.is_err());
}

#[tokio::test]
async fn the_newest_block_is_looked_for_from_the_end() {
    let log = log();
    start_epoch(&log).await;
    assert_eq!(newest_block(&log, 1..=1).await.unwrap(), None);
    append(&log, 1, block(1)).await;
    append(&log, 2, block(2)).await;
    let Some(first) = block(1).block_tip() else { panic!("a block has a tip") };
    append(&log, 3, Event::RolledBack { to_height: 1, to_hash: first.hash.clone() }).await;
    append(&log, 4, Event::Marked { name: label("here") }).await;
    assert_eq!(newest_block(&log, 1..=5).await.unwrap(), Some(first));
    let second: Option<Tip> = block(2).block_tip();
    assert_eq!(newest_block(&log, 1..=3).await.unwrap(), second);
    assert_eq!(newest_block(&log, 5..=5).await.unwrap(), None);
    log.trim(5).await.unwrap();
    assert_eq!(newest_block(&log, 1..=5).await.unwrap(), None, "trimmed away meanwhile");
}

#[test]
fn pauses_double_up_to_the_longest_and_start_again() {
    let mut backoff = Backoff::default();
    assert!(!backoff.is_pausing());
    let pauses: Vec<u128> = (0..7).map(|_| backoff.failed().as_millis()).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    assert_eq!((backoff.attempts(), backoff.is_pausing()), (7, true));
    (0..100).for_each(|_| assert_eq!(backoff.failed(), Duration::from_secs(1)));
    backoff.reset();
    assert_eq!((backoff.failed(), backoff.attempts()), (Duration::from_millis(50), 1));
}

#[tokio::test]
async fn a_unit_is_as_long_as_messages_and_bytes_allow() {
    let log = log();
    let sealed = |lengths: &[usize]| -> Vec<Entry> {
        let mut position = Position::origin(log.identity());
        let entries = lengths.iter().map(|length| {
            let payload = vec![0; *length].into();
            let event = Event::StateRecorded { key: Key::new([1]).unwrap(), value: Some(payload) };
            let entry = Entry::seal(&position, 1, Timestamp::from_micros(SECOND), 1, event);
            position = entry.position();
            entry
        });
        entries.collect()
    };
    assert_eq!(log.unit_len(&[]), 0);
    assert_eq!(log.unit_len(&sealed(&[1; MAX_UNIT_MESSAGES + 5])), MAX_UNIT_MESSAGES);
    assert_eq!(log.unit_len(&sealed(&[MAX_UNIT_BYTES - 1, 1, 1])), 2, "exactly fits");
    assert_eq!(log.unit_len(&sealed(&[MAX_UNIT_BYTES + 1, 1])), 1, "the first alone may be larger");
}
