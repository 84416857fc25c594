//! What the index keeps of the files besides the rows of the outbox.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction};
use tipline_proto::Hash;

use super::record::Magic;
use super::tree::{Node, Place};
use crate::files::{Stamp, from_i64, to_i64};

/// How far the files have been read, what was passed over, what each was when all of it was read,
/// the blocks that still matter, and with which key.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS tipline_blk_file (
    name TEXT PRIMARY KEY,
    offset INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS tipline_blk_gap (
    name TEXT NOT NULL,
    offset INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (name, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tipline_blk_seen (
    name TEXT PRIMARY KEY,
    length INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tipline_blk_block (
    hash BLOB PRIMARY KEY,
    parent BLOB NOT NULL,
    height INTEGER,
    file TEXT NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS tipline_blk_height ON tipline_blk_block (height);
CREATE TABLE IF NOT EXISTS tipline_blk_key (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    key BLOB NOT NULL,
    magic BLOB NOT NULL
);";

/// Where in a file no whole block is, and where the next one is.
pub(super) type Gaps = BTreeMap<u64, u64>;

/// Writes down a block.
pub(super) fn put(tx: &Transaction<'_>, hash: &Hash, node: &Node) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO tipline_blk_block VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let Node { parent, height, place } = node;
    let Place { file, offset, length } = place;
    tx.prepare_cached(sql)?.execute((
        hash.as_ref(),
        parent.as_ref(),
        height.map(to_i64),
        file,
        to_i64(*offset),
        to_i64(*length),
    ))?;
    Ok(())
}

/// How far each file has been read.
pub(super) fn offsets(conn: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut statement = conn.prepare("SELECT name, offset FROM tipline_blk_file")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, from_i64(row.get(1)?))))?;
    rows.collect()
}

/// The blocks that are known.
pub(super) fn nodes(conn: &Connection) -> rusqlite::Result<Vec<(Hash, Node)>> {
    let sql = "SELECT hash, parent, height, file, offset, length FROM tipline_blk_block \
               ORDER BY height, hash";
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let hash = |at: usize| {
            let bytes: Vec<u8> = row.get(at)?;
            Hash::new(bytes).map_err(|error| {
                let blob = rusqlite::types::Type::Blob;
                rusqlite::Error::FromSqlConversionFailure(at, blob, Box::new(error))
            })
        };
        let (offset, length) = (from_i64(row.get(4)?), from_i64(row.get(5)?));
        let place = Place { file: row.get(3)?, offset, length };
        let height = row.get::<_, Option<i64>>(2)?.map(from_i64);
        Ok((hash(0)?, Node { parent: hash(1)?, height, place }))
    })?;
    rows.collect()
}

/// The gaps of each file.
pub(super) fn gaps(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Gaps>> {
    let mut statement = conn.prepare("SELECT name, offset, next FROM tipline_blk_gap")?;
    let mut gaps: BTreeMap<String, Gaps> = BTreeMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        gaps.entry(row.get(0)?).or_default().insert(from_i64(row.get(1)?), from_i64(row.get(2)?));
    }
    Ok(gaps)
}

/// Writes down how far a file was read, and its gaps.
pub(super) fn put_file(
    tx: &Transaction<'_>,
    name: &str,
    offset: u64,
    gaps: &Gaps,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO tipline_blk_file VALUES (?1, ?2)";
    tx.execute(sql, (name, to_i64(offset)))?;
    tx.execute("DELETE FROM tipline_blk_gap WHERE name = ?1", [name])?;
    let mut insert = tx.prepare_cached("INSERT INTO tipline_blk_gap VALUES (?1, ?2, ?3)")?;
    let mut put = |gap: (&u64, &u64)| insert.execute((name, to_i64(*gap.0), to_i64(*gap.1)));
    gaps.iter().try_for_each(|gap| put(gap).map(drop))
}

/// What each file was when all of it was as it had been read.
pub(super) fn seen(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Stamp>> {
    let sql = "SELECT name, length, modified_ns, inode FROM tipline_blk_seen";
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let (modified_ns, inode) = (row.get(2)?, row.get(3)?);
        Ok((row.get(0)?, Stamp { length: from_i64(row.get(1)?), modified_ns, inode }))
    })?;
    rows.collect()
}

/// Writes that down.
pub(super) fn put_seen(tx: &Transaction<'_>, name: &str, stamp: &Stamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO tipline_blk_seen VALUES (?1, ?2, ?3, ?4)";
    let Stamp { length, modified_ns, inode } = stamp;
    tx.execute(sql, (name, to_i64(*length), modified_ns, inode)).map(drop)
}

/// The key that the files were read with, and what records start with, once any were.
pub(super) fn key(conn: &Connection) -> rusqlite::Result<Option<([u8; 8], Magic)>> {
    let sql = "SELECT key, magic FROM tipline_blk_key";
    conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Writes that down.
pub(super) fn put_key(tx: &Transaction<'_>, key: [u8; 8], magic: Magic) -> rusqlite::Result<()> {
    tx.execute("INSERT OR IGNORE INTO tipline_blk_key VALUES (1, ?1, ?2)", (key, magic))?;
    Ok(())
}
