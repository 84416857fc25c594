//! One state of a store, between two batches, and everything that can be read in it.

use std::ops::{ControlFlow, RangeInclusive};

use bytes::Bytes;
use rocksdb::{
    ColumnFamily, DBWithThreadMode, Direction, IteratorMode, SingleThreaded, SnapshotWithThreadMode,
};
use tipline_proto::{Cursor, Hash, Key, Label, TransactionId};

use super::error::{damaged, store_error};
use super::families::Family;
use super::rows::{self, Header};
use super::values::{Payload, RowError};
use crate::error::StoreError;
use crate::page::Page;
use crate::stored::{
    StoreIdentity, StoredBlock, StoredLinks, StoredMark, StoredProof, StoredRecord,
    StoredTransaction,
};

/// Families are opened once, so no lock is needed to find them.
pub(super) type Db = DBWithThreadMode<SingleThreaded>;

/// One state of a store.
pub(super) struct View<'a> {
    db: &'a Db,
    snapshot: SnapshotWithThreadMode<'a, Db>,
    place: &'a str,
}

/// A row of a family, by its key.
pub(super) type KeyAndRow = (Box<[u8]>, Box<[u8]>);

impl<'a> View<'a> {
    /// The state as it is now.
    pub(super) fn new(db: &'a Db, place: &'a str) -> Self {
        Self { db, snapshot: db.snapshot(), place }
    }

