//! Objects become few, and what they say stays the same; what is gone is missed.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tipline_store::conformance::history::log;

use super::{START, after, board, destination, receipt};
use crate::archive::receipts::format::{ReceiptObject, encode};
use crate::archive::receipts::parts::{join, split};
use crate::archive::receipts::{ReceiptRecord, ReceiptRecording, ReceiptSpan};
use crate::keys::make_identity;
use crate::{Archive, Keys, MergedReceipts};

const DAY: u64 = 24 * 60 * 60;

/// An archive with two runs of archivers: the first has ten objects on each of two days, the second begins
/// on the third day and has three.
struct Place {
    directory: TempDir,
    archive: Archive,
}

impl Place {
    async fn new(keys: Keys) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let archive = Archive::create(destination(directory.path()), &log(), keys).await.unwrap();
        let seen = |second| board(vec![receipt("a", second, after(second))]);
        let mut recording = ReceiptRecording::new(1, &seen(1), after(1));
        for second in (60..=1_200).step_by(60) {
            // The eleventh and all after it begin a day later.
            let second = if second > 600 { second + DAY } else { second };
            if let Some(before) = recording.look(9, &seen(second), after(second)) {
                archive.write_receipts(&before).await.unwrap();
            }
            if second % 120 == 0 {
                archive.write_receipts(&recording.take()).await.unwrap();
            }
        }
        let late = 2 * DAY;
        let mut recording = ReceiptRecording::new(2, &seen(late), after(late));
        for minute in 1..=3 {
            let second = late + minute * 60;
            recording.look(2, &seen(second), after(second));
            archive.write_receipts(&recording.take()).await.unwrap();
        }
        Self { directory, archive }
    }

    /// What each object says that was written, merged or not.
    async fn told(&self) -> Vec<(ReceiptSpan, Vec<ReceiptRecord>)> {
        let mut told = Vec::new();
        for day in self.archive.receipt_days().await.unwrap() {
            for span in self.archive.receipt_spans(&day).await.unwrap() {
                for part in self.archive.receipt_parts(&span).await.unwrap() {
                    let span = part.span.clone();
                    told.push((span, self.archive.part_records(part).await.unwrap()));
                }
            }
        }
        told
    }

    async fn merge(&self) -> MergedReceipts {
        let mut all = MergedReceipts::default();
        loop {
            let merged = self.archive.merge_receipts().await.unwrap();
            if merged == MergedReceipts::default() {
                return all;
            }
            all.written += merged.written;
            all.removed += merged.removed;
        }
    }

    async fn problems(&self) -> Vec<String> {
        self.archive.lost_receipts(false).await.unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        files(self.directory.path())
    }
}

