//! Where two of them differ.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tipline_backup::{RestoreProgress, Sources, StorePlace};
use tipline_proto::{Entry, Event, Key};
use tipline_store::conformance::history::{History, log, log_with_lineage};
use tipline_store::conformance::model::Model;
use tipline_store::{SqliteStore, Store, StoreReader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ALL, Place, altered, altered_log, honest, of_log, seed, store};
use crate::{
    AuditError, Depth, DiffReport, Range, content_as_of, diff_content, diff_entries, diff_parts,
};

async fn entries(a: Arc<Sources>, b: Arc<Sources>, depth: Depth) -> Result<DiffReport, AuditError> {
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    diff_entries(a, b, ALL, depth, &progress, &stop).await
}

fn content(a: &dyn Store, b: &dyn Store, depth: Depth) -> DiffReport {
    let (a, b) = (a.reader().unwrap(), b.reader().unwrap());
    diff_content(("a", &*a), ("b", &*b), depth, || Ok(())).unwrap()
}

/// The same history with other payloads from some entry on, once or for good.
fn changed(entries: &[Entry], at: usize) -> Vec<Entry> {
    let mut changed = entries[..at].to_vec();
    for entry in &entries[at..] {
        let previous = changed.last().map(Entry::position).unwrap();
        let mut event = entry.event.clone();
        if let Event::BlockCommitted { payload, .. } = &mut event
            && changed.len() == at
        {
            *payload = Bytes::from_static(b"another");
        }
        changed.push(Entry::seal(&previous, entry.epoch, entry.time, entry.outbox_sequence, event));
    }
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_entry_that_differs_is_named_and_then_all() {
    let history = History::blocks(120, 10);
    let other = changed(&history.entries, 50);
    let place = Place::filled(&history.entries[..110], 30).await;
    let same = entries(place.sources(), of_log(honest(&history.entries).await), Depth::All).await;
    let same = same.unwrap();
    assert!(same.same, "{same:?}");
    assert_eq!((same.items, &*same.compared), (110, "entries 1 to 110"));
    assert!(same.not_compared.iter().any(|what| what.contains("entries 111 to 121")), "{same:?}");

    let log = || async { of_log(honest(&other).await) };
    let first = entries(place.sources(), log().await, Depth::First).await.unwrap();
    assert!(!first.same && first.differences.len() == 1, "{first:?}");
    assert!(first.differences[0].starts_with("entry 51: payload, digest differ"), "{first:?}");
    assert!(first.not_compared.iter().any(|what| what.starts_with("entries 52 to 110")));
    let all = entries(place.sources(), log().await, Depth::All).await.unwrap();
    assert_eq!((all.different, all.items), (60, 110));
    assert!(all.differences[1..].iter().all(|one| one.contains("only the digest")), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_entry_counts() {
    let history = History::random(seed(), 60);
    let entry = |index: u64| history.entries[index as usize - 1].clone();
    let alone = |index: u64, other: Entry| {
        move |e: Entry| if e.index == index { vec![other.clone()] } else { vec![e] }
    };
    let time = tipline_proto::Timestamp::from_micros(5);
    // After a claim of a higher epoch the others would be void.
    let is_block = |index: &u64| matches!(entry(*index).event, Event::BlockCommitted { .. });
    let at = (2..60).find(is_block).unwrap();
    let others = [
        ("time", Entry { time, ..entry(at) }),
        ("epoch", Entry { epoch: 99, ..entry(at) }),
        ("outbox sequence", Entry { outbox_sequence: 9_999, ..entry(at) }),
        ("only the digest", Entry { digest: entry(1).digest, ..entry(at) }),
        ("kind", Entry { event: Event::Marked { name: "x".parse().unwrap() }, ..entry(at) }),
    ];
    for (what, other) in others {
        let rigged = honest(&history.entries).await.rigged(alone(at, other));
        let place = Place::filled(&history.entries, 60).await;
        let report = entries(of_log(rigged), place.sources(), Depth::All).await.unwrap();
        assert_eq!(report.different, 1, "{what}: {report:?}");
        assert!(report.differences[0].contains(what), "{what}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_one_has_is_a_difference() {
    let history = History::blocks(90, 10);
    let place = Place::filled(&history.entries, 30).await;
    let names = place.archive.segments().await.unwrap();
    std::fs::remove_file(place.path(&names[1])).unwrap();
    let log = of_log(
        honest(&history.entries).await.rigged(|e| if e.index == 80 { vec![] } else { vec![e] }),
    );
    let report = entries(place.sources(), Arc::clone(&log), Depth::All).await.unwrap();
    assert_eq!((report.different, report.items), (31, 91), "{report:?}");
    assert!(report.differences[0].starts_with("entry 31: block"), "{report:?}");
    assert!(
        report.differences[0].contains(&format!("not in dir:{}", place.directory.path().display())),
        "{report:?}"
    );
    assert!(report.differences[30].contains("not in the log"), "{report:?}");
    // A segment that cannot be read ends it.
    let mut bytes = std::fs::read(place.path(&names[2])).unwrap();
    bytes[30] ^= 1;
    std::fs::write(place.path(&names[2]), bytes).unwrap();
    let report = entries(place.sources(), log, Depth::All).await.unwrap();
    assert!(report.differences[30].contains("cannot be read"), "{report:?}");
    assert!(
        report.not_compared.iter().any(|what| what.starts_with("entries 61 to 91")),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_different_logs_are_not_compared() {
    let place = Place::filled(&History::blocks(10, 10).entries, 30).await;
    let other = History::of(&log_with_lineage(9), 4);
    let mut other = other;
    (0..5).for_each(|_| if other.entries.is_empty() { other.claim() } else { other.block() });
    let stranger = tipline_log::memory::rigged::RiggedLog::new(log_with_lineage(9), &other.entries);
    let error = entries(place.sources(), of_log(stranger.await), Depth::All).await;
    assert!(matches!(error, Err(AuditError::WrongLog { .. })), "{error:?}");
    let beyond = Range { from: Some(5), to: Some(50) };
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    let twice = (place.sources(), place.sources());
    let error = diff_entries(twice.0, twice.1, beyond, Depth::All, &progress, &stop).await;
    assert!(matches!(error, Err(AuditError::Range { .. })), "{error:?}");
    // Nothing in common: both extents are said.
    let history = History::blocks(40, 10);
    let early = Place::filled(&history.entries[..20], 20).await;
    let late = of_log(honest(&history.entries).await.trimmed(31));
    let error = entries(early.sources(), late, Depth::All).await.unwrap_err().to_string();
    assert!(error.contains("holds entries 1 to 20, the log"), "{error}");
    assert!(error.ends_with("entries 31 to 41"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changed_in_a_log_is_a_difference() {
    let history = History::blocks(20, 10);
    let directory = tempfile::tempdir().unwrap();
    let log = altered_log(directory.path(), &history.entries, 15).await;
    let place = Place::filled(&history.entries, 21).await;
    let report = entries(place.sources(), log, Depth::All).await.unwrap();
    assert!(report.differences.last().unwrap().contains("cannot be read"), "{report:?}");
}

/// As every consumer does: it takes the entry of the newer claim.
#[tokio::test(flavor = "multi_thread")]
async fn a_void_entry_is_passed_over_also_if_it_comes_first() {
    let mut history = History::blocks(20, 10);
    history.claim();
    (0..3).for_each(|_| history.block());
    let claim = history.entries[21].clone();
    assert!(matches!(claim.event, Event::EpochStarted { .. }), "{claim:?}");
    let void = |index: u64| Entry { epoch: 1, index, ..claim.clone() };
    let void = [void(claim.index + 1), void(claim.index + 2)];
    let rig = move |entry: Entry| match entry.index == claim.index + 1 {
        true => [&void[..], &[entry]].concat(),
        false => vec![entry],
    };
    let log = of_log(honest(&history.entries).await.rigged(rig));
    let place = Place::filled(&history.entries, 60).await;
    let report = entries(place.sources(), log, Depth::All).await.unwrap();
    assert!(report.same, "{report:?}");
}

#[test]
fn stores_of_one_history_are_the_same_also_if_one_is_ahead() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..15 {
        let history = History::random(seed().wrapping_add(round), 250);
        let at = 40 + 13 * round as usize;
        let early = store(directory.path(), &history.entries[..at]);
        let late = store(directory.path(), &history.entries);
        for (a, b) in [(&early, &late), (&late, &early), (&late, &late)] {
            let report = content(&**a, &**b, Depth::All);
            assert!(report.same, "round {round}: {report:?}");
        }
        assert!(content(&*late, &*late, Depth::All).not_compared.is_empty());
    }
}

#[test]
fn one_item_that_differs_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::blocks(20, 10);
    history.record_of(1, Some("right".into()));
    history.transaction_of(1);
    let right = store(directory.path(), &history.entries);
    let with = |entries: &[Entry]| store(directory.path(), entries);
    // The store is given its cursor, whatever it applied.
    let altered = |index: usize, event: Event| {
        let mut entries = history.entries.clone();
        entries[index].event = event;
        with(&entries)
    };
    let key = Key::new([b'k', 1]).unwrap();
    let wrong = altered(21, Event::StateRecorded { key: key.clone(), value: Some("wrong".into()) });
    let report = content(&*right, &*wrong, Depth::All);
    assert_eq!(report.differences.len(), 1, "{report:?}");
    assert!(report.differences[0].contains("record"), "{report:?}");
    let erased = altered(21, Event::StateRecorded { key, value: None });
    for (a, b) in [(&right, &erased), (&erased, &right)] {
        let report = content(&**a, &**b, Depth::All);
        assert_eq!(report.different, 1, "{report:?}");
        assert!(report.differences[0].contains("not in"), "{report:?}");
    }
    let mut block = history.entries[10].event.clone();
    if let Event::BlockCommitted { payload, .. } = &mut block {
        *payload = Bytes::from_static(b"x");
    }
    let report = content(&*altered(10, block), &*right, Depth::First);
    assert!(report.differences[0].contains("its content differs"), "{report:?}");
    // Another history with the same content: no store keeps the place in the outbox.
    let mut fork = history.entries[..10].to_vec();
    for entry in &history.entries[10..] {
        let (previous, event) = (fork.last().unwrap().position(), entry.event.clone());
        let sequence = entry.outbox_sequence + 1;
        fork.push(Entry::seal(&previous, entry.epoch, entry.time, sequence, event));
    }
    let report = content(&*right, &*with(&fork), Depth::All);
    assert_eq!(report.differences.len(), 1, "{report:?}");
    assert!(report.differences[0].starts_with("the cursor: "), "{report:?}");
}

/// Whoever asks for one difference does not wait for the rest of two stores, and can end it anywhere.
#[test]
fn it_ends_at_the_first_difference_and_whenever_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(5);
    history.claim();
    (0..300).for_each(|_| history.transaction());
    let of = |entries: &[Entry]| store(directory.path(), entries).reader().unwrap();
    let compared = |other: &[Entry], until: u64| {
        let (a, b, mut asked) = (of(&history.entries), of(other), 0);
        let proceed = || {
            asked += 1;
            match asked {
                _ if asked < until => Ok(()),
                _ => Err(AuditError::Cancelled { at: 0 }),
            }
        };
        let report = diff_content(("a", &*a), ("b", &*b), Depth::First, proceed);
        (report, asked)
    };
    // What both have is looked at from either.
    let (same, all) = compared(&history.entries, u64::MAX);
    let same = same.unwrap();
    assert!(same.same && same.items >= 50 && all >= 2 * same.items, "{all}: {same:?}");
    for until in [1, all / 3, all] {
        let (cancelled, asked) = compared(&history.entries, until);
        assert!(matches!(cancelled, Err(AuditError::Cancelled { .. })), "{until}: {cancelled:?}");
        assert_eq!(asked, until);
    }
    // The first of them by its id, whichever that is.
    let transactions = history.entries.iter().filter_map(|entry| match &entry.event {
        Event::TransactionValidated { id, .. } => Some(id.clone()),
        _ => None,
    });
    let first = transactions.min().unwrap();
    let mut other = history.entries.clone();
    for entry in &mut other {
        if let Event::TransactionValidated { id, payload } = &mut entry.event
            && *id == first
        {
            *payload = Bytes::from_static(b"another");
        }
    }
    let (differ, asked) = compared(&other, u64::MAX);
    let differ = differ.unwrap();
    assert!(!differ.same && asked < 10, "{asked}");
    assert_eq!(differ.different, 1, "{differ:?}");
    assert!(differ.differences[0].contains("transaction"), "{differ:?}");
}

#[test]
fn what_nothing_can_have_removed_since_is_a_difference_also_if_one_is_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::blocks(20, 10);
    let lowest = *history.model.blocks.keys().next().unwrap();
    (0..15).for_each(|at| history.proof_of(lowest + at, 5));
    let early = history.entries.clone();
    (0..5).for_each(|_| history.block());
    let late = &history.entries;
    let of = |entries: &[Entry], sql: &str| {
        let sql = sql.replace("HEIGHT", &(lowest + 7).to_string());
        altered(directory.path(), entries, &sql)
    };
    let compare = |early: &dyn StoreReader, late: &dyn StoreReader| {
        diff_content(("early", early), ("late", late), Depth::All, || Ok(())).unwrap()
    };
    assert!(compare(&*of(&early, ""), &*of(late, "")).same);
    let block = "DELETE FROM blocks WHERE height = HEIGHT";
    let proof = "DELETE FROM proofs WHERE height = HEIGHT";
    let cases = [
        ("", block, "a gap in late"),
        (block, "", "a gap in early"),
        (block, block, "a gap in early and late; none above it is compared"),
        ("", proof, "in early, not in late"),
    ];
    for (in_early, in_late, says) in cases {
        let report = compare(&*of(&early, in_early), &*of(late, in_late));
        assert_eq!(report.different, 1, "{in_early} {in_late}: {report:?}");
        assert!(report.differences[0].ends_with(says), "{in_early} {in_late}: {report:?}");
    }
    // Proofs that came since are none.
    assert!(compare(&*of(&early[..21], ""), &*of(late, "")).same);
    // Nobody counts up to there.
    let far = format!("UPDATE blocks SET height = {} WHERE height = {}", 1_u64 << 60, lowest + 24);
    let report = compare(&*of(&early, ""), &*of(late, &far));
    assert!(report.differences[0].contains("a gap in late; none above it"), "{report:?}");
}

#[test]
fn every_part_of_a_store_is_compared() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::blocks(20, 10);
    let part =
        |name: &str, sql: &str| (name.to_owned(), altered(directory.path(), &history.entries, sql));
    let wrong = "UPDATE blocks SET payload = x'00' WHERE log_index = 9";
    let whole = [part("a-1", ""), part("a-2", "")];
    let one = [part("b", "")];
    let report = diff_parts(&whole, &one, Depth::All, || Ok(())).unwrap();
    assert!(report.same, "{report:?}");
    for wrong in [[part("a-1", wrong), part("a-2", "")], [part("a-1", ""), part("a-2", wrong)]] {
        for depth in [Depth::First, Depth::All] {
            for (a, b) in [(&wrong[..], &one[..]), (&one[..], &wrong[..])] {
                let report = diff_parts(a, b, depth, || Ok(())).unwrap();
                assert!(!report.same && report.differences[0].contains("of entry 9"), "{report:?}");
            }
        }
    }
}

fn place(directory: &Path) -> StorePlace {
    let open = |paths: &[std::path::PathBuf]| {
        Ok(Box::new(SqliteStore::open(&paths[0])?) as Box<dyn Store>)
    };
    let parts = vec![("sqlite".to_owned(), directory.join("rebuilt.db"))];
    StorePlace { parts, open: Arc::new(open) }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_make_the_store_that_it_is_compared_with() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::random(seed(), 200);
    let archive = Place::filled(&history.entries, 50).await;
    let rebuilt = async |sources: Arc<Sources>, index: u64| {
        let scratch = tempfile::tempdir_in(directory.path()).unwrap();
        let progress = watch::Sender::new(RestoreProgress::default());
        let stop = CancellationToken::new();
        let made = content_as_of(sources, index, place(scratch.path()), progress, stop).await;
        made.map(|store| (store, scratch))
    };
    let held = store(directory.path(), &history.entries[..150]);
    for sources in [archive.sources(), of_log(honest(&history.entries).await)] {
        let (made, _scratch) = rebuilt(sources, 150).await.unwrap();
        let report = content(&*made, &*held, Depth::All);
        assert!(report.same && report.not_compared.is_empty(), "{report:?}");
    }
    // One byte of one payload, which nothing in the store itself tells.
    let mut entries = history.entries[..150].to_vec();
    let blocks = &Model::of(&log(), &entries).blocks;
    let kept = blocks.values().next().unwrap().index as usize - 1;
    if let Event::BlockCommitted { payload, .. } = &mut entries[kept].event {
        *payload = Bytes::from_static(b"not this");
    }
    let (made, _scratch) = rebuilt(archive.sources(), 150).await.unwrap();
    let report = content(&*made, &*store(directory.path(), &entries), Depth::All);
    assert_eq!(report.different, 1, "{report:?}");
    let beyond = history.entries.len() as u64 + 1;
    assert!(rebuilt(archive.sources(), beyond).await.is_err());
    let trimmed = of_log(honest(&history.entries).await.trimmed(20));
    assert!(rebuilt(trimmed, 150).await.is_err());
}
