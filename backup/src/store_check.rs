//! A store, compared with the entries that made it, as they come by: what it has is what they say,
//! and what they say is there.
//!
//! What is not there may have been rolled back, replaced or erased by a later entry. So it is only
//! missing once all entries up to the store's own cursor were seen.

use std::collections::BTreeMap;

use tipline_proto::{Cursor, Entry, Event, HeightRanges, Key, Kind, Label, TransactionId};
use tipline_store::{
    StoreError, StoreReader, StoredBlock, StoredMark, StoredProof, StoredRecord, StoredTransaction,
};

use crate::archive::Row;

/// How many absent transactions and records are remembered, of each. More are never rolled back or
/// erased at once.
const MOST_ABSENT: usize = 100_000;
/// How many names are asked for at once.
const PAGE: usize = 1000;
/// How many problems are listed by name.
const MOST_NAMED: usize = 50;

/// A store under comparison.
pub(crate) struct StoreCheck {
    reader: Box<dyn StoreReader>,
    /// Where it was at the beginning. What comes later is not compared.
    cursor: Cursor,
    /// Index of the last entry that was seen.
    at: u64,
    /// Every entry from the first on was seen.
    is_whole: bool,
    /// How many entries were not there when those after them came.
    skipped: u64,
    /// The block tip after `at`, if it is known.
    tip: Option<Option<u64>>,
    absent: Absent,
    found: Found,
    problems: Problems,
    seen: u64,
    bytes: u64,
}

/// What was not there when its entry came by, and may still turn out to be removed by a later one.
#[derive(Default)]
struct Absent {
    blocks: HeightRanges,
    proofs: HeightRanges,
    /// With the block tip at its entry.
    transactions: BTreeMap<TransactionId, Option<u64>>,
    records: BTreeMap<Key, u64>,
    marks: BTreeMap<Label, u64>,
    /// There are more than are remembered.
    is_over: bool,
}

/// What was there as its newest entry says.
#[derive(Default)]
struct Found {
    blocks: HeightRanges,
    proofs: HeightRanges,
    transactions: u64,
    records: u64,
    marks: u64,
}

/// What is wrong; of many only how many.
#[derive(Debug, Default)]
struct Problems {
    named: Vec<String>,
    more: u64,
}

/// What a comparison found.
#[derive(Debug)]
pub(crate) struct Compared {
    /// How many entries were compared.
    pub(crate) entries: u64,
    /// Bytes of the payloads that were compared.
    pub(crate) bytes: u64,
    pub(crate) problems: Vec<String>,
    /// What could not be decided.
    pub(crate) notes: Vec<String>,
}

impl StoreCheck {
    /// Of a store that is at this cursor, from its first entry on.
    pub(crate) fn new(reader: Box<dyn StoreReader>, cursor: Cursor) -> Self {
        Self {
            reader,
            cursor,
            at: 0,
            is_whole: true,
            skipped: 0,
            tip: Some(None),
            absent: Absent::default(),
            found: Found::default(),
            problems: Problems::default(),
            seen: 0,
            bytes: 0,
        }
    }

    /// The same after the entry that `start` is at.
    pub(crate) fn after(self, start: &Cursor) -> Self {
        if start.position.index == 0 {
            return self;
        }
        let tip = Some(start.block_tip.as_ref().map(|tip| tip.height));
        Self { at: start.position.index, is_whole: false, tip, ..self }
    }

    /// How many entries were compared.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Compares these entries. They come in their order; what was seen is passed over.
    pub(crate) fn entries(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        entries.iter().try_for_each(|entry| self.see(&Row::from(entry), Some(entry)))
    }

    /// The same without what they carry.
    pub(crate) fn rows(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        rows.iter().try_for_each(|row| self.see(row, None))
    }

