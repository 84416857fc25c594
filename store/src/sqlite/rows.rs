//! What is written: the identity, the cursor, and a row for each entry.

use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, params};
use tipline_proto::{Cursor, Entry, Event};

use super::schema;
use crate::batch::Batch;
use crate::stored::StoreIdentity;

/// A number of the contract as SQLite has it: up to 2⁶³ − 1. A higher one is an error.
struct Number(u64);

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        i64::try_from(self.0).map(ToSqlOutput::from).map_err(|_| {
            let why =
                format!("{} is over 9223372036854775807, the highest number SQLite has", self.0);
            rusqlite::Error::ToSqlConversionFailure(why.into())
        })
    }
}

pub(super) fn write_identity(
    connection: &Connection,
    identity: &StoreIdentity,
    origin: &Cursor,
) -> rusqlite::Result<()> {
    let (chain, genesis) = (identity.chain.name.as_str(), identity.chain.genesis.as_ref());
    let (lineage, digest) = (identity.lineage.as_bytes(), origin.position.digest);
    let origin = params![
        lineage,
        chain,
        genesis,
        Number(origin.position.index),
        digest.as_bytes(),
        Number(origin.epoch)
    ];
    let transaction = connection.unchecked_transaction()?;
    transaction.execute(schema::PUT_STORE, origin)?;
    if let Some(height) = identity.chain.proofs_from.late() {
        transaction.execute_batch(schema::ADD_PROOFS_FROM)?;
        transaction.execute(schema::PUT_PROOFS_FROM, params![Number(height)])?;
        transaction.pragma_update(None, "user_version", schema::LATE_PROOFS_VERSION)?;
    }
    transaction.commit()
}

/// Moves the cursor from where it was before the batch. Whether it was there.
pub(super) fn write_cursor(
    connection: &Connection,
    before: &Cursor,
    batch: &Batch,
) -> rusqlite::Result<bool> {
    let (cursor, base) = (&batch.cursor, batch.base.as_ref());
    let tip = cursor.block_tip.as_ref();
    connection
        .prepare_cached(schema::PUT_CURSOR)?
        .execute(params![
            Number(cursor.position.index),
            cursor.position.digest.as_bytes(),
            Number(cursor.epoch),
            tip.map(|tip| Number(tip.height)),
            tip.map(|tip| tip.hash.as_ref()),
            cursor.proof_tip.map(Number),
            base.map(|base| Number(base.height)),
            base.map(|base| base.hash.as_ref()),
            Number(before.position.index),
            before.position.digest.as_bytes(),
        ])
        .map(|rows| rows == 1)
}

/// Writes one entry; `block_tip` is the height of the tip before it, and then after it.
pub(super) fn write_entry(
    connection: &Connection,
    entry: &Entry,
    block_tip: &mut Option<u64>,
) -> rusqlite::Result<()> {
    let (index, time) = (Number(entry.index), Number(entry.time.as_micros()));
    let put = |sql: &str, row: &[&dyn ToSql]| -> rusqlite::Result<()> {
        connection.prepare_cached(sql)?.execute(row).map(|_| ())
    };
    match &entry.event {
        Event::BlockCommitted { height, hash, parent_hash, payload } => {
            *block_tip = Some(*height);
            let (height, epoch) = (Number(*height), Number(entry.epoch));
            let (hash, parent) = (hash.as_ref(), parent_hash.as_ref());
            put(
                schema::PUT_BLOCK,
                params![height, hash, parent, index, epoch, time, payload.as_ref()],
            )
        }
        Event::BlockProven { height, block_hash, payload } => {
            let (height, hash) = (Number(*height), block_hash.as_ref());
            put(schema::PUT_PROOF, params![height, hash, index, time, payload.as_ref()])
        }
        Event::TransactionValidated { id, payload } => {
            let (id, tip) = (id.as_ref(), block_tip.map(Number));
            put(schema::PUT_TRANSACTION, params![index, id, tip, time, payload.as_ref()])
        }
        Event::StateRecorded { key, value: Some(value) } => {
            put(schema::PUT_RECORD, params![index, key.as_ref(), time, value.as_ref()])
        }
        Event::StateRecorded { key, value: None } => {
            put(schema::ERASE_RECORD, params![key.as_ref()])
        }
        Event::RolledBack { to_height, .. } => {
            *block_tip = Some(*to_height);
            schema::ROLL_BACK.iter().try_for_each(|sql| put(sql, params![Number(*to_height)]))
        }
        Event::Marked { name } => {
            let tip = block_tip.map(Number);
            put(schema::PUT_MARK, params![index, name.as_str(), tip, time])
        }
        Event::EpochStarted { .. } => Ok(()),
    }
}