    pub(super) fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        let at = || "what it is for".to_owned();
        self.parsed(Family::Store, rows::IDENTITY, at, rows::read_identity)
    }

    pub(super) fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        let at = || "the cursor".to_owned();
        self.parsed(Family::Store, rows::CURSOR, at, rows::read_cursor)
    }

    pub(super) fn links(&self) -> Result<StoredLinks, StoreError> {
        let at = || "the parent of the first block".to_owned();
        let base = self.parsed(Family::Store, rows::BASE, at, rows::read_tip)?;
        let proof_tip = self.cursor()?.and_then(|cursor| cursor.proof_tip);
        let from = match proof_tip.map(|tip| tip.checked_add(1)) {
            None => 0,
            Some(Some(from)) => from,
            // There is no height above it.
            Some(None) => return Ok(StoredLinks { base, ..StoredLinks::default() }),
        };
        let what = "listing the proofs";
        let proven_above = self
            .rows(Family::Proofs, &rows::number(from), Direction::Forward, what)?
            .map(|row| self.key_as_number(&row?.0, what))
            .collect::<Result<_, StoreError>>()?;
        Ok(StoredLinks { base, proven_above })
    }

    pub(super) fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.block_header(height)?.map(|header| header.found.hash))
    }

    pub(super) fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let Some(Header { mut found, payload }) = self.block_header(height)? else {
            return Ok(None);
        };
        let (key, at) = (rows::number(height), || format!("block {height}"));
        found.payload = self.payload(payload, Family::BlockPayloads, &key, at)?;
        Ok(Some(found))
    }

    pub(super) fn block_by_hash(&self, hash: &Hash) -> Result<Option<StoredBlock>, StoreError> {
        let at = || format!("block {hash}");
        let height = self.parsed(Family::BlockHashes, hash.as_ref(), at, rows::read_number)?;
        let Some(height) = height else { return Ok(None) };
        // What was rolled back is still listed.
        match self.block_hash(height)? {
            Some(found) if found == *hash => self.block(height),
            _ => Ok(None),
        }
    }

    fn block_header(&self, height: u64) -> Result<Option<Header<StoredBlock>>, StoreError> {
        let at = || format!("block {height}");
        let read = |row: &[u8]| rows::read_block(height, row);
        self.parsed(Family::Blocks, &rows::number(height), at, read)
    }

    pub(super) fn proof(&self, height: u64) -> Result<Option<StoredProof>, StoreError> {
        let at = || format!("proof of block {height}");
        let read = |row: &[u8]| rows::read_proof(height, row);
        let header = self.parsed(Family::Proofs, &rows::number(height), at, read)?;
        let Some(Header { mut found, payload }) = header else { return Ok(None) };
        found.payload = self.payload(payload, Family::ProofPayloads, &rows::number(height), at)?;
        Ok(Some(found))
    }

    pub(super) fn block_page(
        &self,
        heights: RangeInclusive<u64>,
    ) -> Result<Vec<StoredBlock>, StoreError> {
        let (first, mut page) = (*heights.start(), Page::default());
        let name = |height| format!("block {height}");
        self.headers(Family::Blocks, heights, name, rows::read_block, |height, header| {
            // It ends before the first that is missing.
            if height != first + page.len() as u64 {
                return Ok(ControlFlow::Break(()));
            }
            let (key, Header { mut found, payload }) = (rows::number(height), header);
            found.payload = self.payload(payload, Family::BlockPayloads, &key, || name(height))?;
            let bytes = found.payload.len();
            Ok(page.push(found, bytes))
        })?;
        Ok(page.into_rows())
    }

    pub(super) fn proof_page(
        &self,
        heights: RangeInclusive<u64>,
    ) -> Result<Vec<StoredProof>, StoreError> {
        let mut page = Page::default();
        let name = |height| format!("proof of block {height}");
        self.headers(Family::Proofs, heights, name, rows::read_proof, |height, header| {
            let (key, Header { mut found, payload }) = (rows::number(height), header);
            found.payload = self.payload(payload, Family::ProofPayloads, &key, || name(height))?;
            let bytes = found.payload.len();
            Ok(page.push(found, bytes))
        })?;
        Ok(page.into_rows())
    }

    /// The rows of a family by height, without their payloads, until `take` breaks.
    fn headers<T>(
        &self,
        family: Family,
        heights: RangeInclusive<u64>,
        name: impl Fn(u64) -> String,
        read: impl Fn(u64, &[u8]) -> Result<Header<T>, RowError>,
        mut take: impl FnMut(u64, Header<T>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let what = "listing the blocks";
        let mut rows = self.snapshot.raw_iterator_cf(self.family(family)?);
        rows.seek(rows::number(*heights.start()));
        while let Some((key, row)) = rows.item() {
            let height = self.key_as_number(key, what)?;
            if height > *heights.end() {
                break;
            }
            let header = read(height, row).map_err(|e| damaged(self.place, name(height), e))?;
            if take(height, header)?.is_break() {
                break;
            }
            rows.next();
        }
        // It ends also where a row cannot be read.
        rows.status().map_err(|e| store_error(self.place, what, e))
    }

    pub(super) fn heights(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let what = "the heights of the blocks";
        let end = |from: u64, direction| -> Result<Option<u64>, StoreError> {
            let from = rows::number(from);
            let mut rows = self.rows(Family::Blocks, &from, direction, what)?;
            rows.next().map(|row| self.key_as_number(&row?.0, what)).transpose()
        };
        let lowest = end(0, Direction::Forward)?;
        Ok(lowest.zip(end(u64::MAX, Direction::Reverse)?))
    }

    pub(super) fn transaction(
        &self,
        id: &TransactionId,
    ) -> Result<Option<StoredTransaction>, StoreError> {
        let Some(Header { mut found, payload }) = self.transaction_header(id)? else {
            return Ok(None);
        };
        let (key, at) = (rows::number(found.index), || format!("transaction {id}"));
        found.payload = self.payload(payload, Family::TransactionPayloads, &key, at)?;
        Ok(Some(found))
    }

    /// Without its payload, if that is apart.
    pub(super) fn transaction_header(
        &self,
        id: &TransactionId,
    ) -> Result<Option<Header<StoredTransaction>>, StoreError> {
        let at = || format!("transaction {id}");
        let read = |row: &[u8]| rows::read_transaction(id.as_ref(), row);
        self.parsed(Family::Transactions, id.as_ref(), at, read)
    }

    /// What a rollback needs of a transaction: the height of the block tip, and its id.
    pub(super) fn transaction_by_index(
        &self,
        row: &[u8],
    ) -> Result<(Option<u64>, Vec<u8>), StoreError> {
        let at = || "the newest transactions".to_owned();
        rows::read_by_index(row).map_err(|e| damaged(self.place, at(), e))
    }

    pub(super) fn record(&self, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
        let at = || format!("record {key}");
        let read = |row: &[u8]| rows::read_record(key.as_ref(), row);
        let header = self.parsed(Family::Records, key.as_ref(), at, read)?;
        let Some(Header { mut found, payload }) = header else { return Ok(None) };
        found.value = self.payload(payload, Family::RecordValues, key.as_ref(), at)?;
        Ok(Some(found))
    }

    pub(super) fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        let what = "listing the records";
        self.list(Family::Records, after.map(AsRef::as_ref), limit, what, rows::key)
    }

    pub(super) fn transaction_ids(
        &self,
        after: Option<&TransactionId>,
        limit: usize,
    ) -> Result<Vec<TransactionId>, StoreError> {
        let (family, what) = (Family::Transactions, "listing the transactions");
        self.list(family, after.map(AsRef::as_ref), limit, what, rows::transaction_id)
    }

    pub(super) fn marks(
        &self,
        after: Option<&Label>,
        limit: usize,
    ) -> Result<Vec<Label>, StoreError> {
        let after = after.map(|name| name.as_str().as_bytes());
        self.list(Family::Marks, after, limit, "listing the marks", rows::label)
    }

    pub(super) fn mark(&self, name: &Label) -> Result<Option<StoredMark>, StoreError> {
        let (key, at) = (name.as_str().as_bytes(), || format!("mark {name}"));
        self.parsed(Family::Marks, key, at, |row| rows::read_mark(key, row))
    }

    /// The rows of a family from a key on, in an order.
    pub(super) fn rows(
        &self,
        family: Family,
        from: &[u8],
        direction: Direction,
        what: &'a str,
    ) -> Result<impl Iterator<Item = Result<KeyAndRow, StoreError>>, StoreError> {
        let mode = IteratorMode::From(from, direction);
        let rows = self.snapshot.iterator_cf(self.family(family)?, mode);
        Ok(rows.map(|row| row.map_err(|e| store_error(self.place, what, e))))
    }

    pub(super) fn family(&self, family: Family) -> Result<&'a ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or_else(|| StoreError::Corrupt {
            place: self.place.to_owned(),
            at: format!("the column family {}: it is missing", family.name()),
            source: None,
        })
    }

    /// The keys of a family after `after`.
    fn list<T>(
        &self,
        family: Family,
        after: Option<&[u8]>,
        limit: usize,
        what: &'a str,
        read: impl Fn(&[u8]) -> Result<T, RowError>,
    ) -> Result<Vec<T>, StoreError> {
        self.rows(family, after.unwrap_or_default(), Direction::Forward, what)?
            .skip_while(|row| row.as_ref().is_ok_and(|(key, _)| Some(&key[..]) == after))
            .take(limit)
            .map(|row| read(&row?.0).map_err(|e| damaged(self.place, what.to_owned(), e)))
            .collect()
    }

    fn parsed<T>(
        &self,
        family: Family,
        key: &[u8],
        at: impl Fn() -> String,
        read: impl FnOnce(&[u8]) -> Result<T, RowError>,
    ) -> Result<Option<T>, StoreError> {
        let row = self.snapshot.get_pinned_cf(self.family(family)?, key);
        let row = row.map_err(|e| store_error(self.place, &at(), e))?;
        row.map(|row| read(&row)).transpose().map_err(|e| damaged(self.place, at(), e))
    }

    /// The payload of a row. If it is apart, it must be there, and as long as it was.
    fn payload(
        &self,
        payload: Payload,
        family: Family,
        key: &[u8],
        at: impl Fn() -> String,
    ) -> Result<Bytes, StoreError> {
        let expected = match payload {
            Payload::Here(payload) => return Ok(payload),
            Payload::Apart(length) => length,
        };
        let found = self.snapshot.get_cf(self.family(family)?, key);
        let found = found.map_err(|e| store_error(self.place, &at(), e))?;
        let error = match found {
            Some(found) if found.len() as u64 == expected => return Ok(found.into()),
            Some(found) => RowError::PayloadLength { expected, found: found.len() as u64 },
            None => RowError::NoPayload,
        };
        Err(damaged(self.place, at(), error))
    }

    fn key_as_number(&self, key: &[u8], what: &str) -> Result<u64, StoreError> {
        rows::read_number(key).map_err(|e| damaged(self.place, what.to_owned(), e))
    }
}
