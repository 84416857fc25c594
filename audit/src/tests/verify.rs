//! Every way in which `verified` must not be said.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{RestoreError, Sources};
use tipline_log::{Reader, Receipts};
use tipline_proto::{
    Announcement, Digest, Entry, Event, InstanceId, Level, LogIdentity, Position, Reached, Receipt,
    Role, Timestamp,
};
use tipline_store::conformance::history::{History, log, log_with_lineage};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ALL, Place, altered_log, from, honest, index, of_log, seed, verify};
use crate::{AuditError, Problem, Range, VerifyReport, verify_entries};

/// It is not verified, and this is said of it.
fn assert_wrong(report: &VerifyReport, what: &str) {
    assert!(!report.ok, "{report:?}");
    assert!(report.problems.iter().any(|problem| problem.contains(what)), "{report:?}");
}

fn assert_not(report: &VerifyReport, what: &str) {
    assert!(report.not_verified.iter().any(|left_out| left_out.contains(what)), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbroken_history_is_verified() {
    let history = History::random(seed(), 500);
    let place = Place::filled(&history.entries, 60).await;
    for sources in [place.sources(), of_log(honest(&history.entries).await)] {
        let report = verify(sources, ALL).await.unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!(report.verified, Some((1, 500)));
        assert_eq!(report.digest, Some(history.entries[499].digest.to_string()));
        assert_eq!(report.proof_tip, history.model.cursor.proof_tip);
        assert_eq!(report.kinds.values().sum::<u64>(), 500);
        assert_eq!(report.trusted, None);
    }
    let report = verify(place.sources(), Range { from: Some(100), to: Some(200) }).await.unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.verified, report.trusted), (Some((100, 200)), Some(99)));
    assert_not(&report, "entries 1 to 99: before the range");
    assert_not(&report, "entries 201 to 500: after the range");
    assert_not(&report, "entry 99: its digest is taken on trust");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_flipped_byte_of_a_segment_is_found() {
    let history = History::random(3, 60);
    let place = Place::filled(&history.entries, 30).await;
    let name = place.archive.segments().await.unwrap()[1].clone();
    let (path, seed) = (place.path(&name), seed());
    let whole = fs::read(&path).unwrap();
    let mut at = seed as usize % 7;
    let (mut tried, mut unnamed) = (0, Vec::new());
    while at < whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (seed.rotate_left(at as u32) % 8);
        fs::write(&path, bytes).unwrap();
        match verify(place.sources(), ALL).await {
            Ok(report) => {
                assert!(!report.ok, "byte {at} of {}: {report:?}", whole.len());
                // Some bits say nothing about the entries. Then all of them are what they were.
                if report.verified.is_some_and(|(_, last)| last == 60) {
                    assert_eq!(report.digest, Some(history.entries[59].digest.to_string()));
                }
                if !report.problems.iter().any(|problem| problem.contains(&name.to_string())) {
                    unnamed.push(at);
                }
            }
            Err(error) => panic!("byte {at}: {error:?}"),
        }
        (at, tried) = (at + 61, tried + 1);
    }
    assert!(tried > 20, "{tried}");
    assert!(unnamed.is_empty(), "the segment is not named: {unnamed:?}");
    fs::write(&path, whole).unwrap();
    assert!(verify(place.sources(), ALL).await.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_missing_is_a_gap_and_what_is_before_it_is_verified() {
    let history = History::random(seed(), 90);
    let place = Place::filled(&history.entries, 30).await;
    let names = place.archive.segments().await.unwrap();
    fs::remove_file(place.path(&names[1])).unwrap();
    let report = verify(place.sources(), ALL).await.unwrap();
    assert_wrong(&report, "entries 31 to 60 are missing");
    assert_eq!((report.asked, report.verified), ((1, 90), Some((1, 30))));
    assert_not(&report, "entries 31 to 90: after what is wrong");
    // The newest is missing: nothing in the archive says that it was there.
    fs::remove_file(place.path(&names[2])).unwrap();
    let report = verify(place.sources(), ALL).await.unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.verified, Some((1, 30)));
    assert!(verify(place.sources(), Range { from: None, to: Some(90) }).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_segment_is_a_finding_although_others_hold_the_same() {
    let history = History::random(seed(), 60);
    let place = Place::filled(&history.entries, 20).await;
    let merged = place.segment(&history.entries, 0, 60).await;
    let report = verify(place.sources(), ALL).await.unwrap();
    assert!(report.ok, "{report:?}");
    assert_not(&report, "3 other segments, outside the range or with the same entries");
    let path = place.path(&merged);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = verify(place.sources(), ALL).await.unwrap();
    assert_wrong(&report, &merged.to_string());
}

/// Whoever can write the log forges it as well as can be: each digest is right by itself.
fn forged(entries: &[Entry], at: usize, event: Event) -> Vec<Entry> {
    let mut forged = entries[..at].to_vec();
    for entry in &entries[at..] {
        let previous = forged.last().map_or(Position::origin(&log()), Entry::position);
        let event =
            if entry.index == entries[at].index { event.clone() } else { entry.event.clone() };
        forged.push(Entry::seal(&previous, entry.epoch, entry.time, entry.outbox_sequence, event));
    }
    forged
}

type Rig = Box<dyn Fn(Entry) -> Vec<Entry> + Send + Sync>;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_delivers_something_else_is_not_verified() {
    let history = History::blocks(200, 10);
    let entries = history.entries.clone();
    let other = History::blocks(250, 9).entries;
    let flipped = |mut entry: Entry| {
        if let (77, Event::BlockCommitted { payload, .. }) = (entry.index, &mut entry.event) {
            let mut bytes = payload.to_vec();
            bytes[3] ^= 1;
            *payload = bytes.into();
        }
        vec![entry]
    };
    let is = |index: u64, entry: &Entry| entry.index == index;
    let rigs: Vec<(&str, Rig)> = vec![
        ("does not continue this history", Box::new(flipped)),
        ("entry 77 is missing", Box::new(move |e| if is(77, &e) { vec![] } else { vec![e] })),
        (
            "entry 77 is there more than once",
            Box::new(move |e| if is(77, &e) { vec![e.clone(), e] } else { vec![e] }),
        ),
        ("entry 77", Box::new(move |e| if is(77, &e) { vec![other[76].clone()] } else { vec![e] })),
        (
            "entry 77",
            Box::new(move |e| {
                vec![if is(77, &e) {
                    Entry { digest: Digest::from_bytes([1; 32]), ..e }
                } else {
                    e
                }]
            }),
        ),
        (
            "entry 78 (",
            Box::new(move |e| {
                vec![if is(78, &e) { Entry { index: 78, outbox_sequence: 1, ..e } } else { e }]
            }),
        ),
    ];
    for (what, rig) in rigs {
        let report = verify(of_log(honest(&entries).await.rigged(rig)), ALL).await.unwrap();
        assert_wrong(&report, what);
        assert!(matches!(report.verified, Some((1, 76 | 77))), "{what}: {report:?}");
        assert_not(&report, "after what is wrong");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_another_lineage_or_that_does_not_link_is_not_verified() {
    let history = History::random(seed(), 50);
    // An archive whose description was changed: its entries follow another origin.
    let place = Place::filled(&history.entries, 50).await;
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    let other: LogIdentity = log_with_lineage(8);
    let report =
        verify_entries(place.sources(), &other, ALL, None, None, &progress, stop).await.unwrap();
    assert_wrong(&report, "entry 1 ");
    assert_eq!(report.verified, None);

    // A primary that wrote a rollback to nowhere.
    let history = History::blocks(40, 10);
    let event = Event::RolledBack { to_height: 5, to_hash: log().chain.genesis };
    let wrong = forged(&history.entries, 30, event);
    let report = verify(of_log(honest(&wrong).await), ALL).await.unwrap();
    assert_wrong(&report, "does not link");
    assert_eq!(report.verified, Some((1, 30)));
}

/// A history of blocks whose proofs are there but for one.
fn without_a_proof(height: u64) -> History {
    let mut history = History::blocks(20, 10);
    let lowest = *history.model.blocks.keys().next().unwrap();
    for at in 0..20 {
        if at != height {
            history.proof_of(lowest + at, 5);
        }
    }
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_is_missing_is_missing() {
    let history = without_a_proof(12);
    let lowest = *history.model.blocks.keys().next().unwrap();
    let place = Place::filled(&history.entries, 50).await;
    let proven_to = |height: u64| {
        let (sources, progress) = (place.sources(), watch::Sender::default());
        async move {
            let stop = CancellationToken::new();
            verify_entries(sources, &log(), ALL, Some(height), None, &progress, stop).await.unwrap()
        }
    };
    let report = proven_to(lowest + 11).await;
    assert!(report.ok, "{report:?}");
    assert_eq!(report.proof_tip, Some(lowest + 11));
    assert_not(&report, &format!("proofs of blocks {} to {}", lowest + 12, lowest + 19));
    let report = proven_to(lowest + 12).await;
    assert_wrong(&report, &format!("block {} has no proof", lowest + 12));

    // An archive whose segments say that all are there.
    let forged = Place::new().await;
    let mut wrong = index(&history.entries, 0, history.entries.len());
    wrong.after.proof_tip = Some(lowest + 19);
    wrong.links.proven_above = Default::default();
    forged.archive.write(&wrong, &history.entries).await.unwrap();
    let report = verify(forged.sources(), ALL).await.unwrap();
    assert_wrong(&report, "the newest segment says");
}

/// The proof tip of a history that begins in the middle counts from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_was_not_looked_at_is_not_called_there() {
    let history = without_a_proof(20);
    let lowest = *history.model.blocks.keys().next().unwrap();
    let sources = of_log(honest(&history.entries).await);
    // Entry 15 is the block above that of entry 14, which is taken on trust.
    let first = lowest + 13;
    for (height, is_met) in [(lowest + 5, false), (first - 1, false), (first, true)] {
        let (sources, progress) = (Arc::clone(&sources), watch::Sender::default());
        let stop = CancellationToken::new();
        let report =
            verify_entries(sources, &log(), from(15), Some(height), None, &progress, stop).await;
        let report = report.unwrap();
        assert_eq!(report.ok, is_met, "{height}: {report:?}");
        assert_not(&report, &format!("proofs of blocks below {first}"));
    }
}

/// The proof tip of the history may be below the range.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_begins_in_the_middle_has_no_proof_tip() {
    let history = without_a_proof(12);
    let lowest = *history.model.blocks.keys().next().unwrap();
    let sources = || async { of_log(honest(&history.entries).await) };
    let whole = verify(sources().await, ALL).await.unwrap();
    assert_eq!(whole.proof_tip, Some(lowest + 11));
    // The first block of the range, the last one, and none.
    for first in [15, 21, 30] {
        let report = verify(sources().await, from(first)).await.unwrap();
        assert!(report.ok && report.trusted.is_some(), "{report:?}");
        assert_eq!(report.proof_tip, None, "from {first}: {report:?}");
    }
    // What has no proof within the range is named, without a tip.
    let progress = watch::Sender::default();
    let (range, stop) = (from(10), CancellationToken::new());
    let asked = Some(lowest + 15);
    let report =
        verify_entries(sources().await, &log(), range, asked, None, &progress, stop).await.unwrap();
    assert_wrong(&report, &format!("block {} has no proof", lowest + 12));
    assert!(!report.problems[0].contains("proof tip"), "{report:?}");
}

pub(super) fn receipt(index: u64, digest: Digest) -> Receipt {
    Receipt {
        lineage: log().lineage,
        consumer: "replica-1".parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([5; 16]),
        reached: Reached::up_to(Position { index, digest }, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: "sqlite:x".into(),
        applying: None,
        frozen: None,
        seal: None,
    }
}

pub(super) fn announcement(tail: Position) -> Announcement {
    Announcement {
        lineage: log().lineage,
        primary: "node-1".parse().unwrap(),
        epoch: 1,
        tail,
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
        time: Timestamp::from_micros(1),
        failure: None,
        seal: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_consumers_say_is_compared() {
    let history = History::blocks(50, 10);
    let with = async |receipt: Receipt, range: Range| {
        let log = honest(&history.entries).await;
        log.put_receipt(&receipt).await.unwrap();
        verify(of_log(log), range).await.unwrap()
    };
    let right = with(receipt(20, history.entries[19].digest), ALL).await;
    assert!(right.ok && right.claims == 1, "{right:?}");
    let other = Digest::from_bytes([7; 32]);
    assert_wrong(&with(receipt(20, other), ALL).await, "the receipt of replica-1");
    let below = with(receipt(20, other), from(30)).await;
    assert_eq!(below.claims, 0);
    assert_not(&below, "claims of others about entries that were not read: 1");
    // At the entry that is taken on trust.
    assert_not(
        &with(receipt(20, history.entries[19].digest), from(21)).await,
        "taken on trust; the receipt of replica-1 has the same",
    );
    assert_wrong(&with(receipt(20, other), from(21)).await, "the receipt of replica-1");
    // The log was cut short, or its end is withheld.
    assert_wrong(&with(receipt(80, other), ALL).await, "the log ends with entry 51");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_primary_announced_is_compared() {
    let history = History::blocks(50, 10);
    let with = async |tail: Position| {
        let log = honest(&history.entries).await;
        log.announce(&announcement(tail)).await.unwrap();
        verify(of_log(log), ALL).await.unwrap()
    };
    let right = with(history.entries[19].position()).await;
    assert!(right.ok && right.claims == 1, "{right:?}");
    let other = Digest::from_bytes([7; 32]);
    let says = "the announcement of the primary has digest";
    assert_wrong(&with(Position { index: 20, digest: other }).await, says);
    let says = "the log ends with entry 51, but the primary announced entry 80";
    assert_wrong(&with(Position { index: 80, digest: other }).await, says);
}

/// Without signatures somebody must have an older digest: that is the limit of a digest chain.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_and_sealed_again_is_known_by_an_older_digest_alone() {
    let history = History::blocks(50, 10);
    let Event::BlockCommitted { height, hash, parent_hash, .. } = history.entries[20].event.clone()
    else {
        panic!("a block")
    };
    let payload = bytes::Bytes::from_static(b"another");
    let event = Event::BlockCommitted { height, hash, parent_hash, payload };
    let edited = forged(&history.entries, 20, event);
    let report = verify(of_log(honest(&edited).await), ALL).await.unwrap();
    assert!(report.ok, "{report:?}");
    let log = honest(&edited).await;
    log.put_receipt(&receipt(40, history.entries[39].digest)).await.unwrap();
    assert_wrong(&verify(of_log(log), ALL).await.unwrap(), "the receipt of replica-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_places_of_different_logs_are_refused() {
    let history = History::blocks(10, 10);
    let place = Place::filled(&history.entries, 50).await;
    let other = History::of(&log_with_lineage(9), 1);
    let stranger = tipline_log::memory::rigged::RiggedLog::new(log_with_lineage(9), &other.entries);
    let sources = Sources { log: Some(Arc::new(stranger.await)), ..(*place.sources()).clone() };
    assert!(verify(Arc::new(sources), ALL).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_entries_has_lost_those_that_others_know() {
    let log = honest(&[]).await;
    let error = verify(of_log(honest(&[]).await), ALL).await.unwrap_err();
    assert!(matches!(error, AuditError::Source(RestoreError::NotFound { .. })), "{error:?}");
    let name = log.identity().name.as_str().to_owned();
    assert!(error.to_string().contains(&name), "{error}");
    log.put_receipt(&receipt(20, Digest::from_bytes([7; 32]))).await.unwrap();
    let error = verify(of_log(log), ALL).await.unwrap_err();
    assert!(matches!(error, AuditError::Found(Problem::Damaged(_))), "{error:?}");
    assert!(error.to_string().contains("entry 20, but the log has no entries"), "{error}");
}

/// A log that is quiet gives nothing after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_with_a_void_entry_ends() {
    let mut history = History::blocks(20, 10);
    history.claim();
    history.block();
    let last = history.entries.last().unwrap().clone();
    let void = Entry {
        index: last.index - 1,
        epoch: 1,
        digest: Digest::from_bytes([9; 32]),
        ..last.clone()
    };
    let rig = move |entry: Entry| match entry.index == last.index {
        true => vec![entry, void.clone()],
        false => vec![entry],
    };
    let sources = of_log(honest(&history.entries).await.rigged(rig));
    let report = timeout(Duration::from_secs(30), verify(sources, ALL)).await.expect("it ends");
    let report = report.unwrap();
    assert!(report.ok, "{report:?}");
    assert_not(&report, "1 void entries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changed_in_a_log_is_a_finding() {
    let history = History::blocks(20, 10);
    let directory = tempfile::tempdir().unwrap();
    let log = altered_log(directory.path(), &history.entries, 15).await;
    let report = verify(log, ALL).await.unwrap();
    assert_wrong(&report, "damaged");
    assert_eq!(report.verified, Some((1, 14)), "what came before it is verified: {report:?}");
}