    fn see(&mut self, row: &Row, entry: Option<&Entry>) -> Result<(), StoreError> {
        if row.index <= self.at || row.index > self.cursor.position.index {
            return Ok(());
        }
        if row.index > self.at + 1 {
            // What is missing in between may have removed what is absent.
            (self.is_whole, self.tip, self.absent) = (false, None, Absent::default());
            self.skipped += row.index - self.at - 1;
        }
        (self.at, self.seen) = (row.index, self.seen + 1);
        self.bytes += entry.map_or(0, |entry| entry.event.payload().len() as u64);
        let height = row.height.unwrap_or_default();
        match row.kind {
            Kind::EpochStarted => {}
            Kind::BlockCommitted => {
                self.tip = Some(Some(height));
                self.block(row, height, entry)?;
            }
            Kind::RolledBack => {
                self.tip = Some(Some(height));
                self.absent.roll_back(height);
            }
            Kind::BlockProven => self.proof(row, height, entry)?,
            Kind::TransactionValidated => self.transaction(row, entry)?,
            Kind::StateRecorded => self.record(row, entry)?,
            Kind::Marked => self.mark(row)?,
        }
        Ok(())
    }

    fn block(&mut self, row: &Row, height: u64, entry: Option<&Entry>) -> Result<(), StoreError> {
        let Some(found) = self.reader.block(height)? else {
            self.absent.blocks.insert(height);
            return Ok(());
        };
        if self.is_its(row, found.index) {
            self.found.blocks.insert(height);
            let is_same = found.hash.as_ref() == row.label && found.time == row.time;
            self.same(row, is_same && entry.is_none_or(|entry| is_block(&found, entry)));
        }
        Ok(())
    }

    fn proof(&mut self, row: &Row, height: u64, entry: Option<&Entry>) -> Result<(), StoreError> {
        let Some(found) = self.reader.proof(height)? else {
            self.absent.proofs.insert(height);
            return Ok(());
        };
        if self.is_its(row, found.index) {
            self.found.proofs.insert(height);
            let is_same = found.block_hash.as_ref() == row.label && found.time == row.time;
            self.same(row, is_same && entry.is_none_or(|entry| is_proof(&found, entry)));
        }
        Ok(())
    }

    fn transaction(&mut self, row: &Row, entry: Option<&Entry>) -> Result<(), StoreError> {
        let Ok(id) = TransactionId::new(row.label.clone()) else { return Ok(()) };
        let Some(found) = self.reader.transaction(&id)? else {
            match self.tip {
                Some(tip) => self.absent.transaction(id, tip),
                // Whether it was rolled back cannot be known.
                None => _ = self.absent.transactions.remove(&id),
            }
            return Ok(());
        };
        if self.is_its(row, found.index) {
            self.found.transactions += 1;
            let is_same = found.time == row.time;
            self.same(row, is_same && entry.is_none_or(|entry| is_transaction(&found, entry)));
        }
        Ok(())
    }

    fn record(&mut self, row: &Row, entry: Option<&Entry>) -> Result<(), StoreError> {
        let Ok(key) = Key::new(row.label.clone()) else { return Ok(()) };
        let is_kept =
            entry.map(|entry| matches!(&entry.event, Event::StateRecorded { value: Some(_), .. }));
        let Some(found) = self.reader.record(&key)? else {
            match is_kept {
                Some(true) => self.absent.record(key, row.index),
                // Erased; or it may be, its row does not say.
                _ => _ = self.absent.records.remove(&key),
            }
            return Ok(());
        };
        if self.is_its(row, found.index) {
            self.found.records += 1;
            let is_same = found.time == row.time;
            self.same(row, is_same && entry.is_none_or(|entry| is_record(&found, entry)));
        }
        Ok(())
    }

    fn mark(&mut self, row: &Row) -> Result<(), StoreError> {
        let name = std::str::from_utf8(&row.label).ok().and_then(|name| Label::new(name).ok());
        let Some(name) = name else { return Ok(()) };
        let Some(found) = self.reader.mark(&name)? else {
            self.absent.mark(name, row.index);
            return Ok(());
        };
        if self.is_its(row, found.index) {
            self.found.marks += 1;
            self.same(row, is_mark(&found, row));
        }
        Ok(())
    }

