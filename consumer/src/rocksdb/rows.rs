//! Rows, as bytes: [`super::RocksDbStore`] documents them. Keep stable.
//!
//! Numbers are 8 bytes, big-endian, so that keys are in the order of the numbers.

use bytes::Bytes;
use tipline_proto::{
    Chain, Cursor, Digest, Hash, Key, Label, Lineage, Position, Timestamp, Tip, TransactionId,
};

use crate::store::{
    StoreIdentity, StoredBlock, StoredMark, StoredProof, StoredRecord, StoredTransaction,
};

/// Payloads from this length on are apart from their row, in a family of their own: reading the
/// row does not read them. Shorter ones are in it, which saves a row.
pub(super) const APART_BYTES: usize = 4 << 10;
/// About the length of a row without its payload.
const ROW_BYTES: usize = 256;
const HERE: u8 = 0;
const APART: u8 = 1;

/// Keys of the family of the store itself.
pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const CURSOR: &[u8] = b"cursor";
pub(super) const BASE: &[u8] = b"base";

/// Why bytes are not the row that they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("the row ends before its last value")]
    TooShort,
    #[error("the row has {0} bytes behind its last value")]
    TooLong(usize),
    #[error("a byte of the row is {0}, where only 0 or 1 can be")]
    Flag(u8),
    #[error("a value of the row cannot be")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its payload, which is apart from it, is not there")]
    NoPayload,
    #[error("its payload has {found} bytes instead of {expected}")]
    PayloadLength { expected: u64, found: u64 },
}

fn wrong(error: impl std::error::Error + Send + Sync + 'static) -> RowError {
    RowError::Value(Box::new(error))
}

/// Writes values one behind the other.
struct Writing(Vec<u8>);

impl Default for Writing {
    fn default() -> Self {
        Self(Vec::with_capacity(ROW_BYTES))
    }
}

