//! Figures against a plain count.

use bytes::Bytes;
use tipline_proto::{Entry, Event, Position, ProofsFrom, Timestamp};
use tipline_store::conformance::history::{History, hash, log};

use super::seed;
use crate::{EntryRow, Stats};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + ms * 1000)
}

struct Writer {
    entries: Vec<Entry>,
}

impl Writer {
    fn add(&mut self, ms: u64, event: Event) {
        let previous = self.entries.last().map_or(Position::origin(&log()), Entry::position);
        let index = previous.index + 1;
        self.entries.push(Entry::seal(&previous, 1, at(ms), index, event));
    }

    fn block(&mut self, ms: u64, height: u64) {
        let payload = Bytes::from(vec![0; 100]);
        let (hash, parent_hash) = (hash(&[height as u8; 8]), hash(&[height as u8 - 1; 8]));
        self.add(ms, Event::BlockCommitted { height, hash, parent_hash, payload });
    }

    fn proof(&mut self, ms: u64, height: u64) {
        let block_hash = hash(&[height as u8; 8]);
        self.add(ms, Event::BlockProven { height, block_hash, payload: Bytes::new() });
    }
}

#[test]
fn delays_rates_and_depths_are_measured() {
    let mut writer = Writer { entries: Vec::new() };
    for height in 1..=10 {
        writer.block(height * 2_000, height);
    }
    // Proofs 30 s after their blocks; that of block 4 again, which does not count.
    (1..=5).for_each(|height| writer.proof(height * 2_000 + 30_000, height));
    writer.proof(90_000, 4);
    writer.add(91_000, Event::RolledBack { to_height: 6, to_hash: hash(&[6; 8]) });
    writer.block(92_000, 7);
    writer.add(101_999, Event::RolledBack { to_height: 6, to_hash: hash(&[6; 8]) });
    let mut stats = Stats::new(ProofsFrom::default());
    writer.entries.iter().for_each(|entry| stats.add(entry));
    let report = stats.report();
    assert_eq!((report.events, report.bytes), (19, 1_100));
    assert_eq!(report.kinds["block_committed"].events, 11);
    assert_eq!(report.kinds["block_committed"].largest, 100);
    let delay = report.proof_delay.unwrap();
    assert_eq!(delay.count, 5);
    assert!((29_980..=30_020).contains(&delay.p50_ms) && delay.max_ms >= 30_000, "{delay:?}");
    let between = report.between_blocks.unwrap();
    assert_eq!((between.count, between.p50_ms), (10, 2_000));
    assert_eq!(report.rollbacks.get("3-5"), Some(&1));
    assert_eq!(report.rollbacks.get("1"), Some(&1));
    assert_eq!((report.deepest_rollback, report.unproven), (4, 1));
    let rate = report.events_per_second.unwrap();
    assert!((rate - 19.0 / 99.999).abs() < 1e-6, "{rate}");
}

#[test]
fn a_random_history_is_counted() {
    let history = History::random(seed(), 400);
    let mut stats = Stats::new(ProofsFrom::default());
    history.entries.iter().for_each(|entry| stats.add(entry));
    let report = stats.report();
    let bytes: usize = history.entries.iter().map(|entry| entry.event.payload().len()).sum();
    assert_eq!((report.entries, report.bytes), (Some((1, 400)), bytes as u64));
    let blocks = history.model.blocks.keys().filter(|height| **height > 0);
    let unproven = blocks.filter(|height| !history.model.proofs.contains_key(height)).count();
    assert_eq!(report.unproven, unproven as u64);
}

/// A node that catches up commits many blocks before it proves the first.
#[test]
fn a_block_whose_time_was_forgotten_is_proven_all_the_same() {
    let mut writer = Writer { entries: Vec::new() };
    (1..=20).for_each(|height| writer.block(height, height));
    (1..=12).for_each(|height| writer.proof(100 + height, height));
    let figures = |entries: &[Entry]| {
        let mut stats = Stats::remembering(ProofsFrom::default(), 5);
        entries.iter().for_each(|entry| stats.add(entry));
        let report = stats.report();
        (report.unproven, report.unproven_forgotten)
    };
    assert_eq!(figures(&writer.entries), (8, 3));
    writer.add(200, Event::RolledBack { to_height: 13, to_hash: hash(&[13; 8]) });
    assert_eq!(figures(&writer.entries), (1, 1));
    writer.proof(300, 13);
    assert_eq!(figures(&writer.entries), (0, 0));
}

#[test]
fn a_row_says_all_of_an_entry() {
    let history = History::random(seed(), 200);
    for entry in &history.entries {
        let row = EntryRow::new(entry, true);
        assert_eq!(row.payload.as_ref().unwrap().len(), 2 * entry.event.payload().len());
        assert_eq!(row.payload_bytes, entry.event.payload().len() as u64);
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["index"], entry.index);
        assert_eq!(json["kind"], entry.event.kind().as_str());
        assert_eq!(json["height"].is_u64(), row.height.is_some());
        let bare = serde_json::to_value(EntryRow::new(entry, false)).unwrap();
        assert!(bare.get("payload").is_none(), "{bare}");
    }
}