    /// Whether what was found is what this entry left. A later one may have taken its place; an
    /// earlier one cannot have stayed.
    fn is_its(&mut self, row: &Row, found: u64) -> bool {
        if found < row.index {
            let (index, what) = (row.index, describe(row));
            self.problems.add(format!("{what} is that of entry {found}, not of entry {index}"));
        }
        found == row.index
    }

    fn same(&mut self, row: &Row, is_same: bool) {
        if !is_same {
            let (index, what) = (row.index, describe(row));
            self.problems.add(format!("{what} is not stored as entry {index} says"));
        }
    }

    /// The store's reader, when all is done.
    pub(crate) fn into_reader(self) -> Box<dyn StoreReader> {
        self.reader
    }

    /// Says what is missing, what is there without an entry, and what was not as it should be.
    pub(crate) fn finish(&mut self) -> Result<Compared, StoreError> {
        let (end, mut notes) = (self.cursor.position.index, Vec::new());
        let now = self.reader.cursor()?;
        let has_moved = now.as_ref() != Some(&self.cursor);
        if self.skipped > 0 {
            let text = "entries were not at hand in their order, and so not compared";
            notes.push(format!("{} {text}", self.skipped));
        }
        let mut is_explained = false;
        if self.at < end {
            notes.push(format!(
                "what is not in it was not looked for: entries {} to {end} are not at hand",
                self.at + 1
            ));
        } else if !self.has_its_tip()? {
            notes.push("what is not in it was not looked for: it was rolled back meanwhile".into());
        } else {
            self.missing(has_moved);
            is_explained = self.is_whole && !has_moved;
        }
        if is_explained {
            self.unexplained()?;
        } else {
            notes.push("what it has that no entry tells of was not looked for".to_owned());
        }
        let problems = std::mem::take(&mut self.problems).into_list();
        Ok(Compared { entries: self.seen, bytes: self.bytes, problems, notes })
    }

    /// Whether nothing below the block tip of then was rolled back since.
    fn has_its_tip(&self) -> Result<bool, StoreError> {
        match &self.cursor.block_tip {
            None => Ok(true),
            // The chain was rolled back to before its first block: there is none.
            Some(tip) => match self.reader.block_hash(tip.height)? {
                Some(hash) => Ok(hash == tip.hash),
                None => Ok(self.reader.cursor()?.as_ref() == Some(&self.cursor)),
            },
        }
    }

    fn missing(&mut self, has_moved: bool) {
        let absent = std::mem::take(&mut self.absent);
        for (what, heights) in [("block", &absent.blocks), ("the proof of block", &absent.proofs)] {
            for range in heights.ranges() {
                let (first, last) = (*range.start(), *range.end());
                self.problems.add(match first == last {
                    true => format!("{what} {first} is not there"),
                    false => format!("{what} {first} and all up to {last} are not there"),
                });
            }
        }
        for id in absent.transactions.keys() {
            self.problems.add(format!("transaction {id} is not there"));
        }
        for (name, index) in &absent.marks {
            self.problems.add(format!("mark {:?} of entry {index} is not there", name.as_str()));
        }
        // It may be erased by now.
        for (key, index) in absent.records.iter().filter(|_| !has_moved) {
            self.problems.add(format!("record {key} of entry {index} is not there"));
        }
        if absent.is_over {
            let more = "more than can be followed are not there".to_owned();
            self.problems.add(more);
        }
    }

