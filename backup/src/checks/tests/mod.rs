//! Verify, drill and common points find what is wrong, and nothing else.

mod absent;
mod drilling;
mod stores;

use std::fs;

use tempfile::TempDir;
use tipline_proto::Timestamp;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{MemoryStore, Sink};
use tokio_util::sync::CancellationToken;

use super::{
    Against, Check, CheckedPlace, KnownRecords, Newest, Record, Sample, VerifyReport, common_point,
    verify,
};
use crate::archive::{Archive, ArchiveStore};
use crate::checkpoint::Checkpoints;
use crate::destination::Destination;
use crate::keys::Keys;
use crate::sources::Sources;

/// An archive of a history, in segments of 10 entries.
async fn archived(history: &History) -> (TempDir, Archive) {
    let directory = tempfile::tempdir().unwrap();
    let place = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
    let archive = Archive::create(place, &log(), Keys::default()).await.unwrap();
    let mut model = Model::new(&log());
    let mut earlier = model.cursor.position;
    for entries in history.entries.chunks(10) {
        entries.iter().for_each(|entry| model.apply(entry));
        let above = |height: &&u64| model.cursor.proof_tip.is_none_or(|tip| **height > tip);
        let index = crate::archive::SegmentIndex {
            log: (&log()).into(),
            before: earlier,
            after: model.cursor.clone(),
            links: tipline_store::StoredLinks {
                base: model.base.clone(),
                proven_above: model.proofs.keys().filter(above).copied().collect(),
            },
            latest_before: Timestamp::default(),
            rows: entries.iter().map(crate::archive::Row::from).collect(),
        };
        archive.write(&index, entries).await.unwrap();
        earlier = model.cursor.position;
    }
    (directory, archive)
}

/// As a place that is opened now.
async fn place(directory: &TempDir) -> CheckedPlace {
    let address = format!("dir:{}", directory.path().display());
    let destination = Destination::open(&address).unwrap();
    let mut sources = Sources::default();
    sources.add_archive(&destination, Keys::default()).await.unwrap();
    let set = Checkpoints::at(destination.folder("checkpoints"));
    if !set.list().await.unwrap().is_empty() {
        sources.checkpoints.push(set);
    }
    CheckedPlace { destination, sources }
}

async fn against(directory: &TempDir, against: Against<'_>, sample: Sample) -> VerifyReport {
    let (places, stop) = ([place(directory).await], CancellationToken::new());
    verify(&places, against, sample, &mut || 0.5, &stop).await.unwrap()
}

async fn look(directory: &TempDir, sample: Sample) -> VerifyReport {
    against(directory, Against::default(), sample).await
}

fn problems(report: &VerifyReport) -> String {
    let problems = report.places.iter().flat_map(|place| place.problems.clone());
    problems.collect::<Vec<_>>().join("; ")
}