impl Writing {
    fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn time(self, time: Timestamp) -> Self {
        self.number(time.as_micros())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// At most 64 bytes, so their count fits a byte.
    fn hash(mut self, hash: &Hash) -> Self {
        self.0.push(hash.as_ref().len() as u8);
        self.bytes(hash.as_ref())
    }

    fn option<T>(mut self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        self.0.push(u8::from(value.is_some()));
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    /// The last value of a row.
    fn payload(mut self, payload: &[u8]) -> Self {
        let is_apart = is_apart(payload);
        self.0.push(if is_apart { APART } else { HERE });
        let written = self.number(payload.len() as u64);
        if is_apart { written } else { written.bytes(payload) }
    }
}

/// Reads values one behind the other.
struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RowError> {
        let (found, rest) = self.0.split_first_chunk().ok_or(RowError::TooShort)?;
        self.0 = rest;
        Ok(*found)
    }

    fn number(&mut self) -> Result<u64, RowError> {
        self.array().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, RowError> {
        self.number().map(Timestamp::from_micros)
    }

    fn hash(&mut self) -> Result<Hash, RowError> {
        let [length] = self.array()?;
        Hash::new(self.bytes(length.into())?.to_vec()).map_err(wrong)
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, RowError>,
    ) -> Result<Option<T>, RowError> {
        match self.array()? {
            [0] => Ok(None),
            [1] => read(self).map(Some),
            [other] => Err(RowError::Flag(other)),
        }
    }

    fn tip(&mut self) -> Result<Tip, RowError> {
        Ok(Tip { height: self.number()?, hash: self.hash()? })
    }

    fn payload(&mut self) -> Result<Payload, RowError> {
        let ([place], length) = (self.array()?, self.number()?);
        match place {
            HERE => {
                let length = usize::try_from(length).map_err(wrong)?;
                self.bytes(length).map(|payload| Payload::Here(Bytes::copy_from_slice(payload)))
            }
            APART => Ok(Payload::Apart(length)),
            other => Err(RowError::Flag(other)),
        }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], RowError> {
        let (found, rest) = self.0.split_at_checked(length).ok_or(RowError::TooShort)?;
        self.0 = rest;
        Ok(found)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(self) -> Result<(), RowError> {
        if self.0.is_empty() { Ok(()) } else { Err(RowError::TooLong(self.0.len())) }
    }
}

/// Reads a whole row: nothing may be left.
fn whole<T>(
    row: &[u8],
    read: impl FnOnce(&mut Reading<'_>) -> Result<T, RowError>,
) -> Result<T, RowError> {
    let mut reading = Reading(row);
    let found = read(&mut reading)?;
    reading.end()?;
    Ok(found)
}

fn write_tip(writing: Writing, tip: &Tip) -> Writing {
    writing.number(tip.height).hash(&tip.hash)
}

/// A key, or a row, that is a number alone.
pub(super) fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(super) fn read_number(row: &[u8]) -> Result<u64, RowError> {
    whole(row, |row| row.number())
}

pub(super) fn identity(identity: &StoreIdentity) -> Vec<u8> {
    Writing::default()
        .bytes(identity.lineage.as_bytes())
        .hash(&identity.chain.genesis)
        .bytes(identity.chain.name.as_str().as_bytes())
        .0
}

pub(super) fn read_identity(row: &[u8]) -> Result<StoreIdentity, RowError> {
    whole(row, |row| {
        let lineage = Lineage::from_bytes(row.array()?);
        let genesis = row.hash()?;
        let name = std::str::from_utf8(row.rest()).map_err(wrong)?.parse().map_err(wrong)?;
        Ok(StoreIdentity { lineage, chain: Chain { name, genesis } })
    })
}

pub(super) fn cursor(cursor: &Cursor) -> Vec<u8> {
    Writing::default()
        .number(cursor.position.index)
        .bytes(cursor.position.digest.as_bytes())
        .number(cursor.epoch)
        .option(cursor.block_tip.as_ref(), write_tip)
        .option(cursor.proof_tip, Writing::number)
        .0
}

pub(super) fn read_cursor(row: &[u8]) -> Result<Cursor, RowError> {
    whole(row, |row| {
        let index = row.number()?;
        let position = Position { index, digest: Digest::from_bytes(row.array()?) };
        let epoch = row.number()?;
        let block_tip = row.option(Reading::tip)?;
        Ok(Cursor { position, epoch, block_tip, proof_tip: row.option(Reading::number)? })
    })
}

pub(super) fn tip(tip: &Tip) -> Vec<u8> {
    write_tip(Writing::default(), tip).0
}

pub(super) fn read_tip(row: &[u8]) -> Result<Tip, RowError> {
    whole(row, |row| row.tip())
}

/// Whether a payload is apart from its row.
pub(super) fn is_apart(payload: &[u8]) -> bool {
    payload.len() >= APART_BYTES
}

/// Where the payload of a row is.
pub(super) enum Payload {
    Here(Bytes),
    /// In the family of the payloads, with this length.
    Apart(u64),
}

/// A row, and its payload, which is not in it yet.
pub(super) struct Header<T> {
    pub(super) found: T,
    pub(super) payload: Payload,
}

fn header<T>(
    row: &[u8],
    read: impl FnOnce(&mut Reading<'_>) -> Result<T, RowError>,
) -> Result<Header<T>, RowError> {
    whole(row, |row| Ok(Header { found: read(row)?, payload: row.payload()? }))
}

pub(super) fn block(block: &StoredBlock) -> Vec<u8> {
    Writing::default()
        .hash(&block.hash)
        .hash(&block.parent_hash)
        .number(block.index)
        .number(block.epoch)
        .time(block.time)
        .payload(&block.payload)
        .0
}

pub(super) fn read_block(height: u64, row: &[u8]) -> Result<Header<StoredBlock>, RowError> {
    header(row, |row| {
        Ok(StoredBlock {
            height,
            hash: row.hash()?,
            parent_hash: row.hash()?,
            index: row.number()?,
            epoch: row.number()?,
            time: row.time()?,
            payload: Default::default(),
        })
    })
}

pub(super) fn proof(proof: &StoredProof) -> Vec<u8> {
    Writing::default()
        .hash(&proof.block_hash)
        .number(proof.index)
        .time(proof.time)
        .payload(&proof.payload)
        .0
}

pub(super) fn read_proof(height: u64, row: &[u8]) -> Result<Header<StoredProof>, RowError> {
    header(row, |row| {
        Ok(StoredProof {
            height,
            block_hash: row.hash()?,
            index: row.number()?,
            time: row.time()?,
            payload: Default::default(),
        })
    })
}

pub(super) fn transaction(transaction: &StoredTransaction) -> Vec<u8> {
    Writing::default()
        .number(transaction.index)
        .time(transaction.time)
        .option(transaction.block_tip, Writing::number)
        .payload(&transaction.payload)
        .0
}

pub(super) fn read_transaction(
    id: &[u8],
    row: &[u8],
) -> Result<Header<StoredTransaction>, RowError> {
    header(row, |row| {
        Ok(StoredTransaction {
            id: transaction_id(id)?,
            index: row.number()?,
            time: row.time()?,
            block_tip: row.option(Reading::number)?,
            payload: Default::default(),
        })
    })
}

/// What a rollback needs of a transaction: the height of the block tip, and the id.
pub(super) fn by_index(transaction: &StoredTransaction) -> Vec<u8> {
    Writing::default()
        .option(transaction.block_tip, Writing::number)
        .bytes(transaction.id.as_ref())
        .0
}

pub(super) fn read_by_index(row: &[u8]) -> Result<(Option<u64>, Vec<u8>), RowError> {
    whole(row, |row| Ok((row.option(Reading::number)?, row.rest().to_vec())))
}

pub(super) fn record(record: &StoredRecord) -> Vec<u8> {
    Writing::default().number(record.index).time(record.time).payload(&record.value).0
}

pub(super) fn read_record(key: &[u8], row: &[u8]) -> Result<Header<StoredRecord>, RowError> {
    header(row, |row| {
        Ok(StoredRecord {
            key: self::key(key)?,
            index: row.number()?,
            time: row.time()?,
            value: Default::default(),
        })
    })
}

pub(super) fn mark(mark: &StoredMark) -> Vec<u8> {
    Writing::default().number(mark.index).time(mark.time).option(mark.block_tip, Writing::number).0
}

pub(super) fn read_mark(name: &[u8], row: &[u8]) -> Result<StoredMark, RowError> {
    whole(row, |row| {
        Ok(StoredMark {
            name: label(name)?,
            index: row.number()?,
            time: row.time()?,
            block_tip: row.option(Reading::number)?,
        })
    })
}

pub(super) fn key(key: &[u8]) -> Result<Key, RowError> {
    Key::new(key.to_vec()).map_err(wrong)
}

pub(super) fn transaction_id(id: &[u8]) -> Result<TransactionId, RowError> {
    TransactionId::new(id.to_vec()).map_err(wrong)
}

pub(super) fn label(name: &[u8]) -> Result<Label, RowError> {
    Label::new(std::str::from_utf8(name).map_err(wrong)?).map_err(wrong)
}