/// The objects of the history, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let days = fs::read_dir(directory.join("receipts")).unwrap();
    let files = days.flat_map(|day| fs::read_dir(day.unwrap().path()).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn is_merged(file: &Path) -> bool {
    file.file_name().unwrap().to_str().unwrap().split('-').count() == 5
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_over_become_an_object_each_and_say_the_same() {
    let place = Place::new(Keys::default()).await;
    let (told, before) = (place.told().await, place.files().len());
    let merged = place.merge().await;
    // Of two runs: the silence of a day began another one.
    assert_eq!((merged.written, place.files().len()), (2, 2 + 3), "{before}: {:?}", place.files());
    assert_eq!(place.files().iter().filter(|file| is_merged(file)).count(), 2);
    assert_eq!(merged.removed, before - 3);
    assert_eq!(place.told().await, told);
    assert_eq!(place.problems().await, Vec::<String>::new());
    assert_eq!(place.merge().await, MergedReceipts::default(), "there is nothing left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_nothing_to_merge_hides_no_older_one() {
    // Of one such day there is an object, of another the folder.
    for kept in [1, 0] {
        let place = Place::new(Keys::default()).await;
        let days = [0, 1, 2].map(|day| Archive::receipt_day(after(day * DAY)));
        let on = |day: &String| place.directory.path().join("receipts").join(day);
        let count = |day: &String| fs::read_dir(on(day)).unwrap().count();
        let [first, _, newest] = days.each_ref().map(count);
        for file in fs::read_dir(on(&days[1])).unwrap().skip(kept) {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        // Of a day to come there is the folder as well.
        fs::create_dir(on(&Archive::receipt_day(after(9 * DAY)))).unwrap();
        let merged = place.merge().await;
        assert_eq!((merged.written, merged.removed), (1, first));
        assert_eq!(days.each_ref().map(count), [1, kept, newest], "the newest is not over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_needed_to_merge() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("age.key");
    let writer = Keys::default().recipient(&make_identity(&file)).unwrap();
    let mut place = Place::new(writer).await;
    assert_eq!(place.merge().await.written, 2);
    assert_eq!(place.problems().await, Vec::<String>::new(), "nor to see what is there");
    let keys = Keys::default().identity_file(&file).unwrap();
    place.archive = Archive::open(destination(place.directory.path()), keys).await.unwrap();
    let count: usize = place.told().await.iter().map(|(_, records)| records.len()).sum();
    assert!(count > 20, "{count}");
}

/// Whoever is killed leaves both, or what was merged and some of what it was made of.
#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_killed_at_any_instant() {
    let place = Place::new(Keys::default()).await;
    let told = place.told().await;
    let kept: Vec<(PathBuf, Vec<u8>)> =
        place.files().into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
    place.merge().await;
    let merged = place.files();
    for removed in 0..kept.len() {
        for (file, bytes) in &kept[removed..] {
            fs::write(file, bytes).unwrap();
        }
        assert_eq!(place.told().await, told, "{removed} were removed");
        assert_eq!(place.problems().await, Vec::<String>::new());
        place.merge().await;
        assert_eq!(place.files(), merged, "{removed} were removed");
    }
    // What is in an object of the last day that is over, and not byte by byte in the merged one, stays.
    let (file, bytes) = &kept[8];
    let mut other = bytes.clone();
    other[40] ^= 1;
    fs::write(file, &other).unwrap();
    place.merge().await;
    assert_eq!(fs::read(file).unwrap(), other);
    // As well if it is sound.
    let (lineage, span) = (log().lineage, told[8].0.clone());
    let object = ReceiptObject { lineage, span, follows: None, records: Vec::new() };
    let other = encode(&object, &Keys::default()).unwrap();
    fs::write(file, &other).unwrap();
    place.merge().await;
    assert_eq!(fs::read(file).unwrap(), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_costs_no_more_than_itself() {
    let place = Place::new(Keys::default()).await;
    let told = place.told().await;
    let file = place.files().remove(2);
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    bytes[60] ^= 1;
    fs::write(&file, &bytes).unwrap();
    place.merge().await;
    assert_eq!(fs::read(&file).unwrap(), bytes, "it stays, for an audit to name it");
    let problems = place.archive.lost_receipts(true).await.unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(problems.len() == 1 && problems[0].contains(name), "{problems:?}");
    fs::write(&file, &whole).unwrap();
    assert_eq!(place.merge().await.written, 0, "older days are not looked at again");

    // In a merged one, anywhere.
    let place = Place::new(Keys::default()).await;
    place.merge().await;
    let file = place.files().remove(0);
    let whole = fs::read(&file).unwrap();
    let spans = place.archive.receipt_spans(&Archive::receipt_day(START)).await.unwrap();
    let count = place.archive.receipt_parts(&spans[0]).await.unwrap().len();
    for position in (8..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        fs::write(&file, bytes).unwrap();
        let Ok(parts) = place.archive.receipt_parts(&spans[0]).await else { continue };
        let (mut bad, mut at) = (0, spans[0].from);
        for part in parts {
            assert_eq!(part.span.from, at, "byte {position}: no time is left out");
            (at, bad) = (part.span.to, bad + part.span.last + 1 - part.span.number);
            let span = part.span.clone();
            if let Ok(records) = place.archive.part_records(part).await {
                let expected = told.iter().find(|(one, _)| *one == span);
                assert_eq!(Some(&records), expected.map(|(_, records)| records));
                bad -= 1;
            }
        }
        assert_eq!(at, spans[0].to, "byte {position}");
        assert!(bad >= 1, "byte {position}: nobody saw it");
        // Only in one whose length is wrong nothing after it is found.
        let problems = place.archive.lost_receipts(true).await.unwrap();
        assert!(!problems.is_empty(), "byte {position}: {bad} of {count}");
    }
}

/// A name says of how many objects, and zeros are as many as one likes.
#[test]
fn few_bytes_are_not_many_objects() {
    let (from, to, run) = (START, after(60), "0123456789abcdef".to_owned());
    let whole = ReceiptSpan { from, to, run, number: 0, last: 2_000_000 };
    let bytes = [join(&[]), vec![0; 8 << 20]].concat();
    let parts = split(bytes.into(), &whole).unwrap();
    assert!(parts.len() == 1 && !parts[0].is_readable(), "cut off from the first on");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_neighbours_cost_no_more_than_themselves() {
    let place = Place::new(Keys::default()).await;
    let told = place.told().await;
    let lengths: Vec<usize> =
        place.files().iter().map(|file| fs::metadata(file).unwrap().len() as usize).collect();
    place.merge().await;
    let file = place.files().remove(0);
    let whole = fs::read(&file).unwrap();
    let span = place.archive.receipt_spans(&Archive::receipt_day(START)).await.unwrap().remove(0);
    let count = place.archive.receipt_parts(&span).await.unwrap().len();
    assert!(count > 4, "{count}");
    for (first, end) in [(0, 2), (1, 3), (1, 4), (count - 2, count), (0, count)] {
        let mut bytes = whole.clone();
        for damaged in first..end {
            let before: usize = lengths[..damaged].iter().map(|length| 4 + length).sum();
            bytes[8 + before + 4 + lengths[damaged] / 2] ^= 1;
        }
        fs::write(&file, bytes).unwrap();
        let parts = place.archive.receipt_parts(&span).await.unwrap();
        assert_eq!(parts.len(), count);
        let mut at = span.from;
        for (number, part) in parts.into_iter().enumerate() {
            assert_eq!(part.span.from, at, "no time is left out");
            at = part.span.to;
            let (one, records) = (part.span.clone(), place.archive.part_records(part).await);
            let is_damaged = (first..end).contains(&number);
            assert_eq!(records.is_err(), is_damaged, "{first} to {end}: {number}: {records:?}");
            if let Ok(records) = records {
                assert_eq!((one, records), told[number], "{first} to {end}");
            }
        }
        assert_eq!(at, span.to);
        let problems = place.archive.lost_receipts(true).await.unwrap();
        assert_eq!(problems.len(), end - first, "{problems:?}");
    }
}

/// Whoever merged was killed before removing that, or may not remove anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_one_was_merged_of_is_read_instead() {
    let place = Place::new(Keys::default()).await;
    let told = place.told().await;
    let kept: Vec<(PathBuf, Vec<u8>)> =
        place.files().into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
    place.merge().await;
    let file = place.files().remove(0);
    let whole = fs::read(&file).unwrap();
    for (file, bytes) in &kept {
        fs::write(file, bytes).unwrap();
    }
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let beginning = flipped(0);
    for bytes in [flipped(60), flipped(whole.len() / 2), beginning, whole[..100].to_vec(), vec![]] {
        fs::write(&file, &bytes).unwrap();
        assert_eq!(place.told().await, told);
        let problems = place.archive.lost_receipts(false).await.unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(!problems.is_empty() && problems[0].contains(name), "{problems:?}");
    }
    // One of them is not there, and one is damaged as well.
    fs::write(&file, flipped(0)).unwrap();
    fs::remove_file(&kept[1].0).unwrap();
    fs::write(&kept[3].0, b"x").unwrap();
    let span = place.archive.receipt_spans(&Archive::receipt_day(START)).await.unwrap().remove(0);
    let mut at = span.from;
    for (number, part) in place.archive.receipt_parts(&span).await.unwrap().into_iter().enumerate()
    {
        assert_eq!(part.span.from, at, "no time is left out");
        at = part.span.to;
        assert_eq!(part.span, told[number].0);
        let records = place.archive.part_records(part).await.ok();
        let expected = (![1, 3].contains(&number)).then(|| told[number].1.clone());
        assert_eq!(records, expected, "{number}");
    }
    assert_eq!(at, span.to);
    // What is not in it stays.
    place.merge().await;
    for (number, (file, _)) in kept.iter().enumerate().take(5) {
        assert_eq!(file.exists(), number != 1, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_missed() {
    for is_merged in [false, true] {
        let place = Place::new(Keys::default()).await;
        if is_merged {
            place.merge().await;
        }
        let files = place.files();
        let newest = files.len() - 1;
        for (at, file) in files.iter().enumerate() {
            let bytes = fs::read(file).unwrap();
            fs::remove_file(file).unwrap();
            let problems = place.problems().await;
            // The oldest ones may have been removed with their day; of the newest nobody knows.
            let is_known = at == newest
                || files[..=at].iter().all(|one| one.parent() == file.parent()) && at == 0;
            assert_eq!(problems.is_empty(), is_known, "{}: {problems:?}", file.display());
            assert!(problems.iter().all(|what| what.contains("lacks")), "{problems:?}");
            fs::write(file, bytes).unwrap();
        }
        assert_eq!(place.problems().await, Vec::<String>::new());
        // Whole days may go, the oldest first.
        for day in 0..2 {
            fs::remove_dir_all(
                files[0].parent().unwrap().with_file_name(Archive::receipt_day(after(day * DAY))),
            )
            .unwrap();
            assert_eq!(place.problems().await, Vec::<String>::new(), "after day {day}");
        }
    }
}