fn segments(directory: &TempDir) -> Vec<std::path::PathBuf> {
    let found = fs::read_dir(directory.path().join("segments")).unwrap();
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_is_found_whole() {
    let history = History::random(31, 95);
    let (directory, _) = archived(&history).await;
    for (sample, read_back) in [
        (Sample::Structure, 0),
        (Sample::Share(0.6), 10),
        (Sample::Share(0.1), 1),
        (Sample::Full, 10),
    ] {
        let report = look(&directory, sample).await;
        assert!(report.is_ok(), "{report:?}");
        assert_eq!(report.places[0].read_back, read_back, "{sample:?}");
        assert_eq!((report.places[0].first, report.index()), (1, history.entries.len() as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_missing_is_named() {
    let history = History::random(32, 95);
    let (directory, _) = archived(&history).await;
    let names = segments(&directory);
    let name = |at: usize| names[at].file_name().unwrap().to_str().unwrap().to_owned();
    let mut bytes = fs::read(&names[3]).unwrap();
    bytes[40] ^= 1;
    fs::write(&names[3], &bytes).unwrap();
    let full = look(&directory, Sample::Full).await;
    assert!(full.places[0].problems.iter().any(|problem| problem.contains(&name(3))), "{full:?}");
    fs::remove_file(&names[5]).unwrap();
    let report = look(&directory, Sample::Structure).await;
    let problems = &report.places[0].problems;
    assert_eq!(problems, &["entries 51 to 60 are missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_agree_up_to_where_they_part() {
    let mut one = History::blocks(30, 10);
    let mut other = one.twin(77);
    for _ in 0..12 {
        one.block();
        other.block();
    }
    let copy = |history: &History| {
        let mut store = MemoryStore::new();
        store.create(&log()).unwrap();
        store.apply(&Model::new(&log()).batch(&history.entries)).unwrap();
        store.view().unwrap()
    };
    let parted = |history: &History| history.model.cursor.block_tip.clone().unwrap().height - 12;
    let found = common_point(&[copy(&one), copy(&other)]).unwrap().unwrap();
    assert_eq!(found.height, parted(&one));
    assert_eq!(Some(found.hash), one.model.block_hash(found.height));
    let (directory, _) = archived(&one).await;
    let place = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
    let archive = ArchiveStore::new(place, Keys::default(), 1).only_read();
    let copies = vec![copy(&one), copy(&other)];
    // A view of an archive blocks.
    tokio::task::spawn_blocking(move || {
        archive.identity().unwrap().unwrap();
        let mut copies = copies;
        copies.push(archive.view().unwrap());
        let found = common_point(&copies[..]).unwrap().unwrap();
        assert_eq!(found.height, parted(&one));
        copies.remove(1);
        assert_eq!(common_point(&copies).unwrap(), one.model.cursor.block_tip);
        copies.push(MemoryStore::new().view().unwrap());
        assert_eq!(common_point(&copies).unwrap(), None);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_kept_where_the_copies_are() {
    let directory = tempfile::tempdir().unwrap();
    let place = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
    let newest = async |until| {
        Record::newest(&place, Check::Drill, Timestamp::from_micros(until)).await.unwrap()
    };
    assert_eq!(newest(10).await, Newest::default());
    let record = |time_us, ok| Record {
        time_us,
        ok,
        index: 7,
        summary: "so".to_owned(),
        checkpoint: None,
        restored_ms: None,
    };
    record(5, true).keep(&place, Check::Drill).await.unwrap();
    record(6, false).keep(&place, Check::Drill).await.unwrap();
    record(9, true).keep(&place, Check::Verify).await.unwrap();
    let (bad, good) = (Some(record(6, false)), Some(record(5, true)));
    let found = Newest { newest: bad, succeeded: good, ahead: None };
    assert_eq!(newest(10).await, found);
    // One of a time to come does not hide what came since.
    record(99, true).keep(&place, Check::Drill).await.unwrap();
    let found = Newest { ahead: Some(record(99, true)), ..found };
    assert_eq!(newest(10).await, found);

    // One that somebody made huge is none, and is not read.
    let huge = directory.path().join("checks/drill-00000000000000000008.json");
    fs::copy(directory.path().join("checks/drill-00000000000000000005.json"), &huge).unwrap();
    fs::OpenOptions::new().write(true).open(&huge).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(newest(10).await, found);
    fs::remove_file(&huge).unwrap();

    // All of them, the newest first, at most so many; each is read once.
    let mut known = KnownRecords::default();
    let [first, second, third] = [record(5, true), record(6, false), record(99, true)];
    let all = known.newest(&place, Check::Drill, 2).await.unwrap();
    assert_eq!(all, [third.clone(), second.clone()]);
    for file in fs::read_dir(directory.path().join("checks")).unwrap() {
        fs::write(file.unwrap().path(), "damaged").unwrap();
    }
    assert_eq!(known.newest(&place, Check::Drill, 2).await.unwrap(), all);
    assert_eq!(known.newest(&place, Check::Drill, 9).await.unwrap(), all, "not {first:?}");
    assert_eq!(KnownRecords::default().newest(&place, Check::Drill, 9).await.unwrap(), []);

    // However much was found, the record can be read.
    let long = Record { summary: "\u{1}".repeat(1 << 20), ..record(100, false) };
    long.keep(&place, Check::Drill).await.unwrap();
    let kept = newest(100).await.newest.unwrap();
    assert!(kept.time_us == 100 && kept.summary.len() == 16 << 10, "{}", kept.summary.len());
}
