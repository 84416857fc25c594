//! Whether a primary may still run, and what is appended where signatures are required.

use std::sync::Arc;
use std::time::Duration;

use tipline_audit::Range;
use tipline_backup::Sources;
use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Board, Reader, SignedLog, Signing, claim, system_clock, vouched_tail};
use tipline_ops::testing::{NOW, seconds_ago, seen};
use tipline_proto::limits::MAX_UNIT_MESSAGES;
use tipline_proto::{
    Chain, Entry, Event, Hash, Lineage, LogIdentity, SigningKey, Timestamp, Trust,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::append::Refill;
use super::{check_stopped, check_vouched};
use crate::exit::Exit;

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[1; 32]))
}

fn signed(log: &MemoryLog) -> SignedLog {
    let trust = Trust::new(vec![key().public()], []);
    SignedLog::new(Arc::new(log.clone()), Signing { key: Some(key()), trust })
}

/// Appends so many marks, sealed in a row. With a key the last of them is signed.
async fn append(log: &dyn tipline_log::Log, count: usize) {
    let tail = log.tail().await.unwrap();
    let (mut at, mut unit) = (tail.position, vec![]);
    for number in 0..count {
        let event = Event::Marked { name: format!("m-{number}").parse().unwrap() };
        let sequence = tail.outbox_sequence + 1 + number as u64;
        unit.push(Entry::seal(&at, tail.epoch, NOW, sequence, event));
        at = unit[number].position();
    }
    log.append(&tail, &unit).await.unwrap();
}

#[test]
fn a_log_is_refilled_only_when_its_primary_is_silent_by_either_clock_or_has_failed() {
    let stopped = |time, heard: Option<u64>, failure: Option<&str>| {
        let mut primary = seen().board.primary.unwrap();
        (primary.time, primary.failure) = (time, failure.map(str::to_owned));
        let primary_heard = heard.map(Duration::from_secs);
        let board = Board { primary: Some(primary), primary_heard, ..Board::default() };
        check_stopped(&board, NOW).is_ok()
    };
    assert!(check_stopped(&Board::default(), NOW).is_ok(), "there never was one");
    assert!(!stopped(seconds_ago(14), None, None));
    assert!(stopped(seconds_ago(15), None, None));
    assert!(!stopped(seconds_ago(60), Some(1), None), "its clock is behind");
    assert!(!stopped(seconds_ago(2), Some(60), None));
    assert!(stopped(seconds_ago(2), Some(2), Some("halted")), "it said why it ended");
    let ahead = Timestamp::from_micros(NOW.as_micros() + 8 * 3_600_000_000);
    assert!(stopped(ahead, Some(60), None), "it died with its clock ahead");
}

/// A log with a claim and a block of three marks that are signed, as another that has lost its end after
/// them would be refilled from it.
async fn site() -> (MemoryLog, MemoryLog) {
    let chain = Chain::new("test".parse().unwrap(), Hash::new([0; 32]).unwrap());
    let lineage = Lineage::from_bytes([3; 16]);
    let identity = LogIdentity { name: "test".parse().unwrap(), chain, lineage };
    let (whole, short) = (MemoryLog::new(identity.clone()), MemoryLog::new(identity));
    claim(&signed(&whole), "node".parse().unwrap(), &system_clock()).await.unwrap();
    append(&signed(&whole), 3).await;
    for index in 1..=4 {
        let tail = short.tail().await.unwrap();
        short.append(&tail, &[whole.entry(index).await.unwrap()]).await.unwrap();
    }
    (whole, short)
}

/// Refills it; gives what ended it, or was said.
async fn refilled(whole: &MemoryLog, short: &MemoryLog) -> Result<Option<String>, (String, Exit)> {
    let trust = Trust::new(vec![key().public()], []);
    let sources = Sources { log: Some(Arc::new(whole.clone())), trust, ..Sources::default() };
    let stop = CancellationToken::new();
    let tail = short.tail().await.unwrap();
    let range = Range { from: Some(tail.position.index + 1), to: None };
    let replay =
        tipline_audit::replay(Arc::new(sources), short.identity(), range, stop.clone()).await;
    let mut refill = Refill { log: short, dry_run: false, tail, bytes: 0, stop };
    let done = refill.all(replay.unwrap(), &watch::channel(Default::default()).0).await;
    match done {
        Ok((_, problem)) => Ok(problem.map(|problem| problem.to_string())),
        Err(failure) => Err((failure.text(), failure.exit())),
    }
}

/// Whoever can write where the archive is adds to its end what he likes.
#[tokio::test]
async fn what_nobody_vouches_for_is_not_appended() {
    let (whole, short) = site().await;
    append(&signed(&whole), 5).await;
    assert_eq!(refilled(&whole, &short).await, Ok(None));
    let end = whole.tail().await.unwrap().position;
    assert_eq!(short.tail().await.unwrap().position, end);
    append(&whole, 2).await;
    let problem = refilled(&whole, &short).await.unwrap().expect("nobody has signed it");
    assert!(problem.contains("entry 10") && problem.contains("not signed"), "{problem}");
    assert_eq!(short.tail().await.unwrap().position, end, "none of it was appended");
    // Where the log itself ends so, no archive has what vouches for it.
    let end_of = |log: &MemoryLog| {
        let log = log.clone();
        async move { vouched_tail(&signed(&log), &log.tail().await.unwrap()).await.unwrap() }
    };
    assert_eq!(check_vouched(&end_of(&short).await.unsigned).ok(), Some(Exit::Ok));
    let refused = check_vouched(&end_of(&whole).await.unsigned).unwrap_err();
    assert!(refused.text().contains("10 to 11"), "{}", refused.text());
    assert_eq!(refused.exit(), Exit::Corrupt);
    // What comes after it vouches for it.
    append(&signed(&whole), 1).await;
    assert_eq!(refilled(&whole, &short).await, Ok(None));
    assert_eq!(short.tail().await.unwrap().position, whole.tail().await.unwrap().position);
}

#[tokio::test]
async fn no_more_than_a_unit_is_waited_for() {
    let (whole, short) = site().await;
    let before = short.tail().await.unwrap().position;
    append(&whole, MAX_UNIT_MESSAGES).await;
    append(&whole, 1).await;
    let (text, exit) = refilled(&whole, &short).await.unwrap_err();
    assert!(text.contains("from 5 on") && exit == Exit::Corrupt, "{text}");
    assert_eq!(short.tail().await.unwrap().position, before);
}
