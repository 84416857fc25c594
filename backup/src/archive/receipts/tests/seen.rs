//! What a verification saw and is not there any more is missed, whatever else was verified.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use tipline_proto::Timestamp;
use tipline_store::conformance::history::log;

use super::{after, board, destination, receipt};
use crate::archive::receipts::{ReceiptRecording, ReceiptSpan};
use crate::destination::tests::{Call, answering};
use crate::{Archive, Destination, Keys};

/// An archive with a run of three objects, and their names.
async fn three(at: Destination) -> (Archive, Vec<ReceiptSpan>) {
    let archive = Archive::create(at, &log(), Keys::default()).await.unwrap();
    let seen = |second| board(vec![receipt("a", second, after(second))]);
    let mut recording = ReceiptRecording::new(1, &seen(0), after(0));
    let mut spans = Vec::new();
    for second in [60, 120, 180] {
        recording.look(2, &seen(second), after(second));
        let recorded = recording.take();
        archive.write_receipts(&recorded).await.unwrap();
        spans.push(recorded.span);
    }
    (archive, spans)
}

fn record_name(time: Timestamp) -> String {
    format!("checks/verify-{:020}.json", time.as_micros())
}

fn record(time: Timestamp, newest: &ReceiptSpan) -> String {
    let (time_us, receipts) = (time.as_micros(), newest.to_string());
    let record = serde_json::json!({
        "time_us": time_us, "ok": true, "index": 1, "summary": "", "receipts": receipts,
    });
    record.to_string()
}

/// Writes a record as a machine did whose clock said one time, when the place's said another.
fn keep(directory: &Path, said: Timestamp, written: Timestamp, text: &str) {
    let file = directory.join(record_name(said));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    let written = SystemTime::UNIX_EPOCH + Duration::from_micros(written.as_micros());
    fs::File::options().write(true).open(&file).unwrap().set_modified(written).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_and_a_damaged_record_hide_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, spans) = three(destination(directory.path())).await;
    fs::remove_file(directory.path().join(spans[2].to_string())).unwrap();
    let problems = async || archive.lost_receipts(false).await.unwrap();
    assert_eq!(problems().await, Vec::<String>::new(), "nobody saw it");
    let ahead = after(3 * 365 * 86_400);
    keep(directory.path(), ahead, after(70), &record(ahead, &spans[0]));
    keep(directory.path(), after(200), after(200), &record(after(200), &spans[2]));
    // One that was cut off, one of a program that knew of no receipts, and another one of that clock.
    keep(directory.path(), after(300), after(300), "{");
    keep(directory.path(), after(400), after(400), r#"{"time_us":1,"ok":true}"#);
    let later = after(3 * 365 * 86_400 + 60);
    keep(directory.path(), later, after(130), &record(later, &spans[1]));
    let lost = problems().await;
    assert!(lost.len() == 1 && lost[0].contains("lacks object 2 of run"), "{lost:?}");
    let newest = crate::archive::newest_seen(&destination(directory.path())).await.unwrap();
    assert_eq!(newest.as_ref(), spans.last(), "the next record says so again");
}

/// Another verification ends while this one lists.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_meanwhile_is_not_missed() {
    let (inner, elsewhere): (Arc<InMemory>, Arc<InMemory>) = Default::default();
    let (_, spans) = three(answering(&elsewhere, |_, _| None)).await;
    let (archive, _) = three(answering(&inner, |_, _| None)).await;
    let newest = spans[2].to_string();
    let at = |name: &str| object_store::path::Path::from(name);
    inner.delete(&at(&newest)).await.unwrap();
    assert_eq!(archive.lost_receipts(false).await.unwrap(), Vec::<String>::new());

    let bytes = elsewhere.get(&at(&newest)).await.unwrap().bytes().await.unwrap();
    let there = Arc::clone(&inner);
    let beside = answering(&inner, move |call, path| {
        // An archiver writes, and somebody else verifies.
        if call == Call::List && path.as_ref().starts_with("checks") {
            let put = there.put(&at(&spans[2].to_string()), bytes.clone().into()).now_or_never();
            put.unwrap().unwrap();
            let (name, text) = (record_name(after(200)), record(after(200), &spans[2]));
            there.put(&at(&name), text.into()).now_or_never().unwrap().unwrap();
        }
        None
    });
    let archive = Archive::open(beside, Keys::default()).await.unwrap();
    assert_eq!(archive.lost_receipts(false).await.unwrap(), Vec::<String>::new());
    assert!(inner.head(&object_store::path::Path::from(newest)).await.is_ok(), "nobody wrote");
}
