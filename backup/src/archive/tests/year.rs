//! What a year of a segment a second costs: requests and names, not seconds of this machine.
//!
//! A request to object storage takes about 30 ms, and a name that is held about 200 bytes. So 40
//! requests are less than 2 s, and 100,000 names 20 MiB.

use std::sync::Arc;

use tipline_proto::{Cursor, Digest, Position, Tip};
use tipline_store::conformance::history::{History, hash, log};
use tipline_store::{Sink, StoreIdentity, StoredLinks};
use tokio::runtime::Runtime;

use super::runtime;
use crate::archive::{Row, SegmentIndex};
use crate::destination::tests::year::{Asked, year};
use crate::{Archive, ArchiveStore, Destination, Keys, Sources};

/// Entries that a merged segment has, of the first and the second time that it is merged.
const MEDIUM: u64 = 900;
const LARGE: u64 = 36 * MEDIUM;
/// A year of an entry a second, nearly.
const YEAR: u64 = 973 * LARGE;
/// A month of it, nearly.
const MONTH: u64 = 80 * LARGE;
/// What is not made up, but really there, comes after the year.
const REAL: u64 = 20;
const DIGEST: &str = "0123456789abcdef";
/// Names that may be listed between two questions.
const MOST: u64 = 2_000_000;

/// The segments that begin with an entry: one of itself, and those that it was merged into, up to
/// `merged_to`.
fn names(first: u64, merged_to: u64) -> Vec<(String, u64)> {
    let name = |last: u64, bytes: u64| (format!("{first:020}-{last:020}-{DIGEST}.tips"), bytes);
    let begins = |length: u64| (first - 1).is_multiple_of(length) && first < merged_to;
    let mut names = vec![name(first, 900)];
    names.extend(begins(MEDIUM).then(|| name(first + MEDIUM - 1, 400_000)));
    names.extend(begins(LARGE).then(|| name(first + LARGE - 1, 33 << 20)));
    names
}

/// An archive of this many entries that is merged up to one of them. Nothing that was merged is
/// removed.
struct Place {
    runtime: Runtime,
    destination: Destination,
    asked: Arc<Asked>,
    archive: Archive,
    history: History,
}

fn place(length: u64, merged_to: u64) -> Place {
    let runtime = runtime();
    let (destination, asked) = year("segments", length, MOST, move |first| names(first, merged_to));
    let mut history = History::new(1);
    let digest: Digest = DIGEST.repeat(4).parse().unwrap();
    let block_tip = Some(Tip { height: length, hash: hash(&[5; 32]) });
    let position = Position { index: length, digest };
    history.model.cursor = Cursor { position, epoch: 1, block_tip, proof_tip: None };
    let archive = runtime.block_on(async {
        let archive = Archive::create(destination.clone(), &log(), Keys::default()).await.unwrap();
        for _ in 0..REAL {
            let (before, begun) = (history.model.cursor.position, history.entries.len());
            history.block_of(100);
            let entries = &history.entries[begun..];
            let index = SegmentIndex {
                log: StoreIdentity::from(&log()),
                before,
                after: history.model.cursor.clone(),
                links: StoredLinks::default(),
                latest_before: entries[0].time,
                rows: entries.iter().map(Row::from).collect(),
            };
            archive.write(&index, entries).await.unwrap();
        }
        archive
    });
    asked.take();
    Place { runtime, destination, asked, archive, history }
}

impl Place {
    fn store(&self, known: u64) -> ArchiveStore {
        let _within = self.runtime.enter();
        ArchiveStore::new(self.destination.clone(), Keys::default(), known)
    }

    /// That not more was asked for than this.
    fn check(&self, what: &str, requests: u64, names: u64) {
        let (asked, listed) = self.asked.take();
        println!("{what}: {asked} requests, {listed} names");
        assert!(asked <= requests && listed <= names, "{what}: {asked} requests, {listed} names");
    }
}

#[test]
fn an_archiver_asks_for_what_is_new() {
    for merged_to in [YEAR, YEAR - MONTH] {
        let place = place(YEAR, merged_to);
        let mut store = place.store(YEAR + REAL).read_back_to(YEAR + REAL - 3);
        assert!(store.identity().unwrap().is_some());
        place.check("start", 25, 10_000);
        store.probe().unwrap();
        place.check("heartbeat", 3, 0);
        let view = store.view().unwrap();
        assert_eq!(view.cursor().unwrap().as_ref(), Some(&place.history.model.cursor));
        let found = view.block_hash(YEAR + 3).unwrap();
        assert_eq!(found, place.history.model.block_hash(YEAR + 3));
        place.check("a look-up of 18 segments back", 30, 10_000);
    }
}

#[test]
fn without_receipts_the_newest_is_found_by_halves() {
    for merged_to in [YEAR, YEAR - MONTH] {
        let place = place(YEAR, merged_to);
        let cursor = place.runtime.block_on(place.archive.cursor()).unwrap();
        assert_eq!(cursor, place.history.model.cursor);
        place.check("the newest", 40, 40_000);
    }
}

#[test]
fn merging_goes_on_where_it_ended() {
    let place = place(MONTH, MONTH);
    let merge = || {
        let merged = place.runtime.block_on(place.archive.merge(false)).unwrap();
        assert_eq!(merged.written, [], "there is nothing to merge");
    };
    merge();
    place.check("the first time", 120, 90_000);
    merge();
    place.check("from then on", 8, 1_000);
}

#[test]
fn what_a_restore_needs_is_planned_from_the_longest_segments() {
    let place = place(MONTH, MONTH);
    let sources = Sources { archives: vec![place.archive.clone()], ..Sources::default() };
    let held = place.runtime.block_on(sources.held()).unwrap();
    assert_eq!((held.first, held.last, held.gaps), (1, MONTH + REAL, vec![]));
    assert!(held.segments < 2_000, "{} are held in memory", held.segments);
    place.check("an inventory", 120, 90_000);
}
