//! What must be there and is not: nothing that is there says so.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use tipline_log::memory::MemoryLog;
use tipline_log::memory::rigged::append;
use tipline_log::{Board, Log, Receipts};
use tipline_proto::{InstanceId, Level, Reached, Receipt, Role, Timestamp};
use tipline_store::conformance::history::{History, log, log_with_lineage};
use tokio_util::sync::CancellationToken;

use super::{against, archived, look, place, problems, segments};
use crate::archive::{Archive, ReceiptRecording};
use crate::checks::{Against, Check, PlaceKind, Record, Sample, shortfall, verify};
use crate::error::RestoreError;
use crate::keys::Keys;
use crate::restore::tests::Kept;

async fn recorded(directory: &TempDir, index: u64) {
    let record = Record {
        time_us: 5,
        ok: true,
        index,
        summary: "so".to_owned(),
        checkpoint: None,
        restored_ms: None,
    };
    record.keep(&place(directory).await.destination, Check::Drill).await.unwrap();
}

fn lose(directory: &TempDir, which: impl Fn(usize) -> bool) {
    for (at, path) in segments(directory).into_iter().enumerate() {
        if which(at) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_its_head_is_not_whole() {
    let (directory, _) = archived(&History::random(41, 95)).await;
    lose(&directory, |at| at < 3);
    let report = look(&directory, Sample::Structure).await;
    assert_eq!(problems(&report), "entries 1 to 30 are missing");
    assert_eq!((report.places[0].first, report.is_new()), (31, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_archive_is_not_well() {
    let (directory, _) = archived(&History::random(42, 95)).await;
    lose(&directory, |_| true);
    let report = look(&directory, Sample::Full).await;
    assert!(problems(&report).contains("no segment is there"), "{report:?}");
    assert!(report.is_new(), "nothing says that there was any");
    recorded(&directory, 80).await;
    let report = look(&directory, Sample::Full).await;
    assert!(problems(&report).contains("everything up to entry 80"), "{report:?}");
    assert!(!report.is_new());
    // Its description too.
    fs::remove_file(directory.path().join("archive.json")).unwrap();
    let report = look(&directory, Sample::Full).await;
    assert_eq!(report.places[0].kind, PlaceKind::Nothing);
    assert!(problems(&report).contains("everything up to entry 80"), "{report:?}");
    assert!(report.of(&place(&directory).await.destination).is_some(), "that is recorded");
    // An empty directory may not be mounted: nothing is written into it.
    let empty = tempfile::tempdir().unwrap();
    let places = [place(&directory).await, place(&empty).await];
    let stop = CancellationToken::new();
    let report =
        verify(&places, Against::default(), Sample::Full, &mut || 0.0, &stop).await.unwrap();
    assert!(report.of(&places[1].destination).is_none() && !report.is_ok(), "{report:?}");
    let nothing = verify(&places[1..], Against::default(), Sample::Full, &mut || 0.0, &stop).await;
    assert!(matches!(nothing, Err(RestoreError::NotFound { .. })), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_lost_its_tail_is_compared_with_what_was_said_of_it() {
    let history = History::random(43, 95);
    let end = history.entries.len() as u64;
    let (directory, _) = archived(&history).await;
    let memory = Arc::new(MemoryLog::new(log()));
    append(&memory, &history.entries).await;
    let destination = place(&directory).await.destination;
    let last = &history.entries[end as usize - 1];
    let receipt = Receipt {
        lineage: log().lineage,
        consumer: "archive".parse().unwrap(),
        role: Role::Archive,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(last.position(), Level::Verified),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: format!("archive:{}", destination.place()),
        applying: None,
        frozen: None,
        seal: None,
    };
    let with_log = || Against { log: Some(&*memory), store: None };
    // As if it were by another address: that there is none is said.
    let report = against(&directory, with_log(), Sample::Structure).await;
    assert!(report.places[0].notes.join("").contains("no receipt"), "{report:?}");
    memory.put_receipt(&receipt).await.unwrap();
    let report = against(&directory, with_log(), Sample::Structure).await;
    assert!(report.is_ok() && report.places[0].notes.is_empty(), "{report:?}");
    assert_eq!(report.places[0].digest, Some(last.digest.to_string()));
    lose(&directory, |at| at >= 8);
    assert!(look(&directory, Sample::Full).await.is_ok(), "nothing that is there says so");
    let report = against(&directory, with_log(), Sample::Structure).await;
    let said = format!("everything up to entry {end} is there, and it ends at entry 80");
    assert!(problems(&report).contains(&said), "{report:?}");
    // Without the log an earlier check knows.
    recorded(&directory, 90).await;
    let report = look(&directory, Sample::Structure).await;
    assert!(problems(&report).contains("everything up to entry 90 there"), "{report:?}");
    let board = memory.board().await.unwrap();
    for (board, told) in [(Some(&board), format!("entry {end} ")), (None, "entry 90 ".to_owned())] {
        let missing = shortfall(&destination, board, 80).await.unwrap().unwrap();
        assert!(missing.contains(&told), "{missing}");
    }
    assert_eq!(shortfall(&destination, Some(&board), end).await.unwrap(), None);
    // What an earlier check knew lies at the place: whoever puts that back takes it along.
    fs::remove_dir_all(directory.path().join("checks")).unwrap();
    assert!(look(&directory, Sample::Full).await.is_ok());
    let report = against(&directory, with_log(), Sample::Structure).await;
    assert!(problems(&report).contains(&said), "{report:?}");
}

/// The history of receipts is part of an archive.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_are_gone_or_damaged_are_named() {
    let (directory, archive) = archived(&History::random(44, 95)).await;
    let start = Timestamp::from_micros(1_800_000_000_000_000);
    let mut recording = ReceiptRecording::new(1, &Board::default(), start);
    for _ in 0..3 {
        archive.write_receipts(&recording.take()).await.unwrap();
    }
    let day = directory.path().join("receipts").join(Archive::receipt_day(start));
    let mut files: Vec<_> = fs::read_dir(day).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let whole = fs::read(&files[1]).unwrap();
    assert!(look(&directory, Sample::Full).await.is_ok());
    fs::write(&files[1], b"something else").unwrap();
    assert!(look(&directory, Sample::Structure).await.is_ok(), "that needs to read all");
    let damaged = problems(&look(&directory, Sample::Full).await);
    assert!(damaged.contains(files[1].file_name().unwrap().to_str().unwrap()), "{damaged}");
    fs::remove_file(&files[1]).unwrap();
    let missing = problems(&look(&directory, Sample::Structure).await);
    let lacks = "the history of receipts lacks object 1 of run 0000000000000001: what was recorded \
                 then is lost";
    assert_eq!(missing, lacks);
    fs::write(&files[1], whole).unwrap();
    assert!(look(&directory, Sample::Full).await.is_ok());

    // Of the newest only whoever saw it knows.
    let newest = fs::read(&files[2]).unwrap();
    fs::remove_file(&files[2]).unwrap();
    assert!(look(&directory, Sample::Full).await.is_ok(), "nothing that is there says so");
    fs::write(&files[2], newest).unwrap();
    let keep = async |time_us| {
        let summary = "so".to_owned();
        let (checkpoint, restored_ms) = (None, None);
        let record = Record { time_us, ok: true, index: 95, summary, checkpoint, restored_ms };
        record.keep(&place(&directory).await.destination, Check::Verify).await.unwrap();
    };
    keep(5).await;
    fs::remove_file(&files[2]).unwrap();
    let lacks = lacks.replace("object 1", "object 2");
    assert_eq!(problems(&look(&directory, Sample::Structure).await), lacks);
    // It stays so, also when another run has begun.
    keep(6).await;
    assert_eq!(problems(&look(&directory, Sample::Structure).await), lacks);
    let late = Timestamp::from_micros(start.as_micros() + 60_000_000);
    let recorded = ReceiptRecording::new(2, &Board::default(), late).take();
    archive.write_receipts(&recorded).await.unwrap();
    keep(7).await;
    assert_eq!(problems(&look(&directory, Sample::Structure).await), lacks);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_compared_with_the_history_of_the_log() {
    let mut one = History::blocks(30, 10);
    let mut other = one.twin(78);
    (0..20).for_each(|_| one.block());
    (0..30).for_each(|_| other.block());
    let (directory, _) = archived(&one).await;
    let compare = async |entries| {
        let memory = Arc::new(MemoryLog::new(log()));
        append(&memory, entries).await;
        let log: Arc<dyn Log> = memory;
        let against_it = Against { log: Some(&*log), store: None };
        problems(&against(&directory, against_it, Sample::Structure).await)
    };
    assert_eq!(compare(&one.entries).await, "");
    assert!(compare(&other.entries).await.contains("the log has"));
    assert!(compare(&one.entries[..40]).await.contains("the log lost entries"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_shortened_needs_its_checkpoint() {
    let kept = Kept::of(History::blocks(99, 10)).await;
    kept.segments(100, 10).await;
    let start = kept.checkpoint(&["sqlite"], 45).await;
    kept.shorten(60).await;
    let report = kept.verified(Sample::Full).await;
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(report.places[0].first, 41);
    fs::remove_dir_all(kept.backup().join("checkpoints").join(start.id.as_str())).unwrap();
    let report = kept.verified(Sample::Structure).await;
    assert!(problems(&report).contains("latest cannot be reached"), "{report:?}");
    // What retention leaves is written down: more is lost than that.
    let kept = Kept::of(History::blocks(99, 10)).await;
    let names = kept.segments(100, 10).await;
    kept.checkpoint(&["sqlite"], 45).await;
    kept.shorten(60).await;
    fs::remove_file(kept.backup().join(names[4].to_string())).unwrap();
    let report = kept.verified(Sample::Structure).await;
    assert_eq!(problems(&report), "entries 45 to 50 are missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_at_one_place_leaves_the_others_checked() {
    let history = History::random(44, 60);
    let (damaged, _) = archived(&history).await;
    let (whole, _) = archived(&history).await;
    fs::write(damaged.path().join("archive.json"), "{").unwrap();
    let away = tempfile::tempdir().unwrap();
    let gone = place(&away).await;
    drop(away);
    let places = [place(&damaged).await, gone, place(&whole).await];
    let stop = CancellationToken::new();
    let report =
        verify(&places, Against::default(), Sample::Full, &mut || 0.0, &stop).await.unwrap();
    assert!(problems(&report).contains("archive.json"), "{report:?}");
    assert_eq!(report.failed.len(), 1, "{report:?}");
    let of_it = report.of(&places[2].destination).unwrap();
    assert!(of_it.is_ok() && of_it.index() == history.entries.len() as u64, "{report:?}");
    assert!(!report.of(&places[0].destination).unwrap().is_ok());
    assert!(report.of(&places[1].destination).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_asked_is_no_log_that_agrees() {
    let history = History::random(45, 40);
    let (directory, _) = archived(&history).await;
    let memory = MemoryLog::new(log());
    append(&memory, &history.entries).await;
    memory.set_available(false);
    let report =
        against(&directory, Against { log: Some(&memory), store: None }, Sample::Full).await;
    let [failed] = &*report.failed else { panic!("{report:?}") };
    assert!(matches!(&*failed.error, RestoreError::Log(_)), "{failed:?}");
    assert!(report.of(&place(&directory).await.destination).unwrap().is_ok(), "the place was");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_another_log_are_noticed() {
    let kept = Kept::of(History::blocks(30, 10)).await;
    kept.segments(31, 10).await;
    let other = Kept::of(History::random_in(&log_with_lineage(8), 46, 40, 10)).await;
    other.checkpoint(&["sqlite"], 20).await;
    let from = other.backup().join("checkpoints");
    fs::rename(from, kept.backup().join("checkpoints")).unwrap();
    let (places, stop) = ([kept.opened(&Keys::default()).await], CancellationToken::new());
    let none = Against::default();
    let refused = verify(&places, none, Sample::Structure, &mut || 0.0, &stop).await;
    assert!(matches!(refused, Err(RestoreError::WrongLog { .. })), "{refused:?}");
}