    /// What is there, and no entry says so.
    fn unexplained(&mut self) -> Result<(), StoreError> {
        let heights = self.reader.heights()?.map(|(lowest, highest)| lowest..=highest);
        for height in heights.into_iter().flatten() {
            let is_known = self.found.blocks.contains(height);
            if !is_known && self.reader.block_hash(height)?.is_some() {
                self.problems.add(format!("block {height} is of no entry"));
            }
            if !self.found.proofs.contains(height) && self.reader.proof(height)?.is_some() {
                self.problems.add(format!("the proof of block {height} is of no entry"));
            }
        }
        let transactions =
            count(|after: Option<&TransactionId>| self.reader.transaction_ids(after, PAGE))?;
        let records = count(|after: Option<&Key>| self.reader.keys(after, PAGE))?;
        let marks = count(|after: Option<&Label>| self.reader.marks(after, PAGE))?;
        for (what, there, found) in [
            ("transactions", transactions, self.found.transactions),
            ("records", records, self.found.records),
            ("marks", marks, self.found.marks),
        ] {
            if there != found {
                let text = format!("it has {there} {what}, but entries say {found}");
                self.problems.add(text);
            }
        }
        Ok(())
    }
}

impl Absent {
    fn roll_back(&mut self, to: u64) {
        self.blocks.remove_above(to);
        self.proofs.remove_above(to);
        self.transactions.retain(|_, tip| tip.is_none_or(|tip| tip <= to));
    }

    fn transaction(&mut self, id: TransactionId, tip: Option<u64>) {
        self.is_over |= remember(&mut self.transactions, id, tip);
    }

    fn record(&mut self, key: Key, index: u64) {
        self.is_over |= remember(&mut self.records, key, index);
    }

    fn mark(&mut self, name: Label, index: u64) {
        self.is_over |= remember(&mut self.marks, name, index);
    }
}

/// Whether there are too many.
fn remember<K: Ord, V>(absent: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    if absent.len() >= MOST_ABSENT && !absent.contains_key(&key) {
        return true;
    }
    absent.insert(key, value);
    false
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.named.len() < MOST_NAMED { self.named.push(problem) } else { self.more += 1 }
    }

    fn into_list(mut self) -> Vec<String> {
        if self.more > 0 {
            self.named.push(format!("and {} more", self.more));
        }
        self.named
    }
}

/// How many there are, asked for in pages.
fn count<T: Clone>(
    page: impl Fn(Option<&T>) -> Result<Vec<T>, StoreError>,
) -> Result<u64, StoreError> {
    let (mut there, mut last): (u64, Option<T>) = (0, None);
    loop {
        let found = page(last.as_ref())?;
        let Some(newest) = found.last() else { return Ok(there) };
        (there, last) = (there + found.len() as u64, Some(newest.clone()));
    }
}

fn describe(row: &Row) -> String {
    let height = row.height.unwrap_or_default();
    match row.kind {
        Kind::BlockCommitted => format!("block {height}"),
        Kind::BlockProven => format!("the proof of block {height}"),
        Kind::TransactionValidated => "a transaction".to_owned(),
        Kind::StateRecorded => "a record".to_owned(),
        Kind::Marked => format!("mark {:?}", String::from_utf8_lossy(&row.label)),
        Kind::RolledBack | Kind::EpochStarted => "an entry".to_owned(),
    }
}

fn is_block(found: &StoredBlock, entry: &Entry) -> bool {
    matches!(&entry.event, Event::BlockCommitted { hash, parent_hash, payload, .. }
        if found.hash == *hash
            && found.parent_hash == *parent_hash
            && found.payload == *payload
            && found.epoch == entry.epoch)
}

fn is_proof(found: &StoredProof, entry: &Entry) -> bool {
    matches!(&entry.event, Event::BlockProven { block_hash, payload, .. }
        if found.block_hash == *block_hash && found.payload == *payload)
}

fn is_transaction(found: &StoredTransaction, entry: &Entry) -> bool {
    matches!(&entry.event, Event::TransactionValidated { payload, .. } if found.payload == *payload)
}

fn is_record(found: &StoredRecord, entry: &Entry) -> bool {
    matches!(&entry.event, Event::StateRecorded { value: Some(value), .. } if found.value == *value)
}

fn is_mark(found: &StoredMark, row: &Row) -> bool {
    found.time == row.time
}
