//! Rows, as bytes: [`super::RocksDbStore`] documents them. Keep stable.

use tipline_proto::{
    Chain, Cursor, Digest, Key, Label, Lineage, Position, ProofsFrom, Tip, TransactionId,
};

use super::values::{Payload, Reading, RowError, Writing, whole, wrong};
use crate::stored::{
    StoreIdentity, StoredBlock, StoredMark, StoredProof, StoredRecord, StoredTransaction,
};

/// Keys of the family of the store itself.
pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const CURSOR: &[u8] = b"cursor";
pub(super) const BASE: &[u8] = b"base";
/// What comes after the chain's name where proofs are expected from a later height on: then the
/// height, in decimal. No name has a control character, so whoever does not know this refuses the
/// row, and says it.
const PROOFS_FROM: &str = "\0proofs from ";

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
    let late = identity.chain.proofs_from.late();
    let late = late.map_or(String::new(), |height| format!("{PROOFS_FROM}{height}"));
    Writing::default()
        .bytes(identity.lineage.as_bytes())
        .hash(&identity.chain.genesis)
        .bytes(identity.chain.name.as_str().as_bytes())
        .bytes(late.as_bytes())
        .0
}

pub(super) fn read_identity(row: &[u8]) -> Result<StoreIdentity, RowError> {
    whole(row, |row| {
        let lineage = Lineage::from_bytes(row.array()?);
        let genesis = row.hash()?;
        let rest = std::str::from_utf8(row.rest()).map_err(wrong)?;
        let (name, late) = match rest.split_once(PROOFS_FROM) {
            Some((name, late)) => (name, Some(late)),
            None => (rest, None),
        };
        let proofs_from = late.map(str::parse::<ProofsFrom>).transpose().map_err(wrong)?;
        let proofs_from = proofs_from.unwrap_or_default();
        let name = name.parse().map_err(wrong)?;
        Ok(StoreIdentity { lineage, chain: Chain { name, genesis, proofs_from } })
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
    Key::new(key).map_err(wrong)
}

pub(super) fn transaction_id(id: &[u8]) -> Result<TransactionId, RowError> {
    TransactionId::new(id).map_err(wrong)
}

pub(super) fn label(name: &[u8]) -> Result<Label, RowError> {
    Label::new(std::str::from_utf8(name).map_err(wrong)?).map_err(wrong)
}
